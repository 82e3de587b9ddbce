"""How a norm behaves where formulas break: twice in a row, constant rows, NaN, gradients."""

import sys

import numpy as np

from lnlib.identify.calling import Subject
from lnlib.identify.libraries import Failed, Parameters
from lnlib.identify.model import Array, Grouping
from lnlib.identify.report import Finding, Report


def unrepeatable(subject: Subject) -> str | None:
    """Say why two calls on the same input differ; None if they do not."""
    x = np.random.default_rng(11).normal(size=subject.shape)
    first, second = subject(x), subject(x)
    if np.array_equal(first, second, equal_nan=True):
        return None
    apart = np.nanmax(np.abs(first - second), initial=0)
    size = max(float(np.nanmax(np.abs(first), initial=0)), 1e-300)
    if apart / size < 1e-5:
        return None
    if np.array_equal(_seeded(subject, x), _seeded(subject, x), equal_nan=True):
        return "is random: two calls on one input differ; try evaluation mode"
    return "two calls on one input differ: it is random, or changes what it holds"


def _seeded(subject: Subject, x: Array) -> Array:
    np.random.seed(0)  # noqa: NPY002 (what is called may draw from it)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
    return subject(x)


def changed(before: Parameters, after: Parameters) -> list[str]:
    """Name what the function holds and has changed."""
    names = [
        name for name, value in before.items()
        if name in after and not np.array_equal(value, after[name], equal_nan=True)
    ]  # fmt: skip
    return [f"changes its state when called: {', '.join(names)}"] if names else []


def other_dtype(subject: Subject) -> str | None:
    """Say that the function never returns the dtype that it was given."""
    if subject.returns == subject.dtype or subject.library.name == "list":
        return None
    for dtype in subject.library.dtypes:
        inner = subject.in_dtype(dtype)
        if inner is not None and inner(np.ones(subject.shape))[1] == dtype:
            return None
    return f"returns {subject.returns} for an input of {subject.dtype}"


def faults(
    subject: Subject, report: Report, grouping: Grouping, leaks: tuple[str, ...]
) -> list[str]:
    """Return what is wrong at the edges."""
    found = [_overwritten(subject), _large_mean(subject, report)]
    if not leaks and (grouping.axes or report.kind == "none"):
        found.append(_nan_elsewhere(subject, grouping))
    if report.model is not None:
        found.append(_constant(subject, report))
        if not leaks and report.eps is not None:
            found.append(_gradient(subject, report))
    return [fault for fault in found if fault]


def _overwritten(subject: Subject) -> str | None:
    x = np.random.default_rng(26).normal(size=subject.shape)
    return "overwrites its input" if subject.overwrites(x) else None


def _nan_elsewhere(subject: Subject, grouping: Grouping) -> str | None:
    x = np.random.default_rng(12).normal(size=subject.shape)
    place = tuple(n // 2 for n in subject.shape)
    x[place] = np.nan
    reached = np.isnan(subject(x))
    own = np.zeros(subject.shape)
    own[place] = 1
    allowed = grouping.mean(own) > 0 if grouping.axes else own > 0
    if (reached & ~allowed).any():
        return "a NaN reaches outputs outside its group"
    return None


def _constant(subject: Subject, report: Report) -> str | None:
    wrong = [value for value in (0.0, 0.1, 3.0)
             if not np.isfinite(subject(np.full(subject.shape, value))).all()]  # fmt: skip
    wrong = [value for value in wrong if value == 0 or report.centered]
    if not wrong:
        return None
    what = "constant rows" if report.centered else "rows of zeros"
    return f"{what} give NaN or infinity: nothing keeps the divisor from zero"


def _large_mean(subject: Subject, report: Report) -> str | None:
    """Look for a variance below zero: E[x²] − E[x]² at a mean large compared with the spread."""
    if not report.centered or report.axes is None or report.kind == "unknown":
        return None
    mean = {"float64": 1e8, "float32": 3e3}.get(subject.returns)
    if mean is None:
        return None
    x = mean + 0.1 * np.random.default_rng(13).normal(size=subject.shape)
    if np.isnan(subject(x)).any():
        return (
            f"rows with mean {mean:.0e} and spread 0.1 give NaN: the variance, computed as "
            "E[x²] − E[x]², falls below zero"
        )
    return None


def _gradient(subject: Subject, report: Report) -> str | None:
    """Compare the library's gradient with the slope of the function that was found."""
    model = report.model
    if model is None:
        return None
    rng = np.random.default_rng(14)
    x = (rng.normal(size=subject.shape) + 0.3).astype("float32").astype(float)
    dy = rng.normal(size=subject.shape) + model.normalized(x)
    try:
        dx = subject.gradient(x, dy)
    except Exception as error:  # whatever a stranger's function raises
        return f"the gradient fails: {type(error).__name__}: {error}"[:160]
    if dx is None:
        return None
    h = 1e-4

    def slope(v: Array) -> Array:
        return np.asarray((model(x + h * v) - model(x - h * v)) / (2 * h))

    # a random direction, one along x and a constant: along the last two, most norms are flat
    directions = [rng.normal(size=x.shape), x - model.grouping.mean(x), np.ones_like(x)]
    size = float(np.linalg.norm(dy) * np.linalg.norm(slope(directions[0])))
    wrong = [v for v in directions if abs(float((dy * slope(v) - dx * v).sum())) > 2e-3 * size]
    if not wrong:
        return None
    if not np.abs(dx).any():
        return "the gradient is zero: the graph is cut, as by detach or no_grad"
    mean = model.grouping.mean
    deviation = x - mean(x) if model.centered else x
    rstd = model.weight * model.normalized(x) / np.where(deviation == 0, 1, deviation)
    for name, moves in (("mean and variance", 0.0), ("the variance", float(model.centered))):
        fixed = [rstd * (v - moves * mean(v)) for v in directions]
        off = [float((dy * y - dx * v).sum()) for y, v in zip(fixed, directions, strict=True)]
        if np.abs(off).max() < 2e-3 * size:
            return f"the gradient is wrong: it takes {name} for constant"
    worst = abs(float((dy * slope(wrong[0]) - dx * wrong[0]).sum())) / size
    return f"the gradient is wrong: off by {worst:.2g} of its size along a direction"


def findings(subject: Subject, report: Report) -> list[Finding]:
    """Say how the function treats constant rows, extreme values, large means and NaN."""
    if report.model is None:
        return []
    found = []
    own = "float64" if subject.library.name == "list" else "float32"
    f = subject.in_dtype(own)
    if f is None:
        return []
    try:
        huge = {"float32": 1e25, "float64": 1e200}[own]
        shape = subject.shape
        rng = np.random.default_rng(15)
        x = rng.normal(size=shape)
        for about, scale in (("huge values", huge), ("tiny values", 1 / huge)):
            y, _ = f(scale * x)
            with np.errstate(all="ignore"):
                want = report.model(scale * x)
            found.append(Finding(about, _compared(y, want), f"{own} times {scale:.0e}", "certain"))
        constant, _ = f(np.full(shape, 0.1))
        want = report.model(np.full(shape, np.float64(np.float32(0.1))))
        found.append(Finding("constant rows", _compared(constant, want), "0.1 throughout",
                             "certain"))  # fmt: skip
        if report.centered and own == "float32":
            shifted = (1e3 + x).astype("float32").astype(float)
            error = np.abs(f(shifted)[0] - report.model(shifted)).max()
            text = "as exact" if error < 1e-2 else f"off by {error:.1g}: computed in one pass?"
            found.append(Finding("mean 1000, spread 1", text, f"{own}", "certain"))
    except Failed as failed:
        found.append(Finding("edges", f"fails: {failed}", "extreme inputs", "certain"))
    return found


def _compared(y: Array, want: Array) -> str:
    if np.isnan(y).any():
        return "NaN"
    if np.isinf(y).any():
        return "infinity"
    error = np.abs(y - want).max()
    if error < 1e-4 * max(1.0, np.abs(want).max()):
        return "as the formula"
    return "zeros" if not y.any() else f"finite, off by {error:.1g}"
