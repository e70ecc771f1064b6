"""The gate: may this policy ship? A judge that never saw the candidate's teachers compares it with the live one.

The judge is a reward model with adapters and heads of its own, trained on users, conversations and prompts that
reward, SFT and PPO did not see (`labels.split_evidence`), and checked against the labels of the others. Every rule,
metric and source: docs/algorithms/gate.md.
"""

import time
from dataclasses import replace
from pathlib import Path

from thumbwheel_learner.gate.checks import line
from thumbwheel_learner.gate.config import GateConfig
from thumbwheel_learner.gate.drift import distances, distinct, length_ratio, missing_end, repeating
from thumbwheel_learner.gate.exam import Exam
from thumbwheel_learner.gate.golden import golden_answers
from thumbwheel_learner.gate.judge import Judge, compare
from thumbwheel_learner.gate.regressions import corrected
from thumbwheel_learner.gate.safety import Answers, Safety, safety_of
from thumbwheel_learner.gate.variety import variety_of
from thumbwheel_learner.gate.verdict import Verdict, lacking_evidence, objections
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.progress import Progress, silent
from thumbwheel_learner.rollouts.engine import RolloutEngine


def judge_gate(
    model: PolicyModel,
    live: Path | None,
    candidate: Path,
    judge: Judge | None,
    exam: Exam,
    engine: RolloutEngine,
    config: GateConfig,
    *,
    disjoint: tuple[str, ...] = ("user", "conversation", "prompt"),
    turn: int = 0,
    progress: Progress = silent,
) -> Verdict:
    """Compare `candidate` with `live` (None: the bare base); `turn` numbers the draw of the exam's prompts.

    Both sample with the same random numbers: where the two agree they say the same, and what is left differs because
    the policies do (common random numbers, as simulations use them).
    """
    started = time.monotonic()
    prompts, lacking = exam.prompts, lacking_evidence(judge, len(exam.prompts), config)
    known = Verdict(accepted=False, reasons=lacking, prompts=len(prompts), disjoint=disjoint, turn=turn)
    if judge is not None:
        known = replace(known, judge_quality=judge.quality, judge_labels=judge.labels, checked_on=judge.checks.of)
    if judge is None or not prompts:
        return replace(known, seconds=time.monotonic() - started)
    progress("gate", 0.0, "live policy answers")
    old, old_safety = _answers(engine, live, exam, config, turn)
    progress("gate", 1 / 3, "candidate answers")
    new, new_safety = _answers(engine, candidate, exam, config, turn)
    progress("gate", 2 / 3, "judging")
    how = {"resamples": config.resamples, "seed": config.seed}
    compared = compare(judge, prompts, old, new, groups=exam.intents, **how)
    parts = [part for part in compared.parts if part.prompts >= config.min_intent_prompts]
    kl, kl_base = distances(
        model,
        live,
        candidate,
        prompts,
        new,
        config.temperature,
        batch_tokens=config.batch_tokens,
        most=config.kl_prompts,
    )
    flat = [[r for row in side for r in row] for side in (old, new)]
    figures = replace(
        known,
        win_rate=compared.win_rate,
        kl=kl,
        kl_base=kl_base,
        length_ratio=length_ratio(*flat),
        repetition=(repeating(flat[0]), repeating(flat[1])),
        missing_end=(missing_end(flat[0]), missing_end(flat[1])),
        distinct=(distinct(flat[0]), distinct(flat[1])),
        variety=variety_of(prompts, old, new, compared.scores, line(judge.checks), **how),
        intents=corrected(parts, config.significance),
        golden=golden_answers(model, live, candidate, exam.golden, batch_tokens=config.batch_tokens, **how),
        safety=_safety(judge, exam, (old_safety, new_safety), (old, new), config),
        seconds=time.monotonic() - started,
    )
    against = lacking + objections(figures, config)
    favour = [f"win rate {figures.win_rate.mean:.2f}, at least {figures.win_rate.low:.2f}"]
    progress("gate", 1.0, "accepted" if not against else against[0])
    return replace(figures, accepted=not against, reasons=against or favour)


def _answers(
    engine: RolloutEngine, adapter: Path | None, exam: Exam, config: GateConfig, turn: int
) -> tuple[Answers, Answers]:
    """To the exam's prompts, and to those about safety."""
    asked = [*exam.prompts, *exam.safety]
    said = engine.sample(
        adapter,
        asked,
        n=config.answers_per_prompt,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        seed=config.seed + turn,
    )
    return said[: len(exam.prompts)], said[len(exam.prompts) :]


def _safety(
    judge: Judge, exam: Exam, said: tuple[Answers, Answers], ordinary: tuple[Answers, Answers], config: GateConfig
) -> Safety | None:
    if not exam.safety:
        return None
    groups = ["safety"] * len(exam.safety)
    compared = compare(judge, exam.safety, *said, groups=groups, resamples=config.resamples, seed=config.seed)
    judged = compared.parts[0]
    return safety_of(*said, ordinary, judged.win_rate, judged.p)
