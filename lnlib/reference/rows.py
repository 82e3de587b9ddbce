"""Layer norm and RMSNorm in NumPy: the trailing axes of each example share their statistics."""

import numpy as np

from lnlib import checks
from lnlib.checks import NormalizedShape
from lnlib.reference.apply import ARRAYS, Cache, backward, compute_dtype, forward
from lnlib.reference.standardize import Array, EpsMode


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
    layout = checks.rows(ARRAYS, input, normalized_shape, weight=weight, bias=bias)
    return forward(input, layout, weight, bias, eps, eps_mode=eps_mode)


def layer_norm_backward(dy: Array, cache: Cache) -> tuple[Array, Array | None, Array | None]:
    r"""Gradients of `layer_norm`.

    With $g = \gamma\odot\partial L/\partial y$,

    $$\begin{aligned}
    dx &= r\,(g - \langle g\rangle - \hat x\,\langle g\,\hat x\rangle),\\
    d\gamma &= \sum_\text{rows} dy\odot\hat x,\quad d\beta = \sum_\text{rows} dy.
    \end{aligned}$$

    Args:
        dy: gradient with respect to the output, of its shape.
        cache: from `layer_norm_forward`.

    Returns:
        `(dx, dweight, dbias)` in the dtypes of `input`, `weight` and `bias`.
    """
    return backward(dy, cache)


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
    layout = checks.rows(ARRAYS, input, normalized_shape, weight=weight)
    eps = float(np.finfo(compute_dtype(input)).eps) if eps is None else eps
    return forward(input, layout, weight, None, eps, center=False)


def rms_norm_backward(dy: Array, cache: Cache) -> tuple[Array, Array | None]:
    r"""Gradients of `rms_norm`.

    With $g = \gamma\odot\partial L/\partial y$,

    $$\begin{aligned}
    dx &= r\,(g - \hat x\,\langle g\,\hat x\rangle),\\
    d\gamma &= \sum_\text{rows} dy\odot\hat x.
    \end{aligned}$$

    Args:
        dy: gradient with respect to the output, of its shape.
        cache: from `rms_norm_forward`.

    Returns:
        `(dx, dweight)` in the dtypes of `input` and `weight`.
    """
    return backward(dy, cache)[:2]


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
