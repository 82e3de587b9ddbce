"""Arguments, a run and the right answers for the tests of the kernels."""

import numpy as np
import pytest
import torch
from oracles import normal

from lnlib import reference

pytest.importorskip("triton", reason="there is no Triton for this system")
from lnlib import kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Unit roundoff of each dtype. The interpreter truncates to bfloat16 where a GPU rounds.
UNIT = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.float16: 2.0**-11}
UNIT[torch.bfloat16] = 2.0**-8 if DEVICE == "cuda" else 2.0**-7
# With these, rows of 50, 100 and 300 are what 1000, 10,000 and 40,000 are without.
SMALL = {
    "ROW": 256, "ROW_PAIRS": 512, "BLOCK": 128,
    "ROW_BACKWARD": 64, "ROW_STRIPS": 256, "STRIP": 32, "BLOCK_BACKWARD": 256, "PARTS": 4,
}  # fmt: skip


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


def run(norm, x, weight, bias, dy, eps, **options):
    """Output and gradients of one of the two norms."""
    if norm == "layer_norm":
        y, used = (
            kernels.layer_norm(x, weight.shape, weight, bias, eps, **options),
            (x, weight, bias),
        )
    else:
        y, used = kernels.rms_norm(x, weight.shape, weight, eps, **options), (x, weight)
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


def assert_close(got, want):
    """Compare with float64, as precisely as the dtypes allow.

    Everything is computed in the dtype of the statistics, with unit roundoff u, and rounded once to
    its own. Before that, an entry has gone through a sum of a row (log N roundings), rsqrt (2.2 u
    on a GPU, 2^-22.9 by NVIDIA's PTX manual) and a few products and differences of terms as large
    as the largest entries: 16 u cover all.
    """
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        assert not a.isnan().any()
        if b.numel():
            statistics = UNIT[torch.promote_types(a.dtype, torch.float32)]
            statistics = max(statistics, UNIT[torch.promote_types(got[0].dtype, torch.float32)])
            allowed = (UNIT[a.dtype] + 16 * statistics) * b.abs().max().item()
            worst = (a.double().cpu() - b).abs().max().item()
            assert worst <= allowed, (i, worst / allowed)
