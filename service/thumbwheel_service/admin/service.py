"""An operator's word to the learner travels as an event, like everything between the two halves."""

from thumbwheel.events import LearnerCommand, now_ms, wrap
from thumbwheel.types import LearnerCommandIn
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.errors import BadInput
from thumbwheel_service.log.append import append_events


class BadCommand(BadInput):
    """The command contradicts itself."""

    code = "invalid_command"


class LearnerCommands:
    """Sends commands to the learner."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def send(self, tenant: str, command: LearnerCommandIn) -> None:
        """Write the command to the log; raises `BadCommand`."""
        if command.stages and command.command != "now":
            raise BadCommand("stages only narrow the command `now`", field="stages")
        event = LearnerCommand(command=command.command, created_ms=now_ms(), stages=command.stages)
        await self._writer.run(lambda session: append_events(session, [wrap(event, tenant=tenant)]))
