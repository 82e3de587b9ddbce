"""Find out what a norm computes, by calling it."""

from dataclasses import replace
from typing import Any

import numpy as np

from lnlib.identify import divisor as over
from lnlib.identify import edges, kind, stored
from lnlib.identify.calling import Subject, undisturbed
from lnlib.identify.elsewise import elementwise, softmax_axis
from lnlib.identify.groups import Dependence, dependence
from lnlib.identify.libraries import Failed
from lnlib.identify.model import Array, Grouping
from lnlib.identify.norms import norm
from lnlib.identify.report import Finding, Kind, Report
from lnlib.identify.scale import Profile, direction, profile

UNIT = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


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
    if (fault := edges.unrepeatable(subject)) is not None:
        return replace(blank, faults=(fault,), calls=subject.calls)
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
    return norm(subject, grouping, seen, active, before, (shared,))


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
    if (eps := explained.eps) is not None:
        margin = max(explained.margin, 1e-2 * eps)
        eps = over.rounded(eps, eps - margin, eps + margin)
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
