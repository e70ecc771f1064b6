"""The wheel on a real pretrained model: SFT on demonstrations, a reward refresh and one PPO update, swapped in.

    python tests/benchmarks/real_model.py [--model DIR] [--out build/real_model.json]

Without --model it makes Gemma 3 270M (a base model) with ../shared/models/fetch-pretrained, below build/. It is slow on
two cores: the figures are times, and three chats before and after, whatever they show.
"""

import argparse
import asyncio
import random
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from thumbwheel import AsyncClient
from thumbwheel_demo.corpus import Scenario, prompts
from thumbwheel_demo.people import Chat, People, PeopleSettings
from thumbwheel_demo.report.record import write_json
from thumbwheel_demo.run.background import live_scenarios
from thumbwheel_demo.run.desk import Desk, DeskPlan
from thumbwheel_demo.run.stages import Stopwatch
from thumbwheel_demo.run.wheel import Wheel
from thumbwheel_demo.satisfaction import correct

FETCH = Path("../shared/models/fetch-pretrained")
SETTINGS = {
    "THUMBWHEEL_LEARN_EVERY": "0",
    "THUMBWHEEL_LEARN_AFTER_LABELS": "0",
    "THUMBWHEEL_REPORT_EVERY": "2",
    "THUMBWHEEL_MIN_LABELS": "30",
    "THUMBWHEEL_LORA_RANK": "16",
    "THUMBWHEEL_REWARD_MEMBERS": "2",
    "THUMBWHEEL_REWARD_EPOCHS": "1",
    "THUMBWHEEL_SFT_EPOCHS": "3",
    "THUMBWHEEL_PPO_ITERATIONS": "1",
    "THUMBWHEEL_PPO_PROMPTS": "16",
    "THUMBWHEEL_PPO_SAMPLES": "2",
    "THUMBWHEEL_MAX_NEW_TOKENS": "48",
    "THUMBWHEEL_GATE_PROMPTS": "24",
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


async def measure(model: Path, out: Path, demonstrations: int, votes: int) -> None:
    """The whole benchmark."""
    folder = out.parent / out.stem
    watch = Stopwatch(Console())
    source = (instructed(s) for s in live_scenarios(1))
    heldout = [instructed(s) for s in prompts("heldout", 32, 1)]
    async with Desk(DeskPlan(folder=folder, model=str(model), environment=SETTINGS)) as desk:
        with watch.phase("start service and learner"):
            await desk.ready(lambda s: watch.now(f"{s:.0f} s"))
        async with desk.client() as client:
            started = time.monotonic()
            people = People(client, PeopleSettings(seed=1, votes=1.0, corrections=0.0, max_tokens=48))
            with watch.phase("32 held-out chats with the base"):
                before = await people.examine(heldout)
            with watch.phase(f"{demonstrations} demonstrations"):
                await demonstrate(client, list(islice(source, demonstrations)))
            with watch.phase(f"{votes} chats, voted on"):
                await people.wave(list(islice(source, votes)))
            wheel = Wheel(
                client, seconds=lambda: time.monotonic() - started, in_flight=lambda: 0,
                now=watch.now, check=desk.check, patience_s=4 * 3600,
            )  # fmt: skip
            with watch.phase("sft, reward model, ppo, gate, swap"):
                await wheel.caught_up(demonstrations + votes // 2)
                outcome = await wheel.learn(1, ())
            version = outcome.version.version if outcome.version else None
            with watch.phase("32 held-out chats after"):
                after = await people.examine(heldout, model=version)
    found = {
        "model": model.name,
        "settings": SETTINGS,
        "demonstrations": demonstrations,
        "votes": votes,
        "satisfied": {"before": _share(before), "after": _share(after), "prompts": len(heldout)},
        "gate": outcome.gate,
        "swap": outcome.swap,
        "reward_model": outcome.reward_model,
        "phases": {phase.name: phase.seconds for phase in watch.phases},
        "chats": {"before": shown(before[:3]), "after": shown(after[:3])},
    }
    write_json(out, found)
    for label, chats in (("before", before), ("after", after)):
        for chat in chats[:3]:
            print(f"{label}: {chat.scenario.messages[-1]['content']!r} -> {chat.text!r}")
    print(f"figures: {out}")


def _share(chats: list[Chat]) -> float:
    return sum(c.verdict is not None and c.verdict.satisfied for c in chats) / len(chats)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("build/models/gemma-3-270m"))
    parser.add_argument("--out", type=Path, default=Path("build/real_model.json"))
    parser.add_argument("--demonstrations", type=int, default=120)
    parser.add_argument("--votes", type=int, default=120, help="chats that get a vote")
    options = parser.parse_args()
    if not (options.model / "config.json").exists():
        if not FETCH.exists():
            print(f"neither {options.model} nor {FETCH} is here: nothing measured")
            return
        options.model.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, str(FETCH), str(options.model)], check=True)
    asyncio.run(measure(options.model, options.out, options.demonstrations, options.votes))


if __name__ == "__main__":
    main()
