"""`/v1/turns`: the door for answers given elsewhere, and the way to read every turn back."""

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency

from thumbwheel import routes
from thumbwheel.types import Turn, TurnIn, TurnPage
from thumbwheel_service.auth.guard import caller
from thumbwheel_service.db.pages import Span
from thumbwheel_service.http import AnyRequest, Cursor, Limit, PathId, QueryId, answer, decode, read_body, typed
from thumbwheel_service.idempotency import once, respond
from thumbwheel_service.openapi import documented
from thumbwheel_service.parameters import Moment, QueryIds, refuse_unknown_parameters, to_ms
from thumbwheel_service.turns.repository import TurnFilter
from thumbwheel_service.turns.service import TurnService

_turn = msgspec.json.Decoder(TurnIn)


@post(
    routes.TURNS,
    tags=["turns"],
    operation_class=documented(body=TurnIn, answers={201: Turn, 200: Turn}, errors=(409,), idempotent=True),
)
async def bring_turn(request: AnyRequest, turn_service: NamedDependency[TurnService]) -> Response[bytes]:
    """Bring in an answer that another model or a human gave elsewhere; several `answers` are its choices 0, 1, …"""
    body = await read_body(request)
    tenant = caller(request).tenant
    request_once = once(request, tenant, body)
    return respond(await turn_service.bring(tenant, decode(_turn, body), request_once), request_once)


@get(routes.TURNS, tags=["turns"], operation_class=documented(answers={200: TurnPage}, errors=(400,)))
async def list_turns(
    request: AnyRequest,
    turn_service: NamedDependency[TurnService],
    completion_id: QueryIds = None,
    conversation_id: QueryId = None,
    user: QueryId = None,
    policy_version: QueryId = None,
    since: Moment = None,
    until: Moment = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response[bytes]:
    """Turns newest first, with their feedback; several parameters narrow together."""
    refuse_unknown_parameters(request)
    wanted = TurnFilter(
        completion_ids=completion_id or (),
        conversation_id=conversation_id,
        user=user,
        policy_version=policy_version,
        span=Span(to_ms(since, "since"), to_ms(until, "until")),
    )
    return answer(await turn_service.page(caller(request).tenant, wanted, cursor=cursor, limit=limit))


@get(typed(routes.TURN), tags=["turns"], operation_class=documented(answers={200: Turn}, errors=(400, 404, 409)))
async def get_turn(
    request: AnyRequest, turn_service: NamedDependency[TurnService], completion_id: PathId
) -> Response[bytes]:
    """One turn with its feedback; while it is being generated it has no messages yet."""
    return answer(await turn_service.get(caller(request).tenant, completion_id))


HANDLERS = [bring_turn, list_turns, get_turn]
