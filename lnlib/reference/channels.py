r"""The five normalizations in NumPy, with the arguments of `torch.nn.functional`.

Each method is a `lnlib.layout.Layout` (which axes share a mean) around `lnlib.core.standardize`,
followed by the affine map $y = \gamma\odot\hat x + \beta$. Each comes three times:

- `f(...)` returns `y`;
- `f_forward(...)` returns `(y, cache)`;
- `f_backward(dy, cache)` returns the gradients, `None` for a parameter that was not given.

Statistics are computed in at least float32, and the result is cast once, to the dtype of `input`.

Example:
    >>> import numpy as np
    >>> from lnlib import reference
    >>> x = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    >>> reference.layer_norm(x, (3,)).round(3)
    array([[-1.225,  0.   ,  1.225],
           [-1.225,  0.   ,  1.225]])
"""

from typing import Any, NamedTuple, cast

import numpy as np

from lnlib import layout as lay
from lnlib.core import Array, EpsMode, Stats, standardize, standardize_backward, subtract_mean
from lnlib.layout import Layout, NormalizedShape


class Cache(NamedTuple):
    """What `f_forward` keeps for `f_backward`: references to the arguments, and the statistics."""

    input: Array
    weight: Array | None
    bias: Array | None
    layout: Layout
    stats: Stats
    constant_stats: bool
    eps_mode: EpsMode


# --- layer norm and RMSNorm --------------------------------------------------------------------


def layer_norm_forward(
    input: Array,
    normalized_shape: NormalizedShape,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    *,
    eps_mode: EpsMode = "inside",
) -> tuple[Array, Cache]:
    """`layer_norm`, and what `layer_norm_backward` needs."""
    layout = _layer_layout(input, normalized_shape, weight, bias)
    return _forward(input, layout, weight, bias, eps, eps_mode=eps_mode)


def layer_norm_backward(dy: Array, cache: Cache) -> tuple[Array, Array | None, Array | None]:
    r"""Gradients of `layer_norm`.

    With $g = \gamma\odot\partial L/\partial y$,

    $$dx = r\,(g - \langle g\rangle - \hat x\,\langle g\,\hat x\rangle),\quad
      d\gamma = \sum_\text{rows} dy\odot\hat x,\quad d\beta = \sum_\text{rows} dy.$$

    Args:
        dy: gradient with respect to the output, of its shape.
        cache: from `layer_norm_forward`.

    Returns:
        `(dx, dweight, dbias)` in the dtypes of `input`, `weight` and `bias`.
    """
    return _backward(dy, cache)


def layer_norm(
    input: Array,
    normalized_shape: NormalizedShape,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    *,
    eps_mode: EpsMode = "inside",
) -> Array:
    r"""Normalize each example over its trailing axes.

    $$y = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}\odot\gamma + \beta$$

    Args:
        input: floating point array whose trailing sizes are `normalized_shape`.
        normalized_shape: sizes of the trailing axes that share one mean; an int means one axis.
        weight: γ, of shape `normalized_shape`; None means 1.
        bias: β, of shape `normalized_shape`; None means 0.
        eps: ε, finite and >= 0, in units of x² (of x if outside the root).
        eps_mode: `"inside"` divides by sqrt(σ² + ε), as PyTorch, Keras and ONNX do;
            `"outside"` divides by σ + ε.

    Returns:
        Array of the shape and dtype of `input`.

    Raises:
        TypeError: `input` is not real floating point, or `normalized_shape` is no int or sequence.
        ValueError: shapes do not fit, `normalized_shape` is empty, or `eps` is negative.

    Example:
        >>> layer_norm(np.array([[0.0, 2.0]]), (2,), bias=np.array([5.0, 5.0])).round(3)
        array([[4., 6.]])

    Source: Ba, Kiros, Hinton (2016), https://arxiv.org/abs/1607.06450.
    """
    return layer_norm_forward(input, normalized_shape, weight, bias, eps, eps_mode=eps_mode)[0]


def rms_norm_forward(
    input: Array,
    normalized_shape: NormalizedShape,
    weight: Array | None = None,
    eps: float | None = None,
) -> tuple[Array, Cache]:
    """`rms_norm`, and what `rms_norm_backward` needs."""
    layout = _layer_layout(input, normalized_shape, weight, None)
    eps = float(np.finfo(_compute_dtype(input)).eps) if eps is None else eps
    return _forward(input, layout, weight, None, eps, center=False)


def rms_norm_backward(dy: Array, cache: Cache) -> tuple[Array, Array | None]:
    r"""Gradients of `rms_norm`.

    With $g = \gamma\odot\partial L/\partial y$,

    $$dx = r\,(g - \hat x\,\langle g\,\hat x\rangle),\quad
      d\gamma = \sum_\text{rows} dy\odot\hat x.$$

    Args:
        dy: gradient with respect to the output, of its shape.
        cache: from `rms_norm_forward`.

    Returns:
        `(dx, dweight)` in the dtypes of `input` and `weight`.
    """
    return _backward(dy, cache)[:2]


def rms_norm(
    input: Array,
    normalized_shape: NormalizedShape,
    weight: Array | None = None,
    eps: float | None = None,
) -> Array:
    r"""Divide each example by the root mean square of its trailing axes.

    $$y = \frac{x}{\sqrt{\langle x^2\rangle + \varepsilon}}\odot\gamma$$

    Args:
        input: floating point array whose trailing sizes are `normalized_shape`.
        normalized_shape: sizes of the trailing axes that share one statistic.
        weight: γ, of shape `normalized_shape`; None means 1.
        eps: ε, finite and >= 0, in units of x²; None means the machine epsilon of the dtype in
            which the statistics are computed (float32 for half precision), as in PyTorch.

    Returns:
        Array of the shape and dtype of `input`.

    Raises:
        TypeError: `input` is not real floating point, or `normalized_shape` is no int or sequence.
        ValueError: shapes do not fit, `normalized_shape` is empty, or `eps` is negative.

    Example:
        >>> rms_norm(np.array([[3.0, 4.0]]), (2,), eps=0.0).round(4)
        array([[0.8485, 1.1314]])

    Source: Zhang, Sennrich (2019), https://arxiv.org/abs/1910.07467.
    """
    return rms_norm_forward(input, normalized_shape, weight, eps)[0]


# --- methods with channels on axis 1 -----------------------------------------------------------


def group_norm_forward(
    input: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> tuple[Array, Cache]:
    """`group_norm`, and what `group_norm_backward` needs."""
    shape = _channel_shape(input, weight=weight, bias=bias)
    lay.check_groups(shape[1], num_groups)
    return _forward(input, lay.group_layout(shape, num_groups), weight, bias, eps)


def group_norm_backward(dy: Array, cache: Cache) -> tuple[Array, Array | None, Array | None]:
    """Gradients of `group_norm`, as `layer_norm_backward`; γ and β sum over all but the channels.

    Args:
        dy: gradient with respect to the output, of its shape.
        cache: from `group_norm_forward`.

    Returns:
        `(dx, dweight, dbias)` in the dtypes of `input`, `weight` and `bias`.
    """
    return _backward(dy, cache)


def group_norm(
    input: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    r"""Normalize groups of channels of each example, over all positions.

    $$y = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}\,\gamma_c + \beta_c, \qquad
      \mu,\ \sigma^2 \text{ over one group of channels of one example}$$

    Args:
        input: floating point array of shape `(batch, channels, *positions)`.
        num_groups: number of groups; must divide `channels`.
        weight: γ, of shape `(channels,)`; None means 1.
        bias: β, of shape `(channels,)`; None means 0.
        eps: ε, finite and >= 0, in units of x².

    Returns:
        Array of the shape and dtype of `input`.

    Raises:
        TypeError: `input` is not real floating point, or `num_groups` is no int.
        ValueError: shapes do not fit, or `num_groups` does not divide the channels.

    Example:
        >>> x = np.array([[[0.0, 2.0], [10.0, 30.0]]])
        >>> group_norm(x, num_groups=2, eps=0.0)
        array([[[-1.,  1.],
                [-1.,  1.]]])

    Source: Wu, He (2018), https://arxiv.org/abs/1803.08494.
    """
    return group_norm_forward(input, num_groups, weight, bias, eps)[0]


def instance_norm_forward(
    input: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, Cache]:
    """`instance_norm`, and what `instance_norm_backward` needs."""
    shape = _channel_shape(
        input, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    lay.check_running(running_mean, running_var, not use_input_stats, "use_input_stats")
    lay.check_momentum(momentum, None)
    layout = lay.instance_layout(shape)
    if not use_input_stats:
        return _forward_running(input, layout, running_mean, running_var, weight, bias, eps)
    lay.check_several_values(input.shape, layout, "instance_norm")
    y, cache = _forward(input, layout, weight, bias, eps)
    if running_mean is not None and input.size:
        _update_running(running_mean, running_var, cache, momentum, unbiased=True)
    return y, cache


def instance_norm_backward(dy: Array, cache: Cache) -> tuple[Array, Array | None, Array | None]:
    r"""Gradients of `instance_norm`, as `group_norm_backward`.

    With `use_input_stats=False` the statistics are constants and $dx = r\\,g$.

    Args:
        dy: gradient with respect to the output, of its shape.
        cache: from `instance_norm_forward`.

    Returns:
        `(dx, dweight, dbias)` in the dtypes of `input`, `weight` and `bias`.
    """
    return _backward(dy, cache)


def instance_norm(
    input: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Array:
    r"""Normalize each channel of each example over its positions.

    $$y = \frac{x - \mu_{nc}}{\sqrt{\sigma_{nc}^2 + \varepsilon}}\,\gamma_c + \beta_c$$

    Args:
        input: floating point array of shape `(batch, channels, *positions)`.
        running_mean: shape `(channels,)`; updated in place with the batch's average statistics.
        running_var: shape `(channels,)`; updated in place, with the unbiased variance.
        weight: γ, of shape `(channels,)`; None means 1.
        bias: β, of shape `(channels,)`; None means 0.
        use_input_stats: normalize with the statistics of `input`, not with the running ones.
        momentum: weight of the new statistics in the running ones, in [0, 1].
        eps: ε, finite and >= 0, in units of x².

    Returns:
        Array of the shape and dtype of `input`.

    Raises:
        TypeError: `input` is not real floating point.
        ValueError: shapes do not fit, one position only, or running statistics missing.

    Example:
        >>> instance_norm(np.array([[[0.0, 2.0], [10.0, 30.0]]]), eps=0.0)
        array([[[-1.,  1.],
                [-1.,  1.]]])

    Source: Ulyanov, Vedaldi, Lempitsky (2016), https://arxiv.org/abs/1607.08022.
    """
    return instance_norm_forward(
        input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )[0]


def batch_norm_forward(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    unbiased: bool = True,
    num_batches_tracked: Array | None = None,
) -> tuple[Array, Cache]:
    """`batch_norm`, and what `batch_norm_backward` needs."""
    shape = _channel_shape(
        input, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    lay.check_running(running_mean, running_var, not training, "training")
    layout = lay.batch_layout(shape)
    if not training:
        return _forward_running(input, layout, running_mean, running_var, weight, bias, eps)
    lay.check_several_values(input.shape, layout, "batch_norm")
    y, cache = _forward(input, layout, weight, bias, eps)
    if running_mean is not None and input.size:
        factor = _update_counter(num_batches_tracked, momentum)
        _update_running(running_mean, running_var, cache, factor, unbiased)
    return y, cache


def batch_norm_backward(dy: Array, cache: Cache) -> tuple[Array, Array | None, Array | None]:
    r"""Gradients of `batch_norm`: `layer_norm_backward` with the batch as the averaged axes.

    In evaluation the statistics are constants and $dx = r\\,g$.

    Args:
        dy: gradient with respect to the output, of its shape.
        cache: from `batch_norm_forward`.

    Returns:
        `(dx, dweight, dbias)` in the dtypes of `input`, `weight` and `bias`.
    """
    return _backward(dy, cache)


def batch_norm(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    unbiased: bool = True,
    num_batches_tracked: Array | None = None,
) -> Array:
    r"""Normalize each channel over all examples and positions, or by running statistics.

    $$y = \frac{x - \mu_c}{\sqrt{\sigma_c^2 + \varepsilon}}\,\gamma_c + \beta_c$$

    Args:
        input: floating point array of shape `(batch, channels, *positions)`.
        running_mean: shape `(channels,)`; updated in place in training, used in evaluation.
        running_var: shape `(channels,)`; likewise.
        weight: γ, of shape `(channels,)`; None means 1.
        bias: β, of shape `(channels,)`; None means 0.
        training: normalize with the statistics of `input`.
        momentum: weight of the new statistics in the running ones, in [0, 1]; None averages all
            batches so far with equal weight and needs `num_batches_tracked`.
        eps: ε, finite and >= 0, in units of x².
        unbiased: store the variance with n − 1, as PyTorch does; False stores the one with n that
            normalizes, as ONNX and Keras do.
        num_batches_tracked: integer array of one element, incremented in place in training.

    Returns:
        Array of the shape and dtype of `input`.

    Raises:
        TypeError: `input` is not real floating point, or `momentum` is no number.
        ValueError: shapes do not fit, one value per channel in training, running statistics
            missing in evaluation, or `momentum=None` without a counter.

    Example:
        >>> mean, var = np.zeros(1), np.ones(1)
        >>> batch_norm(np.array([[0.0], [2.0]]), mean, var, training=True, eps=0.0)
        array([[-1.],
               [ 1.]])
        >>> mean, var
        (array([0.1]), array([1.1]))

    Source: Ioffe, Szegedy (2015), https://arxiv.org/abs/1502.03167.
    """
    return batch_norm_forward(
        input,
        running_mean,
        running_var,
        weight,
        bias,
        training,
        momentum,
        eps,
        unbiased=unbiased,
        num_batches_tracked=num_batches_tracked,
    )[0]


# --- shared by all ------------------------------------------------------------------------------


def _forward(
    input: Array,
    layout: Layout,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    *,
    center: bool = True,
    eps_mode: EpsMode = "inside",
) -> tuple[Array, Cache]:
    lay.check_eps(eps)
    x = input.astype(_compute_dtype(input), copy=False).reshape(layout.view)
    x_hat, stats = standardize(x, layout.axes, eps, center=center, eps_mode=eps_mode)
    y = _affine(x_hat.reshape(input.shape), weight, bias, layout).astype(input.dtype, copy=False)
    return y, Cache(input, weight, bias, layout, stats, False, eps_mode)


def _forward_running(
    input: Array,
    layout: Layout,
    running_mean: Any,
    running_var: Any,
    weight: Array | None,
    bias: Array | None,
    eps: float,
) -> tuple[Array, Cache]:
    lay.check_eps(eps)
    dtype = _compute_dtype(input)
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


def _backward(dy: Array, cache: Cache) -> tuple[Array, Array | None, Array | None]:
    input, weight, bias, layout, stats, constant_stats, eps_mode = cache
    lay.check_parameter("dy", dy.shape, input.shape)
    dtype = _compute_dtype(input)
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


def _update_counter(num_batches_tracked: Array | None, momentum: float | None) -> float:
    """Count the batch, and return its weight in the running statistics."""
    lay.check_momentum(momentum, num_batches_tracked)
    if num_batches_tracked is not None:
        num_batches_tracked += 1
        if momentum is None:
            return 1 / float(num_batches_tracked.item())
    return cast(float, momentum)


def _update_running(
    running_mean: Any, running_var: Any, cache: Cache, momentum: float, unbiased: bool
) -> None:
    x = cache.input.astype(_compute_dtype(cache.input), copy=False).reshape(cache.layout.view)
    mean = cast(Array, cache.stats.mean)
    c = subtract_mean(x, mean, cache.layout.axes)
    count = c.size // mean.size - int(unbiased)
    var = np.square(c).sum(cache.layout.axes, keepdims=True) / count
    for running, new in ((running_mean, mean), (running_var, var)):
        average = np.asarray(new).reshape(-1, running.size).mean(0)
        running += momentum * (average - running).astype(running.dtype)


def _layer_layout(
    input: Array, normalized_shape: NormalizedShape, weight: Array | None, bias: Array | None
) -> Layout:
    sizes = lay.check_normalized_shape(normalized_shape)
    lay.check_input(input.shape, input.dtype, _is_floating(input), len(sizes))
    lay.check_trailing(input.shape, sizes)
    _check_parameters(sizes, weight=weight, bias=bias)
    return lay.layer_layout(input.shape, sizes)


def _channel_shape(input: Array, **parameters: Array | None) -> tuple[int, ...]:
    lay.check_input(input.shape, input.dtype, _is_floating(input), None)
    _check_parameters((input.shape[1],), **parameters)
    return input.shape


def _check_parameters(expected: tuple[int, ...], **parameters: Array | None) -> None:
    for name, parameter in parameters.items():
        lay.check_parameter(name, None if parameter is None else parameter.shape, expected)


def _is_floating(x: Array) -> bool:
    return bool(np.issubdtype(x.dtype, np.floating))


def _compute_dtype(x: Array) -> np.dtype[Any]:
    return np.result_type(x.dtype, np.float32)
