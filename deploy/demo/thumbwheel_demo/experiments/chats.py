"""Simulated chats as the learner sees them: what the policy reads of one, and the snapshot frozen of many."""

import random
from collections.abc import Sequence

from thumbwheel_demo.corpus import Scenario
from thumbwheel_demo.people import Chat, PeopleSettings, thumb_of
from thumbwheel_demo.satisfaction import correct, judge
from thumbwheel_learner.dataset.examples import Demo, Judged, LoggedPrompt, Messages, Pair, Snapshot
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.rollouts.engine import Rollout


def messages_of(scenario: Scenario) -> Messages:
    """The conversation so far, as an app would send it."""
    return [dict(m) for m in scenario.messages]


def prompt_ids(model: PolicyModel, scenario: Scenario) -> list[int]:
    """The conversation so far as the policy reads it."""
    return model.tokens.prompt_ids(messages_of(scenario))


def snapshot_of(
    scenarios: Sequence[Scenario], said: Sequence[Rollout], asked: Sequence[list[int]], people: PeopleSettings
) -> Snapshot:
    """The chats as the learner would have frozen them: all prompts, the thumbs, the corrections."""
    judged: list[Judged] = []
    pairs: list[Pair] = []
    demos: list[Demo] = []
    logged: list[LoggedPrompt] = []
    for n, (scenario, answer, ids) in enumerate(zip(scenarios, said, asked, strict=True)):
        verdict, messages = judge(scenario, answer.text), messages_of(scenario)
        thumb = thumb_of(Chat(scenario, text=answer.text, verdict=verdict), people)
        logged.append(
            LoggedPrompt(
                messages=messages,
                conversation_id=scenario.id,
                completion_id=f"completion-{n}",
                created_ms=n,
                answer=answer.text,
                policy_version="base",
                event_id=f"chat-{n}",
                user=scenario.customer,
                prompt_token_ids=ids,
            )
        )
        if thumb is not None:
            judged.append(
                Judged(
                    messages=messages,
                    answer=answer.text,
                    kind="thumb",
                    value=float(thumb == "up"),
                    user=scenario.customer,
                    conversation_id=scenario.id,
                    created_ms=n,
                    event_id=f"thumb-{n}",
                )
            )
        rng = random.Random(f"gate-{people.seed}-{scenario.id}")
        if not verdict.satisfied and rng.random() < people.corrections:
            pair, demo = _corrected(scenario, answer.text, n, f"agent-{rng.randrange(people.agents)}", rng)
            pairs.append(pair)
            demos.append(demo)
    return Snapshot(hash="", created_ms=0, pairs=pairs, judged=judged, demos=demos, prompts=logged, counts={})


def _corrected(scenario: Scenario, answer: str, n: int, agent: str, rng: random.Random) -> tuple[Pair, Demo]:
    better, messages = correct(scenario, rng), messages_of(scenario)
    pair = Pair(
        messages=messages,
        chosen=better,
        rejected=answer,
        origin="correction",
        user=agent,
        conversation_id=scenario.id,
        created_ms=n,
        event_id=f"correction-{n}",
    )
    demo = Demo(
        messages=messages,
        text=better,
        origin="correction",
        user=agent,
        conversation_id=scenario.id,
        created_ms=n,
        event_id=f"correction-{n}",
    )
    return pair, demo
