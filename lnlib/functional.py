r"""The functions of `lnlib.reference` on torch tensors, differentiable to every order.

The five methods choose the axes (`lnlib.layout`), and a tensor goes the first of the `ways` that
takes it: `lnlib.kernels` on a GPU (`layer_norm` and `rms_norm`), `lnlib.kernels.cpu` on the
processor, and where neither can, `lnlib.formula` in plain operations.

Names, order and defaults of the arguments are those of `torch.nn.functional`. Statistics are
computed in at least float32 and the result is cast once, to the dtype of `input`, under autocast
too. Wrong arguments raise the same errors as in `lnlib.reference`. For `torch.fx` each function is
one node.

What torch accepts is refused on purpose where no result would make sense: ε < 0, which makes the
root of a small variance NaN; a momentum outside [0, 1], with which a running variance can become
negative; for group, instance and batch norm input of fewer than two axes, which has no channels.

Example:
    >>> import torch
    >>> from lnlib import functional
    >>> x = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    >>> y = functional.layer_norm(x, (3,))
    >>> (dx,) = torch.autograd.grad(y, x, torch.tensor([[1.0, 0.0, 0.0]]))
    >>> dx.sum().abs().item() < 1e-6
    True
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, fx

from lnlib import checks, formula, kernels
from lnlib import layout as lay
from lnlib.checks import NormalizedShape
from lnlib.kernels import cpu
from lnlib.layout import Layout

ways: tuple[Any, ...] = (kernels, cpu, formula)


def way(norm: str, *tensors: Tensor | None) -> Callable[..., Any]:
    """Return the first `layer_norm`, `rms_norm` or `normalize` that takes all tensors."""
    given = [x for x in tensors if x is not None]
    for each in ways:
        if hasattr(each, norm) and each.takes(*given):
            return cast("Callable[..., Any]", getattr(each, norm))
    names = ", ".join(each.__name__ for each in ways)
    raise RuntimeError(f"{norm}: {names} cannot take these tensors; add lnlib.formula to `only`")


@contextmanager
def only(*chosen: Any) -> Iterator[None]:
    """Let the norms go these ways only, in all threads, within a block.

    Args:
        chosen: of `lnlib.kernels`, `lnlib.kernels.cpu` and `lnlib.formula`, in the order in which
            they are asked.

    Example:
        >>> with only(formula):
        ...     y = layer_norm(torch.tensor([[0.0, 2.0]]), (2,))
    """
    global ways
    before, ways = ways, chosen
    try:
        yield
    finally:
        ways = before


# --- layer norm and RMSNorm --------------------------------------------------------------------


@fx.wrap
def layer_norm(
    input: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    r"""Normalize each example over its trailing axes.

    $$y = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}\odot\gamma + \beta$$

    Arguments, result and errors: `lnlib.reference.layer_norm`, with tensors and without
    `eps_mode`. Which of the `ways` computes it, `only` can say.

    Example:
        >>> layer_norm(torch.tensor([[0.0, 2.0]]), (2,), eps=0.0)
        tensor([[-1.,  1.]])

    Source: Ba, Kiros, Hinton (2016), https://arxiv.org/abs/1607.06450.
    """
    y: Tensor = way("layer_norm", input, weight, bias)(input, normalized_shape, weight, bias, eps)
    return y


@fx.wrap
def rms_norm(
    input: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    r"""Divide each example by the root mean square of its trailing axes.

    $$y = \frac{x}{\sqrt{\langle x^2\rangle + \varepsilon}}\odot\gamma$$

    Arguments, result and errors: `lnlib.reference.rms_norm`, with tensors. On a GPU with Triton
    `lnlib.kernels` computes it, unless `only` says otherwise.

    Example:
        >>> rms_norm(torch.tensor([[3.0, 4.0]]), (2,), eps=0.0)
        tensor([[0.8485, 1.1314]])

    Source: Zhang, Sennrich (2019), https://arxiv.org/abs/1910.07467.
    """
    y: Tensor = way("rms_norm", input, weight)(input, normalized_shape, weight, eps)
    return y


# --- methods with channels on axis 1 -----------------------------------------------------------


@fx.wrap
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
    shape = checks.channels(formula.TENSORS, input, weight=weight, bias=bias)
    checks.groups(shape[1], num_groups)
    layout = lay.group_layout(shape, num_groups)
    y: Tensor = way("normalize", input, weight, bias)(input, layout, weight, bias, eps)[0]
    return y


@fx.wrap
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
    shape = checks.channels(
        formula.TENSORS, input,
        weight=weight, bias=bias, running_mean=running_mean, running_var=running_var,
    )  # fmt: skip
    checks.flag("use_input_stats", use_input_stats)
    checks.running(running_mean, running_var, not use_input_stats, "use_input_stats")
    checks.momentum(momentum, None)
    layout = lay.instance_layout(shape)
    if not use_input_stats:
        return formula.normalize_running(
            input, layout, running_mean, running_var, weight, bias, eps
        )
    checks.several_values(tuple(input.shape), layout, "instance_norm")
    y: Tensor
    y, mean, var = way("normalize", input, weight, bias)(input, layout, weight, bias, eps)
    if running_mean is not None and input.numel():
        _update_running(running_mean, running_var, mean, var, layout, momentum, unbiased=True)
    return y


@fx.wrap
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
    shape = checks.channels(
        formula.TENSORS, input,
        weight=weight, bias=bias, running_mean=running_mean, running_var=running_var,
    )  # fmt: skip
    checks.flag("training", training)
    checks.flag("unbiased", unbiased)
    checks.counter(formula.TENSORS, num_batches_tracked)
    checks.running(running_mean, running_var, not training, "training")
    if momentum is not None:
        checks.momentum(momentum, None)
    layout = lay.batch_layout(shape)
    if not training:
        return formula.normalize_running(
            input, layout, running_mean, running_var, weight, bias, eps
        )
    checks.several_values(tuple(input.shape), layout, "batch_norm")
    y: Tensor
    y, mean, var = way("normalize", input, weight, bias)(input, layout, weight, bias, eps)
    if running_mean is not None:
        factor = _update_counter(num_batches_tracked, momentum, formula.statistics_dtype(input))
        if input.numel():
            _update_running(running_mean, running_var, mean, var, layout, factor, unbiased)
    return y


# --- running statistics ---------------------------------------------------------------------------


@torch.no_grad()
def _update_counter(
    num_batches_tracked: Tensor | None, momentum: float | None, dtype: torch.dtype
) -> float | Tensor:
    """Count the batch, and return its weight in the running statistics."""
    checks.momentum(momentum, num_batches_tracked)
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
        dtype = torch.promote_types(running.dtype, new.dtype)  # rounded once
        average = new.reshape(-1, running.numel()).mean(0).to(dtype)
        running.copy_(
            torch.lerp(running.to(dtype), average, torch.as_tensor(momentum, dtype=dtype))
        )
