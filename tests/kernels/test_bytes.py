"""The bytes that the kernels ask memory for, counted in Triton's interpreter."""

import pytest
import torch
from kernel_cases import DEVICE, random

pytest.importorskip("triton", reason="there is no Triton for this system")
import triton
import triton.language as tl
from triton.runtime.interpreter import interpreter_builder

from lnlib import kernels
from lnlib.kernels.traffic import Operations, traffic


@triton.jit
def add_kernel(X, Y):
    tl.atomic_add(Y + tl.arange(0, 8), tl.load(X + tl.arange(0, 8)))


@pytest.mark.skipif(DEVICE == "cuda", reason="the interpreter counts, the GPU does not")
@pytest.mark.parametrize(("columns", "reads"), [(64, 1), (1000, 1), (40_000, 2)])
def test_bytes_of_the_forward_pass(columns, reads):
    x = random(6, columns, dtype=torch.float32)
    with traffic() as moved:
        kernels.rms_norm(x, (columns,))
    assert (moved.read, moved.distinct_read) == (reads * x.nbytes, x.nbytes)
    assert moved.written == moved.distinct_written == x.nbytes  # nobody needs statistics


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
