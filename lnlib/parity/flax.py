"""Flax: `flax.nnx.LayerNorm`."""

from typing import Any

import numpy as np

from lnlib.parity.library import Array, Convention, Parameters

CONVENTION = Convention(
    module="flax", axes="reduction_axes", axes_are="indices", eps=1e-6, weight="scale",
    bias="bias", batch_eps=1e-5, momentum=0.99, weighs="old", unbiased=False,
)  # fmt: skip


def make(parameters: Parameters) -> Any:
    """Return a `flax.nnx.LayerNorm`, with the variance in two passes.

    Raises:
        ValueError: if the parameters have more than one axis, which the layer cannot.
    """
    from flax import nnx

    if len(parameters.normalized_shape) != 1:
        raise ValueError(
            f"parameters have normalized_shape {parameters.normalized_shape}, expected one axis as "
            "Flax's layer has no more; flatten the last axes of input and parameters"
        )
    layer = nnx.LayerNorm(
        *parameters.normalized_shape, epsilon=parameters.eps, use_fast_variance=False,
        rngs=nnx.Rngs(0),
    )  # fmt: skip
    layer.scale[...] = parameters.weight
    layer.bias[...] = parameters.bias
    return layer


def read(layer: Any) -> Parameters:
    """Read a `flax.nnx.LayerNorm`."""
    scale, bias = np.asarray(layer.scale[...]), np.asarray(layer.bias[...])
    return Parameters(float(layer.epsilon), scale, bias)


def apply(layer: Any, x: Array) -> Array:
    """Return what a layer makes of an array."""
    return np.asarray(layer(x))


def default(size: int) -> Any:
    """Return a `flax.nnx.LayerNorm` with its default arguments."""
    from flax import nnx

    return nnx.LayerNorm(size, rngs=nnx.Rngs(0))


def step(x: Array) -> tuple[Array, Array, Array]:
    """Train a `flax.nnx.BatchNorm` once."""
    from flax import nnx

    layer = nnx.BatchNorm(x.shape[1], rngs=nnx.Rngs(0))
    y = np.asarray(layer(x, use_running_average=False))
    return y, np.asarray(layer.mean[...]), np.asarray(layer.var[...])
