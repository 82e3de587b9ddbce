"""The Triton kernels: on a GPU where there is one, otherwise in Triton's interpreter."""

import re

import numpy as np
import pytest
import torch
from kernel_cases import DEVICE, SMALL, UNIT, assert_close, data, expected, random, run

from lnlib import kernels, reference
from lnlib.kernels import launch, operators

EPS = (1e-5, 0.3)
ROWS = [1, 2, 3, 7, 64, 100, 1000, 1024, 1025]
LONG = [5000, 40_000]  # in strips, and read twice, in float64
FORWARD = ("forward_kernel", "pairs_forward_kernel", "wide_forward_kernel")
BACKWARD = ("backward_kernel", "strips_backward_kernel", "wide_backward_kernel")


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("columns", ROWS)
def test_rows_of_every_length(norm, columns):
    for rows in (1, 5):
        for eps in EPS:
            arguments = data(rows, columns)
            assert_close(run(norm, *arguments, eps), expected(norm, *arguments, eps))


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("columns", LONG)
def test_long_rows(norm, columns):
    arguments = data(2, columns)
    assert_close(run(norm, *arguments, 0.3), expected(norm, *arguments, 0.3))


def test_longest_row():
    x, weight, bias, _ = data(1, 262_144, torch.float32)
    y = kernels.layer_norm(x, weight.shape, weight, bias)
    want = reference.layer_norm(
        *(t.detach().double().cpu().numpy() for t in (x,)), weight.shape,
        weight.detach().double().cpu().numpy(), bias.detach().double().cpu().numpy(),
    )  # fmt: skip
    assert_close((y.detach(),), (torch.from_numpy(want),))


@pytest.fixture
def small_blocks(monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setattr(launch, name, value)


@pytest.fixture
def two_processors(monkeypatch):
    """So few programs that each goes over many rows."""
    monkeypatch.setattr(operators, "processors", lambda device: (2, launch.SHARED))


def columns_of(kernel, size, center):
    """The length of rows that one of the kernels takes, with small blocks."""
    for columns in (30, 50, 98, 300, 700):
        ways = (launch.forward, launch.backward)
        forward, backward = (way(columns, size, center=center) for way in ways)
        if kernel in (forward.kernel, backward[-1].kernel):
            return columns
    return None


@pytest.mark.usefixtures("small_blocks", "two_processors")
@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("dtype", list(UNIT))
@pytest.mark.parametrize("kernel", BACKWARD)
def test_every_program_takes_four_turns_and_more(kernel, dtype, norm):
    """The prefetched loop of a GPU runs full, and its last tile is ragged."""
    columns = columns_of(kernel, dtype.itemsize, norm == "layer_norm")
    how = launch.backward(columns, dtype.itemsize, center=norm == "layer_norm")[-1]
    tile = how.rows or 1
    rows = 4 * tile * launch.parts(how, 2, 10**9, columns) + tile // 2 + 1
    arguments = data(rows, columns, dtype)
    assert_close(run(norm, *arguments, 0.3), expected(norm, *arguments, 0.3))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("dtype", list(UNIT))
@pytest.mark.parametrize("kernel", FORWARD)
def test_every_kernel_of_the_forward_pass(kernel, dtype, norm):
    columns = columns_of(kernel, dtype.itemsize, norm == "layer_norm")
    assert (columns is None) == (kernel == "pairs_forward_kernel" and dtype.itemsize > 2)
    if columns is not None:
        arguments = data(5, columns, dtype)
        assert_close(run(norm, *arguments, 0.3), expected(norm, *arguments, 0.3))


@pytest.mark.skipif(DEVICE == "cuda", reason="the GPU does nothing else")
def test_two_sums_by_one_reduction(monkeypatch):
    """As on a GPU; in the other tests, the interpreter takes two."""
    from lnlib.kernels import gpu

    monkeypatch.setattr(gpu, "INTERPRETED", False)
    arguments = data(3, 6)
    assert_close(run("layer_norm", *arguments, 0.3), expected("layer_norm", *arguments, 0.3))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("columns", "first"), [(299, 0), (300, 1)])
def test_entries_that_are_no_pairs_are_loaded_one_by_one(columns, first):
    wide = random(3, 2 * columns, dtype=torch.float16)
    x = wide[:, first : first + columns]
    y = kernels.layer_norm(x, (columns,))
    weight, bias = torch.ones(columns), torch.zeros(columns)
    assert_close((y,), expected("layer_norm", x, weight, bias, x, 1e-5)[:1])
    assert torch.equal(y, kernels.layer_norm(x.clone(), (columns,)))


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("dtype", list(UNIT))
@pytest.mark.parametrize("weight_dtype", [torch.float32, None])
def test_dtypes(norm, dtype, weight_dtype):
    for rows, columns in ((9, 100), (3, 1000)):
        arguments = data(rows, columns, dtype, weight_dtype)
        got = run(norm, *arguments, 1e-5)
        kinds = [dtype, dtype] + [weight_dtype or dtype] * (len(got) - 2)
        assert [t.dtype for t in got] == kinds
        assert_close(got, expected(norm, *arguments, 1e-5))


@pytest.mark.parametrize("columns", [1000, 40_000])
def test_a_large_mean_costs_nothing(columns):
    arguments = data(2, columns, torch.float32, shift=1e4)
    got, want = run("layer_norm", *arguments, 1e-5), expected("layer_norm", *arguments, 1e-5)
    assert_close(got, want)


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


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("columns", [12, 100, 300])  # as 12, 9000, 40,000 without the fixture
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
    assert_close((y.detach(), *got), (want[0], dx, dx, *want[2:]))


@pytest.mark.parametrize("columns", LONG)
def test_a_residual_is_added_to_long_rows(columns):
    x, _, _, dy = data(2, columns)
    residual, dsum = random(2, columns, seed=5), random(2, columns, seed=6)
    y, total = kernels.add_layer_norm(x, residual, (columns,), eps=0.3)
    (dx,) = torch.autograd.grad((y, total), x, (dy, dsum))
    summed, ones = (x + residual).detach(), torch.ones(columns)
    want, want_dx, *_ = expected("layer_norm", summed, ones, 0 * ones, dy, 0.3)
    assert_close((y.detach(), dx), (want, want_dx + dsum.cpu()))


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


def test_gradients_are_computed_for_what_asks_for_them(monkeypatch):
    launched = []
    called = operators.Kernel.__call__

    def noted(self, grid, *arguments):
        launched.append(self.kernel.__name__)
        called(self, grid, *arguments)

    monkeypatch.setattr(operators.Kernel, "__call__", noted)
    x, weight, bias, dy = data(3, 12)
    want = expected("layer_norm", x, weight, bias, dy, 0.3)[1:]
    for asked in ((0,), (1,), (2,), (0, 2), (1, 2)):
        tensors = [t.detach().requires_grad_(i in asked) for i, t in enumerate((x, weight, bias))]
        y = kernels.layer_norm(tensors[0], (12,), *tensors[1:], 0.3)
        launched.clear()
        got = torch.autograd.grad(y, [tensors[i] for i in asked], dy)
        assert_close(got, [want[i] for i in asked])
        assert launched == ["backward_kernel", "add_parts_kernel"][: 1 if asked == (0,) else 2]


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
def test_a_gain_may_be_stored_as_its_difference_to_one(norm):
    x, weight, bias, dy = data(5, 12)
    got = run(norm, x, weight, bias, dy, 0.3, weight_offset=1.0)
    assert_close(got, expected(norm, x, weight + 1, bias, dy, 0.3))
    with pytest.raises(ValueError, match=r"weight_offset is 1\.0, but weight is None"):
        kernels.rms_norm(x, (12,), weight_offset=1.0)


def test_an_offset_is_added_in_the_dtype_of_the_statistics():
    weight = torch.full((4,), 2.0**-9, dtype=torch.bfloat16, device=DEVICE)  # 1 + it rounds to 1
    x = torch.tensor([[1.0, -1.0, 1.0, -1.0]], device=DEVICE)
    y = kernels.rms_norm(x, (4,), weight, 2.0**-60, weight_offset=1.0)
    torch.testing.assert_close(y, x * (1 + 2.0**-9), rtol=2.0**-20, atol=0)


def test_layer_norm_without_a_bias():
    x, weight, _, dy = data(5, 12)
    y = kernels.layer_norm(x, (12,), weight, eps=0.3)
    got = y.detach(), *torch.autograd.grad(y, (x, weight), dy)
    assert_close(got, expected("layer_norm", x, weight, 0 * weight, dy, 0.3)[:3])


HEADS = {
    "of queries in one tensor with keys and values": lambda: random(2, 3, 12 * 8)[..., 16:48],
    "with gaps": lambda: random(2, 3, 4, 16)[..., 8:].flatten(-2)[..., :32],
    "of one batch": lambda: random(1, 3, 12 * 8)[..., :32],
}


@pytest.mark.parametrize("case", HEADS)
@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
def test_rows_are_read_where_they_are(case, norm):
    """Heads of queries and keys, as attention normalizes them."""
    heads = HEADS[case]()
    x = heads.view(*heads.shape[:-1], 4, 8).detach().requires_grad_()
    weight, bias = random(8, seed=2).requires_grad_(), random(8, seed=3).requires_grad_()
    for dy in (random(*x.shape, seed=1), random(4, *x.shape[:2], 8, seed=1).permute(1, 2, 0, 3)):
        got = run(norm, x, weight, bias, dy, 0.3)
        flat = (t.reshape(-1, 8) for t in (x, dy))
        x_flat, dy_flat = flat
        want = expected(norm, x_flat, weight, bias, dy_flat, 0.3)
        assert_close(got, (*(w.reshape(x.shape) for w in want[:2]), *want[2:]))


@pytest.mark.parametrize(
    ("make", "strides"),
    [
        (lambda: torch.empty(5, 8), (None, 8, 0)),
        (lambda: torch.empty(5, 20)[:, :8], (None, 20, 0)),
        (lambda: torch.empty(10, 8)[::2], (None, 16, 0)),
        (lambda: torch.empty(8).expand(5, 8), (None, 0, 0)),
        (lambda: torch.empty(2, 3, 96)[..., 16:48].view(2, 3, 4, 8), (4, 96, 8)),
        (lambda: torch.empty(2, 3, 4, 16)[..., 8:], (None, 16, 0)),
        (lambda: torch.empty(2, 3, 5, 16)[:, :, :4, 8:], (4, 80, 16)),
        (lambda: torch.empty(3, 2, 96)[..., :32].view(3, 2, 4, 8)[:1], (4, 96, 8)),
        (lambda: torch.empty(1, 1, 96)[..., :32].view(1, 1, 4, 8), (None, 8, 0)),
    ],
)
def test_strides_of_rows(make, strides):
    x = make()
    taken, *found = operators.rows_of(x, 8)
    assert taken is x
    assert tuple(found) == strides


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(8, 5).T,
        lambda: torch.empty(5, 16)[:, ::2],
        lambda: torch.empty(1).expand(5, 8),
        lambda: torch.empty(2, 4, 3, 8)[:, :, :2].transpose(1, 2)[:, :, :3],
    ],
)
def test_what_has_no_rows_is_copied(make):
    x = make()
    taken, *found = operators.rows_of(x, 8)
    assert taken.is_contiguous()
    assert torch.equal(taken.isnan(), x.isnan())
    assert found == [None, 8, 0]


def test_strides_of_input_and_gradient_are_brought_together():
    heads = torch.zeros(2, 3, 96)[..., :32].view(2, 3, 4, 8)
    dense, halves = torch.zeros(2, 3, 4, 8), torch.zeros(2, 6, 2, 16)[..., :8].view(2, 6, 2, 8)
    apart = torch.zeros(12, 32)[:, :16].view(12, 2, 8)
    for x, dy, group, strides in (
        (heads, heads, 4, (96, 8, 96, 8)),
        (heads, dense, 4, (96, 8, 32, 8)),
        (dense, heads, 4, (32, 8, 96, 8)),
        (heads, halves, 4, (96, 8, 64, 16)),
        (heads, apart, 4, (96, 8, 32, 8)),
    ):
        assert operators.rows_alike(x, dy, 8)[2:] == (group, strides)


def test_a_residual_in_float32_beside_16_bits():
    x, weight, bias, dy = data(7, 100, torch.float16)
    residual = random(7, 100, dtype=torch.float32, seed=5).requires_grad_()
    dsum = random(7, 100, dtype=torch.float32, seed=6)
    y, total = kernels.add_layer_norm(x, residual, (100,), weight, bias, 0.3)
    asked = (x, residual, weight, bias)
    got = torch.autograd.grad((y, total), asked, (dy, dsum), retain_graph=True)
    assert [t.dtype for t in (y, total, *got)] == [
        torch.float16, torch.float32, torch.float16, torch.float32, torch.float16, torch.float16
    ]  # fmt: skip
    summed = (x.double() + residual).detach()
    want = expected("layer_norm", summed, weight, bias, dy, 0.3)
    dx = want[1] + dsum.cpu()
    assert_close((y.detach(), *got), (want[0], dx, dx, *want[2:]))
    (alone,) = torch.autograd.grad(total.sum(), residual)
    assert torch.equal(alone, torch.ones_like(residual))


def test_same_bits_on_every_run():
    arguments = data(37 if DEVICE == "cpu" else 40_001, 100, torch.float32)
    first, second = (run("layer_norm", *arguments, 1e-5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("columns", "dtype"),
    [(50, torch.float32), (98, torch.float16), (300, torch.float16), (300, torch.float32)],
)
def test_a_row_does_not_depend_on_the_batch(columns, dtype):
    """Batch invariance: a row's bits are the same alone, in any place, among any others."""
    x, weight, bias, dy = data(11, columns, dtype)
    whole = run("layer_norm", x, weight, bias, dy, 1e-5)
    for rows in ([5], [10, 9, 8, 5, 0]):
        some = x[rows].detach().requires_grad_()
        part = run("layer_norm", some, weight, bias, dy[rows], 1e-5)
        for a, b in zip(whole[:2], part[:2], strict=True):
            assert torch.equal(a[rows], b)


def test_under_autocast_statistics_stay_in_float32():
    x = random(4, 64, dtype=torch.bfloat16)
    with torch.autocast(DEVICE, torch.bfloat16):
        y = kernels.layer_norm(x, (64,))
    assert torch.equal(y, kernels.layer_norm(x, (64,)))


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
