"""The learning rate over a training."""

from __future__ import annotations

import math
from collections.abc import Callable

WARM_UP = 0.1


def warm_up_and_cosine(updates: int) -> Callable[[int], float]:
    """The share of the peak learning rate at each of `updates` weight updates, counted from 0.

    It rises linearly over the first tenth (P. Goyal et al., 2017, https://arxiv.org/abs/1706.02677, section 2.2) and
    is multiplied by a half cosine that falls to 0 at the end (I. Loshchilov, F. Hutter, "SGDR", 2016,
    https://arxiv.org/abs/1608.03983, equation 5).
    """
    warm = max(1.0, WARM_UP * updates)

    def share(update: int) -> float:
        return min(1.0, (update + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, update / updates)))

    return share
