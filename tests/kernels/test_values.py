"""The Triton kernels: on a GPU where there is one, otherwise in Triton's interpreter."""

import re

import numpy as np
import pytest
import torch
from kernel_cases import DEVICE, SMALL, UNIT, assert_close, data, expected, random, run

from lnlib import kernels, reference
from lnlib.kernels import launch

EPS = (1e-5, 0.3)
ROWS = [1, 2, 3, 7, 64, 100, 1000, 1024, 1025]
LONG = [9000, 40_000]  # wide backward; wide forward and backward


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


@pytest.fixture
def small_blocks(monkeypatch):
    for name, columns in SMALL.items():
        monkeypatch.setattr(launch, name, columns)


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
    assert_close((y.detach(), *got), (want[0], dx, dx, *want[2:]), 1e-12)


@pytest.mark.parametrize("columns", LONG)
def test_a_residual_is_added_to_long_rows(columns):
    x, _, _, dy = data(2, columns)
    residual, dsum = random(2, columns, seed=5), random(2, columns, seed=6)
    y, total = kernels.add_layer_norm(x, residual, (columns,), eps=0.3)
    (dx,) = torch.autograd.grad((y, total), x, (dy, dsum))
    summed, ones = (x + residual).detach(), torch.ones(columns)
    want, want_dx, *_ = expected("layer_norm", summed, ones, 0 * ones, dy, 0.3)
    assert_close((y.detach(), dx), (want, want_dx + dsum.cpu()), 1e-12)


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
