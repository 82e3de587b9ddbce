"""Layer normalization on a GPU: everything that is installed, side by side, against a copy.

Each contender is checked against float64 before it is timed. Times are medians of CUDA events with
a cold second-level cache; a copy of tensors of the same size, measured between the contenders,
gives the bandwidth that can be had. Every shape of the sweep moves the same bytes, so that short
rows are not judged by the cost of a launch. Needs a CUDA device, Triton and the extra `book`.

    python -m lnlib.bench_gpu --json lnlib/recordings/h200.json   # measure
    python -m lnlib.bench_gpu --plot lnlib/recordings/h200.json   # draw what was measured
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F
from tqdm import tqdm

from lnlib import functional, kernels
from lnlib.bench import provenance
from lnlib.pages import plots
from lnlib.provenance import installed

Norm = Callable[[Tensor, Tensor, Tensor, float], Tensor]
Clock = Callable[[Callable[[], Any]], float]
EPS = 1e-5
ELEMENTS = 2**28  # 512 MiB in bfloat16: far more than any cache holds
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
        parts = kernels.parts(processors, shape.rows, shape.columns)
        best += parts / shape.rows * 16 * shape.columns
        worst = best
        if shape.columns > kernels.ROW_BACKWARD:  # by two kernels
            best = worst = best + 2 * row
    elif shape.columns > kernels.ROW:
        worst += row
    return round(least / worst, 3), round(least / best, 3)


def shapes(elements: int = ELEMENTS) -> list[Shape]:
    """Return the sweep at constant bytes, the rows of real models and those of decoding."""
    return [
        *(Shape(elements // n, n, "sweep") for n in WIDTHS),
        *(Shape(TOKENS, n, name) for name, n in MODELS.items()),
        *(Shape(m, n, "decoding") for n in (4096, 8192) for m in DECODED),
    ]


def of_torch(operation: str) -> Norm:
    """Return torch's own operator."""
    if operation == "layer_norm":
        return lambda x, w, b, eps: F.layer_norm(x, w.shape, w, b, eps)
    return lambda x, w, b, eps: F.rms_norm(x, w.shape, w, eps)


def of_lnlib(operation: str) -> Norm:
    """Return ours, which is a kernel on a GPU."""
    if operation == "layer_norm":
        return lambda x, w, b, eps: functional.layer_norm(x, w.shape, w, b, eps)
    return lambda x, w, b, eps: functional.rms_norm(x, w.shape, w, eps)


def of_liger(operation: str) -> Norm:
    """Return the operator of Liger-Kernel 0.8, `liger_kernel.ops`."""

    def norm(x: Tensor, w: Tensor, b: Tensor, eps: float) -> Any:
        from liger_kernel.ops.layer_norm import LigerLayerNormFunction
        from liger_kernel.ops.rms_norm import LigerRMSNormFunction

        if operation == "layer_norm":
            return LigerLayerNormFunction.apply(x, w, b, eps)
        return LigerRMSNormFunction.apply(x, w, eps, 0.0, "llama", False)

    return norm


def of_quack(operation: str) -> Norm:
    """Return the RMSNorm of QuACK 0.6, `quack.rmsnorm`."""

    def norm(x: Tensor, w: Tensor, b: Tensor, eps: float) -> Any:
        from quack import rmsnorm

        if operation == "layer_norm":
            raise NotImplementedError("QuACK differentiates no layer norm")
        return rmsnorm(x, w, eps=eps)

    return norm


def of_apex(operation: str) -> Norm:
    """Return the operator of Apex, `apex.normalization.fused_layer_norm`."""

    def norm(x: Tensor, w: Tensor, b: Tensor, eps: float) -> Any:
        from apex.normalization import fused_layer_norm as apex

        if operation == "layer_norm":
            return apex.fused_layer_norm_affine(x, w, b, w.shape, eps)
        return apex.fused_rms_norm_affine(x, w, w.shape, eps)

    return norm


def of_transformer_engine(operation: str) -> Norm:
    """Return the module of Transformer Engine, called with our parameters."""

    @cache
    def module(columns: int, eps: float) -> Any:
        from transformer_engine import pytorch

        kind = pytorch.LayerNorm if operation == "layer_norm" else pytorch.RMSNorm
        return kind(columns, eps=eps)

    def norm(x: Tensor, w: Tensor, b: Tensor, eps: float) -> Any:
        parameters = {"weight": w, "bias": b} if operation == "layer_norm" else {"weight": w}
        return functional_call(module(len(w), eps), parameters, (x,))

    return norm


PEERS = {
    "liger_kernel": ("Liger", of_liger),
    "quack": ("QuACK", of_quack),
    "apex": ("Apex", of_apex),
    "transformer_engine": ("Transformer Engine", of_transformer_engine),
}


def contenders(operation: str) -> dict[str, Norm]:
    """Return what is installed here and computes `layer_norm` or `rms_norm`."""
    eager = of_torch(operation)
    ours = {
        "torch": eager,
        "torch.compile": torch.compile(eager, dynamic=False),
        "lnlib": of_lnlib(operation),
    }
    return ours | {n: of(operation) for module, (n, of) in PEERS.items() if find_spec(module)}


def cold_clock() -> Clock:
    """Return a clock for CUDA that empties the second-level cache before each run."""
    from triton.testing import do_bench

    def clock(run: Callable[[], Any]) -> float:
        return float(do_bench(run, warmup=10, rep=50, return_mode="median"))

    return clock


def half(device: torch.device) -> torch.dtype:
    """Return the 16-bit dtype for which a GPU is built: bfloat16 since the A100."""
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def tensors(shape: Shape, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Return input, weight, bias and cotangent, all random and none near a special case."""
    generator = torch.Generator(device).manual_seed(shape.rows + shape.columns)

    def random(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, device=device).to(dtype)

    x, dy = random(shape.rows, shape.columns) + 0.5, random(shape.rows, shape.columns)
    return x, 1 + random(shape.columns) / 4, random(shape.columns), dy


def deviation(norm: Norm, operation: str, shape: Shape, dtype: torch.dtype, device: Any) -> float:
    """Return how far a contender is from float64, 1 being what rounding explains.

    Output and input gradient are compared on at most 64 rows, of which the result must not depend
    on the others; the parameters' gradients are sums over these rows, which some contenders keep
    in the input's dtype. In float32 the statistics are no more precise than the data, which
    explains four times as much.
    """
    data = tensors(Shape(min(shape.rows, 64), shape.columns, ""), dtype, device)
    ours = outputs(norm, operation, data)
    exact = outputs(of_torch(operation), operation, tuple(t.double() for t in data))
    unit, worst = max(torch.finfo(dtype).eps, 4 * torch.finfo(torch.float32).eps) / 2, 0.0
    for i, (got, want) in enumerate(zip(ours, exact, strict=True)):
        allowed = 4 if i < 2 else 16 * (1 + len(data[0]) ** 0.5)
        scale = allowed * unit * want.abs().clamp(min=1)
        worst = max(worst, float(((got.double() - want).abs() / scale).max()))
    return worst


def outputs(norm: Norm, operation: str, data: tuple[Tensor, ...]) -> list[Tensor]:
    """Return a contender's output and gradients."""
    x, w, b = (t.detach().requires_grad_() for t in data[:3])
    y = norm(x, w, b, EPS)
    return [y.detach(), *torch.autograd.grad(y, [x, w, b][: PARAMETERS[operation]], data[3])]


def passes(norm: Norm, operation: str, data: tuple[Tensor, ...]) -> dict[str, Callable[[], Any]]:
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
    norms: dict[str, Norm], operation: str, shape: Shape, dtype: torch.dtype,
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
            runs = passes(norm, operation, data)
        except Exception as failure:  # another project's, and part of the result
            for passed in TENSORS:
                yield Result(passed=passed, failure=repr(failure), **about)
            continue
        wrong = "" if error <= 1 else f"{error:.1f} times the error that rounding explains"
        for passed, run in runs.items():
            ms = None if wrong else clock(run)
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


def draw(results: list[Result], operation: str, dtype: str) -> Any:
    """Draw the fraction of the copy's bandwidth over the row length, one line per contender.

    The gray band is what the bytes predict for our kernels.
    """
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(5.8, 3.2), sharey=True)
    colors = {"lnlib": plots.COLORS["LN"], "torch": plots.COLORS["BN"]}
    for axes, passed in zip(panels, ("forward", "backward"), strict=True):
        lines: dict[str, list[tuple[int, float]]] = {}
        for r in results:
            kind = (r.operation, r.dtype, r.passed, r.why)
            if kind == (operation, dtype, passed, "sweep") and r.of_copy is not None:
                lines.setdefault(r.contender, []).append((r.columns, r.of_copy))
        every = [round(2 ** (k / 32)) for k in range(256, 513)]
        bounds = [predicted(Shape(ELEMENTS // n, n, ""), passed) for n in every]
        axes.fill_between(
            every, *np.transpose(bounds), color=plots.COLORS["muted"], alpha=0.6, lw=3
        )
        for name, points in lines.items():
            widths, fractions = zip(*sorted(points), strict=True)
            (line,) = axes.plot(widths, fractions, "o-", color=colors.get(name), ms=3)
            plots.name_curve(axes, line, name)
        axes.set(title=passed, xlabel="row length N", ylim=(0, 1.05), xscale="log")
        axes.axhline(1, color=plots.COLORS["muted"], lw=1, ls=":")
    panels[0].set_ylabel("fraction of the copy")
    return figure


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m lnlib.bench_gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a recording, only")
    options = parser.parse_args()
    if options.plot:
        plots.use_style()
        for operation in PARAMETERS:
            _, results = load(options.plot)
            figure = draw(results, operation, results[0].dtype)
            figure.savefig(options.plot.with_name(f"{operation}.svg"))
        return
    if not torch.cuda.is_available():
        parser.error("no CUDA device was found; `python -m lnlib.bench` measures on the CPU")
    device, clock, results = torch.device("cuda"), cold_clock(), []
    dtype = half(device)
    todo = [(o, s) for o in PARAMETERS for s in shapes()]
    for operation, shape in tqdm(todo, unit="shape"):
        for row in measure(contenders(operation), operation, shape, dtype, device, clock):
            results.append(row)
            share = "–" if row.of_copy is None else f"{row.of_copy:.0%}"
            tqdm.write(
                f"{operation:10} {row.rows:>8}×{row.columns:<6} {row.passed:8} "
                f"{row.contender:14} {share:>5} {row.failure}"
            )
        torch.compiler.reset()
        torch.cuda.empty_cache()
    if options.json:
        write(options.json, provenance(device) | {"versions": installed("triton", *PEERS)}, results)


if __name__ == "__main__":
    main()
