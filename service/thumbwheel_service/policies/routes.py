"""Policy versions for operators (admin), and the learner's internal routes."""

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency

from thumbwheel import routes
from thumbwheel.internal import MSGPACK, CandidateIn, CandidateLoaded, RolloutRequest, RolloutResult
from thumbwheel.types import PolicyList, PolicyVersion, RollbackIn
from thumbwheel_service.http import AnyRequest, PathId, answer, decode, read_body, read_json, typed
from thumbwheel_service.openapi import documented
from thumbwheel_service.policies.candidates import CandidateService
from thumbwheel_service.policies.service import PolicyService

_rollback = msgspec.json.Decoder(RollbackIn)
_candidate = msgspec.msgpack.Decoder(CandidateIn)
_rollout = msgspec.msgpack.Decoder(RolloutRequest)
_encoder = msgspec.msgpack.Encoder()


@get(routes.POLICIES, tags=["policies"], operation_class=documented(answers={200: PolicyList}))
async def list_policies(policy_service: NamedDependency[PolicyService]) -> Response[bytes]:
    """Every version with lineage, figures and verdict, newest first, and the live route."""
    return answer(await policy_service.list())


@get(
    routes.POLICIES + "/{version:str}",
    tags=["policies"],
    operation_class=documented(answers={200: PolicyVersion}, errors=(400, 404)),
)
async def get_policy(version: PathId, policy_service: NamedDependency[PolicyService]) -> Response[bytes]:
    """One version."""
    return answer(await policy_service.get(version))


@post(
    typed(routes.POLICY_PROMOTE),
    tags=["policies"],
    status_code=200,
    operation_class=documented(answers={200: PolicyList}, errors=(400, 404, 409)),
)
async def promote_policy(version: PathId, policy_service: NamedDependency[PolicyService]) -> Response[bytes]:
    """Make a loaded version live."""
    return answer(await policy_service.promote(version))


@post(
    routes.POLICY_ROLLBACK,
    tags=["policies"],
    status_code=200,
    operation_class=documented(body=RollbackIn, answers={200: PolicyList}, errors=(404, 409)),
)
async def roll_back(request: AnyRequest, policy_service: NamedDependency[PolicyService]) -> Response[bytes]:
    """Go back to a version, by default the one before the live one; `base` is the model without any adapter."""
    wanted = await read_json(request, _rollback)
    return answer(await policy_service.rollback(wanted.version))


@post("/internal/candidates", status_code=200, include_in_schema=False)
async def load_candidate(request: AnyRequest, candidate_service: NamedDependency[CandidateService]) -> Response[bytes]:
    """Load a hidden adapter."""
    wanted = decode(_candidate, await read_body(request, media_type=MSGPACK))
    loaded: CandidateLoaded = await candidate_service.load(wanted.artifact)
    return _packed(loaded)


@delete("/internal/candidates/{name:str}", status_code=204, include_in_schema=False)
async def forget_candidate(name: PathId, candidate_service: NamedDependency[CandidateService]) -> None:
    """Unload it."""
    await candidate_service.forget(name)


@post("/internal/rollouts", status_code=200, include_in_schema=False)
async def sample_rollouts(request: AnyRequest, candidate_service: NamedDependency[CandidateService]) -> Response[bytes]:
    """Sample at low priority."""
    wanted = decode(_rollout, await read_body(request, media_type=MSGPACK))
    result: RolloutResult = await candidate_service.sample(wanted)
    return _packed(result)


@get("/internal/route", include_in_schema=False)
async def get_route(policy_service: NamedDependency[PolicyService]) -> Response[bytes]:
    """The live route and every version."""
    return _packed(await policy_service.list())


def _packed(body: object) -> Response[bytes]:
    return Response(_encoder.encode(body), status_code=200, media_type=MSGPACK)


HANDLERS = [list_policies, get_policy, promote_policy, roll_back]
"""Behind the admin key."""
INTERNAL_HANDLERS = [load_candidate, forget_candidate, sample_rollouts, get_route]
"""Behind the admin key, for the learner."""
