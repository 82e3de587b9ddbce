r"""Compare arms in pairs: the same data, order and start for both, so that only the arm differs.

A statement about two arms rests on their mean difference $\bar d$ and its standard error
$\text{SE} = s_d/\sqrt n$ over $n$ pairs, never on the extremes of either: "better by more than
$b$" means $\bar d - 3\,\text{SE} > b$, "no difference" means that $|\bar d| + 2\,\text{SE} < b$
for a bound $b$ that one would call small. Needs the extra `book` (SciPy).

Example:
    >>> lead = paired([0.91, 0.93, 0.90], [0.85, 0.88, 0.83])
    >>> print(lead)
    0.060 ± 0.006 (n = 3)
    >>> lead.exceeds(0.03), lead.within(0.03)
    (True, False)

Source: for data splits that overlap, C. Nadeau, Y. Bengio (2003),
https://doi.org/10.1023/A:1024068626366.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from lnlib.experiments.sweeps import Row

Values = Sequence[float | None]


@dataclass(frozen=True)
class Paired:
    """What one arm has more than another, for each pair.

    Args:
        differences: one for each pair, at least two, all finite.

    Raises:
        ValueError: if there are fewer than two, or one is not finite.
    """

    differences: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check the differences."""
        if self.n < 2 or not np.isfinite(self.differences).all():
            raise ValueError(
                f"differences must be two or more finite numbers, got {self.differences.tolist()}; "
                "run more seeds, or say what a run that diverged counts as: paired(diverged=...)"
            )

    @property
    def n(self) -> int:
        """The number of pairs."""
        return len(self.differences)

    @property
    def mean(self) -> float:
        """The mean difference."""
        return float(self.differences.mean())

    @property
    def error(self) -> float:
        """The standard error of the mean difference."""
        return float(self.differences.std(ddof=1) / math.sqrt(self.n))

    def exceeds(self, bound: float = 0.0, errors: float = 3.0) -> bool:
        """Say whether the mean difference lies above a bound by more than its standard errors."""
        return self.mean - errors * self.error > bound

    def within(self, bound: float, errors: float = 2.0) -> bool:
        """Say whether the arms are equivalent up to a bound."""
        return abs(self.mean) + errors * self.error < bound

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return Student's confidence interval of the mean difference."""
        reach = float(stdtrit(self.n - 1, (1 + confidence) / 2)) * self.error
        return self.mean - reach, self.mean + reach

    def __neg__(self) -> "Paired":
        """Return the comparison with the arms swapped."""
        return Paired(-self.differences)

    def __mul__(self, unit: float) -> "Paired":
        """Return the comparison in other units, as in `100 * lead` for percent."""
        return Paired(self.differences * unit)

    __rmul__ = __mul__

    def __format__(self, spec: str) -> str:
        """Write mean ± standard error with a format for numbers, by default `.3f`."""
        spec = spec or ".3f"
        return f"{self.mean:{spec}} ± {self.error:{spec}} (n = {self.n})"

    def __str__(self) -> str:
        """Write mean ± standard error."""
        return f"{self}"


def paired(arm: Values, other: Values, *, diverged: float | None = None) -> Paired:
    """Return what an arm has more than another, pair by pair.

    Args:
        arm: a score for each seed; None or not finite where the run diverged.
        other: the same, for the same seeds in the same order.
        diverged: what a run that diverged counts as, such as the score of guessing.

    Raises:
        ValueError: if the arms do not pair, or a run diverged and nothing says what it counts as.

    Example:
        >>> paired([0.9, 0.8], [0.5, None], diverged=0.1).differences.round(1).tolist()
        [0.4, 0.7]
    """
    if len(arm) != len(other):
        raise ValueError(
            f"other must hold a score for each of the {len(arm)} seeds of arm, got {len(other)}; "
            "pass the runs of the same seeds, in the same order"
        )
    return Paired(_scores("arm", arm, diverged) - _scores("other", other, diverged))


def _scores(name: str, values: Values, diverged: float | None) -> NDArray[np.float64]:
    found = np.array([math.nan if v is None else v for v in values], dtype=float)
    lost = ~np.isfinite(found)
    if diverged is not None:
        found[lost] = diverged
    elif lost.any():
        raise ValueError(
            f"{name}: {lost.sum()} of {len(found)} runs diverged; "
            "pass diverged=, the score that such a run counts as"
        )
    return found


def effects(
    rows: Iterable[Row], factors: Mapping[str, tuple[Hashable, Hashable]], value: str, *,
    pair: str = "seed", diverged: float | None = None,
) -> dict[tuple[str, ...], Paired]:  # fmt: skip
    """Return main effects and interactions of two-level factors that were fully crossed.

    A main effect is the mean at a factor's second level minus the mean at its first, over all
    others. The interaction of two is how much larger the effect of one is at the second level of
    the other than at its first, and so on. Each is computed within each pair.

    Args:
        rows: one run each, with the columns of the factors, `value` and `pair`.
        factors: for each column its two levels, the first and the second.
        value: the column of scores; None where the run diverged.
        pair: the column that tells the pairs apart.
        diverged: what a run that diverged counts as.

    Returns:
        For each set of factors, in the order given, its effect.

    Raises:
        ValueError: if a run of the crossing is missing or there twice, or one diverged.

    Example:
        >>> rows = [
        ...     {"late": late, "norm": norm, "seed": seed, "score": 2 * late + late * norm + seed}
        ...     for late in (0, 1) for norm in (0, 1) for seed in (0, 1, 2)
        ... ]
        >>> found = effects(rows, {"late": (0, 1), "norm": (0, 1)}, "score")
        >>> {" × ".join(names): effect.mean for names, effect in found.items()}
        {'late': 2.5, 'norm': 0.5, 'late × norm': 1.0}
    """
    rows = [*rows]
    scores = {(row[pair], *(row[name] for name in factors)): row[value] for row in rows}
    pairs = sorted({row[pair] for row in rows})
    cells = [*product(pairs, *factors.values())]
    if len(rows) != len(cells) or set(scores) != set(cells):
        missing, strange = set(cells) - set(scores), set(scores) - set(cells)
        raise ValueError(
            f"rows must hold each combination of {[pair, *factors]} once, got {len(rows)} rows for "
            f"{len(cells)} combinations, {len(missing)} of these missing, {len(strange)} others; "
            "run what is missing, or choose the rows to compare"
        )
    table = _scores("rows", [scores[cell] for cell in cells], diverged)
    table = table.reshape(len(pairs), *[2] * len(factors))
    sets = (chosen for size in range(len(factors)) for chosen in combinations(factors, size + 1))
    return {chosen: Paired(_contrast(table, [*factors], chosen)) for chosen in sets}


def _contrast(
    table: NDArray[np.float64], factors: Sequence[str], chosen: Sequence[str]
) -> NDArray[np.float64]:
    """Subtract the first level from the second along the chosen axes, and average the others."""
    for axis, name in reversed([*enumerate(factors, 1)]):
        first, second = np.moveaxis(table, axis, 0)
        table = second - first if name in chosen else (first + second) / 2
    return table
