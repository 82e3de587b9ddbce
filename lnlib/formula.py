r"""The norms in plain operations of torch, on every device and differentiable to every order.

One `torch.autograd.Function` carries the derivation: `_Standardize` returns $\hat x$ and $r$, and
its backward is written in these two outputs alone, so that autograd can differentiate it again.
Under `torch.func` and `torch.compile` the plain operations of its forward pass run instead.
"""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from lnlib import checks
from lnlib.checks import NormalizedShape
from lnlib.layout import Layout, layer_layout

TENSORS = checks.Arrays(
    Tensor, Tensor.is_floating_point, "lnlib.functional takes tensors, lnlib.reference takes arrays"
)


def takes(*tensors: Any) -> bool:
    """Say whether this module can compute the norm of tensors: of all."""
    return True


def layer_norm(
    input: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    by: Callable[..., Any] | None = None,
) -> Tensor:
    """Return `lnlib.functional.layer_norm`, computed by `normalize` or something like it."""
    layout = _layout(input, normalized_shape, weight, bias)
    y: Tensor = (by or normalize)(input, layout, weight, bias, eps, center=True)[0]
    return y


def rms_norm(
    input: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    eps: float | None = None,
    *,
    by: Callable[..., Any] | None = None,
) -> Tensor:
    """Return `lnlib.functional.rms_norm`, computed by `normalize` or something like it."""
    layout = _layout(input, normalized_shape, weight, None)
    eps = torch.finfo(statistics_dtype(input)).eps if eps is None else eps
    y: Tensor = (by or normalize)(input, layout, weight, None, eps, center=False)[0]
    return y


def plainly_right(input: Any, normalized_shape: Any, *parameters: Any) -> bool:
    """Recognize the usual call by a few comparisons; `lnlib.checks` looks at all others."""
    if not (
        isinstance(input, Tensor)
        and input.dtype.is_floating_point
        and isinstance(normalized_shape, tuple)
        and len(normalized_shape) > 0
        and input.shape[-len(normalized_shape) :] == normalized_shape
    ):
        return False
    for size in normalized_shape:
        if size.__class__ is not int:  # 3.0 and True equal sizes, too
            return False
    for each in parameters:
        if each is not None and not (
            isinstance(each, Tensor)
            and each.dtype.is_floating_point
            and each.shape == normalized_shape
        ):
            return False
    return True


def _layout(
    input: Tensor, normalized_shape: NormalizedShape, weight: Tensor | None, bias: Tensor | None
) -> Layout:
    if plainly_right(input, normalized_shape, weight, bias):
        return layer_layout(tuple(input.shape), cast("tuple[int, ...]", normalized_shape))
    return checks.rows(TENSORS, input, normalized_shape, weight=weight, bias=bias)


def statistics_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which the statistics of a tensor are computed: at least float32."""
    return torch.promote_types(x.dtype, torch.float32)


def normalize(
    input: Tensor,
    layout: Layout,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    *,
    center: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, and the mean and variance of each group of values."""
    checks.eps(eps)
    x = input.to(statistics_dtype(input)).reshape(layout.view)
    if x.numel():
        plain = _differentiate_by_composition()
        compute = _by_composition if plain else _Standardize.apply
        x_hat, _, mean, var = compute(x, layout.axes, float(eps), center)
    else:
        x_hat = mean = var = x
    y = _affine(x_hat.reshape(input.shape), weight, bias, layout).to(input.dtype)
    return _in_the_order_of(input, y), mean, var


def normalize_running(
    input: Tensor,
    layout: Layout,
    running_mean: Any,
    running_var: Any,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """Return the output with the running statistics."""
    checks.eps(eps)
    dtype = statistics_dtype(input)
    mean = running_mean.to(dtype).reshape(layout.parameter)
    rstd = (running_var.to(dtype) + eps).rsqrt().reshape(layout.parameter)
    return _affine((input.to(dtype) - mean) * rstd, weight, bias, layout).to(input.dtype)


def _in_the_order_of(x: Tensor, y: Tensor) -> Tensor:
    """Return images with their channels last in memory, if they came so."""
    orders = {4: torch.channels_last, 5: torch.channels_last_3d}
    if (order := orders.get(x.ndim)) and x.is_contiguous(memory_format=order):
        return y if x.is_contiguous() else y.contiguous(memory_format=order)
    return y


def _affine(x_hat: Tensor, weight: Tensor | None, bias: Tensor | None, layout: Layout) -> Tensor:
    gamma, beta = (
        None if parameter is None else parameter.to(x_hat.dtype).reshape(layout.parameter)
        for parameter in (weight, bias)
    )
    if gamma is not None and beta is not None:
        return torch.addcmul(beta, x_hat, gamma)
    if gamma is not None:
        return x_hat * gamma
    if beta is not None:
        return x_hat + beta
    # x_hat is kept for the backward pass; the caller may overwrite what it gets
    return x_hat.clone() if x_hat.requires_grad else x_hat


class _Standardize(torch.autograd.Function):
    r"""`_by_composition`, keeping only $\hat x$ and $r$ for the backward pass.

    The Jacobian of $\hat x$ is symmetric, so reverse and forward mode share `_jacobian`.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, axes: tuple[int, ...], eps: float, center: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x_hat, rstd, mean, var = _by_composition(x, axes, eps, center)
        ctx.axes, ctx.center = axes, center
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(x_hat, rstd)
        ctx.save_for_forward(x_hat, rstd)
        return x_hat, rstd, mean, var

    @staticmethod
    def backward(
        ctx: Any, g: Tensor, g_rstd: Tensor, *_: Tensor
    ) -> tuple[Tensor, None, None, None]:
        x_hat, rstd = ctx.saved_tensors
        count = math.prod(x_hat.shape[axis] for axis in ctx.axes)
        dot = (g * x_hat).mean(ctx.axes, keepdim=True) + rstd * g_rstd / count
        dx = _jacobian(g, dot, x_hat, rstd, ctx.axes, ctx.center)
        return dx, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> tuple[Tensor, Tensor, None, None]:
        x_hat, rstd = ctx.saved_tensors
        dot = (tangent * x_hat).mean(ctx.axes, keepdim=True)
        dx_hat = _jacobian(tangent, dot, x_hat, rstd, ctx.axes, ctx.center)
        return dx_hat, -rstd.square() * dot, None, None


def _by_composition(
    x: Tensor, axes: tuple[int, ...], eps: float, center: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""$\hat x = r\,(x - \mu)$ over `axes`, with $r$, $\mu$, $\sigma^2$, from plain operations."""
    sub, mul, _ = _operations()
    root = math.sqrt(eps)
    scale = _power_of_two(x.detach(), axes, root)
    c = x * scale
    mean = torch.zeros_like(scale)
    if center:
        mean = c.mean(axes, keepdim=True)
        c = sub(c, mean)
        c = sub(c, c.mean(axes, keepdim=True))
    var = c.square().mean(axes, keepdim=True)
    size_of_eps = max(root, torch.finfo(x.dtype).tiny)
    r_scale = torch.where(var == 0, 2.0 ** -math.frexp(size_of_eps)[1], scale)
    r = (var + (root * r_scale).square()).rsqrt()
    return mul(c, r), r * r_scale, mean / scale, var / scale / scale


def _jacobian(
    v: Tensor, dot: Tensor, x_hat: Tensor, rstd: Tensor, axes: tuple[int, ...], center: bool
) -> Tensor:
    r"""$r\,(v - \langle v\rangle - \hat x\,\text{dot})$."""
    _, mul, addcmul = _operations()
    v = v - (v.mean(axes, keepdim=True) if center else 0)
    return mul(addcmul(v, x_hat, dot, value=-1), rstd)


def _operations() -> tuple[Callable[..., Tensor], Callable[..., Tensor], Callable[..., Tensor]]:
    """Subtract, multiply, multiply and add: in place where nobody differentiates them.

    Fresh memory costs a CPU more than the arithmetic does.
    """
    if torch.is_grad_enabled() or _differentiate_by_composition():
        return Tensor.sub, Tensor.mul, Tensor.addcmul
    return Tensor.sub_, Tensor.mul_, Tensor.addcmul_


def _power_of_two(x: Tensor, axes: tuple[int, ...], floor: float) -> Tensor:
    """2^k with max(|x|, floor) · 2^k in [1/2, 1): squares of rows of 1e20 stay finite."""
    largest = torch.maximum(x.amax(axes, keepdim=True), -x.amin(axes, keepdim=True))
    largest = largest.clamp(min=max(floor, torch.finfo(x.dtype).tiny))
    return torch.ldexp(torch.ones_like(largest), -torch.frexp(largest).exponent)


def _differentiate_by_composition() -> bool:
    """Whether a transform is active that would not see through `_Standardize`.

    Nested forward mode of `torch.func` silently returns 0 for any `autograd.Function`, and a
    compiler fuses plain operations better.
    """
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def backward(
    dy: Tensor, dtotal: Tensor | None, x: Tensor, weight: Tensor | None, bias: Tensor | None,
    eps: float, center: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    """Return the gradients of input, weight and bias of a norm over axis 1.

    Args:
        dy: gradient with respect to the output, of shape (M, N).
        dtotal: gradient with respect to the input itself, where that is also an output.
        x: the input, of shape (M, N).
        weight: of shape (N,), or None.
        bias: of shape (N,), or None; only its dtype matters.
        eps: ε.
        center: layer norm, or RMSNorm.
    """
    dtype = statistics_dtype(x)
    c, g = x.to(dtype), dy.to(dtype)
    if center:
        c = c - c.mean(1, keepdim=True)
    rstd = (c.square().mean(1, keepdim=True) + eps).rsqrt()
    x_hat = c * rstd
    dweight = None if weight is None else (g * x_hat).sum(0).to(weight.dtype)
    dbias = None if bias is None else g.sum(0).to(bias.dtype)
    if weight is not None:
        g = g * weight.to(dtype)
    dx = g - x_hat * (g * x_hat).mean(1, keepdim=True)
    if center:
        dx = dx - g.mean(1, keepdim=True)
    dx = (dx * rstd).to(x.dtype)
    return (dx if dtotal is None else dx + dtotal), dweight, dbias
