"""How likely the base finds an answer: read once, the same as from the logits, and weighed by what people say."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.learner_models import make_base, said, snapshot, thumb

from thumbwheel_learner.model.adapters import BadAdapter
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import make_batch
from thumbwheel_learner.model.trunk import Trunk
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.labels import Row
from thumbwheel_learner.reward.likelihood import KnownLikelihoods, Scaling, likelihoods
from thumbwheel_learner.reward.model import HEADS, load_reward
from thumbwheel_learner.reward.training import train_reward

ROWS = [Row([2, 5 + n % 9, 4, 3], [7 + m for m in range(1 + n % 4)] + [4]) for n in range(20)]
CONFIG = RewardConfig(members=2, epochs=6, rank=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyModel:
    return load_policy(make_base(tmp_path_factory.mktemp("base")), workers=2)


def by_hand(model: PolicyModel, row: Row) -> list[float]:
    """Mean and minus root mean square of the answer's log-probabilities, from plain logits."""
    ids = torch.tensor([[*row.prompt, *row.answer]])
    with torch.no_grad():
        logprobs = torch.log_softmax(model.base(input_ids=ids, use_cache=False).logits[0].float(), dim=-1)
    first = len(row.prompt) - 1
    own = torch.stack([logprobs[first + n, token] for n, token in enumerate(row.answer)])
    return [float(own.mean()), -float(own.square().mean().sqrt())]


def test_likelihoods_are_those_of_plain_logits_whatever_the_padding_and_the_adapter(model: PolicyModel) -> None:
    batch = make_batch([r.prompt for r in ROWS], [r.answer for r in ROWS], pad_id=0, extra=2)
    expected = torch.tensor([by_hand(model, row) for row in ROWS])
    model.add("loud")
    for parameter in model.parameters("loud"):
        parameter.data.fill_(0.3)
    with model.using("loud"):
        assert torch.allclose(likelihoods(model, batch), expected, atol=1e-4)
    below = model.states_below(batch, 1)
    assert torch.allclose(likelihoods(model, batch, 1, below), expected, atol=1e-4)
    for limit in (1 << 20, 0):
        known = KnownLikelihoods(model, ROWS, Trunk(model, 1, ROWS, limit), 1)
        assert torch.allclose(known.of([ROWS[7], ROWS[2]]), expected[[7, 2]], atol=1e-4)
        scaled = known.scaling().apply(expected)
        assert torch.allclose(scaled.mean(dim=0), torch.zeros(2), atol=1e-3)


def test_one_strange_answer_is_bounded() -> None:
    scaling = Scaling(torch.tensor([-1.0, -1.0]), torch.tensor([0.5, 0.5]))
    assert scaling.apply(torch.tensor([[-90.0, -95.0]])).tolist() == [[-4.0, -4.0]]


@pytest.mark.parametrize("sign", [1, -1])
def test_people_decide_which_way_it_counts(model: PolicyModel, tmp_path: Path, sign: int) -> None:
    answers = ["sorry please", "rude no", "thanks refund", "bad now", "yes sorry", "no late", "is good", "the rude"]
    prompt = model.tokens.prompt_ids(said("my order"))
    batch = make_batch([prompt] * 8, [model.tokens.answer_ids(a) for a in answers], pad_id=0)
    ranked = torch.argsort(sign * likelihoods(model, batch)[:, 0]).tolist()
    liked = {answers[i] for i in ranked[4:]}
    votes = [thumb(n, "my order", answers[n % 8], up=answers[n % 8] in liked) for n in range(160)]
    reward, report = train_reward(model, snapshot(judged=votes), CONFIG, tmp_path / "reward")
    assert (sign * reward.likelihood_head.sum(dim=1) > 0.3).all()
    assert report.auc.mean == 1.0
    again = load_reward(model, tmp_path / "reward", prefix="again")
    torch.testing.assert_close(again.score([prompt] * 8, answers).members, reward.score([prompt] * 8, answers).members)
    assert again.identity() == reward.identity()


def test_heads_of_an_older_format_are_refused_by_name(model: PolicyModel, tmp_path: Path) -> None:
    votes = [thumb(n, "my order", ["please", "rude"][n % 2], up=n % 2 == 0) for n in range(20)]
    train_reward(model, snapshot(judged=votes), CONFIG, tmp_path / "reward")
    heads = load_file(tmp_path / "reward" / HEADS)
    del heads["likelihood_head"]
    save_file(heads, tmp_path / "reward" / HEADS)
    with pytest.raises(BadAdapter, match="another version"):
        load_reward(model, tmp_path / "reward")
