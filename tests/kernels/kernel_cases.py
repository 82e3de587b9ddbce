"""Arguments, a run and the right answers for the tests of the kernels."""

import numpy as np
import pytest
import torch
from oracles import normal

from lnlib import reference

pytest.importorskip("triton", reason="there is no Triton for this system")
from lnlib import kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
UNIT = {torch.float32: 2**-24, torch.float16: 2**-11, torch.bfloat16: 2**-8}  # the last: truncated
# Rows count as long beyond 64 columns backward and 256 forward.
SMALL = {"ROW": 256, "BLOCK": 128, "ROW_BACKWARD": 64, "BLOCK_BACKWARD": 32}


def random(*shape, dtype=torch.float64, seed=0, shift=0.0):
    return (normal(*shape, seed=seed + sum(shape)) + shift).to(dtype).to(DEVICE)


def data(rows, columns, dtype=torch.float64, weight_dtype=None, shift=2.0):
    """Input, weight, bias and cotangent, ready for gradients."""
    weight_dtype = weight_dtype or dtype
    x, dy = (
        random(rows, columns, dtype=dtype, shift=shift),
        random(rows, columns, dtype=dtype, seed=1),
    )
    weight, bias = (random(columns, dtype=weight_dtype, seed=s) for s in (2, 3))
    return *(t.requires_grad_() for t in (x, weight, bias)), dy


def run(norm, x, weight, bias, dy, eps):
    """Output and gradients of one of the two norms."""
    if norm == "layer_norm":
        y, used = kernels.layer_norm(x, weight.shape, weight, bias, eps), (x, weight, bias)
    else:
        y, used = kernels.rms_norm(x, weight.shape, weight, eps), (x, weight)
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
