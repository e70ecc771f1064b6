"""What the recorder reads off vLLM's own objects."""

import math
import warnings

import pytest

from thumbwheel_service.engine.protocol import Trace

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what torch deprecates while vLLM is imported is not ours to mend
    from vllm.logprobs import FlatLogprobs, Logprob
    from vllm.outputs import CompletionOutput, RequestOutput
    from vllm.sampling_params import SamplingParams, StructuredOutputsParams

    from thumbwheel_service.engine.vllm_recorder import LOWEST_LOGPROB, record, sampled_logprobs, sampling_in_force

STEPS = [{7: Logprob(-0.5), 9: Logprob(-0.1)}, {3: Logprob(-2.0)}, {4: Logprob(-math.inf)}]
TOKENS = [7, 3, 4]


def flat() -> FlatLogprobs:
    logprobs = FlatLogprobs()
    logprobs.extend(STEPS)
    return logprobs


@pytest.mark.parametrize("layout", [STEPS, flat()], ids=["list", "flat"])
def test_the_sampled_tokens_logprob_is_found_in_both_layouts(layout: object) -> None:
    assert sampled_logprobs(TOKENS, layout) == [-0.5, -2.0, LOWEST_LOGPROB]


def test_nan_is_kept_for_whoever_checks_for_it() -> None:
    assert math.isnan(sampled_logprobs([1], [{1: Logprob(math.nan)}])[0])


def output(*choices: tuple[int, str, list[int], str | None]) -> RequestOutput:
    completions = [
        CompletionOutput(
            index=index,
            text=text,
            token_ids=tokens,
            cumulative_logprob=None,
            logprobs=[{token: Logprob(-1.0)} for token in tokens],
            finish_reason=reason,
        )
        for index, text, tokens, reason in choices
    ]
    return RequestOutput("r", None, [1, 2], None, completions, finished=False)


def test_deltas_are_put_together_choice_by_choice() -> None:
    trace = Trace()
    record(trace, output((0, "a", [5], None), (1, "x", [6], None)))
    record(trace, output((0, "b", [7, 8], "stop")))
    assert trace.prompt_token_ids == [1, 2]
    assert (trace.choices[0].text, trace.choices[0].token_ids) == ("ab", [5, 7, 8])
    assert trace.choices[0].logprobs == [-1.0] * 3
    assert [trace.choices[i].finish_reason for i in (0, 1)] == ["stop", None]


def test_plain_sampling_is_known_as_plain() -> None:
    found = sampling_in_force(SamplingParams(temperature=0.8, max_tokens=5, seed=4, stop=["x"]))
    assert (found.temperature, found.max_tokens, found.seed) == (0.8, 5, 4)
    assert found.is_plain()


@pytest.mark.parametrize(
    "params",
    [
        {"structured_outputs": StructuredOutputsParams(json_object=True)},
        {"logit_bias": {1: 5.0}},
        {"allowed_token_ids": [1]},
        {"bad_words": ["no"]},
        {"min_tokens": 3},
        {"ignore_eos": True},
        {"top_p": 0.9},
        {"top_k": 5},
        {"min_p": 0.1},
        {"presence_penalty": 0.5},
        {"repetition_penalty": 1.1},
        {"temperature": 0.0},
    ],
    ids=lambda params: next(iter(params)),
)
def test_whatever_bends_the_policy_is_not_plain(params: dict) -> None:
    assert not sampling_in_force(SamplingParams(**params)).is_plain()
