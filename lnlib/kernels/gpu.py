r"""Layer norm and RMSNorm for GPUs, in Triton: tensors are read and written once.

A row is normalized over its last $N$ entries. A row of up to `ROW` entries lives in the registers
of one program (short rows share one), a longer one is read twice in blocks. The backward pass
recomputes $\hat x$ from the input, the mean and $r = 1/\sqrt{\sigma^2 + \varepsilon}$, nothing else
is kept; of rows beyond `ROW_BACKWARD` it is two kernels, one along the rows, one across. A fixed
number of programs goes over all rows, each adds up its own part of $d\gamma$ and $d\beta$, and a
last kernel adds these parts in a fixed order: the same bits on every run.

Statistics are computed in float32 (float64 for float64), from differences: never as
$\langle x^2\rangle - \mu^2$. The mean is kept as a sum of two numbers, so that $x - \mu$ loses
nothing in the backward pass either. Squares of float32 inputs beyond $10^{19}$ overflow, as with
torch's own kernels; `lnlib.functional` off the GPU scales such rows.

Needs the extra `kernels` (Triton). With `TRITON_INTERPRET=1` in the environment before the import,
everything runs on CPU tensors, slowly; the tests do that.

Source: P. Tillet et al., Triton's tutorial on layer normalization, for the one-row-per-program
scheme; T. Chan, G. Golub, R. LeVeque (1983) for merging the moments of blocks.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lnlib import layout as lay
from lnlib.layout import NormalizedShape

ROW, ROW_BACKWARD = 32768, 8192  # the longest rows that fit into one program's registers
BLOCK, BLOCK_BACKWARD = 16384, 4096  # of longer ones


# --- forward ------------------------------------------------------------------------------------


@triton.jit
def forward_kernel(
    X, R, W, B, Y, S, MEAN, RSTD, M,
    eps: tl.constexpr, N: tl.constexpr, CENTER: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Normalize `BLOCK_M` rows, each in registers: one read, one write."""
    ACC: tl.constexpr = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    rows = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.arange(0, BLOCK_N)
    mask = (rows < M)[:, None] & (columns < N)[None, :]
    at = rows[:, None] * N + columns[None, :]
    x = tl.load(X + at, mask=mask, other=0.0).to(ACC)
    if R is not None:  # what is stored is what is normalized
        x = (x + tl.load(R + at, mask=mask, other=0.0).to(ACC)).to(S.dtype.element_ty)
        tl.store(S + at, x, mask=mask)
        x = x.to(ACC)
    if CENTER:
        high = tl.sum(x, 1) / N
        x = tl.where(mask, x - high[:, None], 0.0)
        low = tl.sum(x, 1) / N  # what rounding left of the mean
        x = tl.where(mask, x - low[:, None], 0.0)
        tl.store(MEAN + rows, high, mask=rows < M)
        tl.store(MEAN + M + rows, low, mask=rows < M)
    rstd = tl.rsqrt(tl.sum(x * x, 1) / N + eps)
    tl.store(RSTD + rows, rstd, mask=rows < M)
    y = x * rstd[:, None]
    if W is not None:
        y *= tl.load(W + columns, mask=columns < N, other=0.0).to(ACC)[None, :]
    if B is not None:
        y += tl.load(B + columns, mask=columns < N, other=0.0).to(ACC)[None, :]
    tl.store(Y + at, y.to(Y.dtype.element_ty), mask=mask)


@triton.jit
def wide_forward_kernel(
    X, R, W, B, Y, S, MEAN, RSTD, M,
    eps: tl.constexpr, N: tl.constexpr, CENTER: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Normalize one long row in two sweeps, the second from the cache.

    The first merges the moments of the blocks, taken of differences to the row's first entry.
    """
    ACC: tl.constexpr = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    row = tl.program_id(0).to(tl.int64)
    X += row * N
    Y += row * N
    columns = tl.arange(0, BLOCK_N)
    high = tl.load(X).to(ACC) if CENTER else 0.0
    if R is not None:
        R += row * N
        S += row * N
        if CENTER:
            high = (high + tl.load(R).to(ACC)).to(S.dtype.element_ty).to(ACC)
    low = tl.sum(tl.zeros([BLOCK_N], ACC))
    squares = low
    for start in range(0, N, BLOCK_N):
        mask = start + columns < N
        x = tl.load(X + start + columns, mask=mask, other=0.0).to(ACC)
        if R is not None:
            x = (x + tl.load(R + start + columns, mask=mask, other=0.0).to(ACC)).to(
                S.dtype.element_ty
            )
            tl.store(S + start + columns, x, mask=mask)
            x = x.to(ACC)
        if CENTER:
            count = tl.minimum(N - start, BLOCK_N).to(ACC)
            x = tl.where(mask, x - high, 0.0)
            mean = tl.sum(x) / count
            x = tl.where(mask, x - mean, 0.0)
            delta = mean - low
            low += delta * count / (start + count)
            squares += delta * delta * count * start / (start + count)
        squares += tl.sum(x * x)
    rstd = tl.rsqrt(squares / N + eps)
    tl.store(RSTD + row, rstd)
    if CENTER:
        tl.store(MEAN + row, high)
        tl.store(MEAN + M + row, low)
    for start in range(0, N, BLOCK_N):
        mask = start + columns < N
        if R is not None:
            x = tl.load(S + start + columns, mask=mask, other=0.0).to(ACC)
        else:
            x = tl.load(X + start + columns, mask=mask, other=0.0).to(ACC)
        if CENTER:
            x = x - high - low
        y = x * rstd
        if W is not None:
            y *= tl.load(W + start + columns, mask=mask, other=0.0).to(ACC)
        if B is not None:
            y += tl.load(B + start + columns, mask=mask, other=0.0).to(ACC)
        tl.store(Y + start + columns, y.to(Y.dtype.element_ty), mask=mask)


# --- backward -----------------------------------------------------------------------------------


@triton.jit
def backward_kernel(
    X, W, DY, DS, MEAN, RSTD, DX, DW, DB, M,
    N: tl.constexpr, CENTER: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Go over the rows in fixed turns; keep this program's part of the parameters' gradients."""
    ACC: tl.constexpr = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    program, programs = tl.program_id(0), tl.num_programs(0)
    columns = tl.arange(0, BLOCK_N)
    if W is not None:
        w = tl.load(W + columns, mask=columns < N, other=0.0).to(ACC)[None, :]
    dw = tl.zeros([BLOCK_N], ACC)
    db = tl.zeros([BLOCK_N], ACC)
    for start in tl.range(program * BLOCK_M, M, programs * BLOCK_M, num_stages=STAGES):
        rows = tl.cast(start, tl.int64) + tl.arange(0, BLOCK_M)
        mask = (rows < M)[:, None] & (columns < N)[None, :]
        at = rows[:, None] * N + columns[None, :]
        x = tl.load(X + at, mask=mask, other=0.0).to(ACC)
        dy = tl.load(DY + at, mask=mask, other=0.0).to(ACC)
        rstd = tl.load(RSTD + rows, mask=rows < M, other=0.0)[:, None]
        if CENTER:
            x -= tl.load(MEAN + rows, mask=rows < M, other=0.0)[:, None]
            x -= tl.load(MEAN + M + rows, mask=rows < M, other=0.0)[:, None]
        x_hat = tl.where(mask, x * rstd, 0.0)
        g = dy
        if W is not None:
            g = dy * w
        dx = g - x_hat * (tl.sum(g * x_hat, 1) / N)[:, None]
        if CENTER:
            dx -= (tl.sum(g, 1) / N)[:, None]
        dx *= rstd
        if DS is not None:
            dx += tl.load(DS + at, mask=mask, other=0.0).to(ACC)
        tl.store(DX + at, dx.to(DX.dtype.element_ty), mask=mask)
        if DW is not None:
            dw += tl.sum(dy * x_hat, 0)
        if DB is not None:
            db += tl.sum(dy, 0)
    own = program.to(tl.int64) * N + columns
    if DW is not None:
        tl.store(DW + own, dw, mask=columns < N)
    if DB is not None:
        tl.store(DB + own, db, mask=columns < N)


@triton.jit
def row_sums_kernel(
    X, W, DY, MEAN, RSTD, SUMS, M,
    N: tl.constexpr, CENTER: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Store the two means over one long row that its input gradient needs."""
    ACC: tl.constexpr = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    row = tl.program_id(0).to(tl.int64)
    rstd = tl.load(RSTD + row)
    high = tl.load(MEAN + row) if CENTER else 0.0
    low = tl.load(MEAN + M + row) if CENTER else 0.0
    columns = tl.arange(0, BLOCK_N)
    dot = tl.zeros([BLOCK_N], ACC)
    total = tl.zeros([BLOCK_N], ACC)
    for start in range(0, N, BLOCK_N):
        mask = start + columns < N
        x = tl.load(X + row * N + start + columns, mask=mask, other=0.0).to(ACC)
        g = tl.load(DY + row * N + start + columns, mask=mask, other=0.0).to(ACC)
        if W is not None:
            g *= tl.load(W + start + columns, mask=mask, other=0.0).to(ACC)
        dot += g * (x - high - low) * rstd
        total += g
    tl.store(SUMS + row, tl.sum(dot) / N)
    if CENTER:
        tl.store(SUMS + M + row, tl.sum(total) / N)


@triton.jit
def wide_backward_kernel(
    X, W, DY, DS, MEAN, RSTD, SUMS, DX, DW, DB, M,
    N: tl.constexpr, CENTER: tl.constexpr, BLOCK_N: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Do the same in one block of columns, given the means over the rows."""
    ACC: tl.constexpr = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    program, programs = tl.program_id(1), tl.num_programs(1)
    columns = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    mask = columns < N
    if W is not None:
        w = tl.load(W + columns, mask=mask, other=0.0).to(ACC)
    dw = tl.zeros([BLOCK_N], ACC)
    db = tl.zeros([BLOCK_N], ACC)
    for number in tl.range(program, M, programs, num_stages=STAGES):
        row = tl.cast(number, tl.int64)
        at = row * N + columns
        x = tl.load(X + at, mask=mask, other=0.0).to(ACC)
        dy = tl.load(DY + at, mask=mask, other=0.0).to(ACC)
        rstd = tl.load(RSTD + row)
        if CENTER:
            x = x - tl.load(MEAN + row) - tl.load(MEAN + M + row)
        x_hat = x * rstd
        dx = dy
        if W is not None:
            dx = dy * w
        dx -= x_hat * tl.load(SUMS + row)
        if CENTER:
            dx -= tl.load(SUMS + M + row)
        dx *= rstd
        if DS is not None:
            dx += tl.load(DS + at, mask=mask, other=0.0).to(ACC)
        tl.store(DX + at, dx.to(DX.dtype.element_ty), mask=mask)
        if DW is not None:
            dw += dy * x_hat
        if DB is not None:
            db += dy
    own = program.to(tl.int64) * N + columns
    if DW is not None:
        tl.store(DW + own, dw, mask=mask)
    if DB is not None:
        tl.store(DB + own, db, mask=mask)


@triton.jit
def column_sum_kernel(P, OUT, G, N: tl.constexpr, BLOCK_G: tl.constexpr, BLOCK_N: tl.constexpr):
    """Add up the parts of one parameter's gradient, in the order of the programs."""
    columns = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    total = tl.zeros([BLOCK_G, BLOCK_N], P.dtype.element_ty)
    for start in range(0, G, BLOCK_G):
        parts = start + tl.arange(0, BLOCK_G)
        mask = (parts < G)[:, None] & (columns < N)[None, :]
        total += tl.load(P + parts.to(tl.int64)[:, None] * N + columns[None, :], mask, other=0.0)
    tl.store(OUT + columns, tl.sum(total, 0).to(OUT.dtype.element_ty), mask=columns < N)


# --- launches -----------------------------------------------------------------------------------


def forward_launch(columns: int) -> dict[str, int]:
    """Return block sizes and warps of the forward kernel for rows of a length.

    Example:
        >>> forward_launch(256), forward_launch(4096)["num_warps"]
        ({'BLOCK_M': 4, 'BLOCK_N': 256, 'num_warps': 1}, 4)
        >>> forward_launch(100_000)  # without BLOCK_M: in blocks
        {'BLOCK_N': 16384, 'num_warps': 16}
    """
    if columns > ROW:
        return {"BLOCK_N": BLOCK, "num_warps": 16}
    block = triton.next_power_of_2(columns)
    return {"BLOCK_M": max(1, 1024 // block), "BLOCK_N": block, "num_warps": max(1, block // 1024)}


def backward_launch(columns: int) -> dict[str, int]:
    """Return block sizes, warps and stages of the backward kernel for rows of a length.

    Example:
        >>> backward_launch(4096)
        {'BLOCK_M': 1, 'BLOCK_N': 4096, 'num_warps': 8, 'STAGES': 3}
        >>> backward_launch(10_000)
        {'BLOCK_N': 4096, 'num_warps': 8, 'STAGES': 3}
    """
    if columns > ROW_BACKWARD:
        return {"BLOCK_N": BLOCK_BACKWARD, "num_warps": 8, "STAGES": 3}
    block = triton.next_power_of_2(columns)
    warps = 1 if block <= 256 else max(4, block // 512)
    rows = max(1, 1024 // block)
    return {"BLOCK_M": rows, "BLOCK_N": block, "num_warps": warps, "STAGES": 3}


def parts(processors: int, rows: int, columns: int) -> int:
    """Return how many programs share the rows of a backward pass, each with sums of its own.

    Example:
        >>> parts(132, 16384, 1024), parts(132, 16384, 4096), parts(132, 16384, 65536)
        (264, 132, 16)
        >>> parts(132, 7, 4096)
        7
    """
    launch = backward_launch(columns)
    blocks = math.ceil(columns / launch["BLOCK_N"])
    each = 1 if 2048 < columns <= ROW_BACKWARD else 2  # as many as its registers hold
    turns = math.ceil(rows / launch.get("BLOCK_M", 1))
    return max(1, min(each * processors // blocks, turns))


def _processors(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).multi_processor_count)
    return 20  # of the interpreter: enough to have many parts


def _on(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _statistics_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


@torch.library.custom_op("lnlib::norm_forward", mutates_args=())
def norm_forward(
    x: Tensor, residual: Tensor | None, weight: Tensor | None, bias: Tensor | None,
    eps: float, center: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return output, sum with the residual (empty without one), mean in two parts, and rstd.

    Arguments: `x` and `residual` of shape (M, N) and contiguous, `weight` and `bias` of shape (N,).
    """
    (rows, columns), stats = x.shape, _statistics_dtype(x)
    y = torch.empty_like(x)
    total = torch.empty_like(x) if residual is not None else x.new_empty(0)
    mean = x.new_empty((2, rows) if center else (0,), dtype=stats)
    rstd = x.new_empty(rows, dtype=stats)
    if x.numel():
        launch = forward_launch(columns)
        kernel = forward_kernel if "BLOCK_M" in launch else wide_forward_kernel
        grid = (math.ceil(rows / launch.get("BLOCK_M", 1)),)
        with _on(x.device):
            kernel[grid](
                x, residual, weight, bias, y, total, mean, rstd, rows,
                eps=eps, N=columns, CENTER=center, **launch,
            )  # fmt: skip
    return y, total, mean, rstd


@norm_forward.register_fake
def _(x, residual, weight, bias, eps, center):
    rows, stats = x.shape[0], _statistics_dtype(x)
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
        launch = backward_launch(columns)
        count = parts(_processors(x.device), rows, columns)
        sums = [
            None if p is None else x.new_empty((count, columns), dtype=rstd.dtype)
            for p in (weight, bias)
        ]
        with _on(x.device):
            if "BLOCK_M" in launch:
                backward_kernel[(count,)](
                    x, weight, dy, dtotal, mean, rstd, dx, *sums, rows,
                    N=columns, CENTER=center, **launch,
                )  # fmt: skip
            else:
                means = rstd.new_empty((2, rows))
                row_sums_kernel[(rows,)](
                    x, weight, dy, mean, rstd, means, rows,
                    N=columns, CENTER=center, BLOCK_N=launch["BLOCK_N"],
                    num_warps=launch["num_warps"],
                )  # fmt: skip
                wide_backward_kernel[(math.ceil(columns / launch["BLOCK_N"]), count)](
                    x, weight, dy, dtotal, mean, rstd, means, dx, *sums, rows,
                    N=columns, CENTER=center, **launch,
                )  # fmt: skip
            for part, gradient in zip(sums, gradients, strict=True):
                if part is not None:
                    column_sum_kernel[(math.ceil(columns / 64),)](
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
        values = _backward_in_torch(dy, dtotal, x, weight, bias, ctx.eps, ctx.center)
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


def _backward_in_torch(
    dy: Tensor, dtotal: Tensor | None, x: Tensor, weight: Tensor | None, bias: Tensor | None,
    eps: float, center: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    dtype = _statistics_dtype(x)
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


# --- public functions ---------------------------------------------------------------------------


def layer_norm(
    input: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    r"""Normalize each example over its trailing axes, in one kernel.

    $$y = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}\odot\gamma + \beta$$

    Moves $2eMN$ bytes forward and $3eMN$ backward, $e$ being the size of an entry; rows longer
    than `ROW` forward and `ROW_BACKWARD` backward are read twice.

    Args:
        input: of shape `(*, *normalized_shape)` and dtype float16, bfloat16, float32 or float64,
            on a GPU; a copy is made if it is not contiguous.
        normalized_shape: the sizes of the trailing axes.
        weight: γ, of shape `normalized_shape` and any floating dtype; None for ones.
        bias: β, likewise; None for zeros.
        eps: ε, a variance, at least 0.

    Returns:
        y, of the input's shape and dtype.

    Raises:
        ValueError: a shape does not fit, or eps is negative.
        TypeError: the input is not floating-point.

    Example:
        >>> x = torch.tensor([[0.0, 2.0]], device="cuda")  # doctest: +SKIP
        >>> layer_norm(x, (2,), eps=0.0)  # doctest: +SKIP
        tensor([[-1.,  1.]], device='cuda:0')

    Source: Ba, Kiros, Hinton (2016), https://arxiv.org/abs/1607.06450.
    """
    return _normalize(input, None, normalized_shape, weight, bias, eps, center=True)[0]


def rms_norm(
    input: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    r"""Divide each example by the root mean square of its trailing axes, in one kernel.

    $$y = \frac{x}{\sqrt{\langle x^2\rangle + \varepsilon}}\odot\gamma$$

    Arguments, result and errors: `layer_norm`; without `eps`, the machine precision of float32
    (float64 for float64), as `torch.nn.functional.rms_norm`.

    Source: Zhang, Sennrich (2019), https://arxiv.org/abs/1910.07467.
    """
    eps = torch.finfo(_statistics_dtype(input)).eps if eps is None else eps
    return _normalize(input, None, normalized_shape, weight, None, eps, center=False)[0]


def add_layer_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    r"""Add a residual and normalize the sum: `(layer_norm(s), s)` with `s = input + residual`.

    Moves $4eMN$ bytes where addition and norm apart move $5eMN$. The sum is rounded to the input's
    dtype before it is normalized, as it would be apart. Arguments and errors: `layer_norm`;
    `residual` has the input's shape and dtype.
    """
    return _normalize(input, residual, normalized_shape, weight, bias, eps, center=True)


def add_rms_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Add a residual and normalize the sum: `(rms_norm(s), s)` with `s = input + residual`.

    Arguments and errors: `rms_norm` and `add_layer_norm`.
    """
    eps = torch.finfo(_statistics_dtype(input)).eps if eps is None else eps
    return _normalize(input, residual, normalized_shape, weight, None, eps, center=False)


def _normalize(
    input: Tensor, residual: Tensor | None, normalized_shape: NormalizedShape,
    weight: Tensor | None, bias: Tensor | None, eps: float, *, center: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    sizes = lay.check_normalized_shape(normalized_shape)
    shape = tuple(input.shape)
    lay.check_input(shape, input.dtype, input.is_floating_point(), len(sizes))
    lay.check_trailing(shape, sizes)
    lay.check_eps(eps)
    for name, parameter in (("weight", weight), ("bias", bias)):
        lay.check_parameter(name, None if parameter is None else tuple(parameter.shape), sizes)
    if residual is not None and (residual.shape, residual.dtype) != (input.shape, input.dtype):
        raise ValueError(
            f"residual has shape {tuple(residual.shape)} and dtype {residual.dtype}, expected "
            f"{shape} and {input.dtype} as input; convert it with residual.to(input.dtype)"
        )
    columns = math.prod(sizes)
    rows = math.prod(shape[: len(shape) - len(sizes)])
    flat = (None if t is None else t.reshape(rows, columns).contiguous() for t in (input, residual))
    parameters = (None if p is None else p.reshape(columns).contiguous() for p in (weight, bias))
    y, total, _, _ = norm_forward(*flat, *parameters, float(eps), center)
    return y.reshape(shape), total.reshape(shape) if residual is not None else total
