r"""The kernels for GPUs, in Triton: tensors are read and written once.

A row is normalized over its last $N$ entries. A row that fits lives in the registers of one program
(short rows share one), a longer one is read twice in blocks; `lnlib.kernels.launch` decides. The
backward pass recomputes $\hat x$ from the input, the mean and
$r = 1/\sqrt{\sigma^2 + \varepsilon}$, nothing else is kept; of long rows it is two kernels, one
along the rows, one across. A fixed number of programs goes over all rows, each adds up its own part
of $d\gamma$ and $d\beta$, and a last kernel adds these parts in a fixed order: the same bits on
every run.

Statistics are computed in float32 (float64 for float64), from differences: never as
$\langle x^2\rangle - \mu^2$. The mean is kept as a sum of two numbers, so that $x - \mu$ loses
nothing in the backward pass either. Squares of float32 inputs beyond $10^{19}$ overflow, as with
torch's own kernels; `lnlib.formula` scales such rows.

Source: P. Tillet et al., Triton's tutorial on layer normalization, for the one-row-per-program
scheme; T. Chan, G. Golub, R. LeVeque (1983) for merging the moments of blocks.
"""

from typing import Any

import triton
import triton.language as tl

TENSORS = ("X", "R", "W", "B", "Y", "S", "DY", "DS", "DX")
STATISTICS = ("MEAN", "RSTD", "SUMS", "DW", "DB")


def types(kernel: Any, dtype: str, absent: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the types of a kernel's arguments, in Triton's names: pointers, a count, constants.

    Args:
        kernel: one of this module.
        dtype: of all tensors but the statistics: fp16, bf16, fp32.
        absent: tensors that are None.

    Example:
        >>> types(forward_kernel, "bf16", absent=("R", "S"))["X"]
        '*bf16'
    """
    pointers = dict.fromkeys(TENSORS, f"*{dtype}") | dict.fromkeys(STATISTICS, "*fp32")
    known = pointers | {"M": "i32"} | dict.fromkeys(absent, "constexpr")
    return {name: known.get(name, "constexpr") for name in kernel.arg_names}


# --- shared -------------------------------------------------------------------------------------


@triton.jit
def load_sum(X, R, S, at, mask, ACC: tl.constexpr):
    """Load the input; with a residual, add it and store the sum, rounded as it is normalized."""
    x = tl.load(X + at, mask=mask, other=0.0).to(ACC)
    if R is not None:
        x = (x + tl.load(R + at, mask=mask, other=0.0).to(ACC)).to(S.dtype.element_ty)
        tl.store(S + at, x, mask=mask)
        x = x.to(ACC)
    return x


@triton.jit
def store_parts(DW, DB, dw, db, own, mask):
    """Store one program's part of the parameters' gradients, of those that are there."""
    if DW is not None:
        tl.store(DW + own, dw, mask=mask)
    if DB is not None:
        tl.store(DB + own, db, mask=mask)


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
    x = load_sum(X, R, S, at, mask, ACC)
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
        x = load_sum(X, R, S, start + columns, mask, ACC)
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
    store_parts(DW, DB, dw, db, own, columns < N)


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
    store_parts(DW, DB, dw, db, own, mask)


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
