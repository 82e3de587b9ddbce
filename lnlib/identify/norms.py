"""The norm that a function was fitted as: its unknowns, one probe each, and the check of all."""

from typing import Any

import numpy as np

from lnlib.identify import divisor as over
from lnlib.identify import kind, precision, stored
from lnlib.identify.calling import Subject
from lnlib.identify.divisor import Divisor
from lnlib.identify.libraries import Failed
from lnlib.identify.model import Array, Grouping, Model
from lnlib.identify.report import PLACES, Finding, Kind, Report
from lnlib.identify.scale import Eps, Profile, direction

POWER_FAULTS = {
    1.0: "divides by the variance, not by its root",
    2.0: "divides by the square of the variance, not by its root",
    -0.5: "multiplies by the root of the variance, where it should divide",
}


def norm(
    subject: Subject, grouping: Grouping, seen: Profile, active: Array, before: Any,
    findings: tuple[Finding, ...],
) -> Report:  # fmt: skip
    """Report a norm, if the model with all that was found computes what the function does."""
    power = float(seen.power or 0.5)
    centering = _centering(subject, grouping, seen, active, power)
    gain = np.where(active, seen.gain, np.nan) if not active.all() else seen.gain
    gain = _filled(gain)
    shift = _filled(np.where(active, seen.shift, np.nan))
    tolerance = 8 * seen.noise
    division, held = _division(subject, grouping, seen, gain, before, power, tolerance)
    eps, ddof = seen.eps, division.ddof or 0
    value = _eps(eps, grouping.size, division)
    if eps.value is None and not eps.low and not np.isfinite(subject(np.zeros_like(gain))).all():
        value = 0.0
    weight = gain / over.factor(grouping.size, power, ddof)
    model = Model(
        grouping, *centering, power, ddof,
        _model_eps(eps, grouping.size, ddof), eps.place or "inside", weight, shift,
    )  # fmt: skip
    called = kind.type_name(subject.original)
    gain = kind.settled(gain, max(1e-4, 32 * seen.noise))
    shift = kind.settled(shift, max(1e-4, 32 * seen.noise))
    named, ambiguous = kind.name(grouping, centering[0], gain, called)
    misfit = _misfit(subject, model, active, eps)
    noise = seen.noise
    if 300 * noise < misfit < 0.02 and _groups_only(subject, model, active, noise):
        noise = misfit  # statistics in half precision, all else in a wider dtype
    if not misfit < 300 * noise + 1e-9:
        off = _unlike(subject, model, active, misfit, direction(grouping, subject.dtype))
        axes = grouping.axes
        return Report(shape=subject.shape, axes=axes, faults=(off,), findings=findings)
    faults = []
    if power != 0.5:
        faults.append(POWER_FAULTS[power])
    if centering[0] != centering[1]:
        numerator, squares = ("", "not ") if centering[0] else ("not ", "")
        faults.append(
            f"the mean is {numerator}subtracted from the values, but {squares}from what is squared"
        )
    if before and held is None and (fault := stored.misused(gain, before)):
        faults.append(fault)
    if division.norm:
        faults.append("this is L2 normalization: the sum of squares is not divided by n")
    final: Kind = "unknown" if division.norm else named
    shown = gain / over.factor(grouping.size, power, ddof) if held is None else held.stored
    interval = None
    if eps.value is not None:
        scale = value / eps.value if value is not None else 1.0
        interval = (eps.low * scale, eps.high * scale)
    elif np.isfinite(eps.high):
        interval = (eps.low, eps.high)
    report = Report(
        kind=final,
        axes=grouping.axes,
        num_groups=_num_groups(named, grouping),
        centered=centering[0],
        divisor=None if division.ddof is None or division.norm else ("n", "n-1")[division.ddof],
        eps=value, eps_place=eps.place,
        weight=kind.compact(shown, named, grouping, gain),
        bias=kind.compact(shift, named, grouping, shift if np.ptp(shift) else gain),
        gain=held.form if held else None,
        stored_as=(held.name if held else None, stored.shift_name(shift, held, before)),
        faults=tuple(faults),
        eps_interval=interval, shape=subject.shape, model=model,
        findings=(
            *findings,
            *_say(seen, grouping.size, division, held, value, ambiguous, centering, misfit),
        ),
    )  # fmt: skip
    if active.all():
        report = precision.statistics(subject, report, held, noise)
    return report


def _num_groups(named: str, grouping: Grouping) -> int | None:
    if named != "group":
        return None
    if grouping.split is not None:
        return grouping.num_groups
    channels = [a for a in range(1, len(grouping.shape)) if a not in grouping.axes]
    return grouping.shape[channels[0]] if channels else 1


def _centering(
    subject: Subject, grouping: Grouping, seen: Profile, active: Array, power: float
) -> tuple[bool, bool]:
    """Shift a direction by a constant, and see whether values and statistics notice."""
    d = np.where(active, direction(grouping, subject.dtype, seed=7), 0)
    t = 4.0 if seen.eps.value is None else max(4.0, 4 * _reach(seen.eps))
    x = t * d + np.where(active, 3 * t, 0)
    got = np.where(active, subject(x) - seen.shift, 0)
    if grouping.size == 1:
        return True, True
    errors = {}
    for pair in ((True, True), (False, False), (True, False), (False, True)):
        eps = seen.eps.value or 0.0
        place = seen.eps.place or "inside"
        model = Model(grouping, *pair, power, 0, eps, place, seen.gain, np.zeros_like(d))
        errors[pair] = float(np.abs(np.where(active, model(x), 0) - got).max())
    return min(errors, key=lambda pair: errors[pair])


def _reach(eps: Eps) -> float:
    value = eps.value or 0.0
    return float(np.sqrt(value) if eps.place == "inside" else value)


def _filled(values: Array) -> Array:
    """Fill what was not looked at with what was found for the one group."""
    if not np.isnan(values).any():
        return values
    for axis in range(values.ndim):
        best = np.nanmean(values, axis=axis, keepdims=True)
        values = np.where(np.isnan(values), best, values)
    return values


def _division(
    subject: Subject, grouping: Grouping, seen: Profile, gain: Array, before: Any, power: float,
    tolerance: float,
) -> tuple[Divisor, stored.Gain | None]:  # fmt: skip
    n = grouping.size
    gap = abs(1 - over.factor(n, power, 1)) if n > 1 else 0.0
    held = stored.match(gain, before, n, power, max(tolerance, 1e-6))
    if gap < 4 * seen.noise:
        why = "rounding is coarser than what n − 1 changes" if n > 1 else "one value has none"
        return Divisor(None, False, why, "open"), held
    if held is not None:
        probe = f"the gain is the stored {held.name}"
        return Divisor(held.ddof, held.norm, probe, "certain"), held

    def resized(shape: tuple[int, ...]) -> Array | None:
        other = grouping.resized(shape)
        d = direction(other, subject.dtype)
        t = max(1e3, 1e3 * _reach(seen.eps))
        try:
            plus, minus = subject(t * d), subject(-t * d)
        except Failed:
            return None
        return np.asarray((plus - minus) / 2 / d * t ** (2 * power - 1))

    found = over.by_constant(gain, n, power, tolerance)
    found = found or over.by_size(resized, grouping, gain, power, tolerance)
    eps = seen.eps
    found = found or over.by_eps(eps.value, eps.high - eps.low, eps.place, n)
    unknown = "a gain of any size hides √((n−1)/n)"
    return found or Divisor(None, False, unknown, "open"), held


def _eps(eps: Eps, n: int, division: Divisor) -> float | None:
    if eps.value is None or eps.place is None:
        return None
    if division.norm:
        value = eps.value * (n if eps.place == "inside" else n**0.5)
        relative = (eps.high - eps.low) / eps.value
        return over.rounded(value, value * (1 - relative), value * (1 + relative))
    value = over.eps_over(eps.value, n, division.ddof or 0, eps.place)
    scale = value / eps.value
    return over.rounded(value, eps.low * scale, eps.high * scale)


def _model_eps(eps: Eps, n: int, ddof: int) -> float:
    return over.eps_over(eps.value or 0.0, n, ddof, eps.place or "inside")


def _misfit(subject: Subject, model: Model, active: Array, eps: Eps) -> float:
    """Return the largest difference to the function on inputs of other kinds, relative.

    Where ε is not known, the inputs are so large that it does not count.
    """
    rng = np.random.default_rng(8)
    shape = subject.shape
    inputs = [rng.normal(size=shape) + 0.7, 2 * rng.normal(size=shape) ** 3]
    if eps.value is None:
        inputs = [eps.clear * x for x in inputs]
    else:
        inputs.append(_reach(Eps(model.eps, 0, 0, model.place)) * rng.normal(size=shape))
    worst = 0.0
    for x in inputs:
        x = np.where(active, x.astype("float32").astype(float), 0)
        want, got = model(x), subject(x)
        size = max(np.abs(np.where(active, want, 0)).max(), 1e-300)
        error = np.abs(np.where(active, got - want, 0)).max() / size
        worst = max(worst, float(error) if np.isfinite(error) else np.inf)
    return worst


def _groups_only(subject: Subject, model: Model, active: Array, noise: float) -> bool:
    """Say whether the function is off by one factor in each group."""
    rng = np.random.default_rng(8)
    mean, apart = model.grouping.mean, []
    for size in (1, 16):  # what rounds does so at every size, what ε does not explain fades
        x = size * (rng.normal(size=subject.shape) + 0.7)
        x = np.where(active, x.astype("float32").astype(float), 0)
        want = np.where(active, model(x) - model.bias, 0)
        got = np.where(active, subject(x) - model.bias, 0)
        factor = mean(got * want) / np.where(active, mean(want**2), 1)
        if not np.abs(got - factor * want).max() < 300 * noise * np.abs(want).max():
            return False
        apart.append(float(np.abs(factor - 1)[active].mean()))
    return apart[1] > apart[0] / 4


def _unlike(subject: Subject, model: Model, active: Array, misfit: float, direction: Array) -> str:
    """Name another statistic that would explain the difference, or else its size."""
    if model.grouping.split is not None:
        return f"like a norm on balanced inputs, but off by {misfit:.2g} of the output on others"
    rng = np.random.default_rng(9)
    x = np.where(active, 3 * rng.normal(size=subject.shape) ** 3 + 1, 0)
    got = (subject(x) - model.bias) * active
    axes = model.grouping.axes

    def by(statistic: str, x: Array) -> Array:
        deviation = x - model.grouping.mean(x) if model.centered else x
        size = np.abs(deviation)
        absolute = statistic == "the mean absolute deviation"
        divisor = size.mean(axes, keepdims=True) if absolute else size.max(axes, keepdims=True)
        return np.asarray(deviation / np.where(divisor == 0, 1, divisor))

    for statistic in ("the mean absolute deviation", "the largest deviation"):
        unit = direction / by(statistic, direction)  # what the gain was measured by
        want = by(statistic, x) * unit * model.weight
        if np.abs(got - want * active).max() < 1e-3 * np.abs(got).max():
            return f"divides by {statistic}, not by the root mean square"
    return f"like a norm on balanced inputs, but off by {misfit:.2g} of the output on others"


def _say(
    seen: Profile, n: int, division: Divisor, held: stored.Gain | None, value: float | None,
    ambiguous: bool, centering: tuple[bool, bool], misfit: float,
) -> list[Finding]:  # fmt: skip
    eps = seen.eps
    mean = "subtracted" if centering[0] else "not subtracted"
    said = [Finding("mean", mean, "a constant added to a direction", "certain")]
    if division.ddof is None:
        said.append(Finding("divisor", "n and n − 1 look the same", division.probe, "open"))
    else:
        text = "the sum" if division.norm else ("n", "n − 1")[division.ddof]
        said.append(Finding("divisor", text, division.probe, division.certainty))
    if value == 0:
        said.append(Finding("eps", "0", "no bend over 27 decades, and 0 / 0 at 0", "certain"))
    elif value is not None:
        width = (eps.high - eps.low) / 2 / (eps.value or 1.0)
        text = f"{value:.4g} ± {width:.0e} of it, {PLACES[eps.place or 'inside']}"
        said.append(Finding("eps", text, "one direction, stretched over 27 decades", "certain"))
    elif eps.low:
        text = f"a bend near {eps.high:.0e} that no place of one ε explains"
        said.append(Finding("eps", text, "one direction, stretched over 27 decades", "open"))
    else:
        said.append(Finding("eps", f"below {eps.high:.0e}", "no bend over 27 decades", "open"))
    if held is not None:
        said.append(Finding("gain", f"{held.form.replace('weight', held.name)} as stored",
                            "the gain against the parameters", "certain"))  # fmt: skip
    if n == 2 and all(centering):
        text = "of two values, the standard, mean absolute and largest deviation are one"
        said.append(Finding("divisor", text, "two values share statistics", "open"))
    if ambiguous:
        said.append(Finding("kind", "other kinds compute the same with this gain",
                            "axes and gain", "likely"))  # fmt: skip
    said.append(Finding("model", f"off by {misfit:.0e} of the output at most",
                        "random inputs of three kinds", "certain"))  # fmt: skip
    return said
