r"""The kernels for GPUs, in Triton: what has to be read is read once, what has to be written, too.

A row is normalized over its last $N$ entries. Forward, a program holds a tile of rows in registers
(entries of 16 bits two by two, where rows are long). Backward, a fixed number of programs goes over
all rows, so that each can add up its own part of $d\gamma$ and $d\beta$; a last kernel adds these
parts in a fixed order: the same bits on every run. The longest rows are read twice, forward in
blocks, backward by two kernels, one along the rows, one across. `lnlib.kernels.launch` decides.

Statistics are computed in float32 (float64 for float64), from differences: never as
$\langle x^2\rangle - \mu^2$. The mean is kept as a sum of two numbers, so that $x - \mu$ loses
nothing in the backward pass either. No sum over a row depends on another row. Squares of float32
inputs beyond $10^{19}$ overflow, as with torch's own kernels; `lnlib.formula` scales such rows.

Names: M rows of N entries; X, R input and residual, S their sum, Y output, W and B gain and shift;
STATS holds rstd, mean and its remainder, a row of M numbers each (of RMSNorm only rstd); D stands
for gradients, PARTS for the programs' sums. A tensor that is None is neither read nor written.

Source: P. Tillet et al., Triton's tutorial on layer normalization, for the one-row-per-program
scheme; T. Chan, G. Golub, R. LeVeque (1983) for merging the moments of blocks.
"""

# mypy: disable-error-code="assignment"
import triton
import triton.language as tl

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)
COUNTS = ["M", "GROUP", "G"]  # compiled once for all values


# --- shared -------------------------------------------------------------------------------------


@triton.jit
def beginning(rows, GROUP, STRIDE: tl.constexpr, INNER: tl.constexpr):
    """Where rows begin: at one stride, or groups of rows at one and the rows in each at another."""
    if GROUP is None:
        at = rows * STRIDE
    else:
        at = rows // GROUP * STRIDE + rows % GROUP * INNER
    return at


@triton.jit
def mean_of(total, N: tl.constexpr):
    """Divide by N with one rounding; `/` would multiply float32 by 1/N, which is itself rounded."""
    if total.dtype == tl.float64:
        mean = total / N
    else:
        mean = tl.div_rn(total, N)
    return mean


@triton.jit
def load_sum(X, R, S, at, own, mask, ACC: tl.constexpr, POLICY: tl.constexpr = ""):
    """Load the input; with a residual, add it and store the sum, rounded as it is normalized."""
    x = tl.load(X + at, mask=mask, other=0.0, eviction_policy=POLICY).to(ACC)
    if R is not None:
        x = (x + tl.load(R + own, mask=mask, other=0.0).to(ACC)).to(S.dtype.element_ty)
        tl.store(S + own, x, mask=mask)
        x = x.to(ACC)
    return x


@triton.jit
def gain(W, columns, N: tl.constexpr, OFFSET: tl.constexpr, ACC: tl.constexpr):
    """Load the gain, which may be stored as its difference to OFFSET."""
    return tl.load(W + columns, mask=columns < N, other=0.0).to(ACC) + OFFSET


@triton.jit
def affine(x_hat, W, B, columns, N: tl.constexpr, OFFSET: tl.constexpr, ACC: tl.constexpr):
    """Scale and shift."""
    if W is not None:
        x_hat *= gain(W, columns, N, OFFSET, ACC)
    if B is not None:
        x_hat += tl.load(B + columns, mask=columns < N, other=0.0).to(ACC)
    return x_hat


@triton.jit
def store_statistics(STATS, rows, M, rstd, mean, remainder, CENTER: tl.constexpr):
    """Keep what the backward pass needs, if there will be one."""
    if STATS is not None:
        tl.store(STATS + rows, rstd, mask=rows < M)
        if CENTER:
            tl.store(STATS + (rows + M), mean, mask=rows < M)
            tl.store(STATS + (rows + M + M), remainder, mask=rows < M)


# --- forward ------------------------------------------------------------------------------------


@triton.jit(do_not_specialize=COUNTS)
def forward_kernel(
    X, R, W, B, Y, S, STATS, M, GROUP,
    N: tl.constexpr, STRIDE: tl.constexpr, INNER: tl.constexpr, EPS: tl.constexpr,
    CENTER: tl.constexpr, OFFSET: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Normalize `BLOCK_M` rows, each in registers: one read, one write."""
    ACC: tl.constexpr = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    rows = (tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M))[:, None]
    columns = tl.arange(0, BLOCK_N)[None, :]
    mask = (rows < M) & (columns < N)
    own = rows * N + columns
    x = load_sum(X, R, S, beginning(rows, GROUP, STRIDE, INNER) + columns, own, mask, ACC)
    mean, remainder = 0.0, 0.0
    if CENTER:
        mean = mean_of(tl.sum(x, 1, keep_dims=True), N)
        x = tl.where(mask, x - mean, 0.0)
        remainder = mean_of(tl.sum(x, 1, keep_dims=True), N)  # what rounding left of the mean
        x = tl.where(mask, x - remainder, 0.0)
    rstd = tl.rsqrt(mean_of(tl.sum(x * x, 1, keep_dims=True), N) + EPS)
    store_statistics(STATS, rows, M, rstd, mean, remainder, CENTER)
    y = affine(x * rstd, W, B, columns, N, OFFSET, ACC)
    tl.store(Y + own, y.to(Y.dtype.element_ty), mask=mask)


@triton.jit
def halves(pairs, KIND: tl.constexpr):
    """Return the first and the second entry of pairs of 16-bit numbers, in float32.

    Between the uses of a pair stands an instruction of which the compiler knows nothing: it would
    keep both numbers in 32 bits each, which is what the pairs are to save.
    """
    if not INTERPRETED:
        pairs = tl.inline_asm_elementwise(
            "mov.b32 $0, $1;", "=r,r", [pairs], dtype=tl.int32, is_pure=False, pack=1
        )
    if KIND == tl.bfloat16:  # the upper half of a float32
        first = (pairs << 16).to(tl.float32, bitcast=True)
        second = (pairs & -65536).to(tl.float32, bitcast=True)
    else:
        first = pairs.to(tl.int16).to(KIND, bitcast=True).to(tl.float32)
        second = (pairs >> 16).to(tl.int16).to(KIND, bitcast=True).to(tl.float32)
    return first, second


@triton.jit(do_not_specialize=COUNTS)
def pairs_forward_kernel(
    X, R, W, B, Y, S, STATS, M, GROUP,
    N: tl.constexpr, STRIDE: tl.constexpr, INNER: tl.constexpr, EPS: tl.constexpr,
    CENTER: tl.constexpr, OFFSET: tl.constexpr, BLOCK_N: tl.constexpr, STRIPS: tl.constexpr,
):  # fmt: skip
    """Normalize one long row of 16-bit entries, held in strips of pairs; there is no residual."""
    KIND: tl.constexpr = X.dtype.element_ty
    HALF: tl.constexpr = BLOCK_N // 2
    row = tl.program_id(0).to(tl.int64)
    X = (X + beginning(row, GROUP, STRIDE, INNER)).to(tl.pointer_type(tl.int32), bitcast=True)
    strips = ()
    for i in tl.static_range(STRIPS):
        at = i * HALF + tl.arange(0, HALF)
        strips += (tl.load(X + at, mask=at < N // 2, other=0),)
    mean, remainder = 0.0, 0.0
    if CENTER:
        total = tl.zeros([HALF], tl.float32)
        for i in tl.static_range(STRIPS):
            first, second = halves(strips[i], KIND)
            total += first + second
        mean = mean_of(tl.sum(total, 0), N)
        total = tl.zeros([HALF], tl.float32)
        for i in tl.static_range(STRIPS):
            first, second = halves(strips[i], KIND)
            inside = i * HALF + tl.arange(0, HALF) < N // 2
            total += tl.where(inside, (first - mean) + (second - mean), 0.0)
        remainder = mean_of(tl.sum(total, 0), N)
    total = tl.zeros([HALF], tl.float32)
    for i in tl.static_range(STRIPS):
        first, second = halves(strips[i], KIND)
        first, second = first - mean - remainder, second - mean - remainder
        inside = i * HALF + tl.arange(0, HALF) < N // 2
        total += tl.where(inside, first * first + second * second, 0.0)
    rstd = tl.rsqrt(mean_of(tl.sum(total, 0), N) + EPS)
    store_statistics(STATS, row, M, rstd, mean, remainder, CENTER)
    for i in tl.static_range(STRIPS):
        first, second = halves(strips[i], KIND)
        x_hat = (tl.interleave(first, second) - mean - remainder) * rstd
        at = i * BLOCK_N + tl.arange(0, BLOCK_N)
        y = affine(x_hat, W, B, at, N, OFFSET, tl.float32)
        tl.store(Y + row * N + at, y.to(KIND), mask=at < N)


@triton.jit(do_not_specialize=COUNTS)
def wide_forward_kernel(
    X, R, W, B, Y, S, STATS, M, GROUP,
    N: tl.constexpr, STRIDE: tl.constexpr, INNER: tl.constexpr, EPS: tl.constexpr,
    CENTER: tl.constexpr, OFFSET: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Normalize one long row in two sweeps, the second from the cache.

    The first merges the moments of the blocks, taken of differences to the row's first entry.
    """
    ACC: tl.constexpr = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    row = tl.program_id(0).to(tl.int64)
    X += beginning(row, GROUP, STRIDE, INNER)
    Y += row * N
    columns = tl.arange(0, BLOCK_N)
    mean = tl.load(X).to(ACC) if CENTER else 0.0
    if R is not None:
        R += row * N
        S += row * N
        if CENTER:
            mean = (mean + tl.load(R).to(ACC)).to(S.dtype.element_ty).to(ACC)
    remainder = tl.sum(tl.zeros([BLOCK_N], ACC), 0)
    squares = remainder
    for start in range(0, N, BLOCK_N):
        at = start + columns
        x = load_sum(X, R, S, at, at, at < N, ACC, "evict_last" if R is None else "")
        if CENTER:
            count = tl.minimum(N - start, BLOCK_N).to(ACC)
            x = tl.where(at < N, x - mean, 0.0)
            center = tl.sum(x, 0) / count
            x = tl.where(at < N, x - center, 0.0)
            delta = center - remainder
            remainder += delta * count / (start + count)
            squares += delta * delta * count * start / (start + count)
        squares += tl.sum(x * x, 0)
    rstd = tl.rsqrt(mean_of(squares, N) + EPS)
    store_statistics(STATS, row, M, rstd, mean, remainder, CENTER)
    SUM = X if R is None else S
    for start in range(0, N, BLOCK_N):
        at = start + columns
        x = tl.load(SUM + at, mask=at < N, other=0.0, eviction_policy="evict_first").to(ACC)
        y = affine((x - mean - remainder) * rstd, W, B, at, N, OFFSET, ACC)
        tl.store(Y + at, y.to(Y.dtype.element_ty), mask=at < N)


# --- backward -----------------------------------------------------------------------------------


@triton.jit
def statistics(STATS, rows, M, CENTER: tl.constexpr):
    """Load the mean in two parts, and rstd."""
    rstd = tl.load(STATS + rows, mask=rows < M, other=0.0)
    mean, remainder = 0.0, 0.0
    if CENTER:
        mean = tl.load(STATS + (rows + M), mask=rows < M, other=0.0)
        remainder = tl.load(STATS + (rows + M + M), mask=rows < M, other=0.0)
    return mean, remainder, rstd


@triton.jit
def add_pairs(a, b, c, d):
    """Add two pairs of numbers."""
    return a + c, b + d


@triton.jit
def row_means(a, b, N: tl.constexpr, CENTER: tl.constexpr):
    """Return the means of a and b along rows, by one reduction; without CENTER only that of a.

    Triton's interpreter would go through a reduction of pairs entry by entry.
    """
    axis: tl.constexpr = len(a.shape) - 1
    if not CENTER:
        means = mean_of(tl.sum(a, axis, keep_dims=True), N), 0.0
    elif INTERPRETED:
        a, b = tl.sum(a, axis, keep_dims=True), tl.sum(b, axis, keep_dims=True)
        means = mean_of(a, N), mean_of(b, N)
    else:
        a, b = tl.reduce((a, b), axis, add_pairs, keep_dims=True)
        means = mean_of(a, N), mean_of(b, N)
    return means


@triton.jit
def long_row_means(
    X, W, DY, mean, remainder, rstd, M,
    N: tl.constexpr, CENTER: tl.constexpr, OFFSET: tl.constexpr,
    BLOCK_N: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Return the same of a row that X and DY point to: the means of g * x_hat and of g."""
    products = tl.zeros([BLOCK_N], ACC)
    gradients = tl.zeros([BLOCK_N], ACC)
    zero = tl.minimum(M, 0)  # as the compiler cannot know: it would unroll the loop and spill
    for block in range(zero, (N + BLOCK_N - 1) // BLOCK_N):
        at = block * BLOCK_N + tl.arange(0, BLOCK_N)
        x = tl.load(X + at, mask=at < N, other=0.0).to(ACC)
        g = tl.load(DY + at, mask=at < N, other=0.0).to(ACC)
        if W is not None:
            g *= gain(W, at, N, OFFSET, ACC)
        products += g * ((x - mean - remainder) * rstd)
        gradients += g
    return row_means(products, gradients, N, CENTER)


@triton.jit
def store_gradient(dx, DS, DX, DR, own, mask):
    """Add the gradient of the sum, which skips the norm, and store it for input and residual."""
    if DS is not None:
        dx += tl.load(DS + own, mask=mask, other=0.0).to(dx.dtype)
    if DX is not None:
        tl.store(DX + own, dx.to(DX.dtype.element_ty), mask=mask)
    if DR is not None:
        tl.store(DR + own, dx.to(DR.dtype.element_ty), mask=mask)


@triton.jit
def store_parts(
    PARTS, dw, db, program, programs, columns,
    N: tl.constexpr, DW: tl.constexpr, DB: tl.constexpr,
):  # fmt: skip
    """Store one program's sums over its rows, of the gradients that are asked for."""
    own = tl.cast(program, tl.int64) * N + columns
    if DW:
        tl.store(PARTS + own, dw, mask=columns < N)
        own += tl.cast(programs, tl.int64) * N
    if DB:
        tl.store(PARTS + own, db, mask=columns < N)


@triton.jit(do_not_specialize=COUNTS)
def backward_kernel(
    X, W, DY, DS, STATS, DX, DR, PARTS, M, GROUP,
    N: tl.constexpr, STRIDE: tl.constexpr, INNER: tl.constexpr,
    DY_STRIDE: tl.constexpr, DY_INNER: tl.constexpr, CENTER: tl.constexpr,
    OFFSET: tl.constexpr, DW: tl.constexpr, DB: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Go over the rows in tiles; sums over rows wait until the last one."""
    ACC: tl.constexpr = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    program, programs = tl.program_id(1), tl.num_programs(1)
    columns = tl.arange(0, BLOCK_N)[None, :]
    if W is not None:
        w = gain(W, columns, N, OFFSET, ACC)
    dw = tl.zeros([BLOCK_M, BLOCK_N], ACC)
    db = tl.zeros([BLOCK_M, BLOCK_N], ACC)
    for start in tl.range(program * BLOCK_M, M, programs * BLOCK_M, num_stages=STAGES):
        rows = (tl.cast(start, tl.int64) + tl.arange(0, BLOCK_M))[:, None]
        mask = (rows < M) & (columns < N)
        x_at = beginning(rows, GROUP, STRIDE, INNER) + columns
        dy_at = beginning(rows, GROUP, DY_STRIDE, DY_INNER) + columns
        x = tl.load(X + x_at, mask=mask, other=0.0).to(ACC)
        dy = tl.load(DY + dy_at, mask=mask, other=0.0).to(ACC)
        mean, remainder, rstd = statistics(STATS, rows, M, CENTER)
        x_hat = tl.where(mask, (x - mean - remainder) * rstd, 0.0)
        if DX is not None or DR is not None:
            g = dy if W is None else dy * w
            dot, shift = row_means(g * x_hat, g, N, CENTER)
            dx = (g - x_hat * dot - shift) * rstd
            store_gradient(dx, DS, DX, DR, rows * N + columns, mask)
        if DW:
            dw += dy * x_hat
        if DB:
            db += dy
    dw, db = tl.sum(dw, 0), tl.sum(db, 0)
    store_parts(PARTS, dw, db, program, programs, tl.arange(0, BLOCK_N), N, DW, DB)


@triton.jit(do_not_specialize=COUNTS)
def strips_backward_kernel(
    X, W, DY, DS, STATS, DX, DR, PARTS, M, GROUP,
    N: tl.constexpr, STRIDE: tl.constexpr, INNER: tl.constexpr,
    DY_STRIDE: tl.constexpr, DY_INNER: tl.constexpr, CENTER: tl.constexpr,
    OFFSET: tl.constexpr, DW: tl.constexpr, DB: tl.constexpr,
    BLOCK_N: tl.constexpr, STRIPS: tl.constexpr,
):  # fmt: skip
    """Go over long rows, each in two sweeps; only sums over rows stay in registers, in strips."""
    ACC: tl.constexpr = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    program, programs = tl.program_id(1), tl.num_programs(1)
    columns = tl.arange(0, BLOCK_N)
    dw, db = (), ()
    for _ in tl.static_range(STRIPS):
        dw += (tl.zeros([BLOCK_N], ACC),)
        db += (tl.zeros([BLOCK_N], ACC),)
    for number in tl.range(program, M, programs):
        row = tl.cast(number, tl.int64)
        x_row = X + beginning(row, GROUP, STRIDE, INNER)
        dy_row = DY + beginning(row, GROUP, DY_STRIDE, DY_INNER)
        mean, remainder, rstd = statistics(STATS, row, M, CENTER)
        dot, shift = long_row_means(
            x_row, W, dy_row, mean, remainder, rstd, M, N, CENTER, OFFSET, BLOCK_N, ACC
        )
        more_w, more_b = (), ()
        for i in tl.static_range(STRIPS):
            at = i * BLOCK_N + columns
            x = tl.load(x_row + at, mask=at < N, other=0.0).to(ACC)
            dy = tl.load(dy_row + at, mask=at < N, other=0.0).to(ACC)
            x_hat = (x - mean - remainder) * rstd
            if DX is not None or DR is not None:
                g = dy if W is None else dy * gain(W, at, N, OFFSET, ACC)
                dx = (g - x_hat * dot - shift) * rstd
                store_gradient(dx, DS, DX, DR, row * N + at, at < N)
            more_w += (dw[i] + dy * x_hat if DW else dw[i],)
            more_b += (db[i] + dy if DB else db[i],)
        dw, db = more_w, more_b
    for i in tl.static_range(STRIPS):
        at = i * BLOCK_N + columns
        store_parts(PARTS, dw[i], db[i], program, programs, at, N, DW, DB)


@triton.jit(do_not_specialize=COUNTS)
def row_means_kernel(
    MEANS, X, W, DY, STATS, M, GROUP,
    N: tl.constexpr, STRIDE: tl.constexpr, INNER: tl.constexpr,
    DY_STRIDE: tl.constexpr, DY_INNER: tl.constexpr, CENTER: tl.constexpr,
    OFFSET: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Store the two means over one of the longest rows that its input gradient needs."""
    ACC: tl.constexpr = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    row = tl.program_id(0).to(tl.int64)
    X += beginning(row, GROUP, STRIDE, INNER)
    DY += beginning(row, GROUP, DY_STRIDE, DY_INNER)
    mean, remainder, rstd = statistics(STATS, row, M, CENTER)
    dot, shift = long_row_means(X, W, DY, mean, remainder, rstd, M, N, CENTER, OFFSET, BLOCK_N, ACC)
    one = row + tl.arange(0, 1)
    tl.store(MEANS + one, dot)
    if CENTER:
        tl.store(MEANS + (one + M), shift)


@triton.jit(do_not_specialize=COUNTS)
def wide_backward_kernel(
    MEANS, X, W, DY, DS, STATS, DX, DR, PARTS, M, GROUP,
    N: tl.constexpr, STRIDE: tl.constexpr, INNER: tl.constexpr,
    DY_STRIDE: tl.constexpr, DY_INNER: tl.constexpr, CENTER: tl.constexpr,
    OFFSET: tl.constexpr, DW: tl.constexpr, DB: tl.constexpr,
    BLOCK_N: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Do in one block of columns what is left, given the means over the rows."""
    ACC: tl.constexpr = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    program, programs = tl.program_id(1), tl.num_programs(1)
    columns = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    mask = columns < N
    if W is not None:
        w = gain(W, columns, N, OFFSET, ACC)
    dw = tl.zeros([BLOCK_N], ACC)
    db = tl.zeros([BLOCK_N], ACC)
    for number in tl.range(program, M, programs, num_stages=STAGES):
        row = tl.cast(number, tl.int64)
        x_at = beginning(row, GROUP, STRIDE, INNER) + columns
        dy_at = beginning(row, GROUP, DY_STRIDE, DY_INNER) + columns
        x = tl.load(X + x_at, mask=mask, other=0.0).to(ACC)
        dy = tl.load(DY + dy_at, mask=mask, other=0.0).to(ACC)
        mean, remainder, rstd = statistics(STATS, row, M, CENTER)
        x_hat = (x - mean - remainder) * rstd
        if DX is not None or DR is not None:
            g = dy if W is None else dy * w
            shift = tl.load(MEANS + (row + M)) if CENTER else 0.0
            dx = (g - x_hat * tl.load(MEANS + row) - shift) * rstd
            store_gradient(dx, DS, DX, DR, row * N + columns, mask)
        if DW:
            dw += dy * x_hat
        if DB:
            db += dy
    store_parts(PARTS, dw, db, program, programs, columns, N, DW, DB)


@triton.jit(do_not_specialize=COUNTS)
def add_parts_kernel(
    PARTS, FIRST, SECOND, G, N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    """Add up the parts of the parameters' gradients, one or two, in the order of the programs."""
    which, columns = tl.program_id(1), tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    PARTS += which.to(tl.int64) * G * N
    total = tl.zeros([BLOCK_M, BLOCK_N], PARTS.dtype.element_ty)
    for start in range(0, G, BLOCK_M):
        parts = start + tl.arange(0, BLOCK_M)
        mask = (parts < G)[:, None] & (columns < N)[None, :]
        total += tl.load(
            PARTS + parts.to(tl.int64)[:, None] * N + columns[None, :], mask, other=0.0
        )
    total = tl.sum(total, 0)
    if which == 0:
        tl.store(FIRST + columns, total.to(FIRST.dtype.element_ty), mask=columns < N)
    else:
        tl.store(SECOND + columns, total.to(SECOND.dtype.element_ty), mask=columns < N)
