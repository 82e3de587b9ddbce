"""Norms whose means cross processes: of rows in parts, and of batches in parts."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from lnlib import checks
from lnlib.formula import TENSORS, statistics_dtype

# --- features spread over processes --------------------------------------------------------------


class _Standardize(torch.autograd.Function):
    """Standardize rows of which each process has some columns; one exchange each way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        width = x.shape[-1]
        var, mean = torch.var_mean(x, -1, correction=0)
        own = torch.cat([mean.flatten(), width * var.flatten(), x.new_tensor([width])])
        received = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(received, own)
        parts = torch.stack(received)
        counts, (means, squares) = parts[:, -1], parts[:, :-1].unflatten(1, (2, -1)).unbind(1)
        count, merged_mean, merged_squares = merge(counts, means, squares)
        rstd = torch.rsqrt(merged_squares / count + eps).view_as(mean).unsqueeze(-1)
        x_hat = (x - merged_mean.view_as(mean).unsqueeze(-1)) * rstd
        ctx.save_for_backward(x_hat, rstd, count)
        return x_hat

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        x_hat, rstd, count = ctx.saved_tensors
        sums = torch.stack([g.sum(-1, keepdim=True), (g * x_hat).sum(-1, keepdim=True)])
        dist.all_reduce(sums)
        mean_g, mean_gx = sums / count
        return rstd * (g - mean_g - x_hat * mean_gx), None


def merge(counts: Tensor, means: Tensor, squares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Merge the statistics of the parts of each row.

    $$\begin{aligned}
    n&=\sum_p n_p,\qquad \mu=\frac1n\sum_p n_p\mu_p,\\
    M&=\sum_p M_p+\sum_p n_p(\mu_p-\mu)^2
    \end{aligned}$$

    Nothing is subtracted that is large beside the result, unlike in $\sum x^2 - n\mu^2$.

    Args:
        counts: $n_p$, how many values each part has, of shape (P,).
        means: $\mu_p$, of shape (P, N) for N rows.
        squares: $M_p$, each part's sum of squared distances from its own mean, of shape (P, N).

    Returns:
        n, of shape (), μ and M, of shape (N,).

    Example:
        >>> means, squares = torch.tensor([[0.0], [3.0]]), torch.tensor([[0.0], [2.0]])
        >>> merge(torch.tensor([1.0, 2.0]), means, squares)  # of 0 and of 2, 4
        (tensor(3.), tensor([2.]), tensor([8.]))

    Source: Chan, Golub, LeVeque (1983), https://doi.org/10.1080/00031305.1983.10483115.
    """
    count = counts.sum()
    mean = counts @ means / count
    return count, mean, squares.sum(0) + counts @ (means - mean).square()


def layer_norm(
    input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    r"""Normalize each row over its last axis, of which this process has a part.

    $$y_p = \frac{x_p-\mu}{\sqrt{\sigma^2+\varepsilon}}\odot\gamma_p+\beta_p$$

    with $\mu$ and $\sigma^2$ from the $(n_p,\mu_p,M_p)$ of all processes.

    Forward, each process contributes two numbers a row and one more to one all-gather; `merge` does
    the rest, in the same order everywhere. Backward, the means of δ⊙γ and δ⊙γ⊙x̂ are one all-reduce
    of two numbers a row. The gradients of `weight` and `bias` need none.

    Args:
        input: this process's columns, of shape (..., H_p), H_p ≥ 1; the leading axes are the same
            on every process, H_p may differ.
        weight: γ_p, of shape (H_p,); None for 1.
        bias: β_p, of shape (H_p,); None for 0.
        eps: ε, a variance.

    Returns:
        This process's columns of y, of the input's shape and dtype.

    Raises:
        RuntimeError: if there is no process group.
        TypeError: if `input` is not real floating point.
        ValueError: if a shape does not fit, there is no column, or `eps` is negative.

    Example:
        >>> try:
        ...     layer_norm(torch.ones(2, 3))
        ... except RuntimeError as error:
        ...     print(error)
        there is no process group; call torch.distributed.init_process_group, or run under launch
    """
    if not dist.is_initialized():
        raise RuntimeError(
            "there is no process group; call torch.distributed.init_process_group, "
            "or run under launch"
        )
    checks.eps(eps)
    checks.real_input(TENSORS, input, 1)
    checks.rows(TENSORS, input, input.shape[-1:], weight=weight, bias=bias)
    if not input.shape[-1]:
        raise ValueError(
            f"input must have a column on every process, got the shape {tuple(input.shape)}; "
            "spread the features over fewer processes"
        )
    wide = input.to(statistics_dtype(input))
    y: Tensor = _Standardize.apply(wide, eps)  # type: ignore[no-untyped-call]
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias).to(input.dtype)


# --- examples spread over processes --------------------------------------------------------------


class _SumOfAll(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is summed likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _sum_of_all(x: Tensor) -> Tensor:
    total: Tensor = _SumOfAll.apply(x)  # type: ignore[no-untyped-call]
    return total


def batch_norm(input: Tensor, eps: float = 1e-5) -> Tensor:
    r"""Normalize over the batches of all processes, each of which holds a part.

    $$\begin{aligned}
    \mu &= \frac{\sum_p \sum_{x\in p} x}{\sum_p n_p},\\
    \sigma^2 &= \frac{\sum_p \sum_{x\in p} (x-\mu)^2}{\sum_p n_p}
    \end{aligned}$$

    Two sums are exchanged forward, the second only after the mean is known, so that no precision
    is lost; their gradients are exchanged backward.

    Args:
        input: this process's part, of shape (N, C); the parts may differ in N.
        eps: ε, a variance.

    Returns:
        y, of the input's shape and dtype.
    """
    count = input.new_tensor(float(len(input)))
    dist.all_reduce(count)
    mean: Tensor = _sum_of_all(input.sum(0)) / count
    centered = input - mean
    variance: Tensor = _sum_of_all(centered.square().sum(0)) / count
    return centered * torch.rsqrt(variance + eps)
