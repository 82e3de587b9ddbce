"""How two norms differ, in words, the largest effect first."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lnlib.identify.calling import Subject, undisturbed
from lnlib.identify.detect import identify
from lnlib.identify.libraries import Failed
from lnlib.identify.model import Array, Model
from lnlib.identify.report import PLACES, Report


@dataclass(frozen=True, eq=False)
class Difference:
    """One thing in which two norms differ."""

    says: str
    effect: float
    """The largest difference of the outputs, relative to the largest output of the first."""
    shown_by: str
    """The input on which the effect is largest, in words."""
    input: Array | None
    """That input."""
    reproduce: str
    """What makes torch's module, or ours, do as the second norm does."""

    def __str__(self) -> str:
        """Return the difference in a sentence or two."""
        parts = [self.says]
        if self.effect:
            parts.append(f"outputs differ by up to {self.effect:.2g} of the largest")
            parts[-1] += f" ({self.shown_by})"
        return f"{'; '.join(parts)}. As the second: {self.reproduce}."


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was found about two functions, and in what they differ."""

    first: Report
    second: Report
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        """Return both norms and their differences, one a line."""
        lines = [f"first:  {self.first.headline()}", f"second: {self.second.headline()}"]
        lines += [f"  {difference}" for difference in self.differences]
        return "\n".join([*lines, *([] if self.differences else ["  no difference"])])

    __repr__ = __str__


def compare(f: Any, g: Any, shape: Any = None) -> Comparison:
    """Say in what two norms differ, the largest effect first.

    For each property that differs, the first norm is given that of the second alone, and the two
    are compared on rows of ordinary, of shifted and of small values.

    Args:
        f: the first norm, as for `identify`.
        g: the second.
        shape: of the input; None guesses it from the parameters that f and g hold, or else takes
            (8, 16).

    Returns:
        What was found about both, and their differences.

    Raises:
        TypeError, ValueError: as `identify`.

    Example:
        >>> import torch
        >>> def by_hand(x):
        ...     mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
        ...     return (x - mean) / torch.sqrt(std**2 + 1e-5)
        >>> found = compare(torch.nn.LayerNorm(16), by_hand, (8, 16))
        >>> found.differences[0].says
        'the second divides by n − 1: a factor of 0.968 at n = 16'

    Source: `lnlib.identify.model` is what is compared.
    """
    shape = _guess(f, g) if shape is None else shape
    first, second = identify(f, shape), identify(g, shape)
    if first.model is None or second.model is None:
        found = _unexplained(f, g, first)
    else:
        found = [*_differences(first, second)]
    return Comparison(first, second, tuple(sorted(found, key=lambda d: -d.effect)))


def _guess(f: Any, g: Any) -> tuple[int, ...]:
    """Return the first shape that both take, of those that their parameters suggest."""
    sizes = []
    for each in (f, g):
        parameters = getattr(each, "parameters", None)
        tensors = list(parameters()) if callable(parameters) else []
        sizes += [tuple(tensor.shape) for tensor in tensors if tensor.ndim]
    n = sizes[0][-1] if sizes else 16
    candidates = [(8, *size) for size in sizes if len(size) > 1]
    candidates += [(8, n), (2, n, 5, 5), (4, n, 6), (4, 6, n)]
    for shape in candidates:
        try:
            with undisturbed():
                Subject(f, shape), Subject(g, shape)
        except Failed:
            continue
        return shape
    return (8, n)


def _unexplained(f: Any, g: Any, first: Report) -> list[Difference]:
    """Compare outputs alone, where one of the two is no norm that could be fitted."""
    shape = first.shape
    x = np.random.default_rng(23).normal(size=shape)
    try:
        with undisturbed():
            y, z = Subject(f, shape)(x), Subject(g, shape)(x)
    except Failed as failed:
        return [Difference(f"one of the two fails: {failed}", 0.0, "", None, "unknown")]
    effect = float(np.abs(y - z).max() / max(np.abs(y).max(), 1e-300))
    says = "one of the two is no norm that could be identified"
    return [Difference(says, effect, "random rows", x, "unknown")]


def _differences(first: Report, second: Report) -> Iterator[Difference]:
    a, b = first.model, second.model
    assert a is not None
    assert b is not None
    n = a.grouping.size
    if a.grouping != b.grouping:
        says = f"the first shares statistics over axes {list(a.grouping.axes)}" + _groups(a)
        says += f", the second over {list(b.grouping.axes)}" + _groups(b)
        advice = _axes_advice(second)
        yield _measured(a, replace(a, grouping=b.grouping), says, advice)
    if a.centered != b.centered:
        subtracts = "subtracts" if b.centered else "does not subtract"
        changed = replace(a, centered=b.centered, centered_statistics=b.centered_statistics)
        advice = "torch.nn.LayerNorm" if b.centered else "torch.nn.RMSNorm"
        yield _measured(a, changed, f"the second {subtracts} the mean", advice)
    if a.power != b.power:
        says = f"the second divides by the variance to the power {b.power:g}, not {a.power:g}"
        yield _measured(a, replace(a, power=b.power), says, "no argument does this")
    if a.ddof != b.ddof and n > 1:
        by = "n − 1" if b.ddof else "n"
        factor = ((n - b.ddof) / (n - a.ddof)) ** a.power
        says = f"the second divides by {by}: a factor of {factor:.3f} at n = {n}"
        advice = f"multiply weight by {factor:.6g} and eps by {factor**2:.6g}"
        yield _measured(a, replace(a, ddof=b.ddof), says, advice)
    if a.eps and b.eps and (abs(a.eps / b.eps - 1) > 1e-3 or a.place != b.place):
        says = f"ε is {a.eps:.4g} {PLACES[a.place]} in the first, "
        says += f"{b.eps:.4g} {PLACES[b.place]} in the second"
        changed = replace(a, eps=b.eps, place=b.place)
        yield _measured(a, changed, says, _eps_advice(b))
    yield from _affine(a, b)
    yield from _stored(first, second)


def _affine(a: Model, b: Model) -> Iterator[Difference]:
    for name, symbol in (("weight", "γ"), ("bias", "β")):
        ours, theirs = getattr(a, name), getattr(b, name)
        apart = float(np.abs(ours - theirs).max())
        if apart > 1e-4 * max(1.0, float(np.abs(ours).max())):
            says = f"{symbol} differs by up to {apart:.3g}"
            advice = f"copy the {name} of the second"
            changed = replace(a, weight=theirs) if name == "weight" else replace(a, bias=theirs)
            yield _measured(a, changed, says, advice)


def _stored(first: Report, second: Report) -> Iterator[Difference]:
    """Yield what changes no output here, but does with other parameters or dtypes."""
    if first.gain and second.gain and first.gain != second.gain:
        says = f"the gain is {first.gain} in the first, {second.gain} in the second"
        sign = "add 1 to" if second.gain == "1 + weight" else "subtract 1 from"
        yield Difference(says, 0.0, "", None, f"{sign} the stored weight")
    dtypes = first.statistics_dtype, second.statistics_dtype
    if all(dtypes) and dtypes[0] != dtypes[1]:
        says = f"statistics are computed in {dtypes[0]} in the first, {dtypes[1]} in the second"
        advice = "cast the input before the norm, and the output back"
        yield Difference(says, 0.0, "", None, advice)
    if first.casts and second.casts and first.casts != second.casts:
        says = f"the cast to half precision stands {first.casts} in the first, "
        says += f"{second.casts} in the second"
        advice = "take the norm without weight, and multiply by the weight before or after the cast"
        yield Difference(says, 0.0, "", None, advice)


def _measured(a: Model, changed: Model, says: str, advice: str) -> Difference:
    """Return the difference that one change makes, on the input that shows it best."""
    effects = []
    with np.errstate(all="ignore"):
        for words, x in _inputs(a, changed):
            y, z = a(x), changed(x)
            effects.append((float(np.abs(y - z).max() / np.abs(y).max()), words, x))
    largest = max(effect for effect, _, _ in effects)
    effect, words, x = next(each for each in effects if each[0] >= 0.99 * largest)  # the plainest
    return Difference(says, effect, words, x, advice)


def _inputs(*models: Model) -> Iterator[tuple[str, Array]]:
    x = np.random.default_rng(24).normal(size=models[0].grouping.shape)
    yield "rows of mean 0 and spread 1", x
    yield "rows of mean 5 and spread 1", x + 5
    for model in models:
        size = np.sqrt(model.eps) if model.place == "inside" else model.eps
        if size:
            yield f"rows of mean 0 and spread {size:.1g}", size * x


def _groups(model: Model) -> str:
    return f" in {model.grouping.num_groups} groups" if model.grouping.num_groups > 1 else ""


def _axes_advice(report: Report) -> str:
    assert report.axes is not None
    sizes = tuple(report.shape[axis] for axis in report.axes)
    last = report.axes == tuple(range(len(report.shape) - len(sizes), len(report.shape)))
    if report.kind in ("layer", "rms") and last:
        return f"normalized_shape={sizes}"
    if report.kind == "group":
        return f"torch.nn.GroupNorm(num_groups={report.num_groups}, ...)"
    if report.kind in ("instance", "batch"):
        return f"torch.nn.{report.kind.title()}Norm1d, 2d or 3d"
    return "move these axes to the end, and take torch.nn.LayerNorm"


def _eps_advice(b: Model) -> str:
    if b.place == "inside":
        return f"eps={b.eps:.4g}"
    if b.place == "outside":
        return f'lnlib.reference.layer_norm(..., eps={b.eps:.4g}, eps_mode="outside")'
    return "no argument does this; divide by the root mean square, clamped from below"
