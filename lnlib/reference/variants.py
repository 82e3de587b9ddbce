"""The closed formulas of the variants in NumPy, forward and backward.

Independent of `lnlib.variants`, and the oracle of its tests. `f_forward` returns `(y, cache)`;
`f_backward` takes the gradient with respect to y and that cache, and returns the gradients in the
order of the forward pass's array arguments. δ is the gradient with respect to y, ⟨·⟩ the mean over
the last axis, of width H.
"""

import math
from typing import Any

import numpy as np

from lnlib import checks
from lnlib.reference.apply import ARRAYS
from lnlib.reference.standardize import Array, standardize, standardize_backward

Cache = tuple[Any, ...]


def scale_norm_forward(x: Array, weight: float, eps: float = 1e-5) -> tuple[Array, Cache]:
    """Return g u with u = x / max(‖x‖, ε), and the cache.

    Example:
        >>> scale_norm_forward(np.array([[3.0, 4.0]]), 10.0)[0]
        array([[6., 8.]])

    Source: Nguyen, Salazar (2019), https://arxiv.org/abs/1910.05895.
    """
    _check(x=x)
    checks.number("weight", weight)
    checks.eps(eps)
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    bounded = np.maximum(length, eps)
    u = x / bounded
    return weight * u, (u, weight, bounded, length > eps)


def scale_norm_backward(dy: Array, cache: Cache) -> tuple[Array, float]:
    """Return dx = g (δ − u ⟨u, δ⟩) / ‖x‖, without the projection below ε, and dg = Σ ⟨u, δ⟩."""
    _check_backward(dy, cache, 4)
    u, weight, length, free = cache
    along = (u * dy).sum(-1, keepdims=True)
    return weight / length * (dy - free * u * along), float(along.sum())


def partial_rms_norm_forward(
    x: Array, weight: Array, count: int, eps: float = 1e-5
) -> tuple[Array, Cache]:
    """Return γ x̂ with x̂ = q x, q = 1 / √(⟨x²⟩ over the first k entries + ε), and the cache.

    Example:
        >>> partial_rms_norm_forward(np.array([[2.0, 6.0]]), np.ones(2), 1, eps=0.0)[0]
        array([[1., 3.]])

    Source: Zhang, Sennrich (2019), section 4, https://arxiv.org/abs/1910.07467.
    """
    _check(x=x, weight=weight)
    checks.eps(eps)
    checks.size("count", count)
    q = 1 / np.sqrt(np.square(x[..., :count]).mean(-1, keepdims=True) + eps)
    return weight * q * x, (q * x, weight, q, count)


def partial_rms_norm_backward(dy: Array, cache: Cache) -> tuple[Array, Array]:
    """Return dx_i = q (g_i − [i ≤ k] x̂_i Σ_j g_j x̂_j / k) with g = γ δ, and dγ = Σ δ x̂."""
    _check_backward(dy, cache, 4)
    x_hat, weight, q, count = cache
    g, read = weight * dy, np.arange(x_hat.shape[-1]) < count
    dx = q * (g - read * x_hat * (g * x_hat).sum(-1, keepdims=True) / count)
    return dx, _sum_rows(dy * x_hat)


def detach_norm_forward(
    x: Array, weight: Array, bias: Array, eps: float = 1e-5
) -> tuple[Array, Cache]:
    """Return the layer norm of x, and the cache.

    Example:
        >>> detach_norm_forward(np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2), eps=0.0)[0]
        array([[-1.,  1.]])

    Source: Xu et al. (2019), section 3, https://arxiv.org/abs/1911.07013.
    """
    _check(x=x, weight=weight, bias=bias)
    checks.eps(eps)
    x_hat, stats = standardize(x, (x.ndim - 1,), eps)
    return weight * x_hat + bias, (x_hat, weight, stats.rstd)


def detach_norm_backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Return dx = r γ δ, which is wrong on purpose, dγ = Σ δ x̂ and dβ = Σ δ."""
    _check_backward(dy, cache, 3)
    x_hat, weight, rstd = cache
    return rstd * weight * dy, _sum_rows(dy * x_hat), _sum_rows(dy)


def ada_norm_forward(
    x: Array, scale: float = 1.0, slope: float = 0.1, eps: float = 1e-5
) -> tuple[Array, Cache]:
    """Return C (1 − k x̂) x̂, and the cache.

    Example:
        >>> ada_norm_forward(np.array([[1.0, 3.0]]), eps=0.0)[0]
        array([[-1.1,  0.9]])

    Source: Xu et al. (2019), section 4, https://arxiv.org/abs/1911.07013.
    """
    _check(x=x)
    checks.number("scale", scale)
    checks.number("slope", slope)
    checks.eps(eps)
    axes = (x.ndim - 1,)
    x_hat, stats = standardize(x, axes, eps)
    factor = scale * (1 - slope * x_hat)
    return factor * x_hat, (x, axes, stats, factor)


def ada_norm_backward(dy: Array, cache: Cache) -> Array:
    """Return the gradient of layer norm for g = C (1 − k x̂) δ: the factor counts as a constant."""
    _check_backward(dy, cache, 4)
    x, axes, stats, factor = cache
    return standardize_backward(factor * dy, x, axes, stats)[0]


def dynamic_tanh_forward(x: Array, alpha: float, weight: Array, bias: Array) -> tuple[Array, Cache]:
    """Return γ t + β with t = tanh(α x), and the cache.

    Example:
        >>> dynamic_tanh_forward(np.array([[0.0, 9e9]]), 0.5, np.ones(2), np.zeros(2))[0]
        array([[0., 1.]])

    Source: Zhu et al. (2025), https://arxiv.org/abs/2503.10622.
    """
    _check(x=x, weight=weight, bias=bias)
    checks.number("alpha", alpha)
    t = np.tanh(alpha * x)
    return weight * t + bias, (x, t, alpha, weight)


def dynamic_tanh_backward(dy: Array, cache: Cache) -> tuple[Array, float, Array, Array]:
    """Return dx = δ γ α (1 − t²), dα = Σ δ γ x (1 − t²), dγ = Σ δ t and dβ = Σ δ."""
    _check_backward(dy, cache, 4)
    x, t, alpha, weight = cache
    inner = dy * weight * (1 - np.square(t))
    return alpha * inner, float((inner * x).sum()), _sum_rows(dy * t), _sum_rows(dy)


def dynamic_erf_forward(
    x: Array, alpha: float, shift: float, weight: Array, bias: Array
) -> tuple[Array, Cache]:
    """Return γ e + β with e = erf(α x + s), and the cache.

    Example:
        >>> dynamic_erf_forward(np.array([[0.0, 9e9]]), 0.5, 0.0, np.ones(2), np.zeros(2))[0]
        array([[0., 1.]])

    Source: Chen et al. (2025), https://arxiv.org/abs/2512.10938.
    """
    _check(x=x, weight=weight, bias=bias)
    checks.number("alpha", alpha)
    checks.number("shift", shift)
    z = alpha * x + shift
    e = np.vectorize(math.erf, otypes=[x.dtype])(z)
    return weight * e + bias, (x, z, e, alpha, weight)


def dynamic_erf_backward(dy: Array, cache: Cache) -> tuple[Array, float, float, Array, Array]:
    """Return dx, dα, ds, dγ and dβ; the slope of erf is 2 exp(−z²) / √π."""
    _check_backward(dy, cache, 5)
    x, z, e, alpha, weight = cache
    inner = dy * weight * 2 / math.sqrt(math.pi) * np.exp(-np.square(z))
    over_alpha, over_shift = float((inner * x).sum()), float(inner.sum())
    return alpha * inner, over_alpha, over_shift, _sum_rows(dy * e), _sum_rows(dy)


def layer_scale_forward(branch: Array, weight: Array) -> tuple[Array, Cache]:
    """Return λ ⊙ f, and the cache.

    Example:
        >>> layer_scale_forward(np.array([[1.0, 2.0]]), np.array([0.1, 0.5]))[0]
        array([[0.1, 1. ]])

    Source: Touvron et al. (2021), https://arxiv.org/abs/2103.17239.
    """
    _check(branch=branch, weight=weight)
    return weight * branch, (branch, weight)


def layer_scale_backward(dy: Array, cache: Cache) -> tuple[Array, Array]:
    """Return df = λ δ and dλ = Σ δ f."""
    _check_backward(dy, cache, 2)
    branch, weight = cache
    return weight * dy, _sum_rows(dy * branch)


def conditional_layer_norm_forward(
    x: Array, gain: Array, shift: Array, eps: float = 1e-5
) -> tuple[Array, Cache]:
    """Return (1 + a) x̂ + b for x of shape (N, T, H), a and b of shape (N, H), and the cache.

    Example:
        >>> x, zero = np.array([[[1.0, 3.0]]]), np.zeros((1, 2))
        >>> conditional_layer_norm_forward(x, zero + 1, zero, eps=0.0)[0]
        array([[[-2.,  2.]]])

    Source: Perez et al. (2018), https://arxiv.org/abs/1709.07871, around layer norm.
    """
    _check(x=x, gain=gain, shift=shift)
    checks.eps(eps)
    x_hat, stats = standardize(x, (2,), eps)
    return (1 + gain[:, None]) * x_hat + shift[:, None], (x, x_hat, stats, gain)


def conditional_layer_norm_backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Return dx as of layer norm for g = (1 + a) δ, and for each example da = Σ δ x̂, db = Σ δ."""
    _check_backward(dy, cache, 4)
    x, x_hat, stats, gain = cache
    dx, _ = standardize_backward((1 + gain[:, None]) * dy, x, (2,), stats)
    return dx, (dy * x_hat).sum(1), dy.sum(1)


def weight_norm_forward(direction: Array, length: Array) -> tuple[Array, Cache]:
    """Return the weights g u of shape (outputs, inputs), u = v / ‖v‖ row by row, and the cache.

    It normalizes a weight, not an activation: nothing here depends on an input.

    Example:
        >>> weight_norm_forward(np.array([[3.0, 4.0]]), np.array([10.0]))[0]
        array([[6., 8.]])

    Source: Salimans, Kingma (2016), https://arxiv.org/abs/1602.07868.
    """
    _check(direction=direction, length=length)
    norm = np.linalg.norm(direction, axis=1, keepdims=True)
    u = direction / norm
    return length[:, None] * u, (u, norm, length)


def weight_norm_backward(dy: Array, cache: Cache) -> tuple[Array, Array]:
    """Return dv = g (δ − u ⟨u, δ⟩) / ‖v‖ and dg = ⟨u, δ⟩, row by row."""
    _check_backward(dy, cache, 3)
    u, norm, length = cache
    along = (u * dy).sum(1, keepdims=True)
    return length[:, None] / norm * (dy - u * along), along[:, 0]


def _check(**arrays: Any) -> None:
    """Reject what is no array of real floating dtype, by its name."""
    for name, value in arrays.items():
        checks.floating(ARRAYS, name, value)


def _check_backward(dy: Any, cache: Any, entries: int) -> None:
    checks.floating(ARRAYS, "dy", dy)
    checks.cache(cache, tuple, entries)


def _sum_rows(values: Array) -> Array:
    return values.reshape(-1, values.shape[-1]).sum(0)  # type: ignore[no-any-return]
