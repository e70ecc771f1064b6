"""`thumbwheel chat`: talk to the live policy in a terminal, and press thumbs."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from thumbwheel.commands.service import add_service_options, console, open_client
from thumbwheel.errors import ThumbwheelError
from thumbwheel.types import Message

if TYPE_CHECKING:
    from thumbwheel.client import Client
    from thumbwheel.commands.service import Subparsers

KEYS = """\
  /up [comment]     thumb up for the last answer        /rate 1-5      stars
  /down [comment]   thumb down                          /flag unsafe   or hallucination, biased, off_brand, other
  /correct TEXT     what it should have said            /undo          retract your last feedback
  /new              a new conversation                  /quit          leave (or Ctrl-D)"""
Flag = Literal["hallucination", "unsafe", "biased", "off_brand", "other"]
FLAGS: tuple[Flag, ...] = ("hallucination", "unsafe", "biased", "off_brand", "other")


def register(subparsers: "Subparsers") -> None:
    """Add `chat`."""
    parser = subparsers.add_parser(
        "chat",
        help="talk to the live policy and give feedback",
        description="Talk to the live policy; in between, give feedback on its last answer:\n\n" + KEYS,
        epilog="examples:\n  thumbwheel chat --user ann\n  thumbwheel chat -m 'Where is my order 1234?'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_service_options(parser)
    parser.add_argument("-m", "--message", help="ask once, print the answer, leave")
    parser.add_argument("--model", help="a policy version instead of the live one")
    parser.add_argument("--system", help="system message")
    parser.add_argument("--user", help="who you are: one thumb counts per user and answer")
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--max-tokens", type=int)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Chat; Ctrl-C ends an answer, a second one the chat."""
    out = console()
    with open_client(arguments) as client:
        options = {"model": arguments.model, "temperature": arguments.temperature, "max_tokens": arguments.max_tokens}
        session = Session(client, lambda text: out.print(text, end="", markup=False), arguments.user, options)
        session.begin(arguments.system)
        if arguments.message is not None:
            session.say(arguments.message)
            return 0
        out.print(KEYS, markup=False, style="dim")
        return _converse(session, lambda: input("\nyou> "))


def _converse(session: "Session", ask: Callable[[], str]) -> int:
    while True:
        try:
            line = ask().strip()
            if line in ("/quit", "/exit", "/q"):
                return 0
            if line:
                session.take(line)
        except EOFError:
            return 0
        except ThumbwheelError as error:
            session.show(f"! {error}\n")


class Session:
    """One conversation: what was said, and the last answer, which feedback is about."""

    def __init__(
        self, client: "Client", show: Callable[[str], None], user: str | None, options: dict[str, Any]
    ) -> None:
        self.show = show
        self._client = client
        self._user = user
        self._options = options
        self._system: str | None = None
        self._messages: list[Message] = []
        self._conversation: str | None = None
        self._answer: str | None = None
        self._last_feedback: str | None = None

    def begin(self, system: str | None) -> None:
        """Forget what was said."""
        self._system = system
        self._messages = [{"role": "system", "content": system}] if system else []
        self._conversation = self._answer = self._last_feedback = None

    def take(self, line: str) -> None:
        """A command or something to say; raises `ThumbwheelError`."""
        if not line.startswith("/"):
            self.say(line)
            return
        command, _, rest = line[1:].partition(" ")
        if command == "new":
            self.begin(self._system)
            self.show("a new conversation\n")
        elif command == "undo":
            self._undo()
        elif command in ("up", "down", "rate", "flag", "correct"):
            self._give(command, rest.strip())
        else:
            self.show(KEYS + "\n")

    def say(self, text: str) -> None:
        """Ask and show the answer as it comes; an answer that was cut short by Ctrl-C is not part of what was said."""
        asked: list[Message] = [*self._messages, {"role": "user", "content": text}]
        with self._client.chat(
            asked, stream=True, conversation_id=self._conversation, user=self._user, **self._options
        ) as stream:
            try:
                for chunk in stream:
                    self.show(chunk.text)
            except KeyboardInterrupt:
                self.show("\n[stopped]\n")
                return
            result = stream.result()
        self.show(f"\n[{result.policy_version or 'unknown version'} · {result.completion_id}]\n")
        self._messages = [*asked, {"role": "assistant", "content": result.text}]
        self._conversation = result.conversation_id or None
        self._answer, self._last_feedback = result.completion_id, None

    def _give(self, command: str, rest: str) -> None:
        if self._answer is None:
            self.show("there is no answer yet to give feedback on\n")
            return
        give, answer, user = self._client.feedback, self._answer, self._user
        match command:
            case "up":
                record = give.thumb(answer, "up", comment=rest or None, user=user)
            case "down":
                record = give.thumb(answer, "down", comment=rest or None, user=user)
            case "rate" if rest in ("1", "2", "3", "4", "5"):
                record = give.rating(answer, int(rest), user=user)
            case "flag":
                named: list[Flag] = [flag for flag in FLAGS if flag == rest]
                comment = None if named else rest or None
                record = give.flag(answer, named[0] if named else "other", comment=comment, user=user)
            case "correct" if rest:
                record = give.correction(answer, rest, user=user)
                self._messages[-1] = {"role": "assistant", "content": rest}
            case _:
                self.show(f"/{command} needs {'a number from 1 to 5' if command == 'rate' else 'the better answer'}\n")
                return
        self._last_feedback = record.feedback_id
        self.show(f"thank you: {record.kind} recorded\n")

    def _undo(self) -> None:
        if self._last_feedback is None:
            self.show("there is no feedback of yours on the last answer\n")
            return
        self._client.feedback.retract(self._last_feedback)
        self._last_feedback = None
        self.show("retracted\n")
