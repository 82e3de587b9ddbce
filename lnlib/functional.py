r"""The functions of `lnlib.reference` on torch tensors, differentiable to every order.

One `torch.autograd.Function` carries the derivation: `_Standardize` returns $\hat x$ and $r$, and
its backward is written in these two outputs alone, so that autograd can differentiate it again.
Under `torch.func` and `torch.compile` the plain operations of its forward pass run instead.
The five methods choose the axes (`lnlib.layout`) and add the affine map. On a GPU, `layer_norm` and
`rms_norm` run the kernels of `lnlib.kernels` where Triton is installed.

Names, order and defaults of the arguments are those of `torch.nn.functional`. Statistics are
computed in at least float32 and the result is cast once, to the dtype of `input`, under autocast
too. Wrong arguments raise the same errors as in `lnlib.reference`.

Example:
    >>> import torch
    >>> from lnlib import functional
    >>> x = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    >>> y = functional.layer_norm(x, (3,))
    >>> (dx,) = torch.autograd.grad(y, x, torch.tensor([[1.0, 0.0, 0.0]]))
    >>> dx.sum().abs().item() < 1e-6
    True
"""

import importlib.util
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lnlib import layout as lay
from lnlib.layout import Layout, NormalizedShape

kernels: ModuleType | None = None
if torch.cuda.is_available() and importlib.util.find_spec("triton"):
    from lnlib import kernels


class _Standardize(torch.autograd.Function):
    r"""`_standardize`, keeping only $\hat x$ and $r$ for the backward pass.

    The Jacobian of $\hat x$ is symmetric, so reverse and forward mode share `_jacobian`.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, axes: tuple[int, ...], eps: float, center: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x_hat, rstd, mean, var = _standardize(x, axes, eps, center)
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


def _standardize(
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


def use_kernels(on: bool) -> None:
    """Let `layer_norm` and `rms_norm` run the kernels of `lnlib.kernels` on a GPU, or not.

    They do by themselves where Triton is installed. Off, every device computes the same way.

    Example:
        >>> use_kernels(False)
        >>> use_kernels(True)
    """
    global _kernels_on
    _kernels_on = on


_kernels_on = True


def _has_kernel(x: Tensor) -> bool:
    """Whether a kernel can do it: on a GPU, and reverse mode only."""
    forward_mode = forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()
    return _kernels_on and _on_gpu(x) and not forward_mode


def _on_gpu(x: Tensor) -> bool:
    return x.is_cuda


def _differentiate_by_composition() -> bool:
    """Whether a transform is active that would not see through `_Standardize`.

    Nested forward mode of `torch.func` silently returns 0 for any `autograd.Function`, and a
    compiler fuses plain operations better.
    """
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


# --- layer norm and RMSNorm --------------------------------------------------------------------


def layer_norm(
    input: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    r"""Normalize each example over its trailing axes.

    $$y = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}\odot\gamma + \beta$$

    Arguments, result and errors: `lnlib.reference.layer_norm`, with tensors. On a GPU with Triton
    `lnlib.kernels` computes it; `use_kernels` switches this off.

    Example:
        >>> layer_norm(torch.tensor([[0.0, 2.0]]), (2,), eps=0.0)
        tensor([[-1.,  1.]])

    Source: Ba, Kiros, Hinton (2016), https://arxiv.org/abs/1607.06450.
    """
    if kernels is not None and _has_kernel(input):
        y: Tensor = kernels.layer_norm(input, normalized_shape, weight, bias, eps)
        return y
    layout = _layer_layout(input, normalized_shape, weight, bias)
    return _normalize(input, layout, weight, bias, eps)[0]


def rms_norm(
    input: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    r"""Divide each example by the root mean square of its trailing axes.

    $$y = \frac{x}{\sqrt{\langle x^2\rangle + \varepsilon}}\odot\gamma$$

    Arguments, result and errors: `lnlib.reference.rms_norm`, with tensors. On a GPU with Triton
    `lnlib.kernels` computes it; `use_kernels` switches this off.

    Example:
        >>> rms_norm(torch.tensor([[3.0, 4.0]]), (2,), eps=0.0)
        tensor([[0.8485, 1.1314]])

    Source: Zhang, Sennrich (2019), https://arxiv.org/abs/1910.07467.
    """
    if kernels is not None and _has_kernel(input):
        y: Tensor = kernels.rms_norm(input, normalized_shape, weight, eps)
        return y
    layout = _layer_layout(input, normalized_shape, weight, None)
    eps = torch.finfo(_compute_dtype(input)).eps if eps is None else eps
    return _normalize(input, layout, weight, None, eps, center=False)[0]


# --- methods with channels on axis 1 -----------------------------------------------------------


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    r"""Normalize groups of channels of each example, over all positions.

    $$y = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}\,\gamma_c + \beta_c$$

    Arguments, result and errors: `lnlib.reference.group_norm`, with tensors.

    Example:
        >>> group_norm(torch.tensor([[[0.0, 2.0], [10.0, 30.0]]]), 2, eps=0.0)
        tensor([[[-1.,  1.],
                 [-1.,  1.]]])

    Source: Wu, He (2018), https://arxiv.org/abs/1803.08494.
    """
    shape = _channel_shape(input, weight=weight, bias=bias)
    lay.check_groups(shape[1], num_groups)
    return _normalize(input, lay.group_layout(shape, num_groups), weight, bias, eps)[0]


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    r"""Normalize each channel of each example over its positions.

    $$y = \frac{x - \mu_{nc}}{\sqrt{\sigma_{nc}^2 + \varepsilon}}\,\gamma_c + \beta_c$$

    Arguments, result and errors: `lnlib.reference.instance_norm`, with tensors.

    Example:
        >>> instance_norm(torch.tensor([[[0.0, 2.0], [10.0, 30.0]]]), eps=0.0)
        tensor([[[-1.,  1.],
                 [-1.,  1.]]])

    Source: Ulyanov, Vedaldi, Lempitsky (2016), https://arxiv.org/abs/1607.08022.
    """
    shape = _channel_shape(
        input, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    lay.check_running(running_mean, running_var, not use_input_stats, "use_input_stats")
    lay.check_momentum(momentum, None)
    layout = lay.instance_layout(shape)
    if not use_input_stats:
        return _normalize_running(input, layout, running_mean, running_var, weight, bias, eps)
    lay.check_several_values(tuple(input.shape), layout, "instance_norm")
    y, mean, var = _normalize(input, layout, weight, bias, eps)
    if running_mean is not None and input.numel():
        _update_running(running_mean, running_var, mean, var, layout, momentum, unbiased=True)
    return y


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    unbiased: bool = True,
    num_batches_tracked: Tensor | None = None,
) -> Tensor:
    r"""Normalize each channel over all examples and positions, or by running statistics.

    $$y = \frac{x - \mu_c}{\sqrt{\sigma_c^2 + \varepsilon}}\,\gamma_c + \beta_c$$

    Arguments, result and errors: `lnlib.reference.batch_norm`, with tensors.

    Example:
        >>> mean, var = torch.zeros(1), torch.ones(1)
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> batch_norm(x, mean, var, training=True, eps=0.0).flatten()
        tensor([-1.,  1.])
        >>> mean, var
        (tensor([0.1000]), tensor([1.1000]))

    Source: Ioffe, Szegedy (2015), https://arxiv.org/abs/1502.03167.
    """
    shape = _channel_shape(
        input, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    lay.check_running(running_mean, running_var, not training, "training")
    layout = lay.batch_layout(shape)
    if not training:
        return _normalize_running(input, layout, running_mean, running_var, weight, bias, eps)
    lay.check_several_values(tuple(input.shape), layout, "batch_norm")
    y, mean, var = _normalize(input, layout, weight, bias, eps)
    if running_mean is not None and input.numel():
        factor = _update_counter(num_batches_tracked, momentum, _compute_dtype(input))
        _update_running(running_mean, running_var, mean, var, layout, factor, unbiased)
    return y


# --- shared by all ------------------------------------------------------------------------------


def _normalize(
    input: Tensor,
    layout: Layout,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    *,
    center: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """The output, and the mean and variance of each group of values."""
    lay.check_eps(eps)
    x = input.to(_compute_dtype(input)).reshape(layout.view)
    if x.numel():
        plain = _differentiate_by_composition()
        standardize = _standardize if plain else _Standardize.apply
        x_hat, _, mean, var = standardize(x, layout.axes, float(eps), center)
    else:
        x_hat = mean = var = x
    y = _affine(x_hat.reshape(input.shape), weight, bias, layout)
    return y.to(input.dtype), mean, var


def _normalize_running(
    input: Tensor,
    layout: Layout,
    running_mean: Any,
    running_var: Any,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    lay.check_eps(eps)
    dtype = _compute_dtype(input)
    mean = running_mean.to(dtype).reshape(layout.parameter)
    rstd = (running_var.to(dtype) + eps).rsqrt().reshape(layout.parameter)
    return _affine((input.to(dtype) - mean) * rstd, weight, bias, layout).to(input.dtype)


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


@torch.no_grad()
def _update_counter(
    num_batches_tracked: Tensor | None, momentum: float | None, dtype: torch.dtype
) -> float | Tensor:
    """Count the batch, and return its weight in the running statistics."""
    lay.check_momentum(momentum, num_batches_tracked)
    if num_batches_tracked is not None:
        num_batches_tracked.add_(1)
        if momentum is None:
            return num_batches_tracked.to(dtype).reciprocal()
    return cast(float, momentum)


@torch.no_grad()
def _update_running(
    running_mean: Any,
    running_var: Any,
    mean: Tensor,
    var: Tensor,
    layout: Layout,
    momentum: float | Tensor,
    unbiased: bool,
) -> None:
    if unbiased:
        var = var * (layout.group_size / (layout.group_size - 1))
    for running, new in ((running_mean, mean), (running_var, var)):
        average = new.reshape(-1, running.numel()).mean(0).to(running.dtype)
        running.lerp_(average, torch.as_tensor(momentum, dtype=running.dtype))


def _layer_layout(
    input: Tensor, normalized_shape: NormalizedShape, weight: Tensor | None, bias: Tensor | None
) -> Layout:
    sizes = lay.check_normalized_shape(normalized_shape)
    lay.check_input(tuple(input.shape), input.dtype, input.is_floating_point(), len(sizes))
    lay.check_trailing(tuple(input.shape), sizes)
    _check_parameters(sizes, weight=weight, bias=bias)
    return lay.layer_layout(tuple(input.shape), sizes)


def _channel_shape(input: Tensor, **parameters: Tensor | None) -> tuple[int, ...]:
    lay.check_input(tuple(input.shape), input.dtype, input.is_floating_point(), None)
    _check_parameters((input.shape[1],), **parameters)
    return tuple(input.shape)


def _check_parameters(expected: tuple[int, ...], **parameters: Tensor | None) -> None:
    for name, parameter in parameters.items():
        lay.check_parameter(name, None if parameter is None else tuple(parameter.shape), expected)


def _compute_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
