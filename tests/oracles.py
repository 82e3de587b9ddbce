"""What all tests compare with and draw from: the definition in 60 digits, derivatives, data."""

from collections import defaultdict
from decimal import Decimal, getcontext

import numpy as np
import torch

getcontext().prec = 60


def exact(array):
    """The same numbers as decimals."""
    return np.vectorize(Decimal, otypes=[object])(array.astype(np.float64))


def definition(x, group_of, eps, *, center=True, eps_mode="inside"):
    """Normalize decimals, group by group, in 60 digits; `group_of` an index is its group."""
    eps, groups, y = Decimal(eps), defaultdict(list), np.empty(x.shape, object)
    for index in np.ndindex(x.shape):
        groups[group_of(index)].append(index)
    for group in groups.values():
        mean = sum(x[i] for i in group) / len(group) if center else 0
        var = sum((x[i] - mean) ** 2 for i in group) / len(group)
        divisor = (var + eps).sqrt() if eps_mode == "inside" else var.sqrt() + eps
        for i in group:
            y[i] = (x[i] - mean) / divisor
    return y


def complex_step(function, x, direction, step=1e-30):
    """The derivative of a real analytic function of NumPy along a direction, to the last bits."""
    return np.imag(function(x + 1j * step * direction)) / step


def normal(*shape, seed=0, dtype=torch.float64):
    """A tensor of standard normal numbers: in every dtype the same, rounded."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def assert_close(got, want, tolerance=1e-12):
    """Tensors agree relative to the largest value wanted, at least 1: a sum may cancel."""
    torch.testing.assert_close(got, want, rtol=0, atol=tolerance * max(1, want.abs().max().item()))
