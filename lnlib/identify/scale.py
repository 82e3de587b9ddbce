r"""What a norm divides by: one direction, stretched over many scales.

Along a direction $d$ of mean 0 and mean square 1, a norm returns $\gamma d\,A(t) + \beta$ for the
input $td$. The amplitude $A$ of one number tells all: the slope for large $t$ is the power of the
root, the bend is ε, and its shape is the place of ε.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lnlib.identify.model import Array, EpsPlace, Grouping

Function = Callable[[Array], Array]
DECADES = np.arange(-18.0, 9.5)
POWERS = {0: 0.5, -1: 1.0, -3: 2.0, 2: -0.5}  # slope for large t: power of the variance


@dataclass(frozen=True)
class Eps:
    """ε with an interval, and where it stands; None where the bend is out of reach."""

    value: float | None
    low: float
    high: float
    place: EpsPlace | None

    @property
    def clear(self) -> float:
        """A scale far above the bend, where ε does not count."""
        if self.value is not None:
            reach = self.value**0.5 if self.place == "inside" else self.value
        else:
            reach = self.high if self.low else 0.0
        return max(1.0, (1e3 if self.value else 1e5) * reach)


@dataclass(frozen=True)
class Profile:
    """What stretching one direction has shown."""

    shift: Array
    """β: half the sum of the outputs for d and −d."""
    odd: float
    """How far the sums at two scales differ, relative to the output; 0 for every norm."""
    noise: float
    """Rounding, relative to the output."""
    bend: float
    """How far the pattern of the output changes with the scale; 0 for every norm."""
    power: float | None
    """Of the variance; ½ for a norm, 0 for an affine map, None if it is no power."""
    gain: Array
    """γ, with the mean square taken over n."""
    eps: Eps


def direction(grouping: Grouping, dtype: str, seed: int = 4) -> Array:
    """Return a direction with mean 0 and mean square 1 in each group, none of its values small."""
    rng = np.random.default_rng(seed)
    sign = np.where(rng.random(grouping.shape) < 0.5, -1.0, 1.0)
    d = sign * rng.uniform(0.6, 1.4, grouping.shape)
    for _ in range(3):
        if grouping.size > 1:
            d = d - grouping.mean(d)
        d = d / np.sqrt(grouping.mean(d**2))
        d = np.where(np.abs(d) < 0.2, np.copysign(0.3, d), d) if grouping.size > 4 else d
    if grouping.size > 1:
        d = d - grouping.mean(d)
    d = d / np.sqrt(grouping.mean(d**2))
    return d.astype("float32" if dtype == "float16" else dtype).astype(float)


def profile(f: Function, d: Array, active: Array, unit: float) -> Profile:
    """Stretch a direction and fit what comes back.

    Args:
        f: the function.
        d: a direction of mean 0 and mean square 1 in each group.
        active: which values are looked at; the others are held at 0.
        unit: the relative rounding of the dtype.
    """
    d = np.where(active, d, 0)

    def at(t: float) -> Array:
        return np.where(active, f(t * d), 0)

    plus, minus, double, back = at(1.0), at(-1.0), at(7.0), at(-7.0)
    shift = (plus + minus) / 2
    top = max(np.abs(plus).max(), np.abs(double).max(), 1e-300)
    odd = float(np.abs((double + back) / 2 - shift).max() / top)
    pattern = (plus - minus) / 2
    norm = float((pattern**2).sum())
    reach = 1 + np.abs(shift).max() / max(np.abs(pattern).max(), 1e-300)

    def amplitude(t: float) -> tuple[float, float]:
        g = at(t) - shift
        a = float((g * pattern).sum() / norm) if norm else 0.0
        rest = float(np.sqrt(((g - a * pattern) ** 2).sum() / norm)) if norm else 0.0
        return a, rest

    scale = 10.0**DECADES
    found = np.array([amplitude(t) for t in scale])
    a, rest = found[:, 0], found[:, 1]
    usable = np.isfinite(a) & np.isfinite(rest) & (np.abs(a) > 0)
    relative = rest / np.where(usable, np.abs(a), 1)
    usable &= relative < 0.1
    middle = np.isfinite(relative) & (a != 0) & (DECADES >= -1) & (DECADES <= 2)
    noise = max(float(np.median(relative[middle])) if middle.any() else 0.0, 2 * unit) * reach
    bend = float(relative[middle].max()) if middle.any() else np.inf
    power = _power(scale[usable], a[usable], noise)
    if power is None or power == 0 or not norm:
        nothing = Eps(None, 0.0, np.inf, None)
        gain = _slopes(at, shift, d, scale, usable) if power == 0 else pattern / _nonzero(d)
        return Profile(shift, odd, noise, bend, power, gain, nothing)
    limit = _limit(scale[usable], a[usable], power, DECADES[usable], noise)
    eps = _eps(amplitude, scale[usable], a[usable], power, limit, noise)
    return Profile(shift, odd, noise, bend, power, limit * pattern / _nonzero(d), eps)


def _nonzero(d: Array) -> Array:
    return np.where(d == 0, 1, d)


def _slopes(
    at: Callable[[float], Array], shift: Array, d: Array, scale: Array, usable: Array
) -> Array:
    t = scale[usable & (scale < 1e4)][-1] if (usable & (scale < 1e4)).any() else 1.0
    return np.asarray((at(t) - shift) / t / _nonzero(d))


def _power(scale: Array, a: Array, noise: float) -> float | None:
    """Return the power of the variance from the slope over the largest scales."""
    if len(scale) < 3:
        return None
    slopes = np.diff(np.log10(np.abs(a))) / np.diff(np.log10(scale))
    clear = slopes[scale[1:] > 1e-3] if (scale[1:] > 1e-3).any() else slopes
    if np.all(np.abs(clear - 1) < 0.02 + 2 * noise):
        return 0.0
    last = float(np.median(slopes[-3:]) if scale[-1] > 1e5 else slopes[-1])  # float16 ends early
    for slope, power in POWERS.items():
        if abs(last - slope) < 0.02 + 4 * noise:
            return power
    return None


def _limit(scale: Array, a: Array, power: float, decades: Array, noise: float) -> float:
    """Return the factor of the large scales, where ε no longer counts."""
    level = a * scale ** (2 * power - 1)
    flat = [float(np.median(level[-k:])) for k in (1, 2, 3)]
    spread = max(flat) - min(flat)
    return flat[2] if spread <= 16 * noise * abs(flat[0]) else flat[0]


def _eps(
    amplitude: Callable[[float], tuple[float, float]],
    scale: Array, a: Array, power: float, limit: float, noise: float,
) -> Eps:  # fmt: skip
    """Find the scale at which the amplitude bends, look closer there, and fit each place."""

    def bent(t: Array, a: Array) -> Array:
        """Return what the bend leaves of a root's amplitude, 1 for large scales."""
        ratio = np.abs(a / limit) * t ** (2 * power - 1)
        return np.asarray(ratio ** (0.5 / power))

    q = bent(scale, a)
    below = np.flatnonzero(q < 0.5)
    if not len(below) or below[-1] + 1 >= len(scale):
        smallest = float(scale[0])
        return Eps(None, 0.0, smallest * max(smallest, np.sqrt(noise)), None)
    first = below[-1]
    ends = np.log(q[first : first + 2])
    part = (np.log(0.5) - ends[0]) / max(ends[1] - ends[0], 1e-12)
    middle = scale[first] * (scale[first + 1] / scale[first]) ** np.clip(part, 0, 1)
    t = middle * 2.0 ** np.arange(-2.5, 2.75, 0.5)
    q = bent(t, np.array([amplitude(value)[0] for value in t]))
    fits = {place: _fit(place, t, q, noise) for place in ("inside", "outside", "max")}
    best = min(fits, key=lambda place: fits[place][2])
    value, error, misfit = fits[best]
    if not misfit < 3e-4 + 30 * noise:
        return Eps(None, float(t[0] ** 2), float(t[-1]), None)
    return Eps(value, max(value - error, 0.0), value + error, best)  # type: ignore[arg-type]


def _fit(place: str, t: Array, q: Array, noise: float) -> tuple[float, float, float]:
    """Return ε, its uncertainty and the misfit, if ε stands at a place."""
    q = np.clip(q, 1e-9, 1)
    keep = q < 0.97
    if not keep.any():
        return 0.0, np.inf, np.inf
    if place == "inside":
        each, sensitivity = t**2 * (1 / q**2 - 1), 2 / (1 - q**2)
    elif place == "outside":
        each, sensitivity = t * (1 / q - 1), 1 / (1 - q)
    else:
        each, sensitivity = t / q, np.ones_like(q)
    each, weight = each[keep], 1 / sensitivity[keep] ** 2
    value = float((each * weight).sum() / weight.sum())
    predicted = {
        "inside": t / np.sqrt(t**2 + value),
        "outside": t / (t + value),
        "max": t / np.maximum(t, value),
    }[place]
    misfit = float(np.sqrt(np.mean((predicted - q) ** 2)))
    error = value * max(16 * noise, 4 * misfit, 1e-10)
    return value, error, misfit
