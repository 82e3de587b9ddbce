"""Which kernel goes over rows of a length, in tiles of which shape, with how many warps.

Everyone who needs to know asks here: the operators, the compiler's survey, the benchmark. What the
rule chooses was among the fastest of 1400 launches on an H100, in bfloat16 and float32, without
cache hints.
"""

import math
from dataclasses import dataclass

ROW, ROW_PAIRS = 32768, 65536  # longest rows in registers: one entry in each, two of 16 bits
ROW_BACKWARD, ROW_STRIPS = 8192, 32768  # longest ones read once, and with all sums in registers
BLOCK, STRIP, BLOCK_BACKWARD = 16384, 4096, 2048  # of longer rows
PARTS, COLUMNS = 64, 32  # a block of parts of the parameters' gradients, which are added up
SHARED = 227 * 1024  # bytes of shared memory that one program may have: of an H100


@dataclass(frozen=True)
class Launch:
    """A kernel of `lnlib.kernels.gpu`, by name, and how it is launched.

    Attributes:
        kernel: its name.
        rows: of the tile that a program holds; None: it goes along rows.
        columns: of the tile, or of each block along a row.
        warps: of 32 threads each.
        stages: turns of its loop that are under way, all but one of them only loading.
        strips: blocks of `columns` that it holds.
        programs: on each multiprocessor; None: as many as there are tiles.
    """

    kernel: str
    rows: int | None
    columns: int
    warps: int
    stages: int | None = None
    strips: int | None = None
    programs: int | None = None

    @property
    def constants(self) -> dict[str, int]:
        """The kernel's arguments that depend on the launch."""
        every = {
            "BLOCK_M": self.rows, "BLOCK_N": self.columns,
            "STAGES": self.stages, "STRIPS": self.strips,
        }  # fmt: skip
        return {name: value for name, value in every.items() if value is not None}

    def tiles(self, rows: int, columns: int) -> tuple[int, int]:
        """Return how many tiles cover an array, down and across."""
        across = math.ceil(columns / (self.columns * (self.strips or 1)))
        return math.ceil(rows / (self.rows or 1)), across


def forward(columns: int, size: int = 2, *, center: bool = True, pairs: bool = True) -> Launch:
    """Return the launch of the forward pass for rows of a length.

    Args:
        columns: entries of a row.
        size: bytes of an entry: 2, 4 or 8.
        center: layer norm, or RMSNorm.
        pairs: whether entries may be loaded two at a time: there is no residual, and rows begin at
            multiples of 4 bytes.

    Example:
        >>> forward(256)
        Launch(kernel='forward_kernel', rows=8, columns=256, warps=4, stages=None, strips=None, programs=None)
        >>> forward(40_000).kernel, forward(40_000, size=4).kernel
        ('pairs_forward_kernel', 'wide_forward_kernel')
    """  # noqa: E501
    block, double = _power_of_two(columns), 2 if size == 8 else 1
    if columns <= (ROW if size == 2 and not center else ROW // 2 // double):
        rows = max(1024 // block, min(8, 8192 // size // block)) if block <= 1024 else 1
        warps = 4 if block <= 2048 else 8 if block <= 8192 else 16
        return Launch("forward_kernel", rows, block, warps)
    if columns <= ROW_PAIRS and size == 2 and columns % 2 == 0 and pairs:
        strip, warps = (BLOCK // 2, 8) if columns <= ROW_PAIRS // 2 else (BLOCK, 16)
        return Launch("pairs_forward_kernel", None, strip, warps, strips=-(-columns // strip))
    return Launch("wide_forward_kernel", None, BLOCK // double, 16)


def backward(
    columns: int, size: int = 2, *, center: bool = True, residual: bool = False,
    shared: int = SHARED,
) -> tuple[Launch, ...]:  # fmt: skip
    """Return the launches of the backward pass for rows of a length, in their order.

    The last one keeps parts of the parameters' gradients, which `add_parts_kernel` adds.

    Args:
        columns: entries of a row.
        size: bytes of an entry.
        center: layer norm, or RMSNorm.
        residual: whether a gradient of the sum is read, too.
        shared: bytes of shared memory that a program may have.

    Example:
        >>> [launch.kernel for launch in backward(4096)]
        ['backward_kernel']
        >>> backward(4096)[0].stages, backward(4096, size=4, shared=99 * 1024)[0].stages
        (4, 4)
        >>> [launch.kernel for launch in backward(100_000)]
        ['row_means_kernel', 'wide_backward_kernel']
    """
    block, double = _power_of_two(columns), 2 if size == 8 else 1
    if columns <= ROW_BACKWARD // double:
        rows = max(1, 1024 // block)
        wanted = 4 if block == 4096 or columns < block else 3
        programs = 4 if block <= 1024 else 2 if block <= 2048 else 1
        warps = 4 if block <= 2048 else 8
        turn = (3 if residual else 2) * rows * block * size
        stages = min(wanted, 1 + (shared - scratch(columns, size, warps)) // turn)
        return (Launch("backward_kernel", rows, block, warps, stages, programs=programs),)
    narrow = size > 2 or columns % 8 > 0  # loads of 16 bytes give a thread fewer entries than 8
    # In the search, RMSNorm reached .90 of the copy with such strips (at 16,384; at 32,768 .70) and
    # .92 (.78) with overlapped ones, which are not here: layer norm loses by them.
    if columns <= (ROW_STRIPS // 2 // double if center or narrow else ROW_STRIPS):
        strip, warps = (STRIP // max(4, size), 8) if narrow else (STRIP, 16)
        strips = -(-columns // strip)
        return (Launch("strips_backward_kernel", None, strip, warps, strips=strips, programs=1),)
    return (
        Launch("row_means_kernel", None, STRIP, 8),
        Launch("wide_backward_kernel", None, BLOCK_BACKWARD // double, 4, stages=3, programs=2),
    )


def launches(
    columns: int, size: int, *, center: bool, residual: bool, shared: int = SHARED
) -> tuple[Launch, ...]:
    """Return the launches of both passes: one forward, the others backward.

    Arguments: `backward`; where there is a residual, no entries are loaded in pairs.

    Example:
        >>> [launch.kernel for launch in launches(4096, 2, center=True, residual=False)]
        ['forward_kernel', 'backward_kernel']
    """
    return (
        forward(columns, size, center=center, pairs=not residual),
        *backward(columns, size, center=center, residual=residual, shared=shared),
    )


def scratch(columns: int, size: int, warps: int) -> int:
    """Return how much shared memory a program needs, at most, beside the turns it prefetches.

    Sums over a row take little. Where rows begin at no multiple of 16 bytes, loads and stores give
    threads other entries, which are exchanged. Where they begin at none of 4, they are not
    prefetched: an asynchronous copy moves 4 bytes or more.
    """
    return 1024 + (0 if columns * size % 16 == 0 else 1024 * warps)


def parts(how: Launch, processors: int, rows: int, columns: int) -> int:
    """Return how many programs share the rows of a backward pass, each with sums of its own.

    Example:
        >>> [parts(backward(n)[-1], 132, 16384, n) for n in (1024, 4096, 65536)]
        [528, 132, 8]
        >>> parts(backward(4096)[-1], 132, 7, 4096)
        7
    """
    turns, across = how.tiles(rows, columns)
    return max(1, min((how.programs or 1) * processors // across, turns))


def finish(programs: int) -> Launch:
    """Return the launch that adds up the parts of so many programs.

    Example:
        >>> finish(528).rows, finish(3).rows
        (64, 4)
    """
    return Launch("add_parts_kernel", min(PARTS, _power_of_two(programs)), COLUMNS, 4)


def _power_of_two(columns: int) -> int:
    return 1 << (columns - 1).bit_length()
