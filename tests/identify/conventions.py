"""Norms in every convention, written for torch and NumPy, that share no code with lnlib."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Convention:
    """What a norm computes; the fields are those of a report."""

    shape: tuple
    axes: tuple
    kind: str
    num_groups: int | None = None
    centered: bool = True
    ddof: int = 0
    eps: float = 1e-5
    place: str = "inside"
    gain: str | None = "weight"  # or "1 + weight", or None: no parameters
    upcast: bool = True
    cast: str = "last"  # or "before weight"

    @property
    def parameter_shape(self):
        if self.kind in ("layer", "rms"):
            return tuple(self.shape[a] if a in self.axes else 1 for a in range(len(self.shape)))
        return tuple(n if a == 1 else 1 for a, n in enumerate(self.shape))


def statistics(x, c, mean):
    """Mean and divisor of each group, with `mean(values, axes)` of NumPy or torch."""
    shape, axes = x.shape, c.axes
    if c.num_groups:
        x = x.reshape(shape[0], c.num_groups, shape[1] // c.num_groups, *shape[2:])
        axes = tuple(range(2, x.ndim))
    n = int(np.prod([x.shape[a] for a in axes]))
    mu = mean(x, axes) if c.centered else 0 * mean(x, axes)
    variance = mean((x - mu) ** 2, axes) * (n / (n - c.ddof))
    if c.place == "inside":
        divisor = (variance + c.eps) ** 0.5
    elif c.place == "outside":
        divisor = variance**0.5 + c.eps
    else:
        divisor = (variance**0.5).clip(c.eps, None)
    return ((x - mu) / divisor).reshape(shape)


class TorchNorm(nn.Module):
    """A norm as people write it by hand."""

    def __init__(self, c, seed=0):
        super().__init__()
        self.c = c
        if c.gain:
            rng = torch.Generator().manual_seed(seed)
            self.weight = nn.Parameter(torch.randn(c.parameter_shape, generator=rng))
            if c.kind != "rms":
                self.bias = nn.Parameter(torch.randn(c.parameter_shape, generator=rng))

    def forward(self, x):
        c, given = self.c, x.dtype
        if c.upcast:
            x = x.float() if given in (torch.float16, torch.bfloat16) else x
        y = statistics(x, c, lambda x, axes: x.mean(axes, keepdim=True))
        if not c.gain:
            return y.to(given)
        weight = self.weight + (c.gain == "1 + weight")
        bias = self.bias if hasattr(self, "bias") else 0
        if c.cast == "before weight":
            return y.to(given) * weight + bias
        return (y * weight + bias).to(given)


def numpy_norm(c):
    """A norm without parameters, of NumPy arrays."""
    return lambda x: statistics(x, c, lambda x, axes: x.mean(axes, keepdims=True))


PLACES = [  # shape, axes, kind, groups
    ((8, 16), (1,), "layer", None),
    ((4, 6, 8), (2,), "layer", None),
    ((4, 6, 8), (1, 2), "layer", None),
    ((2, 6, 5, 5), (1,), "layer", None),
    ((2, 6, 5, 5), (1, 2, 3), "group", 3),
    ((4, 6, 8), (1, 2), "group", 2),
    ((2, 6, 5, 5), (2, 3), "instance", None),
    ((2, 6, 5, 5), (0, 2, 3), "batch", None),
    ((8, 16), (0,), "batch", None),
    ((8, 16), (1,), "rms", None),
    ((4, 6, 8), (2,), "rms", None),
]
EPS = (1e-12, 1e-8, 1e-6, 1e-5, 1e-3, 0.3)
