"""What tests have several processes do under torchrun: `torchrun -m tests.learner_together WHAT BASE OUT`."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.learner_models import ARCHITECTURES, demo, pair, snapshot, thumb
from tests.learner_ppo import PROMPTS, SMALL, LikesWord

TRAINED = ("sft", "ppo", *(f"reward/member_{n}" for n in range(3)))
KILLED_AT = 4
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
PPO = replace(SMALL, iterations=1, answers_per_prompt=2, prompts_per_iteration=12, sft_coef=0.5)


def torchrun(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A module with its arguments in two processes on loopback; what they said is in `stderr`."""
    command = [*TORCHRUN, "-m", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=400, env=on_loopback(environment), check=False
    )


def on_loopback(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of processes that are to find each other on this machine."""
    found = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return {**os.environ, **found, **more}


def train_all(
    base: Path, out: Path, world: Any, *, shard: bool = False, iterations: int = 1, progress: Any = None
) -> None:
    """An SFT adapter, a reward model and a PPO adapter of one tiny model, each from the bare base."""
    from transformers import PreTrainedTokenizerFast

    from thumbwheel_learner.model.loading import load_policy
    from thumbwheel_learner.model.lora import LoraConfig
    from thumbwheel_learner.model.tokens import ChatTokenizer
    from thumbwheel_learner.ppo.train import train_ppo
    from thumbwheel_learner.progress import silent
    from thumbwheel_learner.reward.config import RewardConfig
    from thumbwheel_learner.reward.training import train_reward
    from thumbwheel_learner.rollouts.sampler import TransformersSampler
    from thumbwheel_learner.sft import SftConfig, demo_rows, train_sft

    model = load_policy(base, world=world, shard=shard)
    # To a Qwen 2 checkpoint transformers give Qwen's byte-level tokenizer, whatever its folder holds.
    model.tokens = ChatTokenizer(PreTrainedTokenizerFast.from_pretrained(base), frozenset({4}))
    words = "order late refund where is my the now good bad".split()
    demos = [
        demo(n, f"{words[n % 10]} {words[n % 7]}", f"sorry {words[n % 9]} please {words[n % 8]} thanks")
        for n in range(160)
    ]
    judged = [
        thumb(n, f"{words[n % 9]} now", f"{words[n % 4]} thanks", up=n % 3 > 0, user=f"u{n % 6}") for n in range(24)
    ]
    pairs = [pair(n, f"{words[n % 8]} late", f"yes {words[n % 5]}", "rude no bad") for n in range(24, 40)]
    sft = SftConfig(lora=LoraConfig(4, 8), epochs=1, batch_tokens=1600, held_out=0.1, learning_rate=1e-2)
    train_sft(model, None, snapshot(demos=demos), sft, out / "sft")
    config = RewardConfig(members=3, rank=4, alpha=8, epochs=1, batch_tokens=96, part_tokens=24, learning_rate=4e-3)
    _, report = train_reward(model, snapshot(judged=judged, pairs=pairs), config, out / "reward")
    practised = train_ppo(
        model,
        None,
        LikesWord(),
        PROMPTS,
        TransformersSampler(model),
        replace(PPO, step_tokens=20, batch_tokens=60, iterations=iterations),
        out / "ppo",
        work=out / "work",
        demonstrations=demo_rows(snapshot(demos=demos), model, 64),
        progress=progress or silent,
    )[1]
    said = {"reward": report.as_dict(), "ppo": asdict(practised), "held": _held(model)}
    named = out.with_name(f"{out.name}-said-{world.rank}.json")
    named.write_text(json.dumps(said))


def _held(model: Any) -> dict[str, Any]:
    """What this process ended with: its weights' digest, and how many of the blocks' weights it has."""
    import hashlib

    from thumbwheel_learner.model.blocks import stack_of

    digest = hashlib.sha256()
    for name in ("policy", "reward_0", "reward_1", "reward_2"):
        for parameter in model.parameters(name):
            digest.update(parameter.detach().numpy().tobytes())
    frozen = [p for block in stack_of(model.base)[1] for p in block.parameters() if not p.requires_grad]
    return {
        "digest": digest.hexdigest(),
        "block_weights": sum((p.to_local() if hasattr(p, "to_local") else p).numel() for p in frozen),
    }


def _every_architecture(bases: Path, out: Path) -> None:
    from thumbwheel_learner.distributed.world import joined

    with joined() as world:
        for shard in (False, True):
            for name in ARCHITECTURES:
                train_all(bases / name, out / ("shard" if shard else "data") / name, world, shard=shard)


def _killed_once(bases: Path, out: Path) -> None:
    """The second process dies after some minibatches of PPO, if this is the first time it gets there."""
    from thumbwheel_learner.distributed.world import joined

    with joined() as world:
        seen: list[str] = []

        def progress(stage: str, share: float, detail: str) -> None:
            seen.append(detail)
            if world.rank == 1 and len(seen) == KILLED_AT and not (out / "died").exists():
                (out / "died").write_text(detail)
                os.kill(os.getpid(), signal.SIGKILL)

        train_all(bases / "llama", out / "llama", world, iterations=2, progress=progress)
        (out / f"steps-{world.rank}").write_text("\n".join(seen))


def _whole_run(base: Path, out: Path) -> int:
    """A learner's run, from stored feedback to a signed artifact; only bus, service and clock are missing."""
    from tests.integration.learner.test_training_run import Desk, people

    from thumbwheel_learner.distributed.crew import Crew
    from thumbwheel_learner.model.loading import load_policy
    from thumbwheel_learner.processes import lead_or_follow, loaded_once
    from thumbwheel_learner.settings import from_environment

    logging.basicConfig(level=logging.INFO, format="%(process)d %(message)s")
    settings = from_environment({**os.environ, "THUMBWHEEL_MODEL": str(base), "THUMBWHEEL_DATA": str(out)})

    def lead(crew: Crew | None) -> int:
        crew = crew or Crew()
        out.mkdir(parents=True)
        desk, samples = Desk(base, out), load_policy(base)
        people(desk.engine, samples)
        workshop = replace(desk.workshop(samples), model=loaded_once(settings, crew), crew=crew)
        row = desk.runner(workshop).start(trigger="now", stages=("reward", "sft", "ppo"))
        desk.engine.dispose()
        (out / "row.json").write_text(json.dumps([row.state, row.reason, json.loads(row.detail)]))
        return 0

    return lead_or_follow(settings, threading.Event(), lead)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    what = {"every": _every_architecture, "killed": _killed_once, "run": _whole_run}[sys.argv[1]]
    sys.exit(what(Path(sys.argv[2]), Path(sys.argv[3])))
