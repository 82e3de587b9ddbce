"""What a measurement found, in a file that can be read at any time, and what bytes predict."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lnlib.kernels import launch, operators
from lnlib.kernels.launch import Launch
from lnlib.kernels.problems import ADDED, Problem, Shape

TENSORS = {"forward": 2, "backward": 3, "both": 5}  # of the input's size, read or written at least
TENSORS_ADDED = {"forward": 4, "backward": 4, "both": 8}  # with a residual and its sum


@dataclass(frozen=True)
class Result:
    """One contender's times on one shape, or why there are none.

    `copy_ms` and `add_ms` are the yardsticks' times in the same rounds; `low_ms` and `high_ms` the
    quantiles .2 and .8. `error` is the largest deviation from float64, 1 being what rounding
    explains; a contender above 1 is not timed.
    """

    contender: str
    operation: str
    passed: str
    dtype: str
    rows: int
    columns: int
    why: str
    copy_ms: float
    ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    add_ms: float | None = None
    host_us: float | None = None
    graph_ms: float | None = None
    error: float | None = None
    launch: str = ""
    failure: str = ""

    @property
    def tensors(self) -> int:
        """How many tensors of the input's size must be read or written."""
        return (TENSORS_ADDED if self.operation in ADDED else TENSORS)[self.passed]

    @property
    def bandwidth(self) -> float | None:
        """Bytes that had to move, per second, in units of 10⁹."""
        size: int = getattr(torch, self.dtype).itemsize
        moved = self.tensors * self.rows * self.columns * size
        return None if self.ms is None else moved / self.ms / 1e6

    @property
    def of_copy(self) -> float | None:
        """Bandwidth as a fraction of what the copy reached."""
        return None if self.ms is None else self.copy_ms * self.tensors / 2 / self.ms


def line(row: Result) -> str:
    """Return a result as a line of text.

    Example:
        >>> line(Result("torch", "layer_norm", "forward", "float32", 16, 256, "", 2.0, 4.0))
        'layer_norm           16×256    forward  torch            50%'
    """
    share = "–" if row.of_copy is None else f"{row.of_copy:.0%}"
    return (
        f"{row.operation:14} {row.rows:>8}×{row.columns:<6} {row.passed:8} {row.contender:14} "
        f"{share:>5} {row.failure}"
    ).rstrip()


def host(rows: Iterable[Result]) -> str:
    """Return how long our calls keep the host busy, relative to torch's, as a line of text.

    It is empty where the host was not timed.

    Example:
        >>> about = "rms_norm", "both", "float16", 1, 64, "", 0.01
        >>> busy = {"torch": 20.0, "lnlib": 30.0}
        >>> host(Result(name, *about, host_us=us) for name, us in busy.items())
        'host, lnlib/torch: both 1.50'
    """
    busy = {(row.contender, row.passed): row.host_us for row in rows if row.host_us}
    of_torch = {p: us for (name, p), us in busy.items() if name == "torch"}
    ratios = [
        f"{p} {busy['lnlib', p] / us:.2f}" for p, us in of_torch.items() if ("lnlib", p) in busy
    ]
    return f"host, lnlib/torch: {', '.join(ratios)}" if ratios else ""


def write(path: Path, provenance: dict[str, Any], rows: Iterable[dict[str, Any]]) -> None:
    """Write a recording, a line for each row; whoever reads meanwhile finds the one before."""
    kept = ({k: _rounded(v) for k, v in row.items() if v not in (None, "")} for row in rows)
    lines = ",\n".join(json.dumps(row) for row in kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(
        f'{{"provenance": {json.dumps(provenance)},\n"rows": [\n{lines}\n]}}\n', encoding="utf-8"
    )
    os.replace(unfinished, path)


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def load(path: Path) -> tuple[dict[str, Any], list[Result]]:
    """Return the provenance and the results of a recording."""
    recorded = json.loads(path.read_text(encoding="utf-8"))
    return recorded["provenance"], [Result(**row) for row in recorded["rows"]]


def launches(problem: Problem, passed: str, device: torch.device) -> tuple[Launch, ...]:
    """Return how our kernels compute the forward or the backward pass of a problem."""
    first, *rest = launch.launches(
        problem.shape.columns, problem.dtype.itemsize,
        center=problem.operation.endswith("layer_norm"), residual=problem.operation in ADDED,
        shared=operators.processors(device)[1],
    )  # fmt: skip
    return (first,) if passed == "forward" else tuple(rest)


def described(hows: Iterable[Launch]) -> str:
    """Return launches as a few words.

    Example:
        >>> described([Launch("forward_kernel", rows=4, columns=256, warps=2)])
        'forward_kernel rows=4 columns=256 warps=2'
    """

    def words(how: Launch) -> str:
        settings = ((k, v) for k, v in asdict(how).items() if k != "kernel" and v is not None)
        return " ".join([how.kernel, *(f"{k}={v}" for k, v in settings)])

    return ", ".join(map(words, hows))


def predicted(shape: Shape, passed: str, processors: int = 132) -> tuple[float, float]:
    """Return the fraction of the copy that our kernels reach if bytes are all that counts.

    The two differ for rows that are read twice: from memory at worst, or from the cache.

    Args:
        shape: rows and columns, of 16-bit entries.
        passed: "forward" or "backward".
        processors: of the GPU, on which the number of partial sums depends.

    Example:
        >>> predicted(Shape(16384, 4096, ""), "backward")  # partial sums
        (0.978, 0.978)
    """
    row = 2 * shape.columns
    least = TENSORS[passed] * row
    best = worst = least + 12.0  # mean in two parts, and rstd
    if passed == "backward":
        *before, last = launch.backward(shape.columns)
        parts = launch.parts(last, processors, shape.rows, shape.columns)
        best += parts / shape.rows * 16 * shape.columns + (2 * row if before else 0)
        worst = best + (2 * row if last.kernel == "strips_backward_kernel" else 0)
    elif launch.forward(shape.columns).kernel == "wide_forward_kernel":
        worst += row
    return round(least / worst, 3), round(least / best, 3)
