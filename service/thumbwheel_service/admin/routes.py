"""`/v1/learner/commands`: behind the admin key."""

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency

from thumbwheel import routes
from thumbwheel.types import LearnerCommandIn
from thumbwheel_service.admin.service import LearnerCommands
from thumbwheel_service.auth.guard import caller
from thumbwheel_service.http import AnyRequest, answer, read_json
from thumbwheel_service.openapi import documented

_command = msgspec.json.Decoder(LearnerCommandIn)


@post(
    routes.LEARNER_COMMANDS,
    status_code=202,
    tags=["admin"],
    operation_class=documented(body=LearnerCommandIn, answers={202: LearnerCommandIn}),
)
async def command_learner(request: AnyRequest, learner_commands: NamedDependency[LearnerCommands]) -> Response[bytes]:
    """Tell the learner to train now, to pause, or to go on; it hears of it through the bus."""
    command = await read_json(request, _command)
    await learner_commands.send(caller(request).tenant, command)
    return answer(command, status=202)


HANDLERS = [command_learner]
