"""The demo from start to report: measure the base, turn the wheel, measure every version, write it all down."""

import os
import platform
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console

from thumbwheel import AsyncClient
from thumbwheel.types import PolicyVersion
from thumbwheel_demo.corpus import Scenario, prompts
from thumbwheel_demo.people import People, PeopleSettings
from thumbwheel_demo.report.record import Report, VersionFigures
from thumbwheel_demo.report.reward import flat_figures
from thumbwheel_demo.report.table import percent
from thumbwheel_demo.run import measure
from thumbwheel_demo.run.background import Background, live_scenarios
from thumbwheel_demo.run.desk import Desk, DeskPlan
from thumbwheel_demo.run.learner_settings import learner_environment
from thumbwheel_demo.run.measure import Measured
from thumbwheel_demo.run.options import DemoOptions
from thumbwheel_demo.run.stages import Stopwatch
from thumbwheel_demo.run.tally import Tally
from thumbwheel_demo.run.wheel import Outcome, Wheel


class OpenDesk(Protocol):
    """What the demo needs of service and learner; `Desk` starts real ones."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def ready(self, on_wait: Callable[[float], None]) -> None:
        """Return when chats are answered."""
        ...

    def check(self) -> None:
        """Raise when the processes are gone."""
        ...

    def client(self, *, max_retries: int = 2) -> AsyncClient:
        """A client as the operator."""
        ...


class Demo:
    """One run; `report` may be asked for once `run` has come to its end."""

    def __init__(
        self,
        options: DemoOptions,
        console: Console,
        open_desk: Callable[[DeskPlan], OpenDesk] = Desk,
        *,
        keep: Callable[[Report], None] = lambda _: None,
    ) -> None:
        """`keep` is given the report after every turn, so that what ends a later one takes nothing with it."""
        self.options = options
        self._open_desk = open_desk
        self._keep = keep
        self._watch = Stopwatch(console)
        self._tally = Tally()
        self._measured: list[Measured] = []
        self._figures: list[VersionFigures] = []
        self._outcomes: list[Outcome] = []

    async def run(self) -> Report:
        """Turn the wheel for real; raises `DeskFailed`, `LearnerSilent`, the SDK's errors, with every child stopped."""
        options, watch = self.options, self._watch
        options.out.mkdir(parents=True, exist_ok=True)
        plan = DeskPlan(folder=options.out, model=options.model, environment=learner_environment(options))
        async with AsyncExitStack() as stack:
            with watch.phase("start service and learner"):
                desk = await stack.enter_async_context(self._open_desk(plan))
                await desk.ready(lambda seconds: watch.now(f"{seconds:.0f} s"))
            operator = await stack.enter_async_context(desk.client())
            people = People(await stack.enter_async_context(desk.client(max_retries=0)), people_settings(options))
            scenarios = live_scenarios(options.seed)
            heldout = measure.repeated(prompts("heldout", options.heldout, options.seed), options.answers)
            await self._measure(people, heldout, (await operator.status()).live_policy, None)
            await self._wave(people, list(islice(scenarios, options.chats_of(1))), 1)
            background = Background(people, scenarios, options.background, self._tally)
            await stack.enter_async_context(background)
            wheel = Wheel(
                operator,
                seconds=self._tally.seconds,
                in_flight=lambda: background.in_flight,
                rush=lambda near: _set_rate(background, options, near),
                now=watch.now,
                check=desk.check,
                patience_s=options.patience,
            )
            for turn in range(1, options.turns + 1):
                if turn > 1:
                    await self._wave(people, list(islice(scenarios, options.chats_of(turn))), turn)
                await self._turn(wheel, turn)
                outcome = self._outcomes[-1]
                if outcome.version is not None:
                    await self._measure(people, heldout, outcome.version.version, outcome.version)
                background.check()
                self._keep(self._report())
        return self._report()

    async def _wave(self, people: People, scenarios: Sequence[Scenario], turn: int) -> None:
        """Let many people chat, vote and correct; what is noted of each chat is noted when it ends."""
        done = self._tally.total
        with self._watch.phase(f"turn {turn}: people chat"):
            chats = await people.wave(
                scenarios,
                lambda chat: (self._tally.add(chat), self._watch.now(f"{self._tally.total - done} chats"))[0],
            )
            self._tally.add_feedback(chats)
        said = ", ".join(f"{count} {name}" for name, count in sorted(self._tally.feedback().items()))
        self._watch.say(f"{self._tally.total} chats so far; feedback: {said or 'none'}")

    async def _turn(self, wheel: Wheel, turn: int) -> None:
        with self._watch.phase(f"turn {turn}: the learner learns, people go on chatting"):
            await wheel.caught_up(self._tally.labels)
            outcome = await wheel.learn(turn, self.options.stages)
        self._outcomes.append(outcome)
        if outcome.swap is not None:
            swap = outcome.swap
            self._watch.say(
                f"[green]swapped to {swap.version}[/] in {swap.seconds * 1000:.0f} ms: {outcome.gate.reason}"
            )
        else:
            self._watch.say(f"[yellow]nothing shipped in turn {turn}[/]: {outcome.gate.reason}")

    async def _measure(
        self, people: People, heldout: Sequence[Scenario], version: str, listed: PolicyVersion | None
    ) -> None:
        """Ask the held-out prompts of one version, pinned by its name, without leaving a trace."""
        seen = 0

        def count(chat: measure.Chat) -> None:
            nonlocal seen
            seen += 1
            self._tally.add(chat)
            self._watch.now(f"{seen} of {len(heldout)} answers")

        with self._watch.phase(f"measure {version} on held-out prompts"):
            chats = await people.examine(heldout, model=version, on_chat=count)
        self._measured.append(Measured(version, chats))
        figures = measure.figures(self._measured[-1], self._measured[0], listed)
        self._figures.append(figures)
        gain = "" if listed is None else f", gain {percent(figures.gain, signed=True)} points"
        self._watch.say(f"[bold]{version}[/]: satisfied {percent(figures.satisfaction)}{gain}")

    def _report(self) -> Report:
        trained = [flat_figures(outcome.reward_model) for outcome in self._outcomes]
        scored = [figures for figures in trained if figures["accuracy"] is not None]
        return Report(
            settings=self.options.figures(),
            versions=self._figures,
            swaps=[outcome.swap for outcome in self._outcomes if outcome.swap is not None],
            gates=[outcome.gate for outcome in self._outcomes],
            chats=self._tally.counts(),
            feedback=self._tally.feedback(),
            reward_model=scored[-1] if scored else flat_figures({}),
            reward_models=trained,
            phases=self._watch.phases,
            seconds_after_setup=self._tally.seconds(),
            examples=measure.examples(self._measured[0], self._measured[-1]),
            timeline=self._tally.timeline(),
            prompts={measured.version: measured.by_prompt() for measured in self._measured},
            distinct_answers={measured.version: measured.distinct_answers() for measured in self._measured},
            distinct_bigrams={measured.version: measured.distinct_bigrams() for measured in self._measured},
            distinct_good_answers={measured.version: measured.distinct_good_answers() for measured in self._measured},
            distinct_good_bigrams={measured.version: measured.distinct_good_bigrams() for measured in self._measured},
            machine={"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
        )


def _set_rate(background: Background, options: DemoOptions, near: bool) -> None:
    if options.background > 0:
        background.rate = max(options.background, options.rush if near else 0.0)


def people_settings(options: DemoOptions) -> PeopleSettings:
    """The people that these options ask for."""
    return PeopleSettings(
        seed=options.seed,
        noise=options.noise,
        votes=options.votes,
        corrections=options.corrections,
        shuffle_votes=options.shuffle_votes,
    )
