"""What the parameters that a function holds say about the gain that its outputs show."""

import re
from typing import Literal, NamedTuple

import numpy as np

from lnlib.identify.divisor import factor
from lnlib.identify.libraries import Parameters
from lnlib.identify.model import Array

NO_GAIN = re.compile(r"bias|beta|shift|offset|mean|var|num_batches|alpha|eps", re.IGNORECASE)
FORMS: tuple[Literal["weight", "1 + weight"], ...] = ("weight", "1 + weight")


class Gain(NamedTuple):
    """How the gain is stored, and which divisor that leaves."""

    name: str
    form: Literal["weight", "1 + weight"]
    ddof: int
    norm: bool
    """Whether the sum of squares is not divided at all."""
    stored: Array
    """In the shape of the input."""


def match(
    gain: Array, parameters: Parameters, n: int, power: float, tolerance: float
) -> Gain | None:
    """Return the parameter that is the gain, as it is or plus one, over n, n − 1 or undivided."""
    factors = {(0, False): 1.0, (1, False): factor(n, power, 1), (0, True): float(n) ** -power}
    found = []
    for name, parameter in parameters.items():
        for stored in [] if NO_GAIN.search(name) else spreads(parameter, gain.shape):
            for form in FORMS:
                for (ddof, norm), by in factors.items() if n > 1 else [((0, False), 1.0)]:
                    want = (stored + (form == "1 + weight")) * by
                    error = float(np.abs(gain - want).mean())
                    size = max(float(np.abs(want).mean()), 1e-12)
                    found.append((error / size, Gain(name, form, ddof, norm, stored)))
    best = min(found, key=lambda each: each[0], default=None)
    return best[1] if best and best[0] < tolerance else None


def shift_name(shift: Array, held: Gain | None, parameters: Parameters) -> str | None:
    """Return the name of the parameter that is the shift."""
    for name, parameter in parameters.items():
        if held is not None and name == held.name:
            continue
        for stored in spreads(parameter, shift.shape):
            if np.abs(stored - shift).max() < 1e-4 * max(1.0, float(np.abs(shift).max())):
                return name
    return None


def misused(gain: Array, parameters: Parameters) -> str | None:
    """Say what was done to a stored gain that is not the gain, if it has the name of one."""
    for name, parameter in parameters.items():
        if not re.search(r"weight|gamma|scale|gain", name, re.IGNORECASE) or NO_GAIN.search(name):
            continue
        for stored in spreads(parameter, gain.shape):
            if np.abs(stored**2 - gain).max() < 1e-3 * max(np.abs(gain).max(), 1e-12):
                return f"{name} is applied twice"
            if np.abs(stored - gain).max() < 1e-3 * max(np.abs(gain).max(), 1e-12):
                return None
            return f"the gain is neither {name} nor 1 + {name}"
    return None


def spreads(parameter: Array, shape: tuple[int, ...]) -> list[Array]:
    """Return a parameter in the shape of the input, in each way in which it fits."""
    fits = []
    if parameter.ndim == 1:
        for axis in reversed(range(len(shape))):
            if parameter.size in (shape[axis], 1):
                view = [-1 if a == axis else 1 for a in range(len(shape))]
                fits.append(np.broadcast_to(parameter.reshape(view), shape))
    else:
        try:
            fits.append(np.broadcast_to(parameter, shape))
        except ValueError:
            pass
    return fits


class Running(NamedTuple):
    """Batch norm in evaluation: the running statistics that its slope is made of."""

    eps: float | None
    """None if rounding hides it."""
    margin: float
    """By how much rounding may have moved it."""


def running(slope: Array, shift: Array, parameters: Parameters, tolerance: float) -> Running | None:
    """Explain an affine map by stored means and variances, and return the ε this takes."""
    by_role: dict[str, list[Array]] = {"mean": [], "var": [], "weight": [], "bias": []}
    roles = {"mean": r"mean", "var": r"var", "weight": r"weight|gamma|scale", "bias": r"bias|beta"}
    for name, parameter in parameters.items():
        last = name.rsplit(".", 1)[-1].rsplit("/", 1)[-1]
        role = next((r for r, pattern in roles.items() if re.search(pattern, last)), None)
        if role and parameter.ndim:
            by_role[role] += spreads(parameter, slope.shape)
    ones, zeros = [np.ones_like(slope)], [np.zeros_like(slope)]
    for mean in by_role["mean"]:
        for var in by_role["var"]:
            for weight in by_role["weight"] or ones:
                for bias in by_role["bias"] or zeros:
                    size = max(float(np.abs(shift).max()), float(np.abs(bias).max()), 1.0)
                    if np.abs(bias - mean * slope - shift).max() > tolerance * size:
                        continue
                    each = (weight / slope) ** 2 - var
                    eps = float(np.median(each))
                    spread = tolerance * float((var + abs(eps)).max())  # of var + ε, relative
                    if np.abs(each - eps).max() < 8 * spread and eps > -spread:
                        return Running(eps if eps > spread else None, spread / 4)
    return None
