"""Two ways to rank the same passages become one (reciprocal rank fusion: Cormack, Clarke and Büttcher, 2009). Pure."""

from collections.abc import Hashable, Sequence
from typing import Final

SMOOTHING: Final = 60
"""The paper's constant: how little it matters whether something is first or second in one ranking."""


def fused[ItemT: Hashable](*rankings: Sequence[ItemT]) -> list[ItemT]:
    """All items, the best one first: high in one ranking is good, high in both is better."""
    scores: dict[ItemT, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + 1 / (SMOOTHING + rank)
    return sorted(scores, key=lambda item: -scores[item])
