r"""The five norms on the reader's own processor: compiled loops read memory once each way.

`normalize` sees every method as groups of entries (`lnlib.layout`), shares them out to as many
threads as `torch.set_num_threads` says, and lets `lnlib.kernels.loops` do the arithmetic. Entries
of 16 bits are converted to float32, a block at a time. Where the loops cannot go, and for second
derivatives, `lnlib.formula` takes over: `takes` says where.

The gradients of γ and β are sums over parts of the groups. Their number depends on the shape alone,
and they are added in order: the bits do not depend on the number of threads. Needs the extra
`kernels` (Numba), which compiles at the first call and keeps the result on disk.
"""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import forward_ad

from lnlib import checks, formula
from lnlib.checks import NormalizedShape
from lnlib.formula import statistics_dtype
from lnlib.layout import Layout

INSTALLED = find_spec("numba") is not None
FORMATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
PIECE, PIECES = 2**16, 64  # entries that a thread takes at least, and the most pieces of a pass
BLOCK = 2**20  # entries that are converted at a time

Array = NDArray[Any]


def takes(x: Any) -> bool:
    """Say whether the loops can normalize a tensor.

    They can where its entries lie one after the other in this computer's memory, and nothing but
    reverse mode wants to look inside: no compiler, tracer, transform or mode of torch's dispatcher.
    """
    return (
        INSTALLED
        and not torch.compiler.is_compiling()
        and not torch._C._is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
        and forward_ad._current_level < 0
        and _plain(x)
        and x.is_contiguous()
    )


def _plain(x: Any) -> bool:
    return (
        type(x) in (Tensor, torch.nn.Parameter)
        and x.device.type == "cpu"
        and x.layout == torch.strided
        and x.dtype in FORMATS
        and not x.is_neg()
    )


def layer_norm(
    input: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Return `lnlib.functional.layer_norm`."""
    layout = checks.rows(formula.TENSORS, input, normalized_shape, weight=weight, bias=bias)
    return normalize(input, layout, weight, bias, eps)[0]


def rms_norm(
    input: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Return `lnlib.functional.rms_norm`."""
    layout = checks.rows(formula.TENSORS, input, normalized_shape, weight=weight)
    eps = torch.finfo(statistics_dtype(input)).eps if eps is None else eps
    return normalize(input, layout, weight, None, eps, center=False)[0]


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
    if not input.numel() or not all(p is None or _plain(p) for p in (weight, bias)):
        return formula.normalize(input, layout, weight, bias, eps, center=center)
    arguments = (input, weight, bias, layout, float(eps), center)
    learned = any(t is not None and t.requires_grad for t in (input, weight, bias))
    if learned and torch.is_grad_enabled():
        y, stats = _Normalize.apply(*arguments)  # type: ignore[no-untyped-call]
    else:
        y, stats = _forward(*arguments)
    mean, rest, _, scale, var = stats.to(statistics_dtype(input)).unbind(1)
    return y, (mean + rest) / scale, var


# --- derivatives --------------------------------------------------------------------------------


class _Normalize(torch.autograd.Function):
    """`_forward`, keeping its input and five numbers of each group for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None,
        layout: Layout, eps: float, center: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        y, stats = _forward(x, weight, bias, layout, eps, center)
        ctx.mark_non_differentiable(stats)
        ctx.save_for_backward(x, weight, bias, stats)
        ctx.constants = layout, eps, center
        return y, stats

    @staticmethod
    def backward(ctx: Any, dy: Tensor, _: Tensor) -> tuple[Any, ...]:
        *inputs, stats = ctx.saved_tensors
        layout, eps, center = ctx.constants
        wanted, dy = ctx.needs_input_grad[:3], dy.contiguous()
        if torch.is_grad_enabled() or not takes(dy):
            gradients = _by_formula(dy, inputs, wanted, layout, eps, center)
        else:
            gradients = _backward(dy, inputs, wanted, stats, layout, center)
        return (*gradients, None, None, None)


def _by_formula(
    dy: Tensor, inputs: list[Any], wanted: tuple[bool, ...],
    layout: Layout, eps: float, center: bool,
) -> list[Tensor | None]:  # fmt: skip
    """Return the gradients in plain operations, which can be differentiated again."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        x, weight, bias = inputs
        y, _, _ = formula.normalize(x, layout, weight, bias, eps, center=center)
        asked = [t for t, want in zip(inputs, wanted, strict=True) if want]
        found = iter(torch.autograd.grad(y, asked, dy, create_graph=again))
    return [next(found) if want else None for want in wanted]


# --- both passes --------------------------------------------------------------------------------


class Grid(NamedTuple):
    """How the loops see a tensor: as `x[batch, group, channel, entry]`.

    `parameter` is the shape of γ and β: the remainder of the group, the channel, and the entry
    where each has its own.
    """

    view: tuple[int, int, int, int]
    parameter: tuple[int, int, int]

    @classmethod
    def of(cls, shape: tuple[int, ...], layout: Layout) -> "Grid":
        """Return the grid of an input's shape and layout.

        Example:
            >>> from lnlib.layout import batch_layout, group_layout, layer_layout
            >>> Grid.of((8, 5, 16), layer_layout((8, 5, 16), (16,)))
            Grid(view=(1, 40, 1, 16), parameter=(1, 1, 16))
            >>> Grid.of((8, 6, 7, 7), group_layout((8, 6, 7, 7), 2))
            Grid(view=(1, 16, 3, 49), parameter=(2, 3, 1))
            >>> Grid.of((8, 6, 7, 7), batch_layout((8, 6, 7, 7)))
            Grid(view=(8, 6, 1, 49), parameter=(6, 1, 1))
        """
        if len(layout.axes) == 2:
            batch, channels, positions = layout.view
            return cls((batch, channels, 1, positions), (channels, 1, 1))
        (groups, size), parameters = layout.view, math.prod(layout.parameter)
        trailing = layout.parameter == shape[-len(layout.parameter) :]
        run = 1 if trailing else math.prod(shape[2:])
        if run == 1:
            return cls((1, groups, 1, size), (parameters // size, 1, size))
        channels = size // run
        return cls((1, groups, channels, run), (parameters // channels, channels, 1))

    @property
    def short(self) -> bool:
        """Whether too few entries lie side by side for the loops: batch norm without positions."""
        return self.view[0] > self.view[3] < 16

    def entries(self, x: Tensor) -> Tensor:
        """Return a view of a tensor with long rows."""
        x = x.detach().view(self.view)
        return x.transpose(0, 3) if self.short else x

    def numbers(self, parameter: Tensor | None, fill: float, dtype: torch.dtype) -> Array:
        """Return γ or β as the loops index them."""
        if parameter is None:
            return torch.full(self.parameter, fill, dtype=dtype).numpy()
        return parameter.detach().to(dtype).reshape(self.parameter).contiguous().numpy()

    def blocks(self, all_at_once: bool) -> Iterator[slice]:
        """Yield the groups that are computed at a time: all, or as many as to convert at once."""
        batch, groups, channels, length = self.view
        period = self.parameter[0]
        step = period * max(1, BLOCK // (period * channels * length))
        step = groups if batch > 1 or all_at_once else step
        for first in range(0, groups, step):
            yield slice(first, min(first + step, groups))

    def bounds(self, groups: int, most: int) -> NDArray[np.int64]:
        """Return where the pieces of some groups begin and end; γ begins anew in each."""
        unit = self.parameter[0] if self.view[0] == 1 else 1
        entries = groups * math.prod(self.view) // self.view[1]
        pieces = max(1, min(PIECES, most, groups // unit, entries // PIECE))
        return np.linspace(0, groups // unit, pieces + 1).astype(np.int64) * unit


def _forward(
    x: Tensor, weight: Tensor | None, bias: Tensor | None,
    layout: Layout, eps: float, center: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    grid, dtype = Grid.of(tuple(x.shape), layout), statistics_dtype(x)
    gamma, beta = grid.numbers(weight, 1.0, dtype), grid.numbers(bias, 0.0, dtype)
    y, stats = torch.empty_like(x), torch.empty((grid.view[1], 5), dtype=torch.float64)
    source, target = grid.entries(x), grid.entries(y)
    direct = x.dtype == dtype and not grid.short
    for block in grid.blocks(direct):
        entries = source[:, block].to(dtype).contiguous()
        out = target[:, block] if direct else torch.empty_like(entries)
        bounds = grid.bounds(entries.shape[1], PIECES)
        given, found = (entries.numpy(), gamma, beta), (out.numpy(), stats[block].numpy())
        _share(_loops().forward, bounds, *given, eps, center, *found)
        if not direct:
            target[:, block] = out
    return y, stats


def _backward(
    dy: Tensor, inputs: list[Any], wanted: tuple[bool, ...],
    stats: Tensor, layout: Layout, center: bool,
) -> list[Tensor | None]:  # fmt: skip
    x, *parameters = inputs
    grid, dtype = Grid.of(tuple(x.shape), layout), statistics_dtype(x)
    gamma, sums = grid.numbers(parameters[0], 1.0, dtype), np.zeros((2, *grid.parameter))
    dx = torch.empty_like(x)
    sources, target = (grid.entries(x), grid.entries(dy)), grid.entries(dx)
    direct = x.dtype == dtype and not grid.short
    for block in grid.blocks(direct):
        entries, slopes = (t[:, block].to(dtype).contiguous() for t in sources)
        out = target[:, block] if direct else torch.empty_like(entries)
        alone = len(entries) > 1  # no two groups share their parameters
        most = PIECES if alone else entries.numel() // (16 * gamma.size)
        bounds = grid.bounds(entries.shape[1], most)
        parts = np.zeros((1 if alone else len(bounds) - 1, 2, *gamma.shape), gamma.dtype)
        given = entries.numpy(), gamma, stats[block].numpy(), slopes.numpy()
        _share(_loops().backward, bounds, *given, center, out.numpy(), parts)
        sums += parts.sum(0)
        if not direct:
            target[:, block] = out
    gradients = (
        torch.from_numpy(total).reshape(p.shape).to(p.dtype) if p is not None and want else None
        for p, total, want in zip(parameters, sums, wanted[1:], strict=True)
    )
    return [dx if wanted[0] else None, *gradients]


# --- threads ------------------------------------------------------------------------------------


def _share(loop: Callable[..., None], bounds: NDArray[np.int64], *arguments: Any) -> None:
    """Run a loop over every piece, on as many threads as torch uses."""
    pieces = len(bounds) - 1
    threads = min(pieces, torch.get_num_threads())

    def work(first: int) -> None:
        for piece in range(first, pieces, threads):
            loop(piece, bounds, *arguments)

    others = [_pool(os.getpid(), threads).submit(work, i) for i in range(1, threads)]
    work(0)
    for other in others:
        other.result()


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the helpers of a process: a child has none of its parent's threads."""
    return ThreadPoolExecutor(threads)


@cache
def _loops() -> Any:
    """Return the loops, which importing compiles or reads from the disk."""
    return import_module("lnlib.kernels.loops")
