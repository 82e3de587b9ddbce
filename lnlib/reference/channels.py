"""Group, instance and batch norm in NumPy: channels on axis 1, each with its own γ and β."""

from lnlib import checks
from lnlib import layout as lay
from lnlib.reference.apply import (
    ARRAYS,
    Cache,
    backward,
    forward,
    forward_running,
    update_counter,
    update_running,
)
from lnlib.reference.standardize import Array


def group_norm_forward(
    input: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> tuple[Array, Cache]:
    """`group_norm`, and what `group_norm_backward` needs."""
    shape = checks.channels(ARRAYS, input, weight=weight, bias=bias)
    checks.groups(shape[1], num_groups)
    return forward(input, lay.group_layout(shape, num_groups), weight, bias, eps)


def group_norm_backward(dy: Array, cache: Cache) -> tuple[Array, Array | None, Array | None]:
    """Gradients of `group_norm`, as `layer_norm_backward`; γ and β sum over all but the channels.

    Args:
        dy: gradient with respect to the output, of its shape.
        cache: from `group_norm_forward`.

    Returns:
        `(dx, dweight, dbias)` in the dtypes of `input`, `weight` and `bias`.
    """
    return backward(dy, cache)


def group_norm(
    input: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    r"""Normalize groups of channels of each example, over all positions.

    $$y = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}\,\gamma_c + \beta_c$$

    with $\mu$ and $\sigma^2$ over one group of channels of one example.

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
        >>> import numpy as np
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
    shape = checks.channels(
        ARRAYS, input,
        weight=weight, bias=bias, running_mean=running_mean, running_var=running_var,
    )  # fmt: skip
    checks.flag("use_input_stats", use_input_stats)
    checks.running(running_mean, running_var, not use_input_stats, "use_input_stats")
    checks.momentum(momentum, None)
    layout = lay.instance_layout(shape)
    if not use_input_stats:
        return forward_running(input, layout, running_mean, running_var, weight, bias, eps)
    checks.several_values(input.shape, layout, "instance_norm")
    y, cache = forward(input, layout, weight, bias, eps)
    if running_mean is not None and input.size:
        update_running(running_mean, running_var, cache, momentum, unbiased=True)
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
    return backward(dy, cache)


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
        >>> import numpy as np
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
    shape = checks.channels(
        ARRAYS, input,
        weight=weight, bias=bias, running_mean=running_mean, running_var=running_var,
    )  # fmt: skip
    checks.flag("training", training)
    checks.flag("unbiased", unbiased)
    checks.counter(ARRAYS, num_batches_tracked)
    checks.running(running_mean, running_var, not training, "training")
    if momentum is not None:
        checks.momentum(momentum, None)
    layout = lay.batch_layout(shape)
    if not training:
        return forward_running(input, layout, running_mean, running_var, weight, bias, eps)
    checks.several_values(input.shape, layout, "batch_norm")
    y, cache = forward(input, layout, weight, bias, eps)
    if running_mean is not None:
        factor = update_counter(num_batches_tracked, momentum)
        if input.size:
            update_running(running_mean, running_var, cache, factor, unbiased)
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
    return backward(dy, cache)


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
        >>> import numpy as np
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
