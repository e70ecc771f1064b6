"""What `AsyncClient` groups under `feedback`, `turns`, `reviews`, `policies`, `erasures` and `learner`."""

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol, TypeVar, Unpack

from thumbwheel import calls, options, types
from thumbwheel.calls import Call, Stage

T = TypeVar("T")


class AsyncSender(Protocol):
    """Sends a call and reads its answer."""

    async def send(self, call: Call[T], /) -> T:
        """The typed answer; raises `ThumbwheelError`."""
        ...


class AsyncFeedbackResource:
    """Every kind of feedback, and reading it back. All methods raise `ApiError` and `ConnectionFailed`.

    Changing one's mind is sending the same kind again; `retract` withdraws. A POST carries one `Idempotency-Key` over
    all its retries; give your own to make it one across processes too.
    """

    def __init__(self, sender: AsyncSender) -> None:
        self._send = sender.send

    async def give(self, feedback: types.Feedback, *, idempotency_key: str | None = None) -> types.FeedbackRecord:
        """Send feedback of any kind."""
        return await self._send(calls.give(feedback, idempotency_key))

    async def thumb(
        self,
        completion_id: str,
        value: Literal["up", "down"],
        *,
        idempotency_key: str | None = None,
        **given: Unpack[options.ThumbOptions],
    ) -> types.FeedbackRecord:
        """A thumb up or down, with `reasons` and a `comment` if the person likes to say."""
        return await self.give(
            types.Thumb(completion_id=completion_id, value=value, **given), idempotency_key=idempotency_key
        )

    async def rating(
        self,
        completion_id: str,
        value: int,
        *,
        idempotency_key: str | None = None,
        **given: Unpack[options.Commented],
    ) -> types.FeedbackRecord:
        """One to five stars."""
        return await self.give(
            types.Rating(completion_id=completion_id, value=value, **given), idempotency_key=idempotency_key
        )

    async def flag(
        self,
        completion_id: str,
        value: Literal["hallucination", "unsafe", "biased", "off_brand", "other"],
        *,
        idempotency_key: str | None = None,
        **given: Unpack[options.Commented],
    ) -> types.FeedbackRecord:
        """Something is wrong beyond taste."""
        return await self.give(
            types.Flag(completion_id=completion_id, value=value, **given), idempotency_key=idempotency_key
        )

    async def comparison(
        self,
        completion_id: str,
        value: Literal["this", "other", "tie"],
        *,
        idempotency_key: str | None = None,
        **given: Unpack[options.ComparisonOptions],
    ) -> types.FeedbackRecord:
        """This answer against `other_completion_id` (`other_choice`) or `other_text`."""
        return await self.give(
            types.Comparison(completion_id=completion_id, value=value, **given), idempotency_key=idempotency_key
        )

    async def correction(
        self,
        completion_id: str,
        text: str,
        *,
        idempotency_key: str | None = None,
        **given: Unpack[options.OnAnswer],
    ) -> types.FeedbackRecord:
        """What the answer should have been."""
        return await self.give(
            types.Correction(completion_id=completion_id, text=text, **given), idempotency_key=idempotency_key
        )

    async def critique(
        self,
        completion_id: str,
        text: str,
        *,
        idempotency_key: str | None = None,
        **given: Unpack[options.CritiqueOptions],
    ) -> types.FeedbackRecord:
        """What is wrong with the answer, in words; several may stand side by side."""
        return await self.give(
            types.Critique(completion_id=completion_id, text=text, **given), idempotency_key=idempotency_key
        )

    async def demonstration(
        self,
        messages: str | list[types.Message],
        text: str,
        *,
        idempotency_key: str | None = None,
        **given: Unpack[options.DemonstrationOptions],
    ) -> types.FeedbackRecord:
        """The answer that a conversation deserves, without any completion of ours."""
        return await self.give(
            types.Demonstration(messages=options.as_messages(messages), text=text, **given),
            idempotency_key=idempotency_key,
        )

    async def outcome(
        self,
        name: str,
        value: bool | float,
        *,
        idempotency_key: str | None = None,
        **given: Unpack[options.OutcomeOptions],
    ) -> types.FeedbackRecord:
        """What became of the chat, e.g. `outcome("solved", True, conversation_id=...)`."""
        return await self.give(types.Outcome(name=name, value=value, **given), idempotency_key=idempotency_key)

    async def batch(
        self, items: Sequence[types.Feedback], *, idempotency_key: str | None = None
    ) -> types.FeedbackBatchResult:
        """Up to 256 pieces at once; each item of the result speaks for itself, a bad one fails alone."""
        return await self._send(calls.give_batch(items, idempotency_key))

    async def retract(self, feedback_id: str) -> types.FeedbackRecord:
        """Withdraw; the history stays."""
        return await self._send(calls.retract(feedback_id))

    async def get(self, feedback_id: str) -> types.FeedbackRecord:
        """The current revision."""
        return await self._send(calls.feedback(feedback_id))

    async def history(self, feedback_id: str) -> types.FeedbackHistory:
        """Every revision, oldest first."""
        return await self._send(calls.feedback_history(feedback_id))

    async def list(self, **wanted: Unpack[options.FeedbackQuery]) -> AsyncIterator[types.FeedbackRecord]:
        """Feedback on every page, newest first, narrowed by `options.FeedbackQuery`; fetched as they are needed."""
        cursor: str | None = None
        while True:
            page = await self._send(calls.feedback_page(cursor, **wanted))
            for item in page.items:
                yield item
            cursor = page.next
            if cursor is None:
                return


class AsyncTurnsResource:
    """Recorded turns. All methods raise `ApiError` and `ConnectionFailed`."""

    def __init__(self, sender: AsyncSender) -> None:
        self._send = sender.send

    async def create(
        self,
        messages: str | list[types.Message],
        answers: list[str],
        *,
        idempotency_key: str | None = None,
        **given: Unpack[options.TurnOptions],
    ) -> types.Turn:
        """Record answers that another model or a human gave elsewhere, so that feedback can be given on them."""
        turn = types.TurnIn(messages=options.as_messages(messages), answers=answers, **given)
        return await self._send(calls.create_turn(turn, idempotency_key))

    async def get(self, completion_id: str) -> types.Turn:
        """One turn with its feedback."""
        return await self._send(calls.turn(completion_id))

    async def list(self, **wanted: Unpack[options.TurnQuery]) -> AsyncIterator[types.Turn]:
        """Turns on every page, newest first, narrowed by `options.TurnQuery`; fetched as they are needed."""
        cursor: str | None = None
        while True:
            page = await self._send(calls.turn_page(cursor, **wanted))
            for item in page.items:
                yield item
            cursor = page.next
            if cursor is None:
                return


class AsyncReviewsResource:
    """What the learner would like to know. All methods raise `ApiError` and `ConnectionFailed`."""

    def __init__(self, sender: AsyncSender) -> None:
        self._send = sender.send

    async def list(self, **wanted: Unpack[options.ReviewQuery]) -> AsyncIterator[types.Review]:
        """Open questions on every page, newest first; fetched as they are needed."""
        cursor: str | None = None
        while True:
            page = await self._send(calls.review_page(cursor, **wanted))
            for item in page.items:
                yield item
            cursor = page.next
            if cursor is None:
                return

    async def answer(
        self,
        review_id: str,
        value: Literal["up", "down", "this", "other", "tie"] | None = None,
        *,
        correction: str | None = None,
        idempotency_key: str | None = None,
        **given: Unpack[options.ReviewOptions],
    ) -> types.FeedbackRecord:
        """Answer by a `value` (up or down; of a compare this, other or tie) or by a `correction`; closes the question.

        One that is answered already, too late or withdrawn is a `Conflict`.
        """
        said = types.ReviewAnswer(value=value, correction=correction, **given)
        return await self._send(calls.answer_review(review_id, said, idempotency_key))


class AsyncPoliciesResource:
    """Policy versions; needs an admin key."""

    def __init__(self, sender: AsyncSender) -> None:
        self._send = sender.send

    async def list(self) -> types.PolicyList:
        """All versions, newest first, and the live one."""
        return await self._send(calls.policies())

    async def get(self, version: str) -> types.PolicyVersion:
        """One version."""
        return await self._send(calls.policy(version))

    async def promote(self, version: str) -> types.PolicyList:
        """Make a loaded version the live one."""
        return await self._send(calls.promote(version))

    async def rollback(self, version: str | None = None) -> types.PolicyList:
        """Go back to `version`, or to the one that was live before."""
        return await self._send(calls.rollback(version))


class AsyncErasuresResource:
    """Forgetting people; needs an admin key."""

    def __init__(self, sender: AsyncSender) -> None:
        self._send = sender.send

    async def user(self, user: str) -> types.Erasure:
        """Erase a user everywhere; where nothing is left, the receipt of the last time."""
        return await self._send(calls.erase_user(user))

    async def conversation(self, conversation_id: str) -> types.Erasure:
        """Erase a conversation in which nobody has a name."""
        return await self._send(calls.erase_conversation(conversation_id))

    async def list(self) -> types.ErasureList:
        """The receipts, newest first."""
        return await self._send(calls.erasures())

    async def get(self, erasure_id: str) -> types.Erasure:
        """How far an erasure has come."""
        return await self._send(calls.erasure(erasure_id))


class AsyncLearnerResource:
    """A word to the learner; needs an admin key. It acts when it next looks, within seconds."""

    def __init__(self, sender: AsyncSender) -> None:
        self._send = sender.send

    async def now(self, stages: Sequence[Stage] = ()) -> types.LearnerCommandIn:
        """Start a training run now; `stages` narrows it to these."""
        return await self._send(calls.learner("now", stages))

    async def pause(self) -> types.LearnerCommandIn:
        """Start no more runs until `resume`."""
        return await self._send(calls.learner("pause"))

    async def resume(self) -> types.LearnerCommandIn:
        """Go on after `pause`."""
        return await self._send(calls.learner("resume"))
