"""The kernels as torch calls them: directly and differentiably, and as operators for compilers.

Eagerly the host is what short calls wait for: a call finds its compiled kernel by one look-up, and
an `autograd.Function` differentiates it. Under `torch.compile` and `torch.export`, and where a
gradient is differentiated again, the same calls are registered operators.

Kernels are imported when they first run, so that this module, and all that asks for launches or
bytes, can be imported where there is no Triton. The last `columns` entries of a tensor, which may
be several axes, are a row.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from lnlib import formula
from lnlib.kernels import launch
from lnlib.kernels.launch import Launch

# Rows; from here on, Triton compiles anew, for a number of 64 bits. The last programs × BLOCK_M
# below are too many as well: there the backward pass's counter of 32 bits overflows.
MANY = 2**31
HERE = nullcontext()


def kernel_named(name: str) -> Any:
    """Return one of `lnlib.kernels.gpu`."""
    return getattr(import_module("lnlib.kernels.gpu"), name)


class Kernel:
    """A kernel for one kind of arguments, which Triton compiles on the first call.

    Later calls go past Triton's own look-up, which costs as much again as the launch. What they
    look up instead must tell apart all that Triton compiles apart.
    """

    def __init__(self, name: str, warps: int, constants: dict[str, Any], keep: bool = True) -> None:
        self.kernel = kernel_named(name)
        self.warps, self.keep = warps, keep
        names = self.kernel.arg_names
        self.constants = tuple(constants[name] for name in names if name in constants)
        self.compiled: Any = None

    def __call__(self, grid: tuple[int, int, int], *arguments: Any) -> None:
        """Launch it on arguments that are not constants."""
        if self.compiled is not None:
            self.compiled[grid](*arguments, *self.constants)
            return
        compiled = self.kernel[grid](*arguments, *self.constants, num_warps=self.warps)
        self.compiled = compiled if self.keep else None


def processors(device: torch.device) -> tuple[int, int]:
    """Return how many multiprocessors a device has, and their shared memory in bytes."""
    if device.type == "cuda":
        active = import_module("triton.runtime").driver.active
        about = active.utils.get_device_properties(device.index)
        return about["multiprocessor_count"], about["max_shared_mem"]
    return 20, launch.SHARED  # of the interpreter: enough to have many parts


# --- rows in memory -----------------------------------------------------------------------------


def rows_of(x: Tensor, columns: int) -> tuple[Tensor, int | None, int, int]:
    """Return a tensor, how many of its rows are a group, the strides of groups and in groups.

    Without groups, the first stride is that of rows. What is laid out in no such way is copied.

    Example:
        >>> heads = torch.zeros(2, 5, 12 * 64)[..., : 4 * 64].view(2, 5, 4, 64)
        >>> rows_of(heads, 64)[1:]
        (4, 768, 64)
        >>> rows_of(heads[:, :, 0], 64)[1:]
        (None, 768, 0)
    """
    if not x.is_contiguous():
        axes: list[tuple[int, int]] = []  # those that one stride walks through, as one
        for size, stride in zip(x.shape, x.stride(), strict=True):
            if axes and axes[-1][1] == size * stride:
                size *= axes.pop()[0]
            if size > 1:
                axes.append((size, stride))
        *leading, (size, stride) = axes or [(1, 1)]
        if size > columns and size % columns == 0:
            leading.append((size // columns, columns))
        if stride == 1 and size % columns == 0 and 0 < len(leading) < 3:
            if len(leading) == 1:
                return x, None, leading[0][1], 0
            return x, leading[1][0], leading[0][1], leading[1][1]
        x = x.contiguous()
    return x, None, columns, 0


def rows_alike(
    x: Tensor, dy: Tensor, columns: int
) -> tuple[Tensor, Tensor, int | None, tuple[int, ...]]:
    """Return two tensors, how many of their rows are a group, and the strides of both."""
    x, group, *strides = rows_of(x, columns)
    dy, other, *dy_strides = rows_of(dy, columns)
    if group is not None and other is not None and group != other:
        dy, other, *dy_strides = dy.contiguous(), None, columns, 0
    if group is None and other is not None:
        group, strides = other, [other * strides[0], strides[0]]
    elif group is not None and other is None:
        dy_strides = [group * dy_strides[0], dy_strides[0]]
    return x, dy, group, (*strides, *dy_strides)


def aligned(*tensors: Tensor | None) -> bool:
    """Say whether all tensors begin at multiples of 16 bytes."""
    return not any(t is not None and t.data_ptr() % 16 for t in tensors)


# --- forward ------------------------------------------------------------------------------------


def forward(
    x: Tensor, residual: Tensor | None, weight: Tensor | None, bias: Tensor | None, columns: int,
    eps: float, center: bool, weight_offset: float, keep: bool, how: Launch | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    """Return output, sum with the residual, and the statistics, if `keep` says so.

    The sum has the dtype of the residual. The statistics are rstd and, for layer norm, mean and
    remainder of the mean, one number for each row. `how` is another launch than the usual one.
    """
    rows = x.numel() // columns if columns else 0
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    total = stats = None
    if residual is not None:
        residual = residual.contiguous()
        total = torch.empty_like(residual)
    if keep:
        stats = x.new_empty((3 if center else 1, rows), dtype=formula.statistics_dtype(x))
    if rows:
        x, group, stride, inner = rows_of(x, columns)
        weight = None if weight is None else weight.contiguous()
        bias = None if bias is None else bias.contiguous()
        kernel, tile = _forward_kernel(
            x.device, x.dtype, _dtype(residual), _dtype(weight), _dtype(bias), columns,
            group is None, stride, inner, eps, center, weight_offset, keep,
            rows < MANY and aligned(x, residual, weight, bias), how,
        )  # fmt: skip
        arguments = (x, residual, weight, bias, y, total, stats, rows, group)
        with _on(x.device):
            kernel((-(-rows // tile), 1, 1), *arguments)
    return y, total, stats


@cache
def _forward_kernel(
    device: torch.device, dtype: torch.dtype, residual: torch.dtype | None,
    weight: torch.dtype | None, bias: torch.dtype | None, columns: int,
    ungrouped: bool, stride: int, inner: int, eps: float, center: bool, weight_offset: float,
    keep: bool, plain: bool, how: Launch | None,
) -> tuple[Kernel, int]:  # fmt: skip
    """Return the kernel for arguments of these kinds, and how many rows a program takes."""
    if how is None:
        pairs = residual is None and stride % 2 == inner % 2 == 0 and plain
        how = launch.forward(columns, dtype.itemsize, center=center, pairs=pairs)
    constants = {
        "N": columns, "STRIDE": stride, "INNER": inner, "EPS": eps, "CENTER": center,
        "OFFSET": weight_offset, **how.constants,
    }  # fmt: skip
    return Kernel(how.kernel, how.warps, constants, plain), how.rows or 1


def _dtype(t: Tensor | None) -> torch.dtype | None:
    return None if t is None else t.dtype


def _on(device: torch.device) -> AbstractContextManager[Any]:
    here = device.type != "cuda" or device.index == torch.cuda.current_device()
    return HERE if here else torch.cuda.device(device)


# --- backward -----------------------------------------------------------------------------------


def backward(
    dy: Tensor, dtotal: Tensor | None, x: Tensor, weight: Tensor | None, bias: Tensor | None,
    stats: Tensor, columns: int, eps: float, center: bool, weight_offset: float,
    wanted: Sequence[bool], how: tuple[Launch, ...] | None = None,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Return the gradients of input, residual, weight and bias, or None where not `wanted`.

    `x` is what was normalized, the sum with the residual where there was one, and `dtotal` the
    gradient of this sum. The first gradient has the dtype of `dy`, the second that of `x`; of one
    dtype they are equal. Of `bias` only shape and dtype matter; `eps` does not. `how` is
    another choice of launches than the usual one.
    """
    rows = x.numel() // columns if columns else 0
    make = torch.empty_like if rows else torch.zeros_like
    dx, dr, dw, db = (
        make(t, memory_format=torch.contiguous_format) if t is not None and asked else None
        for t, asked in zip((dy, x, weight, bias), wanted, strict=True)
    )
    if rows:
        x, dy, group, strides = rows_alike(x, dy, columns)
        dtotal = None if dtotal is None else dtotal.contiguous()
        weight = None if weight is None else weight.contiguous()
        last, count, *before, kernel = _backward_kernels(
            x.device, x.dtype, dy.dtype, _dtype(dtotal), _dtype(weight), dx is None, dr is None,
            dw is None, db is None, columns, group is None, strides, center, weight_offset,
            rows < MANY and aligned(x, dy, dtotal, weight), how,
        )  # fmt: skip
        programs, across = launch.parts(last, count, rows, columns), last.tiles(1, columns)[1]
        gradients = [g for g in (dw, db) if g is not None]
        parts = stats.new_empty((len(gradients), programs, columns)) if gradients else None
        means = [stats.new_empty((2, rows))] if before else []
        with _on(x.device):
            for kernel_before in before:
                kernel_before((rows, 1, 1), *means, x, weight, dy, stats, rows, group)
            rest = (x, weight, dy, dtotal, stats, dx, dr, parts, rows, group)
            kernel((across, programs, 1), *means, *rest)
            if gradients:
                finish, tiles = _finish_kernel(
                    x.device,
                    gradients[0].dtype,
                    gradients[-1].dtype,
                    columns,
                    launch.finish(programs),
                )
                finish((tiles, len(gradients), 1), parts, gradients[0], gradients[-1], programs)
    return dx, dr, dw, db


@cache
def _backward_kernels(
    device: torch.device, dtype: torch.dtype, dy: torch.dtype, dtotal: torch.dtype | None,
    weight: torch.dtype | None, no_dx: bool, no_dr: bool, no_dw: bool, no_db: bool, columns: int,
    ungrouped: bool, strides: tuple[int, ...], center: bool, weight_offset: float,
    plain: bool, how: tuple[Launch, ...] | None,
) -> tuple[Any, ...]:  # fmt: skip
    """Return the last launch over rows, how many multiprocessors share it, and all kernels."""
    count, shared = processors(device)
    if how is None:
        residual, size = dtotal is not None, dtype.itemsize
        how = launch.backward(columns, size, center=center, residual=residual, shared=shared)
    names = ("STRIDE", "INNER", "DY_STRIDE", "DY_INNER")
    constants = dict(zip(names, strides, strict=True)) | {
        "N": columns, "CENTER": center, "OFFSET": weight_offset, "DW": not no_dw, "DB": not no_db,
    }  # fmt: skip
    kernels = (Kernel(each.kernel, each.warps, constants | each.constants, plain) for each in how)
    return how[-1], count, *kernels


@cache
def _finish_kernel(
    device: torch.device, first: torch.dtype, second: torch.dtype, columns: int, how: Launch
) -> tuple[Kernel, int]:
    """Return the kernel that adds up parts, and how many programs it takes."""
    return Kernel(how.kernel, how.warps, {"N": columns, **how.constants}), how.tiles(1, columns)[1]


# --- derivatives --------------------------------------------------------------------------------


def normalize(
    x: Tensor, residual: Tensor | None, weight: Tensor | None, bias: Tensor | None, columns: int,
    eps: float, center: bool, weight_offset: float,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Return output and sum with the residual, differentiably."""
    needed = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, residual, weight, bias)
    )
    arguments = (x, residual, weight, bias, columns, eps, center, weight_offset)
    if torch.compiler.is_compiling():
        y, total, _ = norm_forward(*arguments, needed)
    elif needed:
        y, total = Norm.apply(*arguments)  # type: ignore[no-untyped-call]
    else:
        y, total, _ = forward(*arguments, keep=False)
    return y, total


class Norm(torch.autograd.Function):
    """`forward` with `backward`; where its gradient is differentiated, with `norm_backward`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor | None, weight: Tensor | None, bias: Tensor | None,
        columns: int, eps: float, center: bool, weight_offset: float,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Keep what was normalized, the parameters and the statistics."""
        inputs = (x, residual, weight, bias, columns, eps, center, weight_offset, True)
        output = forward(*inputs)
        _keep(ctx, inputs, output)
        return output[:2]

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dtotal: Tensor | None) -> tuple[Any, ...]:
        """Go past the operator, unless someone else is to see it."""
        seen = torch.is_grad_enabled() or torch.compiler.is_compiling()
        return _pull_back(ctx, dy, dtotal, norm_backward if seen else backward)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    x, residual, weight, bias, *ctx.constants, _ = inputs
    _, total, stats = output
    ctx.set_materialize_grads(False)
    ctx.dtype, ctx.has_residual = x.dtype, residual is not None
    ctx.save_for_backward(x if residual is None else total, weight, bias, stats)


def _pull_back(ctx: Any, dy: Tensor | None, dtotal: Tensor | None, compute: Any) -> tuple[Any, ...]:
    x, weight, bias, stats = ctx.saved_tensors
    of_x, of_residual, *of_parameters = ctx.needs_input_grad[:4]
    dtotal = dtotal if ctx.has_residual else None
    if dy is None:  # nobody used the output
        dx = None if dtotal is None else dtotal.to(ctx.dtype)
        return dx, dtotal, None, None, None, None, None, None
    apart = ctx.dtype != x.dtype  # 16-bit activations beside a float32 sum
    wanted = [of_x or (of_residual and not apart), of_residual and apart, *of_parameters]
    dx, dr, dw, db = compute(dy, dtotal, x, weight, bias, stats, *ctx.constants, wanted)
    return (
        dx if of_x else None, (dr if apart else dx) if of_residual else None,
        dw if wanted[2] else None, db if wanted[3] else None, None, None, None, None,
    )  # fmt: skip


# --- operators ----------------------------------------------------------------------------------


@torch.library.custom_op("lnlib::norm_forward", mutates_args=())
def norm_forward(
    x: Tensor, residual: Tensor | None, weight: Tensor | None, bias: Tensor | None, columns: int,
    eps: float, center: bool, weight_offset: float, keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return what `forward` does, with empty tensors for None."""
    results = forward(x, residual, weight, bias, columns, eps, center, weight_offset, keep)
    y, total, stats = (x.new_empty(0) if t is None else t for t in results)
    return y, total, stats


@norm_forward.register_fake
def _(x, residual, weight, bias, columns, eps, center, weight_offset, keep):
    rows = (3 if center else 1, x.numel() // columns) if keep else (0,)
    stats = x.new_empty(rows, dtype=formula.statistics_dtype(x))
    total = x if residual is None else residual
    total = total.new_empty((0,) if residual is None else total.shape)
    return x.new_empty(x.shape), total, stats


@torch.library.custom_op("lnlib::norm_backward", mutates_args=())
def norm_backward(
    dy: Tensor, dtotal: Tensor | None, x: Tensor, weight: Tensor | None, bias: Tensor | None,
    stats: Tensor, columns: int, eps: float, center: bool, weight_offset: float,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return what `backward` does, with empty tensors for None."""
    results = backward(
        dy, dtotal, x, weight, bias, stats, columns, eps, center, weight_offset, wanted
    )
    dx, dr, dw, db = (x.new_empty(0) if t is None else t for t in results)
    return dx, dr, dw, db


@norm_backward.register_fake
def _(dy, dtotal, x, weight, bias, stats, columns, eps, center, weight_offset, wanted):
    of = zip((dy, x, weight, bias), wanted, strict=True)
    results = (t.new_empty(t.shape) if t is not None and w else x.new_empty(0) for t, w in of)
    dx, dr, dw, db = results
    return dx, dr, dw, db


def _pull_back_operator(ctx: Any, dy: Tensor, dtotal: Tensor, _: None) -> tuple[Any, ...]:
    return (*_pull_back(ctx, dy, dtotal, norm_backward), None)


torch.library.register_autograd("lnlib::norm_forward", _pull_back_operator, setup_context=_keep)


def _keep_again(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, _, ctx.columns, ctx.eps, ctx.center, ctx.weight_offset, ctx.wanted = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _pull_back_again(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
    """Differentiate the backward pass, written in torch: the statistics depend on `x`."""
    with torch.enable_grad():
        leaves = [
            t if t is None or t.requires_grad else t.detach().requires_grad_()
            for t in ctx.saved_tensors
        ]
        dy, dtotal, x, weight, bias = leaves
        dy_rows, x_rows = dy.reshape(-1, ctx.columns), x.reshape(-1, ctx.columns)
        dtotal_rows = None if dtotal is None else dtotal.reshape(-1, ctx.columns)
        gain = None
        if weight is not None:
            gain = weight.to(formula.statistics_dtype(x)).flatten() + ctx.weight_offset
        dx, dw, db = formula.backward(dy_rows, dtotal_rows, x_rows, gain, bias, ctx.eps, ctx.center)
        used = [
            (v.to(c.dtype).reshape(c.shape), c)
            for v, c, w in zip((dx, dx, dw, db), cotangents, ctx.wanted, strict=True)
            if v is not None and c is not None and w
        ]
        found = iter(
            torch.autograd.grad(
                [v for v, _ in used],
                [t for t in leaves if t is not None],
                [c for _, c in used],
                create_graph=True,
                allow_unused=True,
            )
        )
    gradients = [None if t is None else next(found) for t in leaves]
    return (*gradients, None, None, None, None, None, None)


torch.library.register_autograd("lnlib::norm_backward", _pull_back_again, setup_context=_keep_again)
