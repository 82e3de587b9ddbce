"""Layer norm and RMSNorm on this device: all that is installed, side by side, against a copy.

Each contender is checked against float64 before it is timed. Times are medians; on a GPU of CUDA
events with a cold second-level cache. A copy of tensors of the same size, measured between the
contenders, gives the bandwidth that can be had. Every shape of the sweep moves the same bytes, so
that short rows are not judged by the cost of a launch. Needs the extra `book` (tqdm).

    python -m lnlib.kernels.bench --json my_device.json  # measure
    python -m lnlib.pages.speed my_device.json           # draw what was measured
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch._functorch.config as functorch
from torch import Tensor
from torch.utils.benchmark import Timer
from tqdm import tqdm

from lnlib.kernels import launch, peers
from lnlib.kernels.peers import Call
from lnlib.provenance import environment, hardware, installed

Clock = Callable[[Callable[[], Any]], float]
EPS = 1e-5
ELEMENTS = {"cuda": 2**28, "cpu": 2**22}  # 512 and 16 MiB: more than caches hold
WIDTHS = tuple(2**k for k in range(8, 17))
MODELS = {"BERT base": 768, "GPT-2 XL": 1600, "Llama 8B": 4096, "Llama 70B": 8192}
TOKENS, DECODED = 16384, (1, 8, 64)
PARAMETERS = {"layer_norm": 3, "rms_norm": 2}  # arguments that get a gradient
TENSORS = {"forward": 2, "backward": 3, "both": 5}  # of the input's size, read or written at least


@dataclass(frozen=True)
class Shape:
    """Rows and columns, and why they are measured."""

    rows: int
    columns: int
    why: str


@dataclass(frozen=True)
class Result:
    """One contender's median on one shape, or why there is none.

    `error` is the largest deviation from float64, 1 being what rounding explains; a contender
    above 1 is not timed.
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
    error: float | None = None
    failure: str = ""

    @property
    def bandwidth(self) -> float | None:
        """Bytes that had to move, per second, in units of 10⁹."""
        size = torch.empty(0, dtype=getattr(torch, self.dtype)).element_size()
        moved = TENSORS[self.passed] * self.rows * self.columns * size
        return None if self.ms is None else moved / self.ms / 1e6

    @property
    def of_copy(self) -> float | None:
        """Bandwidth as a fraction of what the copy reached."""
        copied = self.copy_ms * TENSORS[self.passed] / TENSORS["forward"]
        return None if self.ms is None else copied / self.ms


def predicted(shape: Shape, passed: str, processors: int = 132) -> tuple[float, float]:
    """Return the fraction of the copy that our kernels reach if bytes are all that counts.

    The two differ for long rows, which are read twice: from memory at worst, or from the cache.

    Args:
        shape: rows and columns.
        passed: "forward" or "backward".
        processors: of the GPU, on which the number of partial sums depends.

    Example:
        >>> predicted(Shape(16384, 4096, ""), "backward")  # partial sums
        (0.978, 0.978)
        >>> predicted(Shape(4096, 65536, ""), "forward")  # read twice
        (0.667, 1.0)
    """
    row = 2 * shape.columns
    least = TENSORS[passed] * row
    best = worst = least + 12.0  # mean in two parts, and rstd
    if passed == "backward":
        how = launch.backward(shape.columns)[-1]
        parts = launch.parts(how, processors, shape.rows, shape.columns)
        best += parts / shape.rows * 16 * shape.columns
        worst = best
        if len(launch.backward(shape.columns)) > 1:  # two kernels read
            best = worst = best + 2 * row
    elif launch.forward(shape.columns).rows is None:
        worst += row
    return round(least / worst, 3), round(least / best, 3)


def sweep(elements: int = ELEMENTS["cuda"], widths: Sequence[int] = WIDTHS) -> list[Shape]:
    """Return shapes of many row lengths that all move the same bytes."""
    return [Shape(elements // n, n, "sweep") for n in widths]


def shapes(device: torch.device) -> list[Shape]:
    """Return the sweep, and for a GPU the rows of real models and those of decoding."""
    if device.type == "cpu":
        return sweep(ELEMENTS["cpu"])
    return [
        *sweep(),
        *(Shape(TOKENS, n, name) for name, n in MODELS.items()),
        *(Shape(m, n, "decoding") for n in (4096, 8192) for m in DECODED),
    ]


def cold_clock(device: torch.device) -> Clock:
    """Return a clock in milliseconds; on a GPU it empties the cache before each run."""

    def on_gpu(run: Callable[[], Any]) -> float:
        from triton.testing import do_bench

        return float(do_bench(run, warmup=10, rep=50, return_mode="median"))

    def on_cpu(run: Callable[[], Any]) -> float:
        timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
        return timer.blocked_autorange(min_run_time=0.1).median * 1e3

    return on_gpu if device.type == "cuda" else on_cpu


def usual_dtype(device: torch.device) -> torch.dtype:
    """Return float32 for a CPU, and for a GPU the 16 bits it is built for: bfloat16 since A100."""
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def tensors(shape: Shape, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Return input, weight, bias and cotangent, all random and none near a special case."""
    generator = torch.Generator(device).manual_seed(shape.rows + shape.columns)

    def random(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, device=device).to(dtype)

    x, dy = random(shape.rows, shape.columns) + 0.5, random(shape.rows, shape.columns)
    return x, 1 + random(shape.columns) / 4, random(shape.columns), dy


def deviation(norm: Call, operation: str, shape: Shape, dtype: torch.dtype, device: Any) -> float:
    """Return how far a contender is from float64, 1 being what rounding explains.

    Output and input gradient are compared on at most 64 rows, of which the result must not depend
    on the others; the parameters' gradients are sums over these rows, which some contenders keep
    in the input's dtype. In float32 the statistics are no more precise than the data, which
    explains four times as much.
    """
    data = tensors(Shape(min(shape.rows, 64), shape.columns, ""), dtype, device)
    ours = outputs(norm, operation, data)
    exact = outputs(peers.of_torch(operation), operation, tuple(t.double() for t in data))
    unit, worst = max(torch.finfo(dtype).eps, 4 * torch.finfo(torch.float32).eps) / 2, 0.0
    for i, (got, want) in enumerate(zip(ours, exact, strict=True)):
        allowed = 4 if i < 2 else 16 * (1 + len(data[0]) ** 0.5)
        scale = allowed * unit * want.abs().clamp(min=1)
        worst = max(worst, float(((got.double() - want).abs() / scale).max()))
    return worst


def outputs(norm: Call, operation: str, data: tuple[Tensor, ...]) -> list[Tensor]:
    """Return a contender's output and gradients."""
    x, w, b = (t.detach().requires_grad_() for t in data[:3])
    y = norm(x, w, b, EPS)
    return [y.detach(), *torch.autograd.grad(y, [x, w, b][: PARAMETERS[operation]], data[3])]


def passes(norm: Call, operation: str, data: tuple[Tensor, ...]) -> dict[str, Callable[[], Any]]:
    """Return the forward pass, the backward pass and both, ready to be timed."""
    x, w, b = (t.detach().requires_grad_() for t in data[:3])
    used, dy = [x, w, b][: PARAMETERS[operation]], data[3]
    y = norm(x, w, b, EPS)

    def both() -> Any:
        return torch.autograd.grad(norm(x, w, b, EPS), used, dy)

    return {
        "forward": lambda: norm(data[0], data[1], data[2], EPS),
        "backward": lambda: torch.autograd.grad(y, used, dy, retain_graph=True),
        "both": both,
    }


def measure(
    norms: dict[str, Call], operation: str, shape: Shape, dtype: torch.dtype,
    device: torch.device, clock: Clock,
) -> Iterator[Result]:  # fmt: skip
    """Time contenders on one shape; one that fails or is wrong says so instead of a time."""
    data = tensors(shape, dtype, device)
    target = torch.empty_like(data[0])
    kind = {"operation": operation, "dtype": str(dtype).removeprefix("torch.")}
    for name, norm in norms.items():
        about: dict[str, Any] = {"contender": name, **kind, **asdict(shape)}
        about["copy_ms"] = clock(lambda: target.copy_(data[0]))
        try:
            error = deviation(norm, operation, shape, dtype, device)
            wrong = "" if error <= 1 else f"{error:.1f} times the error that rounding explains"
            times: dict[str, float | None] = dict.fromkeys(TENSORS)
            if not wrong:
                runs = passes(norm, operation, data)
                times |= {passed: clock(run) for passed, run in runs.items()}
        except Exception as failure:  # another project's, and part of the result
            for passed in TENSORS:
                yield Result(passed=passed, failure=repr(failure), **about)
            continue
        for passed, ms in times.items():
            yield Result(passed=passed, error=error, ms=ms, failure=wrong, **about)


def write(path: Path, about: dict[str, Any], results: list[Result]) -> None:
    """Write a recording."""
    recorded = {"provenance": about, "results": [asdict(row) for row in results]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[dict[str, Any], list[Result]]:
    """Return the provenance and the results of a recording."""
    recorded = json.loads(path.read_text(encoding="utf-8"))
    return recorded["provenance"], [Result(**row) for row in recorded["results"]]


def line(row: Result) -> str:
    """Return a result as a line of text.

    Example:
        >>> line(Result("torch", "layer_norm", "forward", "float32", 16, 256, "", 2.0, 4.0))
        'layer_norm       16×256    forward  torch            50%'
    """
    share = "–" if row.of_copy is None else f"{row.of_copy:.0%}"
    return (
        f"{row.operation:10} {row.rows:>8}×{row.columns:<6} {row.passed:8} {row.contender:14} "
        f"{share:>5} {row.failure}"
    ).rstrip()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m lnlib.kernels.bench", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements")
    options = parser.parse_args()
    functorch.donated_buffer = False  # a compiled graph is gone through backward many times
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clock, dtype, results = cold_clock(device), usual_dtype(device), []
    todo = [(o, s) for o in PARAMETERS for s in shapes(device)]
    for operation, shape in tqdm(todo, unit="shape"):
        for row in measure(peers.contenders(operation), operation, shape, dtype, device, clock):
            results.append(row)
            tqdm.write(line(row))
        torch.compiler.reset()
        torch.cuda.empty_cache()
    if options.json:
        versions = installed("triton", *peers.PEERS)
        write(options.json, environment() | hardware(device) | {"versions": versions}, results)


if __name__ == "__main__":
    main()
