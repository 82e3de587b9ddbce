"""Which kernel goes over rows of a length, in tiles of which shape, with how many warps.

Everyone who needs to know asks here: the operators, the compiler's survey, the benchmark.
"""

import math
from dataclasses import dataclass

ROW, ROW_BACKWARD = 32768, 8192  # the longest rows that fit into one program's registers
BLOCK, BLOCK_BACKWARD = 16384, 4096  # of longer ones


@dataclass(frozen=True)
class Launch:
    """A kernel of `lnlib.kernels.gpu`, by name, and how it is launched.

    `rows` and `columns` are the tile that one program holds; without `rows`, the program goes along
    a row in blocks of `columns`. `stages` is how many turns of its loop it prefetches.
    """

    kernel: str
    rows: int | None
    columns: int
    warps: int
    stages: int | None = None

    @property
    def constants(self) -> dict[str, int]:
        """The kernel's arguments that depend on the launch."""
        every = {"BLOCK_M": self.rows, "BLOCK_N": self.columns, "STAGES": self.stages}
        return {name: value for name, value in every.items() if value is not None}

    def tiles(self, rows: int, columns: int) -> tuple[int, int]:
        """Return how many tiles cover an array, down and across."""
        return math.ceil(rows / (self.rows or 1)), math.ceil(columns / self.columns)


def forward(columns: int) -> Launch:
    """Return the launch of the forward pass for rows of a length.

    Example:
        >>> forward(256)
        Launch(kernel='forward_kernel', rows=4, columns=256, warps=1, stages=None)
        >>> forward(100_000)
        Launch(kernel='wide_forward_kernel', rows=None, columns=16384, warps=16, stages=None)
    """
    if columns > ROW:
        return Launch("wide_forward_kernel", None, BLOCK, 16)
    block = _power_of_two(columns)
    return Launch("forward_kernel", max(1, 1024 // block), block, max(1, block // 1024))


def backward(columns: int) -> tuple[Launch, ...]:
    """Return the launches of the backward pass for rows of a length, in their order.

    The last one keeps parts of the parameters' gradients, which `column_sum_kernel` adds.

    Example:
        >>> backward(4096)
        (Launch(kernel='backward_kernel', rows=1, columns=4096, warps=8, stages=3),)
        >>> [launch.kernel for launch in backward(10_000)]
        ['row_sums_kernel', 'wide_backward_kernel']
    """
    if columns > ROW_BACKWARD:
        return (
            Launch("row_sums_kernel", None, BLOCK_BACKWARD, 8),
            Launch("wide_backward_kernel", None, BLOCK_BACKWARD, 8, stages=3),
        )
    block = _power_of_two(columns)
    warps = 1 if block <= 256 else max(4, block // 512)
    return (Launch("backward_kernel", max(1, 1024 // block), block, warps, stages=3),)


def parts(processors: int, rows: int, columns: int) -> int:
    """Return how many programs share the rows of a backward pass, each with sums of its own.

    Example:
        >>> parts(132, 16384, 1024), parts(132, 16384, 4096), parts(132, 16384, 65536)
        (264, 132, 16)
        >>> parts(132, 7, 4096)
        7
    """
    turns, blocks = backward(columns)[-1].tiles(rows, columns)
    each = 1 if 2048 < columns <= ROW_BACKWARD else 2  # as many as its registers hold
    return max(1, min(each * processors // blocks, turns))


def _power_of_two(columns: int) -> int:
    return 1 << (columns - 1).bit_length()
