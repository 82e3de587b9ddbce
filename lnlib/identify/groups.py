"""Which values share statistics, and which outputs depend on inputs they should not see."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lnlib.identify.model import Array, Grouping

Function = Callable[[Array], Array]
TOUCHED = 8  # values changed one at a time


@dataclass(frozen=True)
class Dependence:
    """What depends on what: the groups, and axes along which something else leaks."""

    grouping: Grouping
    leaks: tuple[str, ...]


def dependence(f: Function, shape: tuple[int, ...], noise: float) -> Dependence:
    """Find out which outputs change with which inputs.

    One value is changed, and the outputs that change with it are the group it belongs to; a few
    values at different places tell the axes. Then, along every axis that is not shared, the inputs
    at half of the indices are changed and the outputs at the other half compared; halves by the
    digits of the index in base 2 tell every index from every other.
    """
    rng = np.random.default_rng(2)
    x = rng.normal(size=shape)
    y = f(x)
    tolerance = 32 * noise * np.nanmax(np.abs(y), initial=0)
    places = _places(shape, rng)
    seen = []
    step = 3 + math.sqrt(x.size)
    for place in places:
        changed = np.zeros(shape, bool)
        for signed in (step, -step):  # one of them changes the order
            moved = x.copy()
            moved[place] += signed
            changed |= _differs(f(moved), y, tolerance)
        seen.append(changed)
    alive = _differs(f(x[::-1] + 1 + math.sqrt(x.size) * rng.normal(size=shape)), y, tolerance)
    grouping = _grouping(shape, places, seen, alive)
    leaks = tuple(
        sentence
        for axis in range(len(shape))
        if (sentence := _leak(f, x, y, tolerance, grouping, axis))
    )
    return Dependence(grouping, leaks)


def _places(shape: tuple[int, ...], rng: np.random.Generator) -> list[tuple[int, ...]]:
    corners = [tuple(0 for _ in shape), tuple(n - 1 for n in shape), tuple(n // 2 for n in shape)]
    drawn = [tuple(int(rng.integers(n)) for n in shape) for _ in range(TOUCHED - len(corners))]
    return list(dict.fromkeys(corners + drawn))


def _differs(got: Array, want: Array, tolerance: float) -> Array:
    return np.asarray(~(np.abs(got - want) <= tolerance) & ~(np.isnan(got) & np.isnan(want)))


def _grouping(
    shape: tuple[int, ...], places: list[tuple[int, ...]], seen: list[Array], alive: Array
) -> Grouping:
    """Return the axes shared in full, and the one shared in blocks of neighbors.

    Outputs that never change, as those with a gain of 0, tell nothing.
    """
    axes, split, num_groups = [], None, 1
    for axis, n in enumerate(shape):
        living = _along(alive, axis)
        reached = [_along(changed, axis) & living for changed in seen]
        if len(living) > 1 and all(indices == living for indices in reached):
            axes.append(axis)
        elif n > 1 and split is None and (size := _block(places, reached, living, axis, n)):
            axes.append(axis)
            split, num_groups = axis, n // size
    return Grouping(shape, tuple(axes), split, num_groups)


def _along(changed: Array, axis: int) -> set[int]:
    others = tuple(other for other in range(changed.ndim) if other != axis)
    return set(np.flatnonzero(changed.any(axis=others)).tolist())


def _block(
    places: list[tuple[int, ...]], reached: list[set[int]], living: set[int], axis: int, n: int
) -> int | None:
    """Return the size of the blocks of neighbors along an axis, if it is shared so."""
    for size in (size for size in range(2, n) if n % size == 0):
        first = [place[axis] // size * size for place in places]
        blocks = [set(range(k, k + size)) & living for k in first]
        if blocks == reached and max(map(len, blocks)) > 1:
            return size
    return None


def _leak(
    f: Function, x: Array, y: Array, tolerance: float, grouping: Grouping, axis: int
) -> str | None:
    """Describe a dependence along an axis that the grouping does not explain."""
    n = x.shape[axis]
    if axis in grouping.axes and axis != grouping.split:
        return None
    size = n // grouping.num_groups if axis == grouping.split else 1
    member = np.arange(n) // size  # the group of each index
    noise = 10 * np.random.default_rng(3).normal(size=x.shape)

    def reached(at: Array) -> set[int]:
        """Return the indices outside the changed ones whose outputs change."""
        along = at.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        changed = _differs(f(x + noise * along), y, tolerance)
        return _along(changed, axis) - set(np.flatnonzero(at).tolist())

    bits = range(max(int(member[-1]).bit_length(), 0))
    if not any(reached((member >> bit & 1) == value) for bit in bits for value in (1, 0)):
        return None
    later, earlier = member == member[-1], member == 0
    back, forth = reached(later), reached(earlier)
    where = f"along axis {axis}"
    if back and not forth:
        return f"outputs depend on later positions {where}: a leak from the future"
    if forth and not back:
        return f"outputs depend on earlier positions {where}"
    return f"outputs depend on other rows or positions {where}, which share no statistics with them"
