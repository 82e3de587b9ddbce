"""One operator of torch for each direction of a norm, its kernel for each device, its derivatives.

Kernels are imported when they first run, so that this module, and all that asks for launches or
bytes, can be imported where there is no Triton.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from lnlib import formula
from lnlib.formula import statistics_dtype
from lnlib.kernels import launch


def _gpu() -> Any:
    return import_module("lnlib.kernels.gpu")


def _processors(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).multi_processor_count)
    return 20  # of the interpreter: enough to have many parts


def _on(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@torch.library.custom_op("lnlib::norm_forward", mutates_args=())
def norm_forward(
    x: Tensor, residual: Tensor | None, weight: Tensor | None, bias: Tensor | None,
    eps: float, center: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return output, sum with the residual (empty without one), mean in two parts, and rstd.

    Arguments: `x` and `residual` of shape (M, N) and contiguous, `weight` and `bias` of shape (N,).
    """
    (rows, columns), stats = x.shape, statistics_dtype(x)
    y = torch.empty_like(x)
    total = torch.empty_like(x) if residual is not None else x.new_empty(0)
    mean = x.new_empty((2, rows) if center else (0,), dtype=stats)
    rstd = x.new_empty(rows, dtype=stats)
    if x.numel():
        gpu, how = _gpu(), launch.forward(columns)
        with _on(x.device):
            getattr(gpu, how.kernel)[(how.tiles(rows, columns)[0],)](
                x, residual, weight, bias, y, total, mean, rstd, rows,
                eps=eps, N=columns, CENTER=center, **how.constants, num_warps=how.warps,
            )  # fmt: skip
    return y, total, mean, rstd


@norm_forward.register_fake
def _(x, residual, weight, bias, eps, center):
    rows, stats = x.shape[0], statistics_dtype(x)
    total = torch.empty_like(x) if residual is not None else x.new_empty(0)
    mean = x.new_empty((2, rows) if center else (0,), dtype=stats)
    return torch.empty_like(x), total, mean, x.new_empty(rows, dtype=stats)


@torch.library.custom_op("lnlib::norm_backward", mutates_args=())
def norm_backward(
    dy: Tensor, dtotal: Tensor | None, x: Tensor, weight: Tensor | None, bias: Tensor | None,
    mean: Tensor, rstd: Tensor, eps: float, center: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of input, weight and bias (empty where there is none).

    Arguments: `dy`, `dtotal` and `x` of shape (M, N) and contiguous, `mean` and `rstd` from
    `norm_forward`; of `bias` only the dtype matters, and `eps` not at all.
    """
    rows, columns = x.shape
    dx = torch.empty_like(x)
    gradients = [x.new_empty(0) if p is None else torch.zeros_like(p) for p in (weight, bias)]
    if x.numel():
        gpu, (*before, last) = _gpu(), launch.backward(columns)
        count = launch.parts(_processors(x.device), rows, columns)
        sums = [
            None if p is None else x.new_empty((count, columns), dtype=rstd.dtype)
            for p in (weight, bias)
        ]
        same = {"N": columns, "CENTER": center}
        with _on(x.device):
            if before:
                means = rstd.new_empty((2, rows))
                gpu.row_sums_kernel[(rows,)](
                    x, weight, dy, mean, rstd, means, rows,
                    **same, **before[0].constants, num_warps=before[0].warps,
                )  # fmt: skip
                gpu.wide_backward_kernel[(last.tiles(rows, columns)[1], count)](
                    x, weight, dy, dtotal, mean, rstd, means, dx, *sums, rows,
                    **same, **last.constants, num_warps=last.warps,
                )  # fmt: skip
            else:
                gpu.backward_kernel[(count,)](
                    x, weight, dy, dtotal, mean, rstd, dx, *sums, rows,
                    **same, **last.constants, num_warps=last.warps,
                )  # fmt: skip
            for part, gradient in zip(sums, gradients, strict=True):
                if part is not None:
                    gpu.column_sum_kernel[(math.ceil(columns / 64),)](
                        part, gradient, count, N=columns, BLOCK_G=32, BLOCK_N=64, num_warps=4
                    )
    return dx, gradients[0], gradients[1]


@norm_backward.register_fake
def _(dy, dtotal, x, weight, bias, mean, rstd, eps, center):
    gradients = (x.new_empty(0) if p is None else torch.empty_like(p) for p in (weight, bias))
    return (torch.empty_like(x), *gradients)


# --- derivatives --------------------------------------------------------------------------------


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, residual, weight, bias, ctx.eps, ctx.center = inputs
    _, total, mean, rstd = output
    ctx.mark_non_differentiable(mean, rstd)
    ctx.set_materialize_grads(False)
    ctx.has_residual = residual is not None
    ctx.save_for_backward(x if residual is None else total, weight, bias, mean, rstd)


def _pull_back(ctx: Any, dy: Tensor | None, dtotal: Tensor | None, *_: None) -> tuple[Any, ...]:
    x, weight, bias, mean, rstd = ctx.saved_tensors
    dtotal = dtotal if ctx.has_residual else None
    dy = torch.zeros_like(x) if dy is None else dy.contiguous()
    dtotal = None if dtotal is None else dtotal.contiguous()
    dx, dweight, dbias = norm_backward(dy, dtotal, x, weight, bias, mean, rstd, ctx.eps, ctx.center)
    dresidual = dx if ctx.has_residual else None
    gradients = (None if p is None else g for p, g in ((weight, dweight), (bias, dbias)))
    return (dx, dresidual, *gradients, None, None)


torch.library.register_autograd("lnlib::norm_forward", _pull_back, setup_context=_keep)


def _keep_again(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    dy, dtotal, x, weight, bias, _, _, ctx.eps, ctx.center = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(dy, dtotal, x, weight, bias)


def _pull_back_again(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
    """Differentiate the backward pass, written in torch: `mean` and `rstd` depend on `x`."""
    with torch.enable_grad():
        leaves = [
            t if t is None or t.requires_grad else t.detach().requires_grad_()
            for t in ctx.saved_tensors
        ]
        dy, dtotal, x, weight, bias = leaves
        values = formula.backward(dy, dtotal, x, weight, bias, ctx.eps, ctx.center)
        used = [(v, c) for v, c in zip(values, cotangents, strict=True) if c is not None]
        found = iter(
            torch.autograd.grad(
                [v for v, _ in used if v is not None],
                [t for t in leaves if t is not None],
                [c for v, c in used if v is not None],
                create_graph=True,
                allow_unused=True,
            )
        )
    gradients = [None if t is None else next(found) for t in leaves]
    return (*gradients, None, None, None, None)


torch.library.register_autograd("lnlib::norm_backward", _pull_back_again, setup_context=_keep_again)
