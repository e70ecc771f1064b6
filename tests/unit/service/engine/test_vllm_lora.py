"""The grouped LoRA delta equals one matrix product per row, and rows without an adapter stay as they were."""

import pytest
import torch

from thumbwheel_service.engine.vllm_lora import add_delta, group_rows

SLOTS, RANK, WIDTH_IN, WIDTH_OUT = 4, 3, 8, 6


def row_by_row(
    y: torch.Tensor, x: torch.Tensor, indices: list[int], a: torch.Tensor, b: torch.Tensor, scale: float
) -> torch.Tensor:
    expected = y.clone()
    for row, slot in enumerate(indices):
        if slot >= 0:
            expected[row] += scale * (b[slot, 0] @ (a[slot, 0] @ x[row]))
    return expected


@pytest.mark.parametrize(
    "indices",
    [
        pytest.param([2, 2, 2, 2, 2], id="one adapter for the whole batch"),
        pytest.param([0, 1, 0, 3, 1], id="several adapters, interleaved"),
        pytest.param([-1, 3, -1, 3, 0], id="base requests between adapter requests"),
        pytest.param([-1, -1, -1, -1, -1], id="base requests only"),
    ],
)
def test_grouped_delta_equals_row_by_row(indices: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(SLOTS, 1, RANK, WIDTH_IN, generator=generator)
    b = torch.randn(SLOTS, 1, WIDTH_OUT, RANK, generator=generator)
    x = torch.randn(len(indices), WIDTH_IN, generator=generator)
    y = torch.randn(len(indices), WIDTH_OUT, generator=generator)
    expected = row_by_row(y, x, indices, a, b, 0.5)

    add_delta(y, x, group_rows(torch.tensor(indices)), a, b, 0.5)

    torch.testing.assert_close(y, expected)


def test_rows_without_an_adapter_are_untouched_bit_by_bit_when_every_slot_is_taken() -> None:
    a = torch.ones(SLOTS, 1, RANK, WIDTH_IN)
    b = torch.ones(SLOTS, 1, WIDTH_OUT, RANK)
    y = torch.zeros(2, WIDTH_OUT)

    add_delta(y, torch.ones(2, WIDTH_IN), group_rows(torch.tensor([-1, SLOTS - 1])), a, b, 1.0)

    assert torch.equal(y[0], torch.zeros(WIDTH_OUT))
    assert torch.all(y[1] != 0)
