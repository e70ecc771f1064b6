from pathlib import Path

import pytest
import torch
from tests.learner_models import ARCHITECTURES, make_base

from thumbwheel_learner.model.adapters import BadAdapter
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.policy import Memory, PolicyModel
from thumbwheel_learner.model.tokens import make_batch, make_shared_batch, runs_of_equal

PROMPTS, ANSWERS = [[2, 6, 7, 4, 3], [2, 9, 4, 3]], [[10, 11, 4], [12, 4]]


def perturbed(model: PolicyModel, name: str, seed: int = 0, first_block: int = 0) -> None:
    """A fresh adapter that really changes something."""
    model.add(name, LoraConfig(4, 8), first_block=first_block)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters(name):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def scores(model: PolicyModel, *names: str, side: str = "right", extra: int = 0) -> torch.Tensor:
    batch = make_batch(PROMPTS, ANSWERS, pad_id=0, side=side, extra=extra)  # type: ignore[arg-type]
    with torch.no_grad(), model.using(*names):
        return model.score_answers(batch, temperature=0.7).logprobs


@pytest.fixture(scope="module", params=ARCHITECTURES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp(request.param), architecture=request.param)


def test_log_probabilities_equal_those_of_transformers(base: Path) -> None:
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(base)
    expected = []
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        logits = reference(torch.tensor([prompt + answer])).logits[0] / 0.7
        chosen = torch.log_softmax(logits.float(), -1)[torch.arange(len(prompt) - 1, len(prompt + answer) - 1), answer]
        expected += chosen.tolist()
    assert torch.allclose(scores(load_policy(base)), torch.tensor(expected), atol=1e-5)


def test_padding_changes_nothing(base: Path) -> None:
    model = load_policy(base)
    perturbed(model, "x")
    assert torch.allclose(scores(model, "x"), scores(model, "x", side="left", extra=7), atol=1e-5)
    assert torch.allclose(scores(model, "x"), scores(model, "x", extra=3), atol=1e-5)


def test_adapter_round_trips_through_peft(base: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = load_policy(base)
    perturbed(model, "x")
    folder = model.save("x", tmp_path / "adapter")
    served = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    batch = make_batch(PROMPTS, ANSWERS, pad_id=0)
    logits = served(input_ids=batch.ids).logits / 0.7
    theirs = torch.log_softmax(logits, -1)[batch.rows, batch.columns, batch.targets]
    ours = scores(model, "x")
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, scores(model), atol=1e-2)
    served.save_pretrained(tmp_path / "theirs")
    model.load("y", tmp_path / "theirs")
    assert torch.equal(scores(model, "y"), ours)


def test_several_adapters_in_one_pass_equal_one_by_one(base: Path) -> None:
    model = load_policy(base)
    perturbed(model, "x", 1)
    perturbed(model, "y", 2)
    batch = make_batch(PROMPTS, ANSWERS, pad_id=0)
    with torch.no_grad(), model.using("x", "y"):
        both = model.hidden(batch, repeats=2)
    for name, part in zip("xy", both.chunk(2), strict=True):
        with torch.no_grad(), model.using(name):
            assert torch.allclose(model.hidden(batch), part, atol=1e-5)


@pytest.mark.parametrize(
    "memory", [Memory(logit_chunk=2), Memory(logit_bytes=400), Memory(gradient_checkpointing=True)]
)
def test_saving_memory_changes_no_gradient(base: Path, memory: Memory) -> None:
    grads = []
    for how in (Memory(), memory):
        model = load_policy(base, memory=how)
        perturbed(model, "x")
        with model.using("x"):
            model.score_answers(make_batch(PROMPTS, ANSWERS, pad_id=0)).logprobs.sum().backward()
        grads.append([p.grad for p in model.parameters("x")])
        assert not any(p.requires_grad for n, p in model.base.named_parameters() if ".a." not in n and ".b." not in n)
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_dropout_is_off_even_while_checkpointing(tmp_path: Path) -> None:
    model = load_policy(make_base(tmp_path, architecture="gpt2"), memory=Memory(gradient_checkpointing=True))
    perturbed(model, "x")
    batch = make_batch(PROMPTS, ANSWERS, pad_id=0)
    with model.using("x"):
        first, second = (model.score_answers(batch).logprobs for _ in range(2))
    assert torch.equal(first, second)


def test_a_fresh_adapter_changes_nothing_and_depends_on_its_name_only(base: Path) -> None:
    one, other = load_policy(base, seed=3), load_policy(base, seed=3)
    before = scores(one)
    one.add("x")
    other.add("y")
    other.add("x")
    assert torch.equal(scores(one, "x"), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters("x"), other.parameters("x"), strict=True))


def test_adapters_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    small, large = load_policy(make_base(tmp_path / "s")), load_policy(make_base(tmp_path / "l", hidden=64))
    perturbed(large, "x")
    folder = large.save("x", tmp_path / "adapter")
    with pytest.raises(BadAdapter, match="not of this base"):
        small.load("x", folder)
    (folder / "adapter_model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(BadAdapter, match="cannot be read"):
        large.load("x", folder)
    with pytest.raises(BadAdapter, match="cannot be used"):
        large.load("x", tmp_path / "nowhere")


def test_adapters_with_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = load_policy(make_base(tmp_path / "b"))
    perturbed(model, "x")
    with torch.no_grad():
        model.parameters("x")[0][0, 0] = float("nan")
    folder = model.save("x", tmp_path / "adapter")
    with pytest.raises(BadAdapter, match="not finite"):
        model.load("y", folder)


def test_adapters_on_upper_blocks_share_the_lower_ones(base: Path) -> None:
    model = load_policy(base)
    first = model.blocks.above(0.5)
    assert first == 1
    for seed, name in enumerate("xy"):
        model.add(name, LoraConfig(4, 8), first_block=first)
        with torch.no_grad():
            for parameter in model.parameters(name):
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    batch = make_batch(PROMPTS, ANSWERS, pad_id=0)
    with torch.no_grad(), model.using("x", "y"):
        shared = model.hidden(batch, repeats=2, first_block=first)
    for name, part in zip("xy", shared.chunk(2), strict=True):
        with torch.no_grad(), model.using(name):
            assert torch.allclose(model.hidden(batch), part, atol=1e-5)
    assert not torch.allclose(*shared.chunk(2), atol=1e-2)


def test_a_pass_that_begins_above_the_lower_blocks_ends_alike(base: Path) -> None:
    model = load_policy(base)
    first = model.blocks.above(0.5)
    perturbed(model, "x", first_block=first)
    batch = make_batch(PROMPTS, ANSWERS, pad_id=0)
    assert not model.resumes_at(0), "there is nothing to leave out"
    assert model.resumes_at(first) == (base_type(model) != "gpt2"), "it adds positions to what comes in"
    below = model.states_below(batch, first)
    with torch.no_grad(), model.using("x"):
        whole = model.answer_states(model.hidden(batch), batch)
        if model.resumes_at(first):
            resumed = model.answer_states(model.hidden(batch, first_block=first, below=below), batch)
            assert torch.allclose(whole, resumed, atol=1e-5)
        assert torch.allclose(whole, model.answer_states(model.hidden(batch), batch)), "the whole model is as before"


def base_type(model: PolicyModel) -> str:
    return str(model.base.config.model_type)


SAME = [[2, 5, 6, 4, 3]] * 3 + [[2, 9, 4, 3]] + [[2, 7, 8, 9, 4, 3]] * 2
SAID = [[5, 4], [6, 7, 8, 4], [9], [5, 6, 4], [7], [8, 8, 8, 4]]


def test_answers_that_share_their_prompt_score_as_if_alone(base: Path) -> None:
    model = load_policy(base)
    perturbed(model, "x")
    assert model.shares_prompts
    shared = model.batch(SAME, SAID)
    alone = make_batch(SAME, SAID, pad_id=0)
    assert shared.ids.shape == (3, 12)
    assert shared.targets.tolist() == alone.targets.tolist()
    assert shared.mask.tolist() == alone.mask.tolist()
    gradients = []
    for batch in (shared, alone):
        with model.using("x"):
            scores = model.score_answers(batch, 0.7).logprobs
        gradients.append((scores, torch.autograd.grad(scores.sum(), model.parameters("x"))))
    torch.testing.assert_close(gradients[0][0], gradients[1][0], atol=1e-5, rtol=1e-5)
    for one, other in zip(gradients[0][1], gradients[1][1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_different_prompts_and_windows_too_short_for_it_share_nothing(base: Path) -> None:
    model = load_policy(base)
    assert model.batch(SAME[2:4], SAID[2:4]).attention is None
    model.base.config.get_text_config().sliding_window = 8
    assert model.batch(SAME, SAID).attention is None


def test_no_answer_sees_another() -> None:
    batch = make_shared_batch([[1, 2]] * 2, [[3, 4], [5]], pad_id=0, shared=runs_of_equal([[1, 2]] * 2))
    assert batch.attention is not None
    assert batch.attention[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 2]]
    assert batch.columns.tolist() == [1, 2, 1]
