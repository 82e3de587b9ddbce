"""The Triton kernels: on a GPU where there is one, otherwise in Triton's interpreter."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck

import lnlib
from lnlib import functional, reference

pytest.importorskip("triton", reason="there is no Triton for this system")
import triton
import triton.language as tl
from triton.runtime.errors import InterpreterError
from triton.runtime.interpreter import interpreter_builder

from lnlib import kernels
from lnlib.traffic import Operations, traffic

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
EPS = (1e-5, 0.3)
ROWS = [1, 2, 3, 7, 64, 100, 1000, 1024, 1025]
LONG = [9000, 40_000]  # wide backward; wide forward and backward
UNIT = {torch.float32: 2**-24, torch.float16: 2**-11, torch.bfloat16: 2**-8}  # the last: truncated


@triton.jit
def add_kernel(X, Y):
    tl.atomic_add(Y + tl.arange(0, 8), tl.load(X + tl.arange(0, 8)))


def random(*shape, dtype=torch.float64, seed=0, shift=0.0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return (
        (torch.randn(shape, generator=generator, dtype=torch.float64) + shift).to(dtype).to(DEVICE)
    )


def data(rows, columns, dtype=torch.float64, weight_dtype=None, shift=2.0):
    """Input, weight, bias and cotangent, ready for gradients."""
    weight_dtype = weight_dtype or dtype
    x, dy = (
        random(rows, columns, dtype=dtype, shift=shift),
        random(rows, columns, dtype=dtype, seed=1),
    )
    weight, bias = (random(columns, dtype=weight_dtype, seed=s) for s in (2, 3))
    return *(t.requires_grad_() for t in (x, weight, bias)), dy


def run(norm, x, weight, bias, dy, eps, module=kernels):
    """Output and gradients of one of the two norms."""
    if norm == "layer_norm":
        y, used = module.layer_norm(x, weight.shape, weight, bias, eps), (x, weight, bias)
    else:
        y, used = module.rms_norm(x, weight.shape, weight, eps), (x, weight)
    return y.detach(), *torch.autograd.grad(y, used, dy)


def expected(norm, x, weight, bias, dy, eps):
    """The same from `lnlib.reference`, in float64."""
    x, weight, bias, dy = (t.detach().double().cpu().numpy() for t in (x, weight, bias, dy))
    if norm == "layer_norm":
        y, cache = reference.layer_norm_forward(x, weight.shape, weight, bias, eps)
        gradients = reference.layer_norm_backward(dy, cache)
    else:
        y, cache = reference.rms_norm_forward(x, weight.shape, weight, eps)
        gradients = reference.rms_norm_backward(dy, cache)
    return tuple(torch.from_numpy(np.asarray(a)) for a in (y, *gradients))


def assert_close(got, want, tolerance):
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        scale = b.abs().clamp(min=1)
        if i >= 2:  # sums over the rows
            scale = scale * 4
        worst = ((a.double().cpu() - b).abs() / scale).max().item() if b.numel() else 0.0
        assert worst <= tolerance, (i, worst)
        assert not a.isnan().any()


@pytest.fixture(autouse=True)
def poisoned():
    """Memory that nobody has written holds NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("columns", ROWS)
def test_rows_of_every_length(norm, columns):
    for rows in (1, 5):
        for eps in EPS:
            arguments = data(rows, columns)
            assert_close(run(norm, *arguments, eps), expected(norm, *arguments, eps), 1e-12)


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("columns", LONG)
def test_long_rows(norm, columns):
    arguments = data(2, columns)
    assert_close(run(norm, *arguments, 0.3), expected(norm, *arguments, 0.3), 1e-12)


def test_longest_row():
    x, weight, bias, _ = data(1, 262_144, torch.float32)
    y = kernels.layer_norm(x, weight.shape, weight, bias)
    want = reference.layer_norm(
        *(t.detach().double().cpu().numpy() for t in (x,)), weight.shape,
        weight.detach().double().cpu().numpy(), bias.detach().double().cpu().numpy(),
    )  # fmt: skip
    assert_close((y.detach(),), (torch.from_numpy(want),), 8 * UNIT[torch.float32])


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("dtype", list(UNIT))
@pytest.mark.parametrize("weight_dtype", [torch.float32, None])
def test_dtypes(norm, dtype, weight_dtype):
    for rows, columns in ((9, 100), (3, 1000)):
        arguments = data(rows, columns, dtype, weight_dtype)
        got = run(norm, *arguments, 1e-5)
        kinds = [dtype, dtype] + [weight_dtype or dtype] * (len(got) - 2)
        assert [t.dtype for t in got] == kinds
        assert_close(got, expected(norm, *arguments, 1e-5), 8 * UNIT[dtype])


@pytest.mark.parametrize("columns", [1000, 40_000])
def test_a_large_mean_costs_nothing(columns):
    arguments = data(2, columns, torch.float32, shift=1e4)
    got, want = run("layer_norm", *arguments, 1e-5), expected("layer_norm", *arguments, 1e-5)
    assert_close(got, want, 16 * UNIT[torch.float32])


@pytest.mark.parametrize("columns", [5, 1000, 40_000])
def test_a_constant_row_becomes_the_bias(columns):
    for value in (0.1, 12345.678):
        x = torch.full((2, columns), value, device=DEVICE)
        bias = random(columns, dtype=torch.float32)
        y = kernels.layer_norm(x, (columns,), None, bias, 1e-5)
        assert torch.equal(y, bias.expand(2, -1))


def test_shapes_strides_and_missing_parameters():
    x = random(4, 6, 10).transpose(0, 2)  # (10, 6, 4), not contiguous
    weight = random(6, 4)
    y = kernels.layer_norm(x, (6, 4), weight)
    want = reference.layer_norm(x.cpu().numpy(), (6, 4), weight.cpu().numpy())
    np.testing.assert_allclose(y.cpu().numpy(), want, atol=1e-12)
    bare = kernels.rms_norm(x[::2, 1:], (4,), eps=0.3)
    want = reference.rms_norm(x[::2, 1:].cpu().numpy(), (4,), eps=0.3)
    np.testing.assert_allclose(bare.cpu().numpy(), want, atol=1e-12)


def test_empty_inputs():
    for shape in ((0, 8), (2, 0, 8)):
        x = torch.empty(shape, device=DEVICE, requires_grad=True)
        weight = torch.ones(8, device=DEVICE, requires_grad=True)
        y = kernels.layer_norm(x, (8,), weight)
        assert y.shape == x.shape
        dx, dweight = torch.autograd.grad(y, (x, weight), torch.empty_like(y))
        assert dx.shape == x.shape
        assert torch.equal(dweight, torch.zeros(8, device=DEVICE))


@pytest.mark.parametrize("columns", [12, 9000, 40_000])
@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
def test_the_residual_is_added_and_gets_both_gradients(norm, columns):
    x, weight, bias, dy = data(3, columns)
    residual, dsum = random(3, columns, seed=5).requires_grad_(), random(3, columns, seed=6)
    rest = (weight, bias) if norm == "layer_norm" else (weight,)
    y, total = getattr(kernels, f"add_{norm}")(x, residual, weight.shape, *rest, 0.3)
    assert torch.equal(total, x + residual)
    got = torch.autograd.grad((y, total), (x, residual, *rest), (dy, dsum))
    summed = (x + residual).detach()
    want = expected(norm, summed, weight, bias, dy, 0.3)
    dx = want[1] + dsum.cpu()
    assert_close((y.detach(), *got), (want[0], dx, dx, *want[2:]), 1e-12)


def test_the_sum_is_rounded_before_it_is_normalized():
    x, weight, bias, _ = data(4, 64, torch.float16)
    residual = random(4, 64, dtype=torch.float16, seed=7, shift=100.0)
    fused = kernels.add_layer_norm(x, residual, (64,), weight, bias)[0]
    assert torch.equal(fused, kernels.layer_norm(x + residual, (64,), weight, bias))


def test_an_output_nobody_uses_costs_no_gradient():
    x, weight, bias, dy = data(3, 12)
    residual = random(3, 12, seed=5).requires_grad_()
    y, total = kernels.add_layer_norm(x, residual, (12,), weight, bias)
    (only_y,) = torch.autograd.grad(y, x, dy, retain_graph=True)
    want = expected("layer_norm", (x + residual).detach(), weight, bias, dy, 1e-5)
    np.testing.assert_allclose(only_y.cpu().numpy(), want[1].numpy(), atol=1e-12)
    (only_sum,) = torch.autograd.grad(total, x, dy)
    torch.testing.assert_close(only_sum, dy, rtol=0, atol=1e-12)


def test_same_bits_on_every_run():
    arguments = data(37, 100, torch.float32)
    first, second = (run("layer_norm", *arguments, 1e-5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_row_does_not_depend_on_the_batch():
    x, weight, bias, dy = data(11, 100, torch.float32)
    whole = run("layer_norm", x, weight, bias, dy, 1e-5)
    part = run("layer_norm", x[4:6].detach().requires_grad_(), weight, bias, dy[4:6], 1e-5)
    for a, b in zip(whole[:2], part[:2], strict=True):
        assert torch.equal(a[4:6], b)


@pytest.mark.parametrize("eps", EPS)
def test_gradients_by_differences(eps):
    x, weight, bias, _ = data(3, 5)
    residual = random(3, 5, seed=9).requires_grad_()

    def layer(x, residual, weight, bias):
        return kernels.add_layer_norm(x, residual, (5,), weight, bias, eps)

    assert gradcheck(layer, (x, residual, weight, bias))
    assert gradgradcheck(layer, (x, residual, weight, bias))
    assert gradcheck(lambda x, w: kernels.rms_norm(x, (5,), w, eps), (x, weight))
    assert gradgradcheck(lambda x, w: kernels.rms_norm(x, (5,), w, eps), (x, weight))


def test_third_derivative():
    x, directions = data(2, 6)[0], [random(2, 6, seed=s) for s in (1, 2, 3)]
    found = []
    for norm in (kernels.layer_norm, functional.layer_norm):
        value = norm(x, (6,), eps=0.3)
        for v in directions:
            (value,) = torch.autograd.grad(value, x, v, create_graph=True)
        found.append(value.detach())
    torch.testing.assert_close(*found, rtol=0, atol=1e-11)


def test_operators_are_registered_right():
    x, weight, bias, dy = data(3, 20, torch.float32)
    forward = (x, None, weight, bias, 1e-5, True)
    torch.library.opcheck(kernels.norm_forward, forward)
    torch.library.opcheck(kernels.norm_forward, (x, dy, weight, None, 1e-5, False))
    _, _, mean, rstd = kernels.norm_forward(*forward)
    torch.library.opcheck(
        kernels.norm_backward, (dy, None, x, weight, bias, mean.detach(), rstd.detach(), 1e-5, True)
    )


def test_compiles_without_a_break():
    arguments = data(3, 20, torch.float32)

    def norm(x, weight, bias):
        return kernels.layer_norm(x, (20,), weight, bias).sin()

    compiled = torch.compile(norm, fullgraph=True, backend="aot_eager")
    results = []
    for f in (norm, compiled):
        y = f(*arguments[:3])
        results.append((y, *torch.autograd.grad(y, arguments[:3], arguments[3])))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_under_autocast_statistics_stay_in_float32():
    x = random(4, 64, dtype=torch.bfloat16)
    with torch.autocast(DEVICE, torch.bfloat16):
        y = kernels.layer_norm(x, (64,))
    assert torch.equal(y, kernels.layer_norm(x, (64,)))


@pytest.mark.parametrize("columns", [8, 700, 40_000])
def test_gradient_identities(columns):
    x, _, _, dy = data(3, columns)
    for eps in (1e-9, 0.3):
        y = kernels.layer_norm(x, (columns,), eps=eps)
        (dx,) = torch.autograd.grad(y, x, dy)
        c = (x - x.mean(1, keepdim=True)).detach()
        rstd = 1 / torch.sqrt(c.square().mean(1) + eps)
        assert dx.sum(1).abs().max() < 1e-10
        want = eps * rstd**3 * (dy * c).sum(1)
        torch.testing.assert_close((dx * c).sum(1), want, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"residual": torch.zeros(2, 5)}, "residual has shape"),
        ({"residual": torch.zeros(2, 4, dtype=torch.float64)}, "residual.to"),
        ({"eps": -1.0}, "eps"),
        ({"weight": torch.ones(3)}, "weight"),
        ({"normalized_shape": (5,)}, "normalized_shape"),
    ],
)
def test_errors_name_the_argument(change, message):
    arguments = {
        "input": torch.zeros(2, 4),
        "residual": torch.zeros(2, 4),
        "normalized_shape": (4,),
    }
    with pytest.raises(ValueError, match=re.escape(message)):
        kernels.add_layer_norm(**arguments | change)


@pytest.fixture
def on_gpu(monkeypatch):
    """Make `lnlib.functional` believe that tensors are on a GPU, and count its launches."""
    launches = []

    class Counted:
        def __getattr__(self, name):
            launches.append(name)
            return getattr(kernels, name)

    monkeypatch.setattr(functional, "kernels", Counted())
    monkeypatch.setattr(functional, "_on_gpu", lambda x: True)
    return launches


def test_functions_and_modules_use_the_kernels(on_gpu):
    x, weight, bias, dy = data(3, 12, torch.float32)
    layer, rms = lnlib.LayerNorm(12, device=DEVICE), lnlib.RMSNorm(12, device=DEVICE)
    functional.layer_norm(x, (12,), weight, bias).backward(dy)
    layer(x), rms(x), functional.rms_norm(x, (12,), weight)
    assert on_gpu == ["layer_norm", "layer_norm", "rms_norm", "rms_norm"]


def test_the_kernels_can_be_switched_off(on_gpu):
    x = data(3, 12, torch.float32)[0]
    fast = functional.layer_norm(x, (12,))
    functional.use_kernels(False)
    try:
        torch.testing.assert_close(functional.layer_norm(x, (12,)), fast)
    finally:
        functional.use_kernels(True)
    assert on_gpu == ["layer_norm"]


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_forward_mode_goes_without_the_kernels(on_gpu):
    x, v = data(3, 12)[0].detach(), random(3, 12, seed=4)
    tangent = torch.func.jvp(lambda x: functional.layer_norm(x, (12,), eps=0.3), (x,), (v,))[1]
    with forward_ad.dual_level():
        y = functional.layer_norm(forward_ad.make_dual(x, v), (12,), eps=0.3)
        torch.testing.assert_close(forward_ad.unpack_dual(y).tangent, tangent)
    assert on_gpu == []


# --- planted bugs -------------------------------------------------------------------------------

SOURCE = Path(kernels.__file__).read_text(encoding="utf-8")
VARIANCE = "tl.rsqrt(tl.sum(x * x, 1) / N + eps)"
WIDER = "tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32"
LOAD_GRADIENT = "tl.load(DS + at, mask=mask, other=0.0).to(ACC)"
MERGE = "squares += delta * delta * count * start / (start + count)"
MUTANTS = {
    "no mask": ("x = tl.where(mask, x - high[:, None], 0.0)", "x = x - high[:, None]"),
    "mean not corrected": ("x = tl.where(mask, x - low[:, None], 0.0)", "low = low * 0"),
    "divisor N - 1": (VARIANCE, VARIANCE.replace("N", "(N - 1)")),
    "eps outside": (VARIANCE, "1 / (tl.sqrt(tl.sum(x * x, 1) / N) + eps)"),
    "half of eps": (VARIANCE, VARIANCE.replace("eps", "eps / 2")),
    "dweight of the last rows": ("dw += tl.sum(dy * x_hat, 0)", "dw = tl.sum(dy * x_hat, 0)"),
    "gamma outside": ("g = dy * w\n", "g = dy\n            rstd = rstd * w\n"),
    "mean held fixed": ("dx -= (tl.sum(g, 1) / N)[:, None]", "dx -= 0.0"),
    "gradient of the sum forgotten": (LOAD_GRADIENT, "0.0"),
    "first parts only": ("range(0, G, BLOCK_G)", "range(0, BLOCK_G // 32, BLOCK_G)"),
    "statistics in the input's dtype": (WIDER, "X.dtype.element_ty"),
    "blocks not merged": (MERGE, "squares += 0.0"),
    "mean over long rows forgotten": ("tl.store(SUMS + row, tl.sum(dot) / N)", "pass"),
    "all long rows by the first programs": ("tl.program_id(1), tl.num_programs(1)", "0, 1"),
    "first block of long rows": ("range(0, N, BLOCK_N)", "range(0, BLOCK_N, BLOCK_N)"),
}


def all_is_well(module):
    """Run a short selection of the tests above on a module."""
    for rows, columns, dtype, shift in (
        (400, 200, torch.float64, 0.1),
        (3, 100, torch.float64, 2.0),
        (2, 1000, torch.float16, 100.0),
        (2, 1000, torch.float32, 1e4),
        (1, 40_000, torch.float64, 2.0),
    ):
        arguments = data(rows, columns, dtype, shift=shift)
        tolerance = 1e-12 if dtype == torch.float64 else 16 * UNIT[dtype]
        want = expected("layer_norm", *arguments, 0.3)
        assert_close(run("layer_norm", *arguments, 0.3, module), want, tolerance)
    x, weight, _, dy = data(3, 12)
    _, total = module.add_rms_norm(x, x.detach(), (12,), weight)
    (dx,) = torch.autograd.grad(total, x, dy)
    torch.testing.assert_close(dx, dy, rtol=0, atol=1e-12)


@pytest.fixture
def planted(tmp_path):
    """Load the module's text, changed, under a name of its own."""

    def load(name, old, new):
        path = tmp_path / f"{name}.py"
        assert old in SOURCE, old
        text = SOURCE.replace(old, new).replace("lnlib::norm", f"{name}::norm")
        path.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.skipif(DEVICE == "cuda", reason="the interpreter is enough to see these")
@pytest.mark.parametrize("bug", MUTANTS)
def test_a_planted_bug_is_caught(planted, bug):
    module = planted(f"bug_{list(MUTANTS).index(bug)}", *MUTANTS[bug])
    with pytest.raises((AssertionError, InterpreterError)):
        all_is_well(module)


@pytest.mark.skipif(DEVICE == "cuda", reason="the interpreter is enough to see these")
def test_without_a_bug_all_is_well(planted):
    all_is_well(planted("no_bug", "BLOCK_N", "BLOCK_N"))


# --- bytes --------------------------------------------------------------------------------------


@pytest.mark.skipif(DEVICE == "cuda", reason="the interpreter counts, the GPU does not")
@pytest.mark.parametrize(("columns", "reads"), [(64, 1), (1000, 1), (40_000, 2)])
def test_bytes_of_the_forward_pass(columns, reads):
    x = random(6, columns, dtype=torch.float32)
    with traffic() as moved:
        kernels.rms_norm(x, (columns,))
    assert (moved.read, moved.distinct_read) == (reads * x.nbytes, x.nbytes)
    assert moved.written == moved.distinct_written == x.nbytes + 6 * 4


@pytest.mark.skipif(DEVICE == "cuda", reason="the interpreter counts, the GPU does not")
def test_bytes_of_residual_and_backward_pass():
    x, residual, dy = (random(64, 1000, dtype=torch.float16, seed=s) for s in range(3))
    x.requires_grad_()
    with traffic() as forward:
        y, _ = kernels.add_rms_norm(x, residual, (1000,))
    with traffic() as backward:
        y.backward(dy)
    assert (forward.read, forward.written) == (2 * x.nbytes, 2 * x.nbytes + 64 * 4)
    assert (backward.read, backward.written) == (2 * x.nbytes + 64 * 4, x.nbytes)
    assert "create_masked_load" not in vars(interpreter_builder)  # it is as it was


@pytest.mark.skipif(DEVICE == "cuda", reason="the interpreter counts, the GPU does not")
def test_atomic_additions_read_and_write():
    x, y = torch.ones(8), torch.zeros(8)
    with traffic() as moved:
        add_kernel[(3,)](x, y)
    assert y.tolist() == [3.0] * 8
    assert (moved.read, moved.written, moved.distinct_written) == (6 * 32, 3 * 32, 32)
    assert "create_atomic_rmw" not in vars(interpreter_builder)


def test_operations_count_tensors_once_and_views_not_at_all():
    x, row = torch.randn(4, 256), torch.randn(256)
    with Operations() as operations:
        y = x.T.T + row.expand(4, 256)
        y.add_(x)
        torch.aminmax(y)
    (add, read, written), *_, (extremes, searched, found) = operations.lines
    assert (add, read, written) == ("add", x.nbytes + row.nbytes, x.nbytes)
    assert (extremes, searched, found) == ("aminmax", y.nbytes, 8)
