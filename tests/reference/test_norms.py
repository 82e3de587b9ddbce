"""The NumPy functions: against the definition in 60 digits, its differences, and torch."""

import subprocess
import sys
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from oracles import definition, exact
from torch.nn import functional as torch_functional

from lnlib import reference

EPS = (1e-5, 0.3)
DTYPES = (np.float64, np.float32, np.float16)


class Case(NamedTuple):
    """A method on a shape; `extent` is `normalized_shape` or `num_groups`."""

    method: str
    shape: tuple[int, ...]
    extent: Any = None

    def __str__(self) -> str:
        extent = "" if self.extent is None else f"-{self.extent}"
        return f"{self.method}{self.shape}{extent}".replace(" ", "")

    @property
    def trailing(self) -> bool:
        return self.method in ("layer_norm", "rms_norm")

    @property
    def names(self) -> tuple[str, ...]:
        return ("weight",) if self.method == "rms_norm" else ("weight", "bias")

    def group_of(self, index):
        """Values with equal keys share one mean and one variance."""
        if self.trailing:
            return index[: len(self.shape) - len(self.extent)]
        if self.method == "group_norm":
            return index[0], index[1] // (self.shape[1] // self.extent)
        return index[:2] if self.method == "instance_norm" else index[1]

    def spread(self, parameter):
        """A parameter in a shape that broadcasts against the input."""
        return parameter if self.trailing else parameter.reshape(-1, *(1 for _ in self.shape[2:]))

    def call(self, functions, x, parameters, eps, *, suffix="", **options):
        """`functions.layer_norm(x, ...)` of NumPy or torch, with the statistics of the input."""
        positional = () if self.extent is None else (self.extent,)
        if self.method == "batch_norm":
            positional, options = (None, None), {"training": True, **options}
        function = getattr(functions, self.method + suffix)
        return function(x, *positional, **parameters, eps=eps, **options)

    def gradients(self, x, parameters, eps, dy, **options):
        """`[dx, dweight, dbias]` of the reference, as far as the parameters are given."""
        _, cache = self.call(reference, x, parameters, eps, suffix="_forward", **options)
        found = getattr(reference, f"{self.method}_backward")(dy, cache)
        return [gradient for gradient in found if gradient is not None]


CASES = [
    *(
        Case(method, shape, shape[-trailing:])
        for method in ("layer_norm", "rms_norm")
        for shape, trailing in [((4, 6), 1), ((2, 3, 4), 2), ((2, 3, 4), 3), ((7,), 1), ((3, 1), 1)]
    ),
    Case("group_norm", (2, 6), 2),
    Case("group_norm", (2, 4, 3), 1),
    Case("group_norm", (2, 4, 3, 2), 2),
    Case("group_norm", (1, 3, 2, 1, 2), 3),
    Case("instance_norm", (2, 3, 4)),
    Case("instance_norm", (2, 2, 3, 2)),
    Case("instance_norm", (1, 2, 2, 1, 3)),
    Case("batch_norm", (5, 3)),
    Case("batch_norm", (3, 2, 4)),
    Case("batch_norm", (2, 3, 2, 2)),
    Case("batch_norm", (2, 2, 2, 1, 2)),
]
CENTRED = [
    Case("layer_norm", (2, 40), (40,)),
    Case("group_norm", (2, 4, 10), 2),
    Case("instance_norm", (2, 2, 20)),
    Case("batch_norm", (40, 2)),
]
RMS = Case("rms_norm", (2, 40), (40,))
METHODS = [*CENTRED, RMS]

with_each_shape = pytest.mark.parametrize("case", CASES, ids=str)
with_each_method = pytest.mark.parametrize("case", METHODS, ids=str)
with_each_choice_of_parameters = pytest.mark.parametrize(
    ("case", "names"),
    [
        pytest.param(case, names, id=f"{case}-{'-'.join(names) or 'plain'}")
        for case in CASES
        for names in ((), ("weight",), ("bias",), ("weight", "bias"))
        if {*names} <= {*case.names}
    ],
)
with_eps = pytest.mark.parametrize("eps", EPS)
with_dtype = pytest.mark.parametrize("dtype", DTYPES)


def draw(case, names=None, dtype=np.float64):
    """Input, parameters and cotangent; read-only, so that overwriting one is an error."""
    rng = np.random.default_rng(0)
    names = case.names if names is None else names
    parameter = case.extent if case.trailing else case.shape[1]
    x, dy, *parameters = (
        fixed(array.astype(dtype))
        for array in (
            rng.normal(3, 2, case.shape),
            rng.normal(size=case.shape),
            *(rng.normal(1, 2, parameter) for _ in names),
        )
    )
    return x, dict(zip(names, parameters, strict=True)), dy


def fixed(array):
    array.flags.writeable = False
    return array


def oracle(case, x, parameters, eps, eps_mode="inside"):
    """The definition in 60 digits, with parameters; x and the parameters hold decimals."""
    y = definition(x, case.group_of, eps, center=case.method != "rms_norm", eps_mode=eps_mode)
    if "weight" in parameters:
        y = y * case.spread(parameters["weight"])
    if "bias" in parameters:
        y = y + case.spread(parameters["bias"])
    return y


def expected(case, x, parameters, eps, eps_mode="inside"):
    """The oracle's output, and the largest term that a computation of each value rounds."""
    decimals = {name: exact(parameter) for name, parameter in parameters.items()}
    y = oracle(case, exact(x), decimals, eps, eps_mode).astype(np.float64)
    plain = np.abs(oracle(case, exact(x), {}, eps, eps_mode).astype(np.float64))
    sizes = {name: case.spread(np.abs(p.astype(np.float64))) for name, p in parameters.items()}
    return y, np.maximum(plain, 1) * sizes.get("weight", 1) + sizes.get("bias", 0)


def assert_rounded_once(got, want, terms):
    """Half an ulp of the result's dtype, plus 8 eps of the dtype that computes.

    A value is centred twice, squared, summed, rooted, inverted, scaled by two factors and shifted:
    fewer than 16 roundings by eps / 2.
    """
    info = np.finfo(got.dtype)
    ulp = np.ldexp(1.0, np.maximum(np.frexp(want)[1] - 1, info.minexp) - info.nmant)
    computing = np.finfo(np.result_type(got.dtype, np.float32)).eps
    assert np.all(np.abs(got.astype(np.float64) - want) <= ulp / 2 + 8 * computing * terms)


def assert_gradients(got, want, tolerance):
    """Relative to the largest value of each gradient: a sum may cancel."""
    for g, w in zip(got, want, strict=True):
        assert g.shape == w.shape
        np.testing.assert_allclose(g, w, rtol=0, atol=tolerance * max(1, np.abs(w).max()))


def gradients_by_differences(case, x, parameters, eps, dy, eps_mode="inside", size=1.0):
    """Central differences of the oracle: with steps of 1e-20, their relative error is near 1e-38.

    `size` is the order of magnitude of x; the gradient of x comes in units of 1 / size.
    """
    arrays = {"x": exact(x) / Decimal(size), **{name: exact(p) for name, p in parameters.items()}}
    step, dy = Decimal("1e-20"), exact(dy)

    def loss_with(array, index, value):
        array[index], kept = value, array[index]
        parameters = {name: p for name, p in arrays.items() if name != "x"}
        x = arrays["x"] * Decimal(size)
        loss = (dy * oracle(case, x, parameters, eps, eps_mode)).sum()
        array[index] = kept
        return loss

    def derivative(array, index):
        at = partial(loss_with, array, index)
        return float((at(array[index] + step) - at(array[index] - step)) / (2 * step))

    return [
        np.array([derivative(a, i) for i in np.ndindex(a.shape)]).reshape(a.shape)
        for a in arrays.values()
    ]


# --- values ---------------------------------------------------------------------------------------


@with_eps
@with_dtype
@with_each_choice_of_parameters
def test_output_is_the_definition_rounded_once(case, names, dtype, eps):
    x, parameters, _ = draw(case, names, dtype)
    y = case.call(reference, x, parameters, eps)
    assert y.dtype == dtype
    assert_rounded_once(y, *expected(case, x, parameters, eps))


@with_eps
@with_dtype
@with_each_choice_of_parameters
def test_output_is_that_of_torch(case, names, dtype, eps):
    """Torch may round half precision twice and does not remove the mean's rounding error."""
    x, parameters, _ = draw(case, names, dtype)
    tensors = {name: torch.tensor(p) for name, p in parameters.items()}
    want = case.call(torch_functional, torch.tensor(x), tensors, eps).numpy()
    _, terms = expected(case, x, parameters, eps)
    y = case.call(reference, x, parameters, eps)
    assert np.all(np.abs(y - want.astype(np.float64)) <= 32 * np.finfo(dtype).eps * terms)


@with_each_method
def test_half_precision_keeps_parameters_in_single_precision(case):
    """Rounding x_hat before the affine map would cost up to another ulp times the weight."""
    x, parameters, dy = draw(case)
    x, dy = x.astype(np.float16), dy.astype(np.float16)
    parameters = {name: p.astype(np.float32) for name, p in parameters.items()}
    y = case.call(reference, x, parameters, 1e-5)
    assert y.dtype == np.float16
    assert_rounded_once(y, *expected(case, x, parameters, 1e-5))
    dtypes = [g.dtype for g in case.gradients(x, parameters, 1e-5, dy)]
    assert dtypes == [np.float16, *(np.float32 for _ in parameters)]


@with_dtype
def test_rms_norm_without_eps_takes_that_of_the_computing_dtype(dtype):
    case, eps = RMS, np.finfo(np.result_type(dtype, np.float32)).eps
    x = fixed((draw(case)[0] * float(np.sqrt(eps))).astype(dtype))
    y = reference.rms_norm(x, case.extent)
    assert_rounded_once(y, *expected(case, x, {}, float(eps)))


@pytest.mark.parametrize("mode", ["inside", "outside"])
@with_eps
@pytest.mark.parametrize("case", [c for c in CASES if c.method == "layer_norm"], ids=str)
def test_eps_mode_is_the_definition(case, eps, mode):
    x, parameters, dy = draw(case)
    y = case.call(reference, x, parameters, eps, eps_mode=mode)
    assert_rounded_once(y, *expected(case, x, parameters, eps, mode))
    if mode == "inside":
        np.testing.assert_array_equal(y, case.call(reference, x, parameters, eps))
    if case.extent != (1,):  # sigma has no derivative at 0: see the next test
        got = case.gradients(x, parameters, eps, dy, eps_mode=mode)
        want = gradients_by_differences(case, x, parameters, eps, dy, mode)
        assert_gradients(got, want, 1e-12)


@pytest.mark.parametrize("mode", ["inside", "outside"])
def test_gradient_at_a_constant_row(mode):
    """There x_hat is the centred row over sqrt(eps) or eps: so is the gradient."""
    case, eps = Case("layer_norm", (3, 5), (5,)), 0.3
    _, _, dy = draw(case, ())
    x = np.repeat([[0.1], [-7.0], [0.0]], 5, axis=1)
    (dx,) = case.gradients(x, {}, eps, dy, eps_mode=mode)
    want = (dy - dy.mean(1, keepdims=True)) / (np.sqrt(eps) if mode == "inside" else eps)
    np.testing.assert_allclose(dx, want, rtol=1e-12, atol=1e-14)


# --- gradients ------------------------------------------------------------------------------------


@with_eps
@with_each_choice_of_parameters
def test_gradients_are_those_of_autograd(case, names, eps):
    x, parameters, dy = draw(case, names)
    arrays = [torch.tensor(a, requires_grad=True) for a in (x, *parameters.values())]
    tensors = dict(zip(names, arrays[1:], strict=True))
    if case.method == "group_norm" and names == ("bias",):  # torch 2.13 cannot differentiate this
        tensors["weight"] = torch.ones_like(tensors["bias"], requires_grad=False)
    y = case.call(torch_functional, arrays[0], tensors, eps)
    want = [g.numpy() for g in torch.autograd.grad(y, arrays, torch.tensor(dy))]
    assert_gradients(case.gradients(x, parameters, eps, dy), want, 1e-12)


@with_eps
@with_each_shape
def test_gradients_are_differences_of_the_definition(case, eps):
    x, parameters, dy = draw(case)
    want = gradients_by_differences(case, x, parameters, eps, dy)
    assert_gradients(case.gradients(x, parameters, eps, dy), want, 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@with_each_method
def test_gradients_in_low_precision_keep_dtype_and_accuracy(case, dtype):
    x, parameters, dy = draw(case, dtype=dtype)
    got = case.gradients(x, parameters, 1e-5, dy)
    assert {g.dtype for g in got} == {np.dtype(dtype)}
    wide = {name: p.astype(np.float64) for name, p in parameters.items()}
    want = case.gradients(x.astype(np.float64), wide, 1e-5, dy.astype(np.float64))
    assert_gradients(got, want, 16 * np.finfo(np.float32).eps + np.finfo(dtype).eps / 2)


@with_each_method
def test_forward_returns_the_output_and_a_small_cache(case):
    x, parameters, _ = draw(case)
    y, cache = case.call(reference, x, parameters, 0.3, suffix="_forward")
    np.testing.assert_array_equal(y, case.call(reference, x, parameters, 0.3))
    assert cache.input is x
    assert all(getattr(cache, name) is p for name, p in parameters.items())
    groups = len({case.group_of(i) for i in np.ndindex(x.shape)})
    assert cache.stats.rstd.size == groups
    assert (cache.stats.mean is None) == (case is RMS)
    assert case is RMS or cache.stats.mean.size == groups


# --- inputs that are hard to represent ------------------------------------------------------------


@with_each_method
def test_empty_batch(case):
    empty = case._replace(shape=(0, *case.shape[1:]))
    x, parameters, dy = draw(empty)
    assert empty.call(reference, x, parameters, 1e-5).shape == x.shape
    dx, *rest = empty.gradients(x, parameters, 1e-5, dy)
    assert dx.shape == x.shape
    assert [g.tolist() for g in rest] == [np.zeros_like(p).tolist() for p in parameters.values()]


@pytest.mark.parametrize("shape", [(3, 0), (0, 0)])
def test_no_features(shape):
    assert reference.layer_norm(np.empty(shape), 0).shape == shape


@pytest.mark.parametrize(
    "view",
    [
        lambda a: np.broadcast_to(a[:1], a.shape),
        lambda a: np.broadcast_to(a[..., :1], a.shape),
        lambda a: np.asfortranarray(a),
        lambda a: a[::-1, ..., ::-1],
        lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    ],
    ids=["zero-stride-batch", "zero-stride-last", "fortran", "reversed", "strided"],
)
@with_each_method
def test_memory_layout_does_not_matter(case, view):
    x, parameters, dy = draw(case)
    x, dy = view(x), view(dy)
    parameters["weight"] = np.broadcast_to(parameters["weight"][:1], parameters["weight"].shape)
    copies = {name: p.copy() for name, p in parameters.items()}
    y, _ = expected(case, x.copy(), copies, 0.3)
    np.testing.assert_allclose(case.call(reference, x, parameters, 0.3), y, atol=1e-12)
    got = case.gradients(x, parameters, 0.3, dy)
    assert_gradients(got, case.gradients(x.copy(), copies, 0.3, dy.copy()), 1e-12)


# --- inputs of extreme size -----------------------------------------------------------------------

SIZES = [(np.float16, 6e4), (np.float16, 1e-6)]
SIZES += [(np.float32, size) for size in (1e-38, 1e-30, 1e20, 3e38)]
SIZES += [(np.float64, size) for size in (1e-300, 1e-30, 1e160, 1e308)]


def of_size(case, dtype, size):
    """Values in [-size, size], one of them of the full size."""
    x = np.random.default_rng(1).uniform(-1, 1, case.shape)
    return fixed((x / np.abs(x).max() * size).astype(dtype))


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize(("dtype", "size"), SIZES)
@with_each_method
def test_squares_of_any_size_fit(case, dtype, size, eps):
    """Where float32 overflows or underflows in x², torch returns 0, inf or nan."""
    x = of_size(case, dtype, size)
    assert_rounded_once(case.call(reference, x, {}, eps), *expected(case, x, {}, eps))


@pytest.mark.parametrize(
    ("dtype", "size", "eps"),
    [
        (dtype, size, eps)
        for dtype, size in SIZES
        for eps in (0.0, 1e-5)
        if eps > 0 or 100 / size < float(np.finfo(dtype).max)  # else dx does not fit
    ],
)
@with_each_method
def test_gradients_of_any_size_fit(case, dtype, size, eps):
    x, dy = of_size(case, dtype, size), draw(case, dtype=dtype)[2]
    (dx,) = case.gradients(x, {}, eps, dy)
    (want,) = gradients_by_differences(case, x, {}, eps, dy, size=size)
    computing = np.finfo(np.result_type(dtype, np.float32))
    largest = np.abs(want).max()
    relative = 16 * computing.eps * largest + np.finfo(dtype).eps / 2 * np.abs(want)
    # below the smallest normal number dx and rstd have fewer digits
    step, step_of_rstd = (float(np.finfo(d).smallest_subnormal) for d in (dtype, computing.dtype))
    tolerance = relative + size * (step + 4 * step_of_rstd * largest)
    assert np.all(np.abs(dx.astype(np.float64) * size - want) <= tolerance)


@with_eps
@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (dtype, value)
        for dtype in DTYPES
        for value in (0.0, 0.1, -3.3, 1e4, 1e8, 1e20, 3e38, 1e-30)
        if value < float(np.finfo(dtype).max)
    ],
)
@pytest.mark.parametrize("case", CENTRED, ids=str)
def test_constant_input_returns_the_bias(case, dtype, value, eps):
    bias = draw(case, dtype=dtype)[1]["bias"]
    y = case.call(reference, np.full(case.shape, value, dtype), {"bias": bias}, eps)
    np.testing.assert_array_equal(y, np.broadcast_to(case.spread(bias), case.shape))


@pytest.mark.parametrize(
    ("dtype", "offset"), [(np.float64, 1e8), (np.float32, 1e8), (np.float16, 1e3)]
)
@with_each_method
def test_a_large_offset_costs_no_digits(case, dtype, offset):
    """The input is rounded to a coarse grid; from there on, no digit is lost."""
    spacing = max(1.0, float(np.spacing(dtype(offset))))
    x = fixed((offset + 2 * spacing * draw(case)[0]).astype(dtype))
    assert_rounded_once(case.call(reference, x, {}, 1e-5), *expected(case, x, {}, 1e-5))


# --- running statistics ---------------------------------------------------------------------------


def batches(count=3, shape=(4, 3, 2), dtype=np.float64):
    rng = np.random.default_rng(2)
    return [fixed(rng.normal(3, 2, shape).astype(dtype)) for _ in range(count)]


@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0, None])
def test_batch_norm_tracks_what_torch_tracks(momentum):
    mean, var, count = np.zeros(3), np.ones(3), np.array(0)
    layer = torch.nn.BatchNorm1d(3, momentum=momentum, dtype=torch.float64)
    for x in batches():
        y = reference.batch_norm(
            x, mean, var, training=True, momentum=momentum, num_batches_tracked=count
        )
        np.testing.assert_allclose(y, layer(torch.tensor(x)).detach(), rtol=0, atol=1e-12)
        np.testing.assert_allclose(mean, layer.running_mean, rtol=1e-12)
        np.testing.assert_allclose(var, layer.running_var, rtol=1e-12)
    assert count == layer.num_batches_tracked == 3

    x = batches()[0]
    y = reference.batch_norm(x, fixed(mean), fixed(var), num_batches_tracked=fixed(count))
    np.testing.assert_allclose(y, layer.eval()(torch.tensor(x)).detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("unbiased", [True, False])
def test_momentum_none_averages_all_batches(unbiased):
    mean, var, count = np.full(3, 9.0), np.full(3, 9.0), np.zeros(1, np.int64)
    for x in batches():
        reference.batch_norm(
            x, mean, var, None, None, True, None, unbiased=unbiased, num_batches_tracked=count
        )
    stack = np.stack(batches())
    np.testing.assert_allclose(mean, stack.mean((0, 1, 3)), rtol=1e-12)
    each = stack.var((1, 3), ddof=int(unbiased))
    np.testing.assert_allclose(var, each.mean(0), rtol=1e-12)
    assert count.tolist() == [3]


@pytest.mark.parametrize("names", [(), ("weight", "bias")], ids=str)
def test_running_statistics_are_constants_in_evaluation(names):
    case = Case("batch_norm", (4, 3, 2))
    x, parameters, dy = draw(case, names)
    mean, var = fixed(np.array([1.0, -2.0, 0.5])), fixed(np.array([0.5, 2.0, 1e-3]))
    arrays = [torch.tensor(a, requires_grad=True) for a in (x, *parameters.values())]
    tensors = dict(zip(names, arrays[1:], strict=True))
    for method, off in (("batch_norm", "training"), ("instance_norm", "use_input_stats")):
        forward = getattr(reference, f"{method}_forward")
        y, cache = forward(x, mean, var, **parameters, **{off: False}, eps=0.3)
        want = torch_functional.batch_norm(
            arrays[0], torch.tensor(mean), torch.tensor(var), **tensors, eps=0.3
        )
        np.testing.assert_allclose(y, want.detach(), rtol=0, atol=1e-12)
        got = [g for g in getattr(reference, f"{method}_backward")(dy, cache) if g is not None]
        gradients = torch.autograd.grad(want, arrays, torch.tensor(dy))
        assert_gradients(got, [g.numpy() for g in gradients], 1e-12)


@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_instance_norm_tracks_what_torch_tracks(momentum):
    ours = np.zeros(3), np.ones(3)
    theirs = [torch.tensor(buffer) for buffer in ours]
    for x in batches():
        y = reference.instance_norm(x, *ours, momentum=momentum)
        want = torch_functional.instance_norm(torch.tensor(x), *theirs, momentum=momentum)
        np.testing.assert_allclose(y, want, rtol=0, atol=1e-12)
    for got, buffer in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, buffer, rtol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "offset"),
    [(np.float16, 0), (np.float16, 1e3), (np.float32, 0), (np.float32, 1e3), (np.float32, 1e8)],
)
def test_running_statistics_are_accurate(dtype, offset):
    """As accurate as the statistics that normalize, also far from 0; kept in their own dtype."""
    spacing = max(1.0, float(np.spacing(dtype(offset))))
    grid = np.random.default_rng(3).integers(-4, 5, (100, 1))
    x = fixed((offset + spacing * grid).astype(dtype))
    mean, var = np.zeros(1, np.float32), np.ones(1, np.float32)
    reference.batch_norm(x, mean, var, training=True, momentum=1.0)
    assert mean.dtype == var.dtype == np.float32
    tolerance = 8 * np.finfo(np.float32).eps
    np.testing.assert_allclose(mean, x.mean(dtype=np.float64), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(var, x.astype(np.float64).var(ddof=1), rtol=tolerance)


@pytest.mark.parametrize("method", ["batch_norm", "instance_norm"])
def test_an_empty_batch_leaves_running_statistics_alone(method):
    mean, var, count = fixed(np.ones(3)), fixed(np.ones(3)), np.array(7)
    options = {"training": True, "num_batches_tracked": count} if method == "batch_norm" else {}
    y = getattr(reference, method)(np.empty((0, 3, 2)), mean, var, **options)
    assert y.shape == (0, 3, 2)
    assert count == (8 if options else 7)  # as torch counts it


# --- packaging ------------------------------------------------------------------------------------


def test_import_leaves_torch_out():
    code = "import sys, lnlib.reference; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
