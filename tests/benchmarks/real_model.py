"""The wheel on a real pretrained model: corrections teach it a trade, then votes, a reward model and one PPO update.

    python tests/benchmarks/real_model.py [--model DIR] [--out build/real_model.json]

Turn 1: customers chat with the bare base and vote, agents correct and demonstrate, SFT. Turn 2: customers vote on what
that made of it, reward refresh, one PPO update. Each candidate must pass the gate to be swapped in.

Without --model it makes Gemma 3 270M (a base model) with ../shared/models/fetch-pretrained, below build/. It is slow on
two cores: the figures are times, and three chats of every version, whatever they show.
"""

import argparse
import asyncio
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from thumbwheel import AsyncClient
from thumbwheel_demo.corpus import Scenario, prompts
from thumbwheel_demo.people import Chat, People, PeopleSettings
from thumbwheel_demo.report.record import write_json
from thumbwheel_demo.run.background import live_scenarios
from thumbwheel_demo.run.desk import Desk, DeskPlan
from thumbwheel_demo.run.options import Stage
from thumbwheel_demo.run.stages import Stopwatch
from thumbwheel_demo.run.wheel import Outcome, Wheel
from thumbwheel_demo.satisfaction import correct

FETCH = Path("../shared/models/fetch-pretrained")
SETTINGS = {
    "THUMBWHEEL_LEARN_EVERY": "0",
    "THUMBWHEEL_LEARN_AFTER_LABELS": "0",
    "THUMBWHEEL_REPORT_EVERY": "2",
    "THUMBWHEEL_LORA_RANK": "16",
    "THUMBWHEEL_SFT_EPOCHS": "3",
    "THUMBWHEEL_PPO_ITERATIONS": "1",
    "THUMBWHEEL_MAX_NEW_TOKENS": "48",
    "THUMBWHEEL_GATE_PROMPTS": "40",
    # One cautious PPO update cannot be told from its start on so few prompts: it passes unless it may lose 2 of 3.
    "THUMBWHEEL_GATE_WIN_RATE": "0.33",
    "THUMBWHEEL_GATE_MAX_KL": "150",
    "THUMBWHEEL_GATE_MAX_KL_BASE": "200",
}
SYSTEM = {"role": "system", "content": "You are the support desk of an online shop. Be right, kind and brief."}


def instructed(scenario: Scenario) -> Scenario:
    """The scenario with a system prompt, without which a base model cannot know where it is."""
    return replace(scenario, messages=({"role": "system", "content": SYSTEM["content"]}, *scenario.messages))


async def demonstrate(client: AsyncClient, scenarios: list[Scenario]) -> None:
    """Agents show how it is done."""
    for scenario in scenarios:
        text = correct(scenario, random.Random(scenario.id))
        await client.feedback.demonstration([dict(m) for m in scenario.messages], text, user="agent-0")


def shown(chats: list[Chat]) -> list[dict[str, Any]]:
    """Prompt, answer and verdict, for reading."""
    return [
        {
            "prompt": [dict(m) for m in chat.scenario.messages],
            "answer": chat.text,
            "version": chat.policy_version,
            "satisfied": chat.verdict is not None and chat.verdict.satisfied,
        }
        for chat in chats
    ]


class Turn(NamedTuple):
    """What a turn of the wheel led to, and how the live policy answers after it."""

    outcome: Outcome
    chats: list[Chat]


class Bench:
    """A desk with the model, its people, and what they have given so far."""

    def __init__(self, client: AsyncClient, wheel: Wheel, watch: Stopwatch, heldout: list[Scenario]) -> None:
        self.client = client
        self.wheel = wheel
        self.watch = watch
        self.heldout = heldout
        self.source = (instructed(s) for s in live_scenarios(1))
        self.people = People(client, PeopleSettings(seed=1, votes=1.0, corrections=0.8, max_tokens=48, concurrency=16))
        self.labels = 0

    async def examine(self, name: str) -> list[Chat]:
        """The live policy on held-out prompts."""
        with self.watch.phase(f"{len(self.heldout)} held-out chats {name}"):
            return await self.people.examine(self.heldout)

    async def turn(self, number: int, stages: tuple[Stage, ...], chats: int, demonstrations: int) -> Turn:
        """People chat, vote and correct; the learner runs these stages; the live policy is examined."""
        with self.watch.phase(f"turn {number}: {chats} chats, voted on and corrected"):
            seen = await self.people.wave(list(islice(self.source, chats)))
        self.labels += sum((c.vote is not None) + (c.correction is not None) for c in seen)
        if demonstrations:
            with self.watch.phase(f"turn {number}: {demonstrations} demonstrations"):
                await demonstrate(self.client, list(islice(self.source, demonstrations)))
        with self.watch.phase(f"turn {number}: {', '.join(stages)}, gate, swap"):
            await self.wheel.caught_up(self.labels)
            outcome = await self.wheel.learn(number, stages)
        self.watch.say(f"{'swapped in' if outcome.swap else 'refused'}: {outcome.gate.reason}")
        return Turn(outcome, await self.examine(f"after turn {number}"))


async def measure(model: Path, out: Path, demonstrations: int, chats: int) -> None:
    """The whole benchmark."""
    watch = Stopwatch(Console())
    heldout = [instructed(s) for s in prompts("heldout", 64, 1)]
    async with Desk(DeskPlan(folder=out.parent / out.stem, model=str(model), environment=SETTINGS)) as desk:
        with watch.phase("start service and learner"):
            await desk.ready(lambda s: watch.now(f"{s:.0f} s"))
        async with desk.client() as client:
            started = time.monotonic()
            wheel = Wheel(
                client, seconds=lambda: time.monotonic() - started, in_flight=lambda: 0,
                now=watch.now, check=desk.check, patience_s=4 * 3600,
            )  # fmt: skip
            bench = Bench(client, wheel, watch, heldout)
            base = await bench.examine("with the base")
            turns = [await bench.turn(1, ("sft",), chats, demonstrations)]
            turns.append(await bench.turn(2, ("reward", "ppo"), chats, 0))
    found = {
        "model": model.name,
        "settings": SETTINGS,
        "given": {"chats_per_turn": chats, "demonstrations": demonstrations, "labels": bench.labels},
        "base": seen_of(base),
        "turns": [
            {"gate": t.outcome.gate, "swap": t.outcome.swap, "reward_model": t.outcome.reward_model, **seen_of(t.chats)}
            for t in turns
        ],
        "phases": {phase.name: phase.seconds for phase in watch.phases},
    }
    write_json(out, found)
    for label, answers in (("base", base), *((f"after turn {n}", t.chats) for n, t in enumerate(turns, 1))):
        print(f"{label}: {seen_of(answers)['satisfied']:.0%} satisfied")
        for chat in answers[:3]:
            print(f"  {chat.scenario.messages[-1]['content']!r} -> {chat.text!r}")
    print(f"figures: {out}")


def seen_of(chats: list[Chat]) -> dict[str, Any]:
    """How many were satisfied, and three of the chats."""
    satisfied = sum(c.verdict is not None and c.verdict.satisfied for c in chats) / len(chats)
    return {"satisfied": satisfied, "prompts": len(chats), "chats": shown(chats[:3])}


def fetch(model: Path) -> None:
    """Make the checkpoint; what reads its source format is installed beside it, since the environment lacks it."""
    model.parent.mkdir(parents=True, exist_ok=True)
    reader = model.parent / "reader"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(reader), "gguf==0.17.1"]
    subprocess.run(install, check=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(reader), os.environ.get("PYTHONPATH", "")])}
    subprocess.run([sys.executable, str(FETCH), str(model)], check=True, env=environment)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("build/models/gemma-3-270m"))
    parser.add_argument("--out", type=Path, default=Path("build/real_model.json"))
    parser.add_argument("--demonstrations", type=int, default=120)
    parser.add_argument("--chats", type=int, default=240, help="in each turn; nearly all get a vote")
    options = parser.parse_args()
    if not (options.model / "config.json").exists():
        if not FETCH.exists():
            print(f"neither {options.model} nor {FETCH} is here: nothing measured")
            return
        fetch(options.model)
    asyncio.run(measure(options.model, options.out, options.demonstrations, options.chats))


if __name__ == "__main__":
    main()
