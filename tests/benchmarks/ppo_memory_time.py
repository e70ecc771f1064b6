"""What PPO costs beside what it must cost: memory beside four copies of the model, time beside bare passes.

    python -m tests.benchmarks.ppo_memory_time [--model DIR] [--rollouts 1000] [--skip-memory | --skip-time]

Memory: peak resident memory of a process above what its imports take, of our PPO (policy, reference, value and two
reward members as adapters on one base) and of one that keeps four models (`four_models.py`), on the same rollouts,
float32, both with LoRA, chunked logits and gradient checkpointing. Each does an experience pass and one epoch.

Time: `ppo.update.update` of one epoch in the default configuration, its checkpoint on disk after every minibatch and
the critic's fit included, beside forward and backward passes of the same rows through the same model with the same
adapter, batches, checkpointing and chunks, with nothing but the mean log-probability for a loss. Each minibatch's bare
passes follow the minibatch, so that both meet the same machine. Sampling and the experience pass, which make no
gradients, are in neither.

Prompts of 96 tokens and answers of 64, drawn at random. The model is Gemma 3 270M as ../shared/models/fetch-pretrained
makes it. Figures go to build/benchmarks/ppo_memory_time.json; the bars are 0.6 and 1.25.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tests.benchmarks.children import in_child
from tests.benchmarks.figures import OUT, Bar, finish, print_table
from tests.benchmarks.four_models import FourModels

from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.policy import Memory, PolicyModel
from thumbwheel_learner.ppo.checkpoint import Checkpoint
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.estimators import whiten
from thumbwheel_learner.ppo.experience import observe
from thumbwheel_learner.ppo.state import POLICY, Experience, PpoRun
from thumbwheel_learner.ppo.update import draw_minibatches, update
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.labels import Row
from thumbwheel_learner.reward.model import RewardModel
from thumbwheel_learner.rollouts.engine import Rollout

PROMPT, ANSWER = 96, 64
MEMORY_BAR, TIME_BAR = 0.6, 1.25


@dataclass(frozen=True)
class Plan:
    """What both sides do."""

    model: Path
    rollouts: int
    config: PpoConfig
    memory: Memory
    threads: int

    def policy(self) -> PolicyModel:
        torch.set_num_threads(self.threads)
        return load_policy(self.model, memory=self.memory)

    def ids(self, model: PolicyModel) -> tuple[list[list[int]], list[list[int]]]:
        """Prompts, as often as each has answers, and answers: random tokens, none of which ends an answer."""
        vocabulary = int(model.base.get_input_embeddings().weight.shape[0])
        generator = torch.Generator().manual_seed(1)
        per_prompt = self.config.answers_per_prompt

        def draw(count: int, length: int) -> list[list[int]]:
            return torch.randint(vocabulary // 2, vocabulary, (count, length), generator=generator).tolist()

        prompts = [p for p in draw(self.rollouts // per_prompt, PROMPT) for _ in range(per_prompt)]
        return prompts, draw(len(prompts), ANSWER)


def main() -> int:
    plan, options = parse()
    bars: list[Bar] = []
    report: dict[str, Any] = {"model": str(plan.model.name), "rollouts": plan.rollouts, "threads": plan.threads}
    if not options.skip_memory:
        report["memory"] = memory_of(replace(plan, rollouts=options.memory_rollouts), options.rounds)
        bars.append(Bar("peak memory beside four models", report["memory"]["ratio"], "at most", MEMORY_BAR))
    if not options.skip_time:
        report["time"] = in_child(time_of, plan).result
        bars.append(Bar("update beside bare passes", report["time"]["ratio"], "at most", TIME_BAR))
    return finish(report, bars, options.out)


def parse() -> tuple[Plan, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("build/models/gemma-3-270m"))
    parser.add_argument("--rollouts", type=int, default=1000, help="whose update is timed")
    parser.add_argument("--answers-per-prompt", type=int, default=PpoConfig.answers_per_prompt)
    parser.add_argument("--memory-rollouts", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3, help="of the memory's two processes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--skip-time", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT / "ppo_memory_time.json")
    options = parser.parse_args()
    # Random answers would leave any trust region; an iteration that ended early would look fast.
    config = PpoConfig(answers_per_prompt=options.answers_per_prompt, target_step_kl=1e9)
    plan = Plan(options.model, options.rollouts, config, Memory(gradient_checkpointing=True), options.threads)
    return plan, options


def memory_of(plan: Plan, rounds: int) -> dict[str, Any]:
    """Medians over fresh processes, ours and theirs by turns."""
    found: dict[str, list[float]] = {"ours": [], "four models": []}
    for _ in range(rounds):
        for name, work in (("ours", peak_of_ours), ("four models", peak_of_four)):
            found[name].append(in_child(work, plan).result)
            print(f"{name}: {found[name][-1]:.0f} MiB above imports", flush=True)
    medians = {name: statistics.median(peaks) for name, peaks in found.items()}
    rows = [(name, f"{medians[name]:.0f}", ", ".join(f"{p:.0f}" for p in peaks)) for name, peaks in found.items()]
    print_table(("peak above imports", "median, MiB", "each"), rows)
    return {"rollouts": plan.rollouts, "peaks_mib": found, "ratio": medians["ours"] / medians["four models"]}


def peak_of_ours(plan: Plan) -> float:
    """MiB above imports: one base, its adapters, an experience pass with scores, one epoch."""
    before = forget_peak()
    model = plan.policy()
    run = PpoRun(model, None, replace(plan.config, critic="adapter"))
    reward = RewardModel(model, RewardConfig(), "reward")
    prompts, answers = plan.ids(model)
    experience = observed(run, prompts, answers)
    reward.score_rows([Row(p, a) for p, a in zip(prompts, answers, strict=True)])
    update(run, experience, (), lambda _: None)
    return peak() - before


def peak_of_four(plan: Plan) -> float:
    """MiB above imports: four models, the same passes."""
    import peft  # noqa: F401 - imports are not counted

    before = forget_peak()
    torch.set_num_threads(plan.threads)
    models = FourModels(plan.model, plan.config.lora.rank, chunk_of(plan))
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, models.policy.config.vocab_size, (plan.rollouts, PROMPT + ANSWER), generator=generator)
    models.train(
        ids,
        ANSWER,
        minibatch=plan.config.minibatch_answers,
        rows=max(1, plan.config.step_tokens // (PROMPT + ANSWER)),
        rows_read=max(1, plan.config.batch_tokens // (PROMPT + ANSWER)),
    )
    return peak() - before


def chunk_of(plan: Plan) -> int:
    """Tokens whose logits our model holds at once, for theirs."""
    from transformers import AutoConfig

    vocabulary = AutoConfig.from_pretrained(plan.model).get_text_config().vocab_size
    return plan.memory.chunk(vocabulary)


def observed(run: PpoRun, prompts: list[list[int]], answers: Sequence[list[int]]) -> Experience:
    """What the update learns from, with advantages drawn at random."""
    rollouts = [Rollout(a, [0.0] * len(a), True, "") for a in answers]
    experience = observe(run, prompts, rollouts)
    experience.behaviour = experience.logprobs.clone()
    drawn = torch.randn(experience.mask.shape, generator=torch.Generator().manual_seed(2))
    experience.advantages = whiten(drawn, experience.mask, shift_mean=True)
    experience.returns = experience.values + experience.advantages
    return experience


def time_of(plan: Plan) -> dict[str, Any]:
    """Seconds of one update, and of the bare passes of each of its minibatches right after it."""
    model = plan.policy()
    run = PpoRun(model, None, plan.config)
    began = time.perf_counter()
    experience = observed(run, *plan.ids(model))
    found = {"experience_s": time.perf_counter() - began}
    generator = torch.Generator().manual_seed(plan.config.seed * 100_003)
    groups = [g for g, _ in draw_minibatches(len(experience.answers), (), plan.config, generator)]
    with tempfile.TemporaryDirectory() as work:
        checkpoint = Checkpoint(Path(work), "benchmark")
        took, figures = side_by_side(run, experience, groups, checkpoint)
    assert figures["minibatches"] == len(groups), "the update ended early"
    for name, clock in (("ratio", 0), ("ratio_cpu", 1)):
        found[name] = took["update"][clock] / took["bare"][clock]
        found[f"{name}_of_minibatches"] = took["minibatches"][clock] / took["bare"][clock]
    rows = [(name, f"{wall:.1f}", f"{cpu:.1f}") for name, (wall, cpu) in took.items()]
    print_table((f"{len(experience.answers)} rollouts", "s", "CPU s"), rows)
    return {**found, "seconds": took, "minibatches": len(groups)}


def side_by_side(
    run: PpoRun, experience: Experience, groups: list[list[int]], checkpoint: Checkpoint
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """[wall, CPU] seconds of both, those of the update without what it does once at its end, and its own figures."""
    bare, own = [0.0, 0.0], [0.0, 0.0]

    def after_minibatch(planned: int) -> None:
        checkpoint.save(run)
        done = run.updates.minibatches
        before = clocks()
        bare_passes(run, experience, groups[done - 1])
        spent = [now - then for now, then in zip(clocks(), before, strict=True)]
        bare[:] = [so_far + more for so_far, more in zip(bare, spent, strict=True)]
        own[:] = [now - then - other for now, then, other in zip(clocks(), begun, bare, strict=True)]
        print(f"{done}/{planned}: {own[0] / bare[0]:.3f} ({own[1] / bare[1]:.3f} by CPU time)", flush=True)

    begun = clocks()
    figures = update(run, experience, (), after_minibatch)
    total = [now - then for now, then in zip(clocks(), begun, strict=True)]
    whole = [t - b for t, b in zip(total, bare, strict=True)]
    return {"update": whole, "minibatches": own, "bare": bare}, figures


def bare_passes(run: PpoRun, experience: Experience, group: list[int]) -> None:
    """Forward and backward, and nothing else; chunk by chunk through the head, so that no logits are kept."""
    model, parameters = run.model, run.model.parameters(POLICY)
    chunk = model.memory.chunk(len(model.base.get_output_embeddings().weight))
    total = int(experience.mask[group].sum())
    for part in experience.parts(group, run.config.step_tokens):
        batch = experience.batch(part, model)
        with model.using(POLICY):
            states = model.answer_states(model.hidden(batch), batch)
            leaf = states.detach().requires_grad_()
            for some, targets in zip(leaf.split(chunk), batch.targets.split(chunk), strict=True):
                (torch.nn.functional.cross_entropy(model.logits(some), targets, reduction="sum") / total).backward()
            torch.autograd.grad(states, parameters, leaf.grad)


def clocks() -> list[float]:
    return [time.perf_counter(), time.process_time()]


def forget_peak() -> float:
    """Let the kernel's account of this process's peak begin anew; MiB now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    """Highest resident memory since `forget_peak`, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    raise SystemExit(main())
