"""What a policy version is worth: hidden satisfaction on prompts that nobody ever trained on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean

from thumbwheel.types import PolicyVersion
from thumbwheel_demo.corpus.model import Scenario
from thumbwheel_demo.diversity import distinct_answers, distinct_bigrams
from thumbwheel_demo.people import Chat
from thumbwheel_demo.report.intervals import mean_interval, paired_interval
from thumbwheel_demo.report.record import Answered, Example, VersionFigures
from thumbwheel_demo.wording import words

EXAMPLES = 3


@dataclass(frozen=True)
class Measured:
    """Answers of one version to the held-out prompts."""

    version: str
    chats: list[Chat]

    def by_prompt(self) -> dict[str, float]:
        """Mean satisfaction per prompt; a chat that got no answer satisfies nobody."""
        return self._of_prompts(lambda chats: fmean(map(_satisfied, chats)))

    def distinct_answers(self) -> dict[str, float]:
        """Share of different answers per prompt; a chat that got no answer counts as an empty one."""
        return self._of_prompts(lambda chats: distinct_answers([chat.text for chat in chats]))

    def distinct_bigrams(self) -> dict[str, float]:
        """Share of different word pairs in the answers to each prompt."""
        return self._of_prompts(lambda chats: distinct_bigrams([chat.text for chat in chats]))

    def distinct_good_answers(self) -> dict[str, float]:
        """Share of different answers among those that satisfy, where there are two or more."""
        return self._of_good(distinct_answers)

    def distinct_good_bigrams(self) -> dict[str, float]:
        """Share of different word pairs in the answers that satisfy, where there are two or more."""
        return self._of_good(distinct_bigrams)

    def _of_good(self, figure: Callable[[Sequence[str]], float]) -> dict[str, float]:
        """Two wrong answers to a prompt differ by being about different things, and a policy that learns what to talk
        about loses that."""
        good = {prompt: [c.text for c in chats if _satisfied(c)] for prompt, chats in self._asked().items()}
        return {prompt: figure(texts) for prompt, texts in good.items() if len(texts) > 1}

    def _of_prompts(self, figure: Callable[[Sequence[Chat]], float]) -> dict[str, float]:
        return {prompt: figure(chats) for prompt, chats in self._asked().items()}

    def _asked(self) -> dict[str, list[Chat]]:
        asked: dict[str, list[Chat]] = {}
        for chat in self.chats:
            asked.setdefault(prompt_of(chat.scenario), []).append(chat)
        return asked


def repeated(scenarios: Sequence[Scenario], answers: int) -> list[Scenario]:
    """Every prompt `answers` times, each time under an id of its own, so that each is sampled anew."""
    return [replace(s, id=f"{s.id}#{i}") for i in range(answers) for s in scenarios]


def prompt_of(scenario: Scenario) -> str:
    """The prompt behind a repeated scenario."""
    return scenario.id.partition("#")[0]


def figures(measured: Measured, base: Measured, listed: PolicyVersion | None) -> VersionFigures:
    """Satisfaction with its interval and the paired gain over the base; `listed` is None for the base itself."""
    mine, bases = measured.by_prompt(), base.by_prompt()
    whole = [chat for chat in measured.chats if chat.verdict is not None]
    return VersionFigures(
        version=measured.version,
        satisfaction=mean_interval(list(mine.values())),
        gain=paired_interval(mine, bases),
        kl=kl_to_base(listed),
        parts=_parts(whole),
        words=fmean(len(words(chat.text)) for chat in whole) if whole else 0.0,
        distinct_answers=mean_interval(list(measured.distinct_answers().values())),
        distinct_bigrams=mean_interval(list(measured.distinct_bigrams().values())),
        prompts=len(mine),
        answers=len(measured.chats),
        parent=listed.parent if listed else None,
        verdict=listed.verdict if listed else {},
        metrics=listed.metrics if listed else {},
    )


def kl_to_base(listed: PolicyVersion | None) -> float | None:
    """What the version's manifest says of its distance to the base; 0 for the base, None where it says nothing."""
    if listed is None:
        return 0.0
    value = listed.metrics.get("kl_to_base", listed.verdict.get("kl_to_base"))
    return float(value) if isinstance(value, int | float) else None


def examples(before: Measured, after: Measured) -> list[Example]:
    """The first held-out prompts with both answers; the choice knows nothing of the outcome."""
    answered: Mapping[str, Chat] = {chat.scenario.id: chat for chat in after.chats}
    return [
        Example(
            messages=[dict(m) for m in chat.scenario.messages],
            before=_answered(chat),
            after=_answered(answered[chat.scenario.id]),
        )
        for chat in before.chats[:EXAMPLES]
    ]


def _parts(chats: Sequence[Chat]) -> dict[str, float]:
    verdicts = [asdict(chat.verdict) for chat in chats if chat.verdict is not None]
    return {part: fmean(v[part] for v in verdicts) for part in verdicts[0]} if verdicts else {}


def _answered(chat: Chat) -> Answered:
    return Answered(version=chat.policy_version, text=chat.text, satisfied=_satisfied(chat))


def _satisfied(chat: Chat) -> bool:
    return chat.verdict is not None and chat.verdict.satisfied
