"""PyTorch: `torch.nn.LayerNorm`."""

from typing import Any

import torch
from torch import nn

from lnlib.parity.library import Array, Convention, Parameters

CONVENTION = Convention(
    module="torch", axes="normalized_shape", axes_are="sizes", eps=1e-5, weight="weight",
    bias="bias", batch_eps=1e-5, momentum=0.1, weighs="new", unbiased=True,
)  # fmt: skip


def make(parameters: Parameters) -> Any:
    """Return a `torch.nn.LayerNorm`."""
    layer = nn.LayerNorm(parameters.normalized_shape, eps=parameters.eps)
    layer.weight.data = torch.from_numpy(parameters.weight.copy())
    layer.bias.data = torch.from_numpy(parameters.bias.copy())
    return layer


def read(layer: Any) -> Parameters:
    """Read a `torch.nn.LayerNorm` or `lnlib.LayerNorm`; without γ or β, take ones and zeros."""
    shape = tuple(layer.normalized_shape)
    weight = torch.ones(shape) if layer.weight is None else layer.weight
    bias = torch.zeros(shape) if layer.bias is None else layer.bias
    return Parameters(layer.eps, weight.detach().cpu().numpy(), bias.detach().cpu().numpy())


@torch.no_grad()
def apply(layer: Any, x: Array) -> Array:
    """Return what a module makes of an array."""
    return layer(torch.from_numpy(x)).numpy()  # type: ignore[no-any-return]


def default(size: int) -> Any:
    """Return a `torch.nn.LayerNorm` with its default arguments."""
    return nn.LayerNorm(size)


def step(x: Array) -> tuple[Array, Array, Array]:
    """Train a `torch.nn.BatchNorm1d` once."""
    layer: Any = nn.BatchNorm1d(x.shape[1])
    y = apply(layer, x)
    return y, layer.running_mean.numpy(), layer.running_var.numpy()
