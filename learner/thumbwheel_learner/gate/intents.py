"""What the gate's prompts are about, so that a candidate that is better on the whole cannot be worse at one thing."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of numpy and scipy are partial; what leaves this file is typed)

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from thumbwheel_learner.measures import Array

OTHERS = "others"
PROMPTS_PER_CLUSTER, MOST_CLUSTERS, DIMENSIONS = 40, 8, 16
COMMON = 0.5
"""A word that names a cluster is in so many of its prompts: nobody's name or number."""


def intents_of(
    prompts: Sequence[Sequence[int]],
    given: Sequence[str | None],
    decode: Callable[[Sequence[int]], str],
    *,
    least: int,
) -> list[str]:
    """An intent per prompt: the app's own where it gave one, else what it is like; rare ones are `OTHERS`.

    Prompts of no given intent are clustered by their tokens: tf-idf, latent semantic analysis (Deerwester et al. 1990),
    Ward's method (1963), one cluster for every 40 prompts and eight at most; a cluster is named by its commonest words.
    """
    found = [intent or OTHERS for intent in given]
    unnamed = [n for n, intent in enumerate(given) if not intent]
    clusters = max(1, min(MOST_CLUSTERS, len(unnamed) // PROMPTS_PER_CLUSTER))
    if clusters > 1:
        tokens = [set(prompts[n]) for n in unnamed]
        where = fcluster(linkage(_features(tokens), "ward"), clusters, "maxclust")
        for cluster in sorted(set(where.tolist())):
            mine = [k for k, at in enumerate(where.tolist()) if at == cluster]
            name = _name(tokens, mine, decode, cluster)
            for k in mine:
                found[unnamed[k]] = name
    sizes = Counter(found)
    return [intent if sizes[intent] >= least else OTHERS for intent in found]


def _features(tokens: Sequence[set[int]]) -> Array:
    """[P, D] each prompt in the space of the strongest directions of tf-idf, which all prompts share left out."""
    column = {token: n for n, token in enumerate(sorted(set().union(*tokens)))}
    counts = np.zeros((len(tokens), len(column)))
    for row, said in enumerate(tokens):
        counts[row, [column[token] for token in said]] = 1.0
    weighted = counts * np.log(len(tokens) / counts.sum(axis=0))
    weighted /= np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)
    left, strength, _ = np.linalg.svd(weighted, full_matrices=False)
    return left[:, :DIMENSIONS] * strength[:DIMENSIONS]


def _name(tokens: Sequence[set[int]], mine: Sequence[int], decode: Callable[[Sequence[int]], str], number: int) -> str:
    """The words that most set a cluster apart, of those that are common in it."""
    inside = Counter(token for k in mine for token in tokens[k])
    overall = Counter(token for said in tokens for token in said)
    lift = {t: n / len(mine) - overall[t] / len(tokens) for t, n in inside.items() if n >= COMMON * len(mine)}
    best = sorted(lift, key=lambda t: (-lift[t], t))[:8]
    words = list(dict.fromkeys(w for t in best if len(w := decode([t]).strip()) > 2 and w.isalpha()))[:3]
    return f"like: {', '.join(words)}" if words else f"cluster {number}"
