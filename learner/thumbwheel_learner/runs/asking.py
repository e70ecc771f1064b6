"""What a run asks people once its reward model is there; whatever is away, the run goes on."""

import hashlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.questions.ask import Asking, Sampling
from thumbwheel_learner.questions.selection import BadPool
from thumbwheel_learner.reward.model import RewardModel
from thumbwheel_learner.rollouts.engine import RolloutEngine
from thumbwheel_learner.rollouts.served import RolloutFailed
from thumbwheel_learner.runs.stage import StageInput, StageOutcome

log = logging.getLogger(__name__)


def ask_people(
    asking: Asking,
    reward: RewardModel,
    reward_id: str,
    given: StageInput,
    rollouts: Callable[[], AbstractContextManager[RolloutEngine]],
    config: PpoConfig,
) -> StageOutcome:
    """Ask about recent chats; without samples of the live policy only whether answers are good."""
    seed = int(hashlib.sha256(given.run_id.encode()).hexdigest()[:8], 16)
    try:
        with rollouts() as engine:
            sampling = Sampling(engine, given.parent.adapter, config.max_prompt, config.max_tokens)
            result = asking.ask(reward, reward_id, sampling, seed=seed)
    except RolloutFailed as error:
        log.warning("nobody is asked to compare answers: %s", error)
        result = asking.ask(reward, reward_id, None, seed=seed)
    except BadPool as error:
        return StageOutcome(result={"skipped": str(error)}, reason=str(error))
    return StageOutcome(result=result)
