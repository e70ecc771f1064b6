"""`/v1/feedback`: every kind of feedback by one door."""

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency

from thumbwheel import routes
from thumbwheel.types import (
    Feedback,
    FeedbackBatch,
    FeedbackBatchResult,
    FeedbackHistory,
    FeedbackPage,
    FeedbackRecord,
)
from thumbwheel_service.auth.guard import caller
from thumbwheel_service.db.pages import Span
from thumbwheel_service.feedback.repository import FeedbackFilter
from thumbwheel_service.feedback.service import FeedbackService
from thumbwheel_service.http import AnyRequest, Cursor, Limit, PathId, QueryId, answer, decode, read_body, typed
from thumbwheel_service.idempotency import once, respond
from thumbwheel_service.openapi import documented
from thumbwheel_service.parameters import RETRACTED, Kinds, Moment, Retracted, refuse_unknown_parameters, to_ms

_feedback: msgspec.json.Decoder[Feedback] = msgspec.json.Decoder(Feedback)
_batch = msgspec.json.Decoder(FeedbackBatch)


@post(
    routes.FEEDBACK,
    tags=["feedback"],
    operation_class=documented(
        body=Feedback, answers={201: FeedbackRecord, 200: FeedbackRecord}, errors=(404, 409), idempotent=True
    ),
)
async def put_feedback(request: AnyRequest, feedback_service: NamedDependency[FeedbackService]) -> Response[bytes]:
    """Give feedback, or change what you gave: 201 when it is new, 200 when it replaces or repeats.

    One thumb, rating, correction per answer and person; flags per value, comparisons per other side, outcomes per
    name. Critiques and demonstrations append, unless they bring the same `feedback_id`.
    """
    body = await read_body(request)
    tenant = caller(request).tenant
    request_once = once(request, tenant, body)
    result = await feedback_service.put(tenant, decode(_feedback, body), request_once)
    return respond(result, request_once)


@post(
    routes.FEEDBACK_BATCH,
    status_code=200,
    tags=["feedback"],
    operation_class=documented(body=FeedbackBatch, answers={200: FeedbackBatchResult}, idempotent=True),
)
async def put_batch(request: AnyRequest, feedback_service: NamedDependency[FeedbackService]) -> Response[bytes]:
    """Give several pieces of feedback at once; each item is answered by itself, in the order sent."""
    body = await read_body(request)
    tenant = caller(request).tenant
    request_once = once(request, tenant, body)
    result = await feedback_service.put_each(tenant, decode(_batch, body).items, request_once)
    return respond(result, request_once)


@get(routes.FEEDBACK, tags=["feedback"], operation_class=documented(answers={200: FeedbackPage}, errors=(400,)))
async def list_feedback(
    request: AnyRequest,
    feedback_service: NamedDependency[FeedbackService],
    completion_id: QueryId = None,
    conversation_id: QueryId = None,
    user: QueryId = None,
    policy_version: QueryId = None,
    kind: Kinds = None,
    retracted: Retracted = "any",
    since: Moment = None,
    until: Moment = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response[bytes]:
    """Feedback newest first, by when it was first given; several parameters narrow together."""
    refuse_unknown_parameters(request)
    wanted = FeedbackFilter(
        completion_id=completion_id,
        conversation_id=conversation_id,
        user=user,
        policy_version=policy_version,
        kinds=kind or (),
        retracted=RETRACTED[retracted],
        span=Span(to_ms(since, "since"), to_ms(until, "until")),
    )
    return answer(await feedback_service.page(caller(request).tenant, wanted, cursor=cursor, limit=limit))


@get(
    typed(routes.FEEDBACK_ONE),
    tags=["feedback"],
    operation_class=documented(answers={200: FeedbackRecord}, errors=(400, 404)),
)
async def get_feedback(
    request: AnyRequest, feedback_service: NamedDependency[FeedbackService], feedback_id: PathId
) -> Response[bytes]:
    """The current revision, retracted or not."""
    return answer(await feedback_service.get(caller(request).tenant, feedback_id))


@get(
    typed(routes.FEEDBACK_HISTORY),
    tags=["feedback"],
    operation_class=documented(answers={200: FeedbackHistory}, errors=(400, 404)),
)
async def get_history(
    request: AnyRequest, feedback_service: NamedDependency[FeedbackService], feedback_id: PathId
) -> Response[bytes]:
    """Every revision, oldest first."""
    return answer(await feedback_service.history(caller(request).tenant, feedback_id))


@delete(
    typed(routes.FEEDBACK_ONE),
    status_code=200,
    tags=["feedback"],
    operation_class=documented(answers={200: FeedbackRecord}, errors=(404,), idempotent=True),
)
async def retract_feedback(
    request: AnyRequest, feedback_service: NamedDependency[FeedbackService], feedback_id: PathId
) -> Response[bytes]:
    """Take feedback back: one more revision, `retracted`; giving it again is another."""
    tenant = caller(request).tenant
    request_once = once(request, tenant, b"")
    result = await feedback_service.retract(tenant, feedback_id, request_once)
    return respond(result, request_once)


HANDLERS = [put_feedback, put_batch, list_feedback, get_feedback, get_history, retract_feedback]
