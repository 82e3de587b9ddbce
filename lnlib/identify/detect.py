"""Find out what a norm computes, by calling it."""

from dataclasses import replace
from typing import Any

import numpy as np

from lnlib.identify import divisor as over
from lnlib.identify import edges, kind, precision, stored
from lnlib.identify.calling import Failed, Subject, undisturbed
from lnlib.identify.divisor import Divisor
from lnlib.identify.elsewise import elementwise, softmax_axis
from lnlib.identify.groups import Dependence, dependence
from lnlib.identify.model import Array, Grouping, Model
from lnlib.identify.report import Finding, Kind, Report
from lnlib.identify.scale import Eps, Profile, direction, profile

UNIT = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
POWER_FAULTS = {
    1.0: "divides by the variance, not by its root",
    2.0: "divides by the square of the variance, not by its root",
    -0.5: "multiplies by the root of the variance, where it should divide",
}


def identify(f: Any, shape: Any) -> Report:
    r"""Say which normalization a function is, from what it returns.

    The function is taken for

    $$y = \gamma\,\frac{x-\mu}{\sqrt{\sigma^2+\varepsilon}} + \beta$$

    with unknown axes, with or without $\mu$, with $\sigma^2$ over n or n − 1, with ε under the
    root, beside it or as its floor, and each unknown is found by inputs that depend on it alone.
    What was found is then compared with the function on other inputs; if they differ, the kind is
    "unknown".

    Args:
        f: what maps an array to one of the same shape: a torch module, a Keras layer, a Flax module
            (bound to its variables, or nnx), a session of ONNX Runtime or a model for one, or a
            function of arrays of NumPy, torch, JAX, TensorFlow, or of nested lists. It is called
            two to three hundred times; a torch or nnx module is copied first.
        shape: of the input, with at least one axis.

    Returns:
        A report; what cannot be told is None in it. A function that fails, is random, or changes
        what it holds is reported so, in `faults`.

    Raises:
        TypeError: if `shape` is not a sequence of integers.
        ValueError: if `shape` is empty or has a size below 1.

    Example:
        >>> import torch
        >>> report = identify(torch.nn.LayerNorm(16), (8, 16))
        >>> report.headline()
        'layer norm over axes [1], ε = 1e-05 under the root'

    Source: `lnlib.identify.scale` derives the probes.
    """
    sizes = _sizes(shape)
    with undisturbed():
        try:
            subject = Subject(f, sizes)
        except Failed as failed:
            return Report(shape=sizes, faults=(f"cannot be called: {failed}",))
        try:
            return _examine(subject)
        except Failed as failed:
            faults = (f"fails on some inputs: {failed}",)
            return Report(shape=sizes, faults=faults, calls=subject.calls)


def _sizes(shape: Any) -> tuple[int, ...]:
    if isinstance(shape, (int, np.integer)):
        shape = (shape,)
    try:
        sizes = tuple(shape)
    except TypeError:
        sizes = (None,)
    if not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in sizes):
        raise TypeError(
            f"shape must be a sequence of ints, got {shape!r}; pass that of an input, as (8, 16)"
        )
    if not sizes or min(sizes) < 1:
        raise ValueError(
            f"shape must have at least one axis and sizes >= 1, got {sizes}; "
            "pass that of an input, as (8, 16)"
        )
    return tuple(int(n) for n in sizes)


def _examine(subject: Subject) -> Report:
    blank = Report(shape=subject.shape)
    before = subject.parameters()
    behaviour = edges.repeated(subject)
    if behaviour.random:
        return replace(blank, faults=(behaviour.random,), calls=subject.calls)
    unit = max(UNIT.get(subject.returns, UNIT["float32"]), UNIT[subject.dtype])
    found = dependence(subject, subject.shape, unit)
    report = _explain(subject, found, unit, before)
    state = edges.changed(before, subject.parameters())
    faults = [
        *report.faults,
        *found.leaks,
        *edges.faults(subject, report, found.grouping, found.leaks),
        *state,
    ]
    if fault := edges.other_dtype(subject):
        faults.append(fault)
    findings = [*report.findings, *edges.findings(subject, report)]
    return replace(
        report, faults=tuple(dict.fromkeys(faults)), findings=tuple(findings), calls=subject.calls
    )


def _explain(subject: Subject, found: Dependence, unit: float, before: Any) -> Report:
    """Fit the model to the function and compare the two on other inputs."""
    grouping = found.grouping
    blank = Report(shape=subject.shape)
    d = direction(grouping, subject.dtype)
    active = _active(grouping, bool(found.leaks))
    seen = profile(subject, d, active, unit)
    shared = Finding("axes", _axes_say(grouping), "one value changed at a time", "certain")
    if not np.abs(seen.gain).max() or not np.isfinite(seen.gain).all():
        if not np.isfinite(seen.gain).all() or not np.isfinite(seen.shift).all():
            return replace(blank, faults=("returns values that are not finite",))
        faults = ("the output is constant: a gain of zero, or groups of one value",)
        return replace(blank, bias=seen.shift, faults=faults)
    if seen.odd > 64 * seen.noise or seen.power is None or seen.bend > 64 * seen.noise:
        return _not_a_norm(subject, grouping, seen, blank, shared)
    if seen.power == 0:
        return _affine(subject, grouping, seen, before, unit)
    if not grouping.axes:
        return elementwise(subject, blank, unit)
    return _norm(subject, grouping, seen, active, before, (shared,))


def _active(grouping: Grouping, alone: bool) -> Array:
    """Return which values to look at: all, or those of one group if others leak into it."""
    active = np.zeros(grouping.shape, bool)
    if not alone:
        return ~active
    index = [slice(None)] * len(grouping.shape)
    for axis in grouping.others:
        index[axis] = slice(grouping.shape[axis] // 2, grouping.shape[axis] // 2 + 1)
    if grouping.split is not None:
        index[grouping.split] = slice(0, grouping.shape[grouping.split] // grouping.num_groups)
    active[tuple(index)] = True
    return active


def _axes_say(grouping: Grouping) -> str:
    if not grouping.axes:
        return "each value is on its own"
    groups = f", in {grouping.num_groups} groups along axis {grouping.split}"
    return f"axes {list(grouping.axes)} share statistics{'' if grouping.split is None else groups}"


# --- what is no norm ------------------------------------------------------------------------------


def _not_a_norm(
    subject: Subject, grouping: Grouping, seen: Profile, blank: Report, shared: Finding
) -> Report:
    report = replace(blank, findings=(shared,))
    axis = softmax_axis(subject)
    if axis is not None:
        said = f"this is softmax over axis {axis}, not a norm"
        return replace(report, axes=(axis,), faults=(said,))
    if not grouping.axes:
        return elementwise(subject, blank, seen.noise)
    why = "is not odd around a constant" if seen.odd > 64 * seen.noise else "changes with its scale"
    return replace(report, faults=(f"no norm: the response to a direction {why}",))


def _affine(
    subject: Subject, grouping: Grouping, seen: Profile, before: Any, unit: float
) -> Report:
    """Report a map that is affine along one direction, if it is so along others."""
    rng = np.random.default_rng(6)
    x, z = rng.normal(size=(2, *subject.shape))
    at_zero = subject(np.zeros(subject.shape))
    bent = subject(x + z) - subject(x) - subject(z) + at_zero
    blank = Report(shape=subject.shape)
    if np.abs(bent).max() > 64 * seen.noise * max(1.0, np.abs(subject(x + z)).max()):
        return replace(blank, faults=("no norm: linear along one direction, not along all",))
    if grouping.axes:
        said = Finding("kind", "a linear map that mixes values", "f(x + z) = f(x) + f(z) − f(0)",
                       "certain")  # fmt: skip
        unknown = Finding("eps", "no statistics divide, so ε and the divisor have no meaning", "",
                          "open")  # fmt: skip
        return replace(blank, kind="none", axes=grouping.axes, findings=(said, unknown))
    return _pointwise(subject, seen, before, unit, blank)


def _pointwise(subject: Subject, seen: Profile, before: Any, unit: float, blank: Report) -> Report:
    """Report an affine map of each value: the identity, or batch norm in evaluation."""
    slope, shift = seen.gain, seen.shift
    explained = _by_running_statistics(subject, slope, shift, before, unit)
    grouping = Grouping(subject.shape, ())
    called = kind.type_name(subject.original)
    say = "an affine map of each value"
    if np.abs(slope - 1).max() < 16 * seen.noise and np.abs(shift).max() < 16 * seen.noise:
        say = "the identity"
    found = Finding("kind", say, "the output is affine along random directions", "certain")
    tolerance = max(1e-4, 32 * seen.noise)
    settled = [kind.settled(values, tolerance) for values in (slope, shift)]
    weight, bias = (kind.compact(values, "none", grouping, settled[0]) for values in settled)
    if explained is None:
        note = Finding("statistics", "a norm with fixed statistics would compute the same",
                       "", "open")  # fmt: skip
        return replace(blank, kind="none", weight=weight, bias=bias, findings=(found, note))
    name: Kind = "instance" if "instance" in called.lower() else "batch"
    ndim = len(subject.shape)
    channel = next((a for a in range(1, ndim) if np.ptp(slope, axis=a).max() > 0), 1 % ndim)
    axes = tuple(a for a in range(ndim) if a != channel and not (name == "instance" and a == 0))
    eps = explained.eps
    eps = None if eps is None else over.rounded(eps, eps * (1 - 1e-2), eps * (1 + 1e-2))
    said = Finding("kind", f"{name} norm in evaluation: an affine map made of stored statistics",
                   "slope and shift against the stored mean and variance", "certain")  # fmt: skip
    return replace(
        blank, kind=name, axes=axes, centered=True, eps=eps, eps_place="inside" if eps else None,
        weight=weight, bias=bias, findings=(found, said),
    )  # fmt: skip


def _by_running_statistics(
    subject: Subject, slope: Array, shift: Array, before: Any, unit: float
) -> stored.Running | None:
    """Explain slope and shift by stored statistics, in float64 where that can be had."""
    double = subject.in_dtype("float64")
    if double is not None:
        ones = np.ones(subject.shape)
        y, dtype = double(ones)
        if dtype == "float64":
            back = double(-ones)[0]
            slope, shift, unit = (y - back) / 2, (y + back) / 2, UNIT["float64"]
    return stored.running(slope, shift, before, max(1e-9, 16 * unit))


# --- norms ----------------------------------------------------------------------------------------


def _norm(
    subject: Subject, grouping: Grouping, seen: Profile, active: Array, before: Any,
    findings: tuple[Finding, ...],
) -> Report:  # fmt: skip
    power = float(seen.power or 0.5)
    centering = _centering(subject, grouping, seen, active, power)
    gain = np.where(active, seen.gain, np.nan) if not active.all() else seen.gain
    gain = _filled(gain)
    shift = _filled(np.where(active, seen.shift, np.nan))
    tolerance = 8 * seen.noise
    division, held = _division(subject, grouping, seen, gain, before, power, tolerance)
    eps, ddof = seen.eps, division.ddof or 0
    value = _eps(eps, grouping.size, division)
    weight = gain / over.factor(grouping.size, power, ddof)
    model = Model(
        grouping, *centering, power, ddof,
        _model_eps(eps, grouping.size, ddof), eps.place or "inside", weight, shift,
    )  # fmt: skip
    called = kind.type_name(subject.original)
    gain = kind.settled(gain, max(1e-4, 32 * seen.noise))
    shift = kind.settled(shift, max(1e-4, 32 * seen.noise))
    named, ambiguous = kind.name(grouping, centering[0], gain, called, 1e-4)
    misfit = _misfit(subject, model, active, eps.value is not None)
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

    found = over.by_size(resized, grouping, gain, power, tolerance)
    found = found or over.by_constant(gain, n, power, tolerance)
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


def _misfit(subject: Subject, model: Model, active: Array, small: bool) -> float:
    """Return the largest difference to the function on inputs of other kinds, relative."""
    rng = np.random.default_rng(8)
    shape = subject.shape
    inputs = [rng.normal(size=shape) + 0.7, 2 * rng.normal(size=shape) ** 3]
    if small:
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
    x = np.random.default_rng(8).normal(size=subject.shape) + 0.7
    x = np.where(active, x.astype("float32").astype(float), 0)
    want = np.where(active, model(x) - model.bias, 0)
    got = np.where(active, subject(x) - model.bias, 0)
    mean = model.grouping.mean
    factor = mean(got * want) / np.where(active, mean(want**2), 1)
    return bool(np.abs(got - factor * want).max() < 300 * noise * np.abs(want).max())


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
    if value is not None:
        places = {"inside": "under the root", "outside": "beside σ", "max": "as a floor of σ"}
        width = (eps.high - eps.low) / 2 / (eps.value or 1.0)
        text = f"{value:.4g} ± {width:.0e} of it, {places[eps.place or 'inside']}"
        said.append(Finding("eps", text, "one direction, stretched over 27 decades", "certain"))
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
