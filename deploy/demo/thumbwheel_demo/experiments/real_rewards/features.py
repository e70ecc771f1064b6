"""All that is read of the answers of a data set, each kind by itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thumbwheel_demo.experiments.real_rewards.preferences import Question, flat
from thumbwheel_demo.experiments.real_rewards.surface import surface
from thumbwheel_demo.experiments.real_rewards.token_embeddings import TokenEmbeddings

Array = NDArray[np.float64]


class Features(NamedTuple):
    """Of all answers, in order."""

    surface: Array
    """[A, F] what can be counted without reading."""
    embedded: Array
    """[A, width] mean embedding."""
    nearness: Array
    """[A, 1] of that to the prompt's."""
    states: list[Array]
    """[A, width] of every layer that was read."""


def features_of(questions: Sequence[Question], model: Path, kept: Path | None) -> Features:
    """`kept`: where states are left for a later call, once they are read; None does not read them."""
    data = flat(questions)
    embedded = TokenEmbeddings(model).features(data.prompts, data.answers)
    states: list[Array] = [] if kept is None else _states(questions, model, kept)
    return Features(surface(data.prompts, data.answers), embedded[:, :-1], embedded[:, -1:], states)


def _states(questions: Sequence[Question], model: Path, kept: Path) -> list[Array]:
    from thumbwheel_demo.experiments.real_rewards.frozen_features import Reading, read_all

    reading = Reading()
    return np.split(read_all(model, questions, reading, kept), len(reading.layers), axis=1)
