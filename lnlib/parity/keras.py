"""Keras: `keras.layers.LayerNormalization`."""

import os
from importlib.util import find_spec
from typing import Any

import numpy as np

from lnlib.parity.library import Array, Convention, Parameters

if find_spec("tensorflow") and find_spec("triton"):
    # imported after TensorFlow, as torch does when it needs it, Triton ends the process:
    # https://github.com/tensorflow/tensorflow/issues/124205
    import triton  # noqa: F401

CONVENTION = Convention(
    module="keras", axes="axis", axes_are="indices", eps=1e-3, weight="gamma",
    bias="beta", batch_eps=1e-3, momentum=0.99, weighs="old", unbiased=False,
)  # fmt: skip


def load() -> Any:
    """Import Keras, on torch where its default, TensorFlow, is not installed."""
    if not find_spec("tensorflow"):
        os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    return keras


def make(parameters: Parameters) -> Any:
    """Return a built `keras.layers.LayerNormalization`."""
    axes = list(range(-len(parameters.normalized_shape), 0))
    layer = load().layers.LayerNormalization(
        axis=axes, epsilon=parameters.eps, dtype=str(parameters.weight.dtype)
    )
    layer.build((None, *parameters.normalized_shape))
    layer.set_weights([parameters.weight, parameters.bias])
    return layer


def read(layer: Any) -> Parameters:
    """Read a built `keras.layers.LayerNormalization`; without γ or β, take ones and zeros."""
    shape = tuple(layer.get_weights()[0].shape) if layer.get_weights() else ()
    weights = iter(layer.get_weights())
    weight = next(weights) if layer.scale else np.ones(shape)
    bias = next(weights) if layer.center else np.zeros(shape)
    return Parameters(float(layer.epsilon), np.asarray(weight), np.asarray(bias))


def apply(layer: Any, x: Array) -> Array:
    """Return what a layer makes of an array."""
    return np.asarray(load().ops.convert_to_numpy(layer(x)))


def default(size: int) -> Any:
    """Return a built `keras.layers.LayerNormalization` with its default arguments."""
    layer = load().layers.LayerNormalization()
    layer.build((None, size))
    return layer


def step(x: Array) -> tuple[Array, Array, Array]:
    """Train a `keras.layers.BatchNormalization` once."""
    layer = load().layers.BatchNormalization()
    y = np.asarray(load().ops.convert_to_numpy(layer(x, training=True)))
    mean, variance = layer.get_weights()[2:]
    return y, mean, variance
