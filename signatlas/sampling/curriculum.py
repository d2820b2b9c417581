"""How hard the pairs of an epoch are: the quantile alpha over the epochs of training (SCL-SLT, curriculum)."""

from __future__ import annotations

import math
from typing import Literal, get_args

Schedule = Literal["easy", "hard", "linear", "sqrt", "log", "log2"]


def alpha(schedule: Schedule, epoch: int, epochs: int) -> float:
    """The quantile in 0..1 of ``epoch``, counted from 0, of ``epochs``; 0 takes the easiest pairs, 1 the hardest.

    With p = epoch / (epochs - 1), and p = 0 where there is one epoch: ``easy`` 0, ``hard`` 1, ``linear`` p, ``sqrt``
    the root of p, ``log`` log(1 + (epochs - 1) p) / log(epochs), ``log2`` log2(1 + p). The paper's "log" may be either
    of the last two; they differ much: .50 against .14 at p = .1 of 80 epochs. Raises ValueError.
    """
    if not 0 <= epoch < epochs:
        raise ValueError(f"epoch {epoch} is not one of {epochs}, counted from 0")
    if schedule not in get_args(Schedule):
        raise ValueError(f"schedule {schedule!r}: use one of {', '.join(get_args(Schedule))}")
    p = epoch / (epochs - 1) if epochs > 1 else 0.0
    if schedule in ("easy", "hard"):
        return float(schedule == "hard")
    if schedule == "linear":
        return p
    if schedule == "sqrt":
        return math.sqrt(p)
    if schedule == "log2":
        return math.log2(1 + p)
    # The quotient may come out a rounding error above 1.
    return min(1.0, math.log(1 + epoch) / math.log(epochs)) if epochs > 1 else 0.0
