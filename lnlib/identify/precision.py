"""In which dtype the statistics are computed, and where the cast stands.

In half precision the exact result can be computed here, and rounded as each convention rounds it.
The inputs are chosen out of many such that a rounded mean, or a rounded root, shows most.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lnlib.identify.calling import Subject
from lnlib.identify.libraries import Failed
from lnlib.identify.model import Array, Model
from lnlib.identify.report import Casts, Finding, Report
from lnlib.identify.stored import Gain

BITS = {"float16": 11, "bfloat16": 8, "float32": 24}
POOL = 96


@dataclass(frozen=True)
class Half:
    """A function in half precision, and what it would be without rounding."""

    dtype: str
    run: Callable[[Array], tuple[Array, str]]
    model: Model


def rounded(x: Array, dtype: str) -> Array:
    """Round to the nearest number of a dtype, ties to even; overflow becomes infinity.

    Example:
        >>> rounded(np.array([1.001, 257.0]), "bfloat16").tolist()
        [1.0, 256.0]
    """
    if dtype != "bfloat16":
        return x.astype(dtype).astype(float)
    mantissa, exponent = np.frexp(x)
    return np.asarray(np.ldexp(np.rint(mantissa * 2.0**8) / 2.0**8, exponent))


def statistics(subject: Subject, report: Report, held: Gain | None, noise: float) -> Report:
    """Add the dtype of the statistics, and where the cast stands, to a report."""
    if noise > 2e-5:  # whatever comes in, it is computed in half precision
        dtype = "float16" if _overflows(subject, 1e6) else "bfloat16"
        return _with(report, dtype, None, f"outputs are rounded to {dtype}")
    for dtype in ("float16", "bfloat16"):
        try:
            half = _half(subject, report, held, dtype)
            if half is not None:
                return _from_half(subject, report, half)
        except Failed:
            continue
    own = _wide(subject, report)
    return _with(report, own, None, "values whose squares are too large") if own else report


def _with(report: Report, dtype: str, casts: Casts | None, probe: str) -> Report:
    said = [Finding("statistics", dtype, probe, "certain")]
    if casts:
        text = {"last": "the last step", "before weight": "before the gain"}[casts]
        said.append(Finding("cast", text, "rounding in half precision", "likely"))
    findings = (*report.findings, *said)
    return replace(report, statistics_dtype=dtype, casts=casts, findings=findings)


def _half(subject: Subject, report: Report, held: Gain | None, dtype: str) -> Half | None:
    model = report.model
    assert model is not None
    if held is not None:
        stored = subject.parameters()[held.name]
        value = np.random.default_rng(21).integers(32, 64, stored.shape) / 64  # ½ to 1, exact
        value = value if held.form == "weight" else value * np.where(value > 0.75, 1, -0.5)
        run = subject.in_dtype(dtype, held.name, value)
        if run is not None:
            gain = value + (held.form == "1 + weight")
            spread = _like(gain, stored, held.stored, model.grouping.shape)
            exact = replace(model, weight=spread, bias=np.zeros_like(model.bias))
            return Half(dtype, run, exact)
    run = subject.in_dtype(dtype)
    return None if run is None else Half(dtype, run, model)


def _like(gain: Array, stored: Array, spread: Array, shape: tuple[int, ...]) -> Array:
    """Spread a gain over the input as the stored one was found to be."""
    if stored.ndim != 1:
        return np.broadcast_to(gain, shape)
    for axis in reversed(range(len(shape))):
        view = [-1 if a == axis else 1 for a in range(len(shape))]
        if stored.size in (shape[axis], 1) and np.array_equal(
            np.broadcast_to(stored.reshape(view), shape), spread
        ):
            return np.broadcast_to(gain.reshape(view), shape)
    return np.broadcast_to(gain, shape)


def _overflows(subject: Subject, scale: float) -> bool:
    x = scale * np.random.default_rng(16).normal(size=subject.shape)
    y = subject(x)
    return not np.isfinite(y).all() or not y.any()


def _wide(subject: Subject, report: Report) -> str | None:
    """Tell float32 from float64: by squares beyond float32, and by a mean it cannot hold."""
    if subject.library.name == "list":
        return "float64"
    single, model = subject.in_dtype("float32"), report.model
    if single is None or model is None:
        return None
    x = np.random.default_rng(17).normal(size=subject.shape)
    y, want = single(1e25 * x)[0], single(x)[0]
    if not np.isfinite(y).all() or not np.abs(y - want).max() < 0.1 * np.abs(want).max():
        return "float32"
    return "float64" if _roots_are_exact(single, model) else "float32"


def _roots_are_exact(single: Callable[[Array], tuple[Array, str]], model: Model) -> bool:
    """Say whether groups of float32 share no factor but what the rounding of the output leaves.

    Over 16 inputs, the factors scatter by the rounding of a root in float32, a third of a unit, or
    of the output alone, a third of a unit divided by the root of n.
    """
    if model.grouping.size < 8:
        return False
    rng = np.random.default_rng(25)
    factors = []
    for _ in range(16):
        x = rounded(_one_size(rng, model, rng.uniform(1, 2)), "float32")
        y, want = single(x)[0] - model.bias, model(x) - model.bias
        mean = model.grouping.mean
        factors.append(mean(y * want) / np.where(want == 0, 1, mean(want**2)))
    return bool(np.median(np.std(np.stack(factors), axis=0)) < 0.33 * 2.0**-24)


def _from_half(subject: Subject, report: Report, half: Half) -> Report:
    model, probe = half.model, f"{half.dtype}, inputs chosen to show it"
    centered = model.centered and model.grouping.size > 2
    if _squares_overflow(half) or (centered and _mean_rounds(half)) or _root_rounds(half):
        return _with(report, half.dtype, None, probe)
    return _with(report, _wide(subject, report) or "float32", _casts(half), probe)


def _squares_overflow(half: Half) -> bool:
    """Say whether values of 1000, whose squares float16 does not hold, come out wrong."""
    if half.dtype != "float16":
        return False
    x = rounded(1e3 * np.random.default_rng(18).normal(size=half.model.grouping.shape), half.dtype)
    y, want = half.run(x)[0], half.model(x)
    return not bool(np.abs(y - want).max() < 0.05 * np.abs(want).max())


def _mean_rounds(half: Half) -> bool:
    """Say whether values around a number that has no room for the fraction of the mean are off."""
    model, dtype = half.model, half.dtype
    rng = np.random.default_rng(19)
    offset = 2.0 ** BITS[dtype] / 16

    def lost(x: Array) -> float:
        mean = model.grouping.mean(x)
        return float(np.median(np.abs(rounded(mean, dtype) - mean)))

    pool = [rounded(offset + 2 * rng.normal(size=model.grouping.shape), dtype) for _ in range(POOL)]
    x = max(pool, key=lost)
    mean = model.grouping.mean(x)
    error = np.abs(half.run(x)[0] - model(x))
    moved = np.abs(model.weight * (rounded(mean, dtype) - mean)) * np.abs(
        model.normalized(x) / np.where(x == mean, 1, x - mean)
    )
    return bool(np.median(error) > 0.3 * np.median(moved))


def _root_rounds(half: Half) -> bool:
    """Say whether whole groups are off by what the rounding of one root explains.

    Two inputs, one whose root is rounded up and one whose root is rounded down: what else is
    rounded, above all γ, is the same in both.
    """
    model, dtype = half.model, half.dtype
    rng = np.random.default_rng(22)

    def off(x: Array) -> float:
        mean = model.grouping.mean(x) if model.centered_statistics else 0.0
        square = model.grouping.mean((x - mean) ** 2)
        root = np.sqrt(square)
        squares = rounded(square, dtype)
        ways = (
            rounded(np.sqrt(squares), dtype) / root,
            1 / (rounded(1 / np.sqrt(squares), dtype) * root),
            rounded(root, dtype) / root,
        )
        each = np.sort(np.stack([np.median(way - 1) for way in ways]))
        return float(each[0] if each[0] > 0 else each[-1] if each[-1] < 0 else 0.0)

    pool = [rounded(_one_size(rng, model, 1 + k / POOL), dtype) for k in range(POOL)]
    offs = [off(x) for x in pool]
    if max(offs) - min(offs) < 2.0 ** -BITS[dtype] / 2:
        return False

    def factor(x: Array) -> Array:
        y, want = half.run(x)[0] - model.bias, model(x) - model.bias
        size = np.abs(want) + np.abs(model.bias) + 1e-30
        weight = want / size**2
        return np.asarray(model.grouping.mean(y * weight) / model.grouping.mean(want * weight))

    up, down = pool[int(np.argmax(offs))], pool[int(np.argmin(offs))]
    found = float(np.median(1 / factor(up) - 1 / factor(down)))
    return not found < (max(offs) - min(offs)) / 2


def _one_size(rng: np.random.Generator, model: Model, size: float) -> Array:
    """Return random values whose groups all have mean 0 and one root mean square."""
    x = rng.normal(size=model.grouping.shape)
    x = x - model.grouping.mean(x) * (model.grouping.size > 1)
    square = model.grouping.mean(x**2)
    return np.asarray(x / np.sqrt(np.where(square == 0, 1, square)) * size)


def _casts(half: Half) -> Casts | None:
    """Compare with each order of cast and gain, rounded as it would be."""
    model, dtype = half.model, half.dtype
    if np.ptp(model.weight) < 1e-6:  # a gain of one, or of another constant
        return None
    rng = np.random.default_rng(20)
    x = rounded(rng.normal(size=model.grouping.shape), dtype)
    y, returned = half.run(x)
    exact = model.normalized(x)
    errors: dict[Casts, float] = {"last": 1.0, "before weight": 1.0}
    for weight, bias in (
        (model.weight, model.bias),
        (rounded(model.weight, dtype), rounded(model.bias, dtype)),
    ):
        last = exact * weight + bias
        before = rounded(exact, dtype) * weight
        if returned == dtype:
            last = rounded(last, dtype)
            before = rounded(rounded(before, dtype) + bias, dtype)
        else:
            before = before + bias
        errors["last"] = min(errors["last"], _unequal(y, last))
        errors["before weight"] = min(errors["before weight"], _unequal(y, before))
    low, high = sorted(errors.values())
    if high <= 2 * low + 0.02:
        return None
    return "last" if errors["last"] == low else "before weight"


def _unequal(y: Array, want: Array) -> float:
    """Return the share of values that are not the same number."""
    return float(np.mean(np.abs(y - want) > 1e-6 * (np.abs(want) + 1e-3)))
