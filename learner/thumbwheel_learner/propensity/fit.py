"""Two convex fits of a logistic P(vote): by likelihood, and so that weighed votes resemble all conversations."""

from collections.abc import Callable

import numpy as np

from thumbwheel_learner.measures import Array, sigmoid

STEPS, HALVINGS = 100, 40
CLOSE = 1e-9
"""Newton's decrement per row at which a fit is done."""
STEEPEST = 500.0
"""Exponents beyond it would overflow; no step that gets there lowers the loss."""

Objective = Callable[[Array], tuple[float, Array, Array]]
"""Coefficients [D] -> loss, gradient [D], Hessian [D, D]."""


class NoFit(ValueError):
    """Newton's method found no minimum; the message says after how many steps."""


def minimise(objective: Objective, start: Array) -> Array:
    """[D] the minimum of a convex function by Newton's method with halved steps; raises `NoFit`."""
    at = start
    loss, gradient, hessian = objective(at)
    for _ in range(STEPS):
        step = np.linalg.lstsq(hessian, gradient)[0].astype(np.float64)
        decrement = float(gradient @ step)
        if decrement < CLOSE * max(1.0, abs(loss)):
            return at
        for halved in range(HALVINGS):
            size = 0.5**halved
            tried = objective(at - size * step)
            if tried[0] <= loss - 0.1 * size * decrement:
                at = at - size * step
                break
        else:
            return at
        loss, gradient, hessian = tried
    raise NoFit(f"no minimum after {STEPS} steps; are the features nearly the same, or hugely different in size?")


def likeliest(rows: Array, outcomes: Array, penalty: Array) -> Array:
    """[D] coefficients of a logistic regression of `outcomes` [N] on `rows` [N, D], `penalty` [D] on their squares."""

    def objective(at: Array) -> tuple[float, Array, Array]:
        score: Array = rows @ at
        chance = sigmoid(score)
        loss = float(np.sum(np.logaddexp(0, score) - outcomes * score) + 0.5 * np.sum(penalty * at**2))
        hessian = (rows * (chance * (1 - chance))[:, None]).T @ rows + np.diag(penalty)
        return loss, rows.T @ (chance - outcomes) + penalty * at, hessian

    return minimise(objective, np.zeros(int(rows.shape[1])))


def balanced(rows: Array, voted: Array, tilt: Array, penalty: Array) -> Array:
    """[D] α of P(vote) = σ(αx + tilt) for which the votes, each over its P(vote), add up to all conversations.

    `rows` [N, D] with a constant first, `voted` [N] 1 or 0, `tilt` [N] what is known of the log-odds besides, read
    where there is a vote. Without penalty the solution fulfils Σ voted · x / P(vote) = Σ x for every feature: the
    calibration equations of nonresponse that depends on the answer (Kim and Yu 2011, JASA 106; Scharfstein, Rotnitzky
    and Robins 1999, JASA 94), here as the minimum of a convex function.
    """
    spoken = voted > 0.5
    own = tilt[spoken]

    def objective(at: Array) -> tuple[float, Array, Array]:
        score: Array = rows @ at
        odds = np.exp(np.minimum(-(score[spoken] + own), STEEPEST))
        loss = float(odds.sum() + score[~spoken].sum() + 0.5 * np.sum(penalty * at**2))
        gradient = rows[~spoken].sum(axis=0) - odds @ rows[spoken] + penalty * at
        return loss, gradient, (rows[spoken] * odds[:, None]).T @ rows[spoken] + np.diag(penalty)

    start = np.zeros(int(rows.shape[1]))
    silent = max(1.0, float(np.sum(~spoken)))
    start[0] = np.log(max(1.0, float(spoken.sum())) / silent) - (float(own.mean()) if len(own) else 0.0)
    return minimise(objective, start)
