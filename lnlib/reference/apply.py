"""What the five normalizations share: statistics, affine map, gradients, running statistics."""

from typing import Any, NamedTuple, cast

import numpy as np

from lnlib import checks
from lnlib.layout import Layout
from lnlib.reference.standardize import (
    Array,
    EpsMode,
    Stats,
    standardize,
    standardize_backward,
    subtract_mean,
)

ARRAYS = checks.Arrays(
    np.ndarray,
    lambda x: bool(np.issubdtype(x.dtype, np.floating)),
    "lnlib.reference takes arrays, lnlib.functional takes tensors",
)


class Cache(NamedTuple):
    """What `f_forward` keeps for `f_backward`: references to the arguments, and the statistics."""

    input: Array
    weight: Array | None
    bias: Array | None
    layout: Layout
    stats: Stats
    constant_stats: bool
    eps_mode: EpsMode


def compute_dtype(x: Array) -> np.dtype[Any]:
    """Return the dtype of statistics: at least float32."""
    return np.result_type(x.dtype, np.float32)


def forward(
    input: Array,
    layout: Layout,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    *,
    center: bool = True,
    eps_mode: EpsMode = "inside",
) -> tuple[Array, Cache]:
    """Return the output with the statistics of the input itself, and the cache."""
    checks.eps(eps)
    x = input.astype(compute_dtype(input), copy=False).reshape(layout.view)
    x_hat, stats = standardize(x, layout.axes, eps, center=center, eps_mode=eps_mode)
    y = _affine(x_hat.reshape(input.shape), weight, bias, layout).astype(input.dtype, copy=False)
    return y, Cache(input, weight, bias, layout, stats, False, eps_mode)


def forward_running(
    input: Array,
    layout: Layout,
    running_mean: Any,
    running_var: Any,
    weight: Array | None,
    bias: Array | None,
    eps: float,
) -> tuple[Array, Cache]:
    """Return the output with the running statistics, and the cache."""
    checks.eps(eps)
    dtype = compute_dtype(input)
    mean = running_mean.astype(dtype).reshape(layout.parameter)
    rstd = 1 / np.sqrt(running_var.astype(dtype).reshape(layout.parameter) + dtype.type(eps))
    y = _affine((input - mean) * rstd, weight, bias, layout).astype(input.dtype, copy=False)
    return y, Cache(input, weight, bias, layout, Stats(mean, rstd), True, "inside")


def _affine(x_hat: Array, weight: Array | None, bias: Array | None, layout: Layout) -> Array:
    y = x_hat
    if weight is not None:
        y = y * weight.astype(x_hat.dtype, copy=False).reshape(layout.parameter)
    if bias is not None:
        y = y + bias.astype(x_hat.dtype, copy=False).reshape(layout.parameter)
    return y


def backward(dy: Array, cache: Cache) -> tuple[Array, Array | None, Array | None]:
    """Return the gradients of input, weight and bias."""
    checks.cache(cache, Cache, len(Cache._fields))
    checks.floating(ARRAYS, "dy", dy)
    input, weight, bias, layout, stats, constant_stats, eps_mode = cache
    checks.shape("dy", dy.shape, input.shape)
    dtype = compute_dtype(input)
    dy = dy.astype(dtype, copy=False)
    g = dy if weight is None else dy * weight.astype(dtype).reshape(layout.parameter)
    if constant_stats:
        dx, x_hat = g * stats.rstd, (input - stats.mean) * stats.rstd
    else:
        x = input.astype(dtype, copy=False)
        g, x = g.reshape(layout.view), x.reshape(layout.view)
        dx, x_hat = standardize_backward(g, x, layout.axes, stats, eps_mode=eps_mode)
        dx, x_hat = dx.reshape(input.shape), x_hat.reshape(input.shape)
    dweight = None if weight is None else _sum_to(dy * x_hat, weight, layout)
    dbias = None if bias is None else _sum_to(dy, bias, layout)
    return dx.astype(input.dtype, copy=False), dweight, dbias


def _sum_to(values: Array, parameter: Array, layout: Layout) -> Array:
    """Sum over the axes along which `parameter` was broadcast."""
    leading = values.ndim - len(layout.parameter)
    repeated = (axis + leading for axis, size in enumerate(layout.parameter) if size == 1)
    total: Array = values.sum((*range(leading), *repeated))
    return total.reshape(parameter.shape).astype(parameter.dtype, copy=False)


def update_counter(num_batches_tracked: Array | None, momentum: float | None) -> float:
    """Count the batch, and return its weight in the running statistics."""
    checks.momentum(momentum, num_batches_tracked)
    if num_batches_tracked is not None:
        num_batches_tracked += 1
        if momentum is None:
            return 1 / float(num_batches_tracked.item())
    return cast(float, momentum)


def update_running(
    running_mean: Any, running_var: Any, cache: Cache, momentum: float, unbiased: bool
) -> None:
    """Move the running statistics, in place, by `momentum` towards those of the input."""
    x = cache.input.astype(compute_dtype(cache.input), copy=False).reshape(cache.layout.view)
    mean = cast(Array, cache.stats.mean)
    c = subtract_mean(x, mean, cache.layout.axes)
    count = c.size // mean.size - int(unbiased)
    var = np.square(c).sum(cache.layout.axes, keepdims=True) / count
    for running, new in ((running_mean, mean), (running_var, var)):
        average = np.asarray(new).reshape(-1, running.size).mean(0)
        running[...] = running + momentum * (average - running)
