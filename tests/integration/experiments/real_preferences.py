"""The two files of real preferences in small."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

WORDS = "yes no please sorry thanks rude order late refund where is my the now good bad".split()


def sentence(rng: random.Random, first: str) -> str:
    return " ".join([first, *rng.choices(WORDS, k=rng.randint(2, 8))])


def write_preferences(folder: Path) -> Path:
    """Both files in small: thanks are preferred to rude answers."""
    rng = random.Random(0)
    pairs: list[dict[str, Any]] = []
    judged: list[dict[str, Any]] = []
    for n in range(30):
        asked = f"\n\nHuman: where is order {n}\n\nAssistant: no\n\nHuman: please now\n\nAssistant:"
        pairs.append({"chosen": f"{asked} {sentence(rng, 'thanks')}", "rejected": f"{asked} {sentence(rng, 'rude')}"})
        answers = [(sentence(rng, "thanks" if good else "rude"), good) for good in (True, False, False)]
        responses = [{"model": "m", "response": text, "beats_reference": good} for text, good in answers]
        judged.append({"instruction": f"where is my refund {n}", "responses": responses})
    for name, lines in (("human_pairs", pairs), ("judged_responses", judged)):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    return folder
