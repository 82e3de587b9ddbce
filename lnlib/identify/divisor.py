"""Is the variance the mean over n values, or over n − 1? Four probes, the surest first.

With a gain of any size, nothing in the output tells n − 1 from n: the factor √((n−1)/n) hides in
γ and (n−1)/n in ε. So something else has to be known: the same function at another n, the stored
gain, a gain of one, or an ε that someone has typed.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lnlib.identify.model import Array, EpsPlace, Grouping
from lnlib.identify.report import Certainty

Probe = Callable[[Array], Array]
MACHINE = (2.0**-23, 2.0**-52, 2.0**-10)


class Divisor(NamedTuple):
    """What the squares are summed and divided by, and how that was found."""

    ddof: int | None
    """1 for n − 1, 0 for n, None if it cannot be told."""
    norm: bool
    """Whether the sum is not divided at all: the norm in place of the root mean square."""
    probe: str
    certainty: Certainty


def factor(n: int, power: float, ddof: int) -> float:
    """Return what n − 1 in place of n does to the gain."""
    return float(((n - ddof) / n) ** power)


def by_size(
    resized: Callable[[tuple[int, ...]], Array | None], grouping: Grouping, gain: Array,
    power: float, tolerance: float,
) -> Divisor | None:  # fmt: skip
    """Compare the gain with that at another number of values, where the function takes one.

    Args:
        resized: the gain, measured on an input of another shape; None if the function fails.
        grouping: of the original input.
        gain: measured on the original input, with the mean square over n.
        power: of the variance.
        tolerance: relative.
    """
    n = grouping.size
    for axis in (a for a in reversed(grouping.axes) if a != grouping.split):
        shape = tuple(3 * m if a == axis else m for a, m in enumerate(grouping.shape))
        other = resized(shape)
        if other is None:
            continue
        here = tuple(slice(0, m) for m in grouping.shape)
        clear = np.abs(gain) > 0.1 * np.abs(gain).max()
        ratio = float(np.median((other[here] / np.where(clear, gain, 1))[clear]))
        expected = {
            "n": 1.0,
            "n-1": factor(3 * n, power, 1) / factor(n, power, 1),
            "norm": 3.0**-power,
        }
        name = min(expected, key=lambda key: abs(expected[key] - ratio))
        gap = abs(expected["n"] - expected["n-1"])
        if abs(expected[name] - ratio) < gap / 4 and tolerance < 2 * gap:
            probe = f"gain at {n} and {3 * n} values"
            return Divisor(int(name == "n-1"), name == "norm", probe, "certain")
    return None


def by_constant(gain: Array, n: int, power: float, tolerance: float) -> Divisor | None:
    """Take a gain that is everywhere one under one hypothesis for a norm without γ."""
    middle = float(gain.mean())
    if np.ptp(gain) > 4 * tolerance * abs(middle):
        return None
    gap = abs(1 - factor(n, power, 1))
    for ddof in (0, 1):
        if abs(middle - factor(n, power, ddof)) < min(tolerance + 1e-9, gap / 4):
            return Divisor(ddof, False, "the gain would be one everywhere", "likely")
    if abs(middle - n**-power) < tolerance * n**-power:
        return Divisor(0, True, "the gain would be one everywhere", "likely")
    return None


def by_eps(value: float | None, error: float, place: EpsPlace | None, n: int) -> Divisor | None:
    """Take the ε that someone would type."""
    if value is None or place is None or error > value / (8 * n):
        return None
    scores = {ddof: typed(eps_over(value, n, ddof, place), error / value) for ddof in (0, 1)}
    if scores[0] == scores[1]:
        return None
    ddof = min(scores, key=lambda key: scores[key])
    return Divisor(ddof, False, "ε would be a round number", "likely")


def eps_over(value: float, n: int, ddof: int, place: EpsPlace) -> float:
    """Return the ε that was found with the mean square over n, for another divisor."""
    return float(value * (n / (n - ddof)) ** (1.0 if place == "inside" else 0.5))


def typed(value: float, relative: float) -> int:
    """Return how unlikely a number is to have been typed as ε: 0 for 1e-5, 1 for 5e-6, ..."""
    relative = max(relative, 1e-7)
    if any(abs(value / machine - 1) < relative for machine in MACHINE):
        return 0
    mantissa = value / 10.0 ** np.floor(np.log10(value) + relative)
    for score, candidates in enumerate(((1,), (2, 3, 5), (1.5, 2.5, 4, 6, 7, 8, 9))):
        if any(abs(mantissa / c - 1) < relative for c in candidates):
            return score
    return 3


def rounded(value: float, low: float, high: float) -> float:
    """Return the number of fewest digits in an interval, if the interval is narrow."""
    if not 0 < low < high or high - low > 0.2 * value:
        return value
    for machine in MACHINE:
        if low <= machine <= high:
            return machine
    for digits in range(1, 8 if high - low < 0.02 * value else 2):
        candidate = float(f"{value:.{digits - 1}e}")
        if low <= candidate <= high:
            return candidate
    return value
