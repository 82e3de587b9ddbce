r"""Standardize over any set of axes: what all norms of this package do in NumPy.

Let $\langle\cdot\rangle$ be the mean over `axes`, $c = x - \langle x\rangle$ and
$\sigma = \sqrt{\langle c^2\rangle}$. Then

$$\hat x = r\,c, \qquad r = \frac{1}{\sqrt{\sigma^2 + \varepsilon}}
  \quad\text{or}\quad r = \frac{1}{\sigma + \varepsilon}.$$

Layer, RMS, group, instance and batch norm are choices of `axes` around it (`lnlib.layout`).
"""

import math
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
EpsMode = Literal["inside", "outside"]


class Stats(NamedTuple):
    """What a backward pass needs besides the input; both keep the reduced axes with size 1."""

    mean: Array | None
    """Mean over the axes, or None if nothing was subtracted."""
    rstd: Array
    """Factor $r$ that the centered values are multiplied by."""


def standardize(
    x: Array,
    axes: tuple[int, ...],
    eps: float = 1e-5,
    *,
    center: bool = True,
    eps_mode: EpsMode = "inside",
) -> tuple[Array, Stats]:
    r"""Subtract the mean over `axes` and divide by the standard deviation.

    $$\hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}$$

    The variance is the biased one, in two passes, in the dtype of `x`. Every group of values is
    first multiplied by a power of two that brings its largest magnitude near 1: this is exact, and
    the squares of 1e20 in float32 no longer overflow.

    Args:
        x: floating point array; cast half precision to float32 before.
        axes: axes that share one mean and one variance, counted from 0.
        eps: regularizer, >= 0, in units of x² (inside the root) or of x (outside).
        center: subtract the mean; False leaves RMS normalization.
        eps_mode: `"inside"` divides by sqrt(σ² + ε), `"outside"` by σ + ε.

    Returns:
        The normalized array, of the shape and dtype of `x`, and its `Stats`.

    Raises:
        ValueError: `eps_mode` is neither `"inside"` nor `"outside"`.

    Example:
        >>> x_hat, stats = standardize(np.array([[1.0, 2.0, 3.0]]), axes=(1,), eps=0.0)
        >>> x_hat.round(4)
        array([[-1.2247,  0.    ,  1.2247]])
        >>> stats.mean.item()
        2.0

    Source: Ba, Kiros, Hinton (2016), https://arxiv.org/abs/1607.06450, equation 3, which has no ε.
    """
    floor = _floor(eps, eps_mode)
    scale = _power_of_two(x, axes, floor)
    c = x * scale
    mean = None
    if center:
        scaled_mean = _mean(c, axes)
        c = subtract_mean(c, scaled_mean, axes)
        mean = scaled_mean / scale
    var = _mean(np.square(c), axes)
    scale = np.where(var == 0, _power_of_two(var, (), floor), scale)  # a constant has no size
    scaled_floor = (floor * scale).astype(x.dtype)
    if eps_mode == "inside":
        r = 1 / np.sqrt(var + np.square(scaled_floor))
    else:
        r = 1 / (np.sqrt(var) + scaled_floor)
    return c * r, Stats(mean, r * scale)


def standardize_backward(
    g: Array,
    x: Array,
    axes: tuple[int, ...],
    stats: Stats,
    *,
    eps_mode: EpsMode = "inside",
) -> tuple[Array, Array]:
    r"""Multiply `g` by the Jacobian of `standardize`, which is symmetric.

    $$dx = r\,\bigl(g - \langle g\rangle - \hat x\,\langle g\,u\rangle\bigr)$$

    with $u = \hat x$ for ε inside the root, $u = c/\sigma$ (0 where $\sigma = 0$) for ε outside,
    and without $\langle g\rangle$ if nothing was subtracted.

    Args:
        g: gradient with respect to the normalized array, of the shape of `x`.
        x: the input of `standardize`.
        axes: as passed to `standardize`.
        stats: as returned by `standardize`.
        eps_mode: as passed to `standardize`.

    Returns:
        `dx` and the recomputed normalized array, both of the shape of `x`.

    Example:
        >>> x = np.array([[1.0, 2.0, 4.0]])
        >>> _, stats = standardize(x, (1,))
        >>> dx, _ = standardize_backward(np.array([[1.0, 0.0, 0.0]]), x, (1,), stats)
        >>> abs(dx.sum().item()) < 1e-15
        True

    Source: derived in chapter 1a of the book.
    """
    rstd = stats.rstd
    scale = _power_of_two(x, axes, 0)
    c = x * scale
    if stats.mean is not None:
        c = subtract_mean(c, stats.mean * scale, axes)
    scale = np.where(c.any(axes, keepdims=True), scale, 1)
    x_hat = c * (rstd / scale)
    u = x_hat
    if eps_mode == "outside":
        sigma = np.sqrt(_mean(np.square(c), axes))
        u = np.divide(c, sigma, out=np.zeros_like(c), where=sigma > 0)
    projected = g - x_hat * _mean(g * u, axes)
    if stats.mean is not None:
        projected -= _mean(g, axes)
    return rstd * projected, x_hat


def subtract_mean(x: Array, mean: Array, axes: tuple[int, ...]) -> Array:
    """Subtract `mean`, then the mean of what is left: its rounding error is gone.

    Example:
        >>> x = np.full((1, 3), 0.1, dtype=np.float32)
        >>> subtract_mean(x, x.mean(1, keepdims=True), (1,))
        array([[0., 0., 0.]], dtype=float32)
    """
    c: Array = x - mean
    c -= _mean(c, axes)
    return c


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    """`x.mean(axes, keepdims=True)`, 0 instead of 0/0 over no values at all."""
    count = math.prod(x.shape[axis] for axis in axes)
    total: Array = x.sum(axes, keepdims=True)
    total /= max(count, 1)
    return total


def _floor(eps: float, eps_mode: EpsMode) -> float:
    """The size of x at which ε takes over."""
    if eps_mode not in ("inside", "outside"):
        raise ValueError(
            f'eps_mode must be "inside" or "outside", got {eps_mode!r}; pass one of them'
        )
    return float(np.sqrt(eps)) if eps_mode == "inside" else eps


def _power_of_two(x: Array, axes: tuple[int, ...], floor: float) -> Array:
    """2^k with max(|x|, floor) · 2^k in [1/2, 1), one k for each group of values."""
    largest = np.abs(x).max(axes, keepdims=True, initial=max(floor, np.finfo(x.dtype).tiny))
    scale: Array = np.ldexp(np.ones_like(largest), -np.frexp(largest)[1])
    return scale
