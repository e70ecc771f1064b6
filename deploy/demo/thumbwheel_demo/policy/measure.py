"""How good a policy really is: ``python -m thumbwheel_demo.policy.measure [--model DIR]``."""

import argparse
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from thumbwheel_demo.corpus.model import Scenario, Split
from thumbwheel_demo.corpus.prompts import prompts
from thumbwheel_demo.policy.sample import Sampler
from thumbwheel_demo.policy.weights import weights_dir
from thumbwheel_demo.satisfaction import Satisfaction, judge


@dataclass(frozen=True)
class Interval:
    """A share and its 95% interval over prompts."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    """Average per prompt and put a normal 95% interval around it, since prompts are what varies."""
    n = len(values)
    mean = sum(values) / n
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, n - 1) / n)
    return Interval(mean, max(0.0, mean - 1.96 * spread), min(1.0, mean + 1.96 * spread))


def failure(verdict: Satisfaction) -> str:
    """Name the first thing wrong with an answer, as a proxy for the way it went."""
    points = cast(dict[str, bool], asdict(verdict))
    for point in ("polite", "brief", "complete", "honest", "solved", "kind"):
        if not points[point]:
            return "not " + point
    return "satisfied"


def copied(scenarios: Sequence[Scenario], answers: Sequence[str]) -> dict[str, Interval]:
    """Tell how often an answer that names an order (or another slot) names the customer's own."""
    shapes = {
        "order": r"\b\d{5}\b",
        "date": r"\b\d{1,2} [A-Z][a-z]+\b",
        "code": r"\b[A-Z]{3,}\d+\b",
        "card": r"\b\d{4}\b",
    }
    right: dict[str, list[float]] = defaultdict(list)
    for scenario, text in zip(scenarios, answers, strict=True):
        for slot, shape in shapes.items():
            if slot in scenario.slots and (found := re.findall(shape, text)):
                right[slot].append(float(all(f == scenario.slots[slot] for f in found)))
        if "name" in scenario.slots and (greeted := re.findall(r"(?:Hi|Hello|,) ([A-Z]\w+)", text)):
            right["name"].append(float(all(g == scenario.slots["name"] for g in greeted)))
    return {slot: interval(values) for slot, values in sorted(right.items())}


def report(scenarios: Sequence[Scenario], answers: Sequence[str]) -> dict[str, object]:
    """Gather the figures of one measurement: overall, per intent, per failure, and of copying."""
    verdicts = [judge(s, a) for s, a in zip(scenarios, answers, strict=True)]
    by_prompt: dict[str, list[float]] = defaultdict(list)
    by_intent: dict[str, list[bool]] = defaultdict(list)
    for scenario, verdict in zip(scenarios, verdicts, strict=True):
        by_prompt[scenario.id].append(verdict.satisfied)
        by_intent[scenario.intent].append(verdict.satisfied)
    reasons = Counter(failure(v) for v in verdicts)
    return {
        "answers": len(answers),
        "satisfaction": asdict(interval([sum(v) / len(v) for v in by_prompt.values()])),
        "best_of": max(len(v) for v in by_prompt.values()),
        "best": asdict(interval([float(any(v)) for v in by_prompt.values()])),
        "outcomes": {k: n / len(verdicts) for k, n in reasons.most_common()},
        "intents": {k: sum(v) / len(v) for k, v in sorted(by_intent.items(), key=lambda i: sum(i[1]))},
        "copied": {k: asdict(v) for k, v in copied(scenarios, answers).items()},
    }


def main() -> None:
    """Parse the command line, sample, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=weights_dir())
    parser.add_argument("--adapter", type=Path, default=None)
    parser.add_argument("--split", choices=("train", "live", "heldout"), default="heldout")
    parser.add_argument("--prompts", type=int, default=390)
    parser.add_argument("--samples", type=int, default=1, help="answers per prompt; also prints best-of-n")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=0, help="print so many answers")
    given = parser.parse_args()
    scenarios = prompts(cast(Split, given.split), given.prompts, given.seed)
    repeated = [s for s in scenarios for _ in range(given.samples)]
    answers = Sampler(given.model, adapter=given.adapter).sample(repeated, seed=given.seed)
    for scenario, text in list(zip(repeated, answers, strict=True))[: given.show]:
        print(f"{failure(judge(scenario, text)):>14}  {scenario.messages[-1]['content']}\n{'':16}{text}")
    print(json.dumps(report(repeated, answers), indent=1))


if __name__ == "__main__":
    main()
