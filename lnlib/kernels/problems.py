"""What is measured: operations on shapes in dtypes, and the data they are computed from."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lnlib.kernels.gate import Data
from lnlib.kernels.peers import GROUPS, OPERATIONS

ELEMENTS = {"cuda": 2**28, "cpu": 2**22}  # 512 and 16 MiB: more than caches hold
WIDTHS = (4096, 1024, 256, 16384, 8192, 512, 2048, 64, 32768, 65536, 128)  # the most telling first
MODELS = {"BERT base": 768, "GPT-2 XL": 1600, "Llama 8B": 4096, "Llama 70B": 8192}
TOKENS, DECODED, HEADS = 16384, (1, 8, 64), 32
PLAIN, ADDED, GROUPED = OPERATIONS[:2], OPERATIONS[2:4], OPERATIONS[4:]


@dataclass(frozen=True)
class Shape:
    """Rows and columns, and why they are measured; with heads, rows are strided.

    With channels, the rows are groups of images, which have `channels` by `side` by `side` entries.
    """

    rows: int
    columns: int
    why: str
    heads: int = 0
    channels: int = 0

    @property
    def side(self) -> int:
        """How many entries an image is wide and high."""
        return math.isqrt(self.columns * GROUPS // self.channels)


@dataclass(frozen=True)
class Problem:
    """An operation on a shape in a dtype."""

    operation: str
    shape: Shape
    dtype: torch.dtype

    @property
    def about(self) -> dict[str, Any]:
        """What names the problem in a recording.

        Example:
            >>> Problem("rms_norm", Shape(8, 64, "sweep"), torch.float32).about
            {'operation': 'rms_norm', 'dtype': 'float32', 'rows': 8, 'columns': 64, 'why': 'sweep'}
        """
        shape = {"rows": self.shape.rows, "columns": self.shape.columns, "why": self.shape.why}
        return {
            "operation": self.operation,
            "dtype": str(self.dtype).removeprefix("torch."),
            **shape,
        }


def interpreting() -> bool:
    """Say whether kernels run in Triton's interpreter, on the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1" and not torch.cuda.is_available()


def usual_dtype(device: torch.device) -> torch.dtype:
    """Return float32 for a CPU, and for a GPU the 16 bits it is built for: bfloat16 since A100."""
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def sweep(elements: int = ELEMENTS["cuda"], widths: Sequence[int] = WIDTHS) -> list[Shape]:
    """Return shapes of many row lengths that all move the same bytes."""
    return [Shape(elements // n, n, "sweep") for n in widths]


def fitting(device: torch.device) -> int:
    """Return how many entries a tensor may have for two dozen of them to fit: 2²⁸ if possible."""
    if device.type == "cpu":
        return ELEMENTS["cpu"]
    free, _ = torch.cuda.mem_get_info(device)
    return min(ELEMENTS["cuda"], 1 << int(math.log2(free / 48)))


def problems(device: torch.device) -> list[Problem]:
    """Return what is measured, the most telling first.

    On a GPU: the sweep; a residual; rows of real models and of decoding; the norm of queries, which
    are a view of a projection to queries, keys and values; rows that begin at no multiple of 16
    bytes; float32. On a CPU: the sweep; a small input; images.
    """
    dtype, elements = usual_dtype(device), fitting(device)
    if interpreting():
        return [
            *(_each(PLAIN, torch.bfloat16, [Shape(67, 64, "sweep"), Shape(9, 1000, "sweep")])),
            *(_each(ADDED, torch.float32, [Shape(5, 256, "residual")])),
            *(_each(PLAIN, torch.float32, [Shape(24, 64, "queries", heads=4)])),
        ]
    if device.type == "cpu":
        small, images = (
            Shape(64, 1024, "small"),
            Shape(512, elements // 512, "images", channels=256),
        )
        return [
            *_each(PLAIN, dtype, [*sweep(elements, sorted(WIDTHS)), small]),
            *_each(GROUPED, dtype, [images]),
        ]
    first, *models = (Shape(TOKENS, n, name) for name, n in MODELS.items())
    one, *decoded = (Shape(m, n, "decoding") for n in (4096, 8192) for m in DECODED)
    queries, *shorter = (Shape(TOKENS * HEADS, n, "queries", HEADS) for n in (128, 64))
    odd = Shape(elements // 1001, 1001, "unaligned")
    return [
        *_each(PLAIN, dtype, sweep(elements)),
        *_each(ADDED, dtype, [Shape(elements // 2 // n, n, "residual") for n in (4096, 8192)]),
        *_each(PLAIN, dtype, [first, one, queries, odd]),
        *_each(PLAIN, torch.float32, sweep(elements // 2, (1024, 4096, 16384, 256))),
        *_each(PLAIN, dtype, [*models, *decoded, *shorter]),
    ]


def _each(operations: Sequence[str], dtype: torch.dtype, shapes: Sequence[Shape]) -> list[Problem]:
    return [Problem(o, shape, dtype) for shape in shapes for o in operations]


def data(problem: Problem, device: torch.device) -> Data:
    """Return inputs, parameters and cotangents, all random and none near a special case."""
    shape = problem.shape
    generator = torch.Generator(device).manual_seed(shape.rows + shape.columns)

    def random(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, device=device).to(problem.dtype)

    def rows() -> Tensor:
        if shape.channels:
            return random(shape.rows // GROUPS, shape.channels, shape.side, shape.side)
        if not shape.heads:
            return random(shape.rows, shape.columns)
        return random(shape.rows // shape.heads, 3, shape.heads, shape.columns)[:, 0]

    count, features = 2 if problem.operation in ADDED else 1, shape.channels or shape.columns
    return Data(
        inputs=tuple(rows().add_(0.5) for _ in range(count)),
        parameters=(1 + random(features) / 4, random(features) / 4),
        cotangents=tuple(rows().contiguous() for _ in range(count)),
    )
