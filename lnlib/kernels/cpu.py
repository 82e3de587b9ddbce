r"""The five norms on the reader's own processor: compiled loops read memory once each way.

`normalize` sees every method as groups of entries (`lnlib.layout`), shares them out to torch's
threads (`lnlib.kernels.team`), and lets `lnlib.kernels.loops` do the arithmetic. Entries of 16 bits
are converted to float32, a block at a time. Where the loops cannot go, and for second derivatives,
`lnlib.formula` takes over: `takes` says where.

The gradients of γ and β are sums over parts of the groups. Their number depends on the shape alone,
and they are added in order: the bits do not depend on the number of threads. Needs the extra
`kernels` (Numba), which compiles at the first call and keeps the result on disk.
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import forward_ad

from lnlib import checks, formula
from lnlib.formula import statistics_dtype
from lnlib.layout import Layout

INSTALLED = find_spec("numba") is not None
LOOPS: dict[torch.dtype, type] = {torch.float32: np.float32, torch.float64: np.float64}
FORMATS = (*LOOPS, torch.float16, torch.bfloat16)
PLAIN = (Tensor, torch.nn.Parameter)  # no subclass, which may have its own way
PIECE, PIECES = 2**16, 64  # entries that a thread takes at least, and the most pieces of a pass
PARTS, ROWS = 16, 32  # the most pieces that have sums of their own, and the fewest rows of one
BLOCK = 2**17  # entries that are converted at a time: they stay in a cache of 2 MiB
IMPORTED_IN = os.getpid()

Array = NDArray[Any]


def takes(*tensors: Any) -> bool:
    """Say whether the loops can read tensors, an input and its parameters.

    They can where their entries lie one after the other in this computer's memory, and nothing but
    reverse mode wants to look inside: no compiler, tracer, transform or mode of torch's dispatcher.
    """
    return (
        INSTALLED
        and not torch.compiler.is_compiling()
        and not torch._C._is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
        and forward_ad._current_level < 0
        and all(map(_readable, tensors))
    )


def _readable(x: Any) -> bool:
    return (
        type(x) in PLAIN
        and x.is_cpu
        and x.dtype in FORMATS
        and x.layout == torch.strided
        and x.is_contiguous()
        and not x.is_neg()
        and x.numel() > 0
    )


def layer_norm(*arguments: Any, **named: Any) -> Tensor:
    """Return `lnlib.functional.layer_norm`."""
    return formula.layer_norm(*arguments, **named, by=_run)


def rms_norm(*arguments: Any, **named: Any) -> Tensor:
    """Return `lnlib.functional.rms_norm`."""
    return formula.rms_norm(*arguments, **named, by=_run)


def normalize(
    input: Tensor, layout: Layout, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, and the mean and variance of each group of values."""
    y, stats = _run(input, layout, weight, bias, eps, center=True)
    mean, rest, _, scale, var = stats.to(statistics_dtype(input)).unbind(1)
    return y, (mean + rest) / scale, var


def _run(
    input: Tensor, layout: Layout, weight: Tensor | None, bias: Tensor | None, eps: float,
    *, center: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the output, and what is kept of each group."""
    checks.eps(eps)
    arguments = (input, weight, bias, layout, float(eps), center)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in arguments[:3]):
        y, stats = _Normalize.apply(*arguments)  # type: ignore[no-untyped-call]
        return y, stats
    return _forward(*arguments)


# --- derivatives --------------------------------------------------------------------------------


class _Normalize(torch.autograd.Function):
    """`_forward`, keeping its input and five numbers of each group for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None,
        layout: Layout, eps: float, center: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        y, stats = _forward(x, weight, bias, layout, eps, center)
        ctx.set_materialize_grads(False)  # no zeros for that of stats
        ctx.mark_non_differentiable(stats)
        ctx.save_for_backward(x, weight, bias, stats)
        ctx.constants = layout, eps, center
        return y, stats

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, _: None) -> tuple[Any, ...]:
        if dy is None:
            return (None,) * 6
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
    where each has its own. The loops compute in `dtype`; `direct` says whether they can read and
    write the tensor as it is, `blocks` which groups they compute at a time: all, or as many as are
    converted at once.
    """

    view: tuple[int, int, int, int]
    parameter: tuple[int, int, int]
    dtype: torch.dtype
    direct: bool
    blocks: tuple[slice, ...]

    @property
    def unit(self) -> int:
        """How many groups stay together in a piece, since γ begins anew after them."""
        return self.parameter[0] if self.view[0] == 1 else 1

    def long(self, x: Tensor) -> Tensor:
        """Return a view of a tensor with long rows."""
        x = x.view(self.view)
        return x.transpose(0, 3) if _is_short(self.view) else x

    def read(self, x: Tensor, block: slice) -> Array:
        """Return the entries of some groups, copied where the loops cannot read them."""
        if self.direct:
            return _array(x).reshape(self.view)
        return self.long(x.detach())[:, block].to(self.dtype).contiguous().numpy()

    def room(self, x: Tensor, block: slice, entries: Array) -> Array:
        """Return where the loops write some groups of a tensor: there, or beside it."""
        if self.direct:
            return self.read(x, block)
        beside: Array = torch.empty(entries.shape, dtype=self.dtype).numpy()
        return beside

    def write(self, out: Array, x: Tensor, block: slice) -> None:
        """Put the entries of some groups where they belong, unless they are there."""
        if not self.direct:
            self.long(x)[:, block] = torch.from_numpy(out)

    def numbers(self, parameter: Tensor | None, fill: float) -> Array:
        """Return γ or β as the loops index them."""
        if parameter is None:
            return np.full(self.parameter, fill, LOOPS[self.dtype])
        if parameter.dtype != self.dtype:
            parameter = parameter.detach().to(self.dtype)
        return _array(parameter).reshape(self.parameter)


def _array(x: Tensor) -> Array:
    """Return a tensor's memory."""
    found: Array = (x.detach() if x.requires_grad else x).numpy()
    return found


def _is_short(view: tuple[int, int, int, int]) -> bool:
    """Say whether too few entries lie side by side for the loops: batch norm without positions."""
    return view[0] > view[3] < 16


@lru_cache
def grid_of(shape: tuple[int, ...], layout: Layout, dtype: torch.dtype) -> Grid:
    """Return the grid of an input's shape, layout and dtype.

    Example:
        >>> from lnlib.layout import layer_layout
        >>> layout = layer_layout((8192, 64), (64,))
        >>> grid_of((8192, 64), layout, torch.float32).blocks
        (slice(0, 8192, None),)
        >>> len(grid_of((8192, 64), layout, torch.bfloat16).blocks)
        4
    """
    view, parameter = _indices(shape, layout)
    batch, groups, channels, length = view
    direct = dtype in LOOPS and not _is_short(view)
    step = groups
    if batch == 1 and not direct:
        period = parameter[0]
        step = period * max(1, BLOCK // (period * channels * length))
    blocks = (slice(first, min(first + step, groups)) for first in range(0, groups, step))
    computed = torch.promote_types(dtype, torch.float32)
    return Grid(view, parameter, computed, direct, tuple(blocks))


def _indices(
    shape: tuple[int, ...], layout: Layout
) -> tuple[tuple[int, int, int, int], tuple[int, int, int]]:
    """Return the view of an input, and the shape of γ and β.

    Example:
        >>> from lnlib.layout import batch_layout, group_layout, layer_layout
        >>> _indices((8, 5, 16), layer_layout((8, 5, 16), (16,)))
        ((1, 40, 1, 16), (1, 1, 16))
        >>> _indices((8, 6, 7, 7), group_layout((8, 6, 7, 7), 2))
        ((1, 16, 3, 49), (2, 3, 1))
        >>> _indices((8, 6, 7, 7), batch_layout((8, 6, 7, 7)))
        ((8, 6, 1, 49), (6, 1, 1))
    """
    if len(layout.axes) == 2:
        batch, channels, positions = layout.view
        return (batch, channels, 1, positions), (channels, 1, 1)
    (groups, size), parameters = layout.view, math.prod(layout.parameter)
    each_its_own = layout.parameter == shape[-len(layout.parameter) :]
    run = 1 if each_its_own else math.prod(shape[2:])
    if run == 1:
        return (1, groups, 1, size), (parameters // size, 1, size)
    channels = size // run
    return (1, groups, channels, run), (parameters // channels, channels, 1)


@lru_cache
def bounds_of(groups: int, entries: int, unit: int, most: int) -> NDArray[np.int64]:
    """Return where the pieces begin and end that some groups are shared out in.

    Args:
        groups: how many there are.
        entries: in all groups.
        unit: groups that stay together, since γ begins anew after them.
        most: pieces.

    Example:
        >>> bounds_of(64, 2**18, 1, 64)
        array([ 0, 16, 32, 48, 64])
    """
    pieces = max(1, min(PIECES, most, groups // unit, entries // PIECE))
    return unit * (groups // unit * np.arange(pieces + 1) // pieces)


def _forward(
    x: Tensor, weight: Tensor | None, bias: Tensor | None,
    layout: Layout, eps: float, center: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    grid = grid_of(x.shape, layout, x.dtype)
    parameters = grid.numbers(weight, 1.0), grid.numbers(bias, 0.0)
    y, stats = torch.empty_like(x), np.empty((grid.view[1], 5))
    for block in grid.blocks:
        entries = grid.read(x, block)
        out = grid.room(y, block, entries)
        bounds = bounds_of(entries.shape[1], entries.size, grid.unit, PIECES)
        _share("forward", bounds, entries, *parameters, eps, center, out, stats[block])
        grid.write(out, y, block)
    return y, torch.from_numpy(stats)


def _backward(
    dy: Tensor, inputs: list[Any], wanted: tuple[bool, ...],
    stats: Tensor, layout: Layout, center: bool,
) -> list[Tensor | None]:  # fmt: skip
    x, *parameters = inputs
    grid = grid_of(x.shape, layout, x.dtype)
    shared = grid.view[0] == 1  # parameters, by several groups
    gamma = grid.numbers(parameters[0], 1.0)
    learned, kept = any(wanted[1:]), stats.numpy()
    shapes = (gamma.shape if p is None else p.shape for p in parameters)
    sums = [torch.zeros(shape, dtype=grid.dtype) for shape in shapes]
    dx = torch.empty_like(x) if wanted[0] else None
    for block in grid.blocks:
        entries, slopes = grid.read(x, block), grid.read(dy, block)
        out = entries if dx is None else grid.room(dx, block, entries)
        most = min(PARTS, entries.size // (ROWS * gamma.size)) if shared else PIECES
        bounds = bounds_of(entries.shape[1], entries.size, grid.unit, most)
        size = gamma.shape if learned else (0, 0, 0)
        many = len(bounds) - 1 if shared else 1
        parts = torch.zeros((many, 2, *size), dtype=grid.dtype)  # on lines of the cache
        given = entries, gamma, kept[block], slopes
        _share("backward", bounds, *given, center, wanted[0], learned, out, parts.numpy())
        if learned:
            _loops().add_parts(parts.numpy(), *(s.numpy().reshape(gamma.shape) for s in sums))
        if dx is not None:
            grid.write(out, dx, block)
    gradients = (
        total.to(p.dtype) if p is not None and want else None
        for p, total, want in zip(parameters, sums, wanted[1:], strict=True)
    )
    return [dx, *gradients]


# --- threads ------------------------------------------------------------------------------------


def _share(name: str, bounds: NDArray[np.int64], *arguments: Any) -> None:
    """Run a loop on as many threads as torch uses; each has one stretch of the pieces.

    The threads are torch's own, but for a forked process, which has lost them and cannot know it.
    """
    loops, pieces = _loops(), len(bounds) - 1
    threads = min(pieces, torch.get_num_threads())
    if threads == 1:
        getattr(loops, name)(0, pieces, bounds, *arguments)
    elif loops.TEAM and os.getpid() == IMPORTED_IN:
        getattr(loops, f"{name}_together")(threads, bounds, *arguments)
    else:
        _in_pool(getattr(loops, name), threads, bounds, *arguments)


def _in_pool(
    loop: Callable[..., None], threads: int, bounds: NDArray[np.int64], *arguments: Any
) -> None:
    """Run a loop on threads of Python."""
    ends = (len(bounds) - 1) * np.arange(threads + 1) // threads
    shares = iter([*pairwise(ends)])

    def work() -> None:
        for share in shares:
            loop(*share, bounds, *arguments)

    others = []
    with suppress(RuntimeError):  # a Python that exits starts no more threads
        others += [_pool(os.getpid(), threads).submit(work) for _ in range(1, threads)]
    work()
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
