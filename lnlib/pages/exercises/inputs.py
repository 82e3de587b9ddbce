"""What the checks compute with: inputs of short decimals, small ones first, and norms."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lnlib.randomness import SEED
from lnlib.reference.standardize import Array, standardize

EPSILONS = (0.3, 1e-5)
SHAPES = ((1, 3), (4, 8))  # of rows
Function = Callable[..., Any]


def draw(*shape: int, count: int = 1) -> Iterator[Array]:
    """Yield arrays of a shape."""
    yield from np.random.default_rng(SEED).normal(1, 2, (count, *shape)).round(2)


def normalized(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    """Return x normalized over these axes."""
    return standardize(x, axes, eps)[0]


def conventions(x: Array, axes: tuple[int, ...], eps: float) -> dict[str, Array]:
    """Return what other conventions yield, by the sentence that names them."""
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    unbiased = x.var(axes, keepdims=True, ddof=1)
    return {
        "This divides by n − 1.": (x - mean) / np.sqrt(unbiased + eps),
        "ε is outside the root.": (x - mean) / (np.sqrt(var) + eps),
        "The square root is missing.": (x - mean) / (var + eps),
        "The mean is not subtracted.": x / np.sqrt((x**2).mean(axes, keepdims=True) + eps),
    }
