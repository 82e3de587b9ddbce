"""Round a product to few bits, with a gain on one factor, on the other, or shared between them."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Axes = tuple[int | None, int | None]


def rounded(values: Array, axis: int | None = None, bits: int = 8) -> Array:
    """Return the values rounded to whole steps, the largest being the last one.

    Args:
        values: of any shape.
        axis: None for one step size for all; or the axis along which the entries share one.
        bits: the steps reach from −(2^(bits − 1) − 1) to 2^(bits − 1) − 1.

    Example:
        >>> rounded(np.array([[0.2, 127.0], [0.2, 0.5]])).tolist()
        [[0.0, 127.0], [0.0, 0.0]]
        >>> rounded(np.array([[0.2, 127.0], [0.2, 0.5]]), axis=1).round(3).tolist()
        [[0.0, 127.0], [0.201, 0.5]]

    Raises:
        ValueError: if fewer than two bits are asked for.
    """
    if bits < 2:
        raise ValueError(f"bits must be at least 2, got {bits}; one is the sign")
    step = np.abs(values).max(axis=axis, keepdims=True) / (2 ** (bits - 1) - 1)
    return np.round(values / step) * step


def product_error(
    x: Array, weight: Array, gain: Array, kept: float, axes: Axes = (None, None), bits: int = 8
) -> float:
    """Return the relative error of (γ ⊙ x) Wᵀ when both factors are rounded.

    Args:
        x: rows of normalized entries, of shape (tokens, H).
        weight: W, of shape (outputs, H).
        gain: γ > 0, of shape (H,).
        kept: the activation keeps γ to this power, the weight takes the rest: 1 leaves γ where it
            is, 0 folds all of it into the weight, ½ shares it.
        axes: along which axis the entries of the activation, and those of the weight, share a step
            size: None for one per tensor, 1 for one per token or per output.
        bits: of every entry.

    Example:
        >>> x, weight = np.eye(2), np.array([[1.0, 1.0]])
        >>> product_error(x, weight, np.ones(2), 0.5)
        0.0

    Source: moving all of it, Wei et al. (2022), https://arxiv.org/abs/2209.13325; sharing it, Xiao
        et al. (2023), https://arxiv.org/abs/2211.10438.
    """
    exact = (x * gain) @ weight.T
    activation = rounded(x * gain**kept, axes[0], bits)
    found = activation @ rounded(weight * gain ** (1 - kept), axes[1], bits).T
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
