"""How fast `lnlib.functional` is: against torch's own operators and against a copy.

A norm moves memory and computes little, so a copy of the same bytes is the natural yardstick. All
contenders are timed in turns within one run, and ratios of medians are reported: milliseconds
depend on the machine. Needs the extra `book` (tqdm).

    python -m lnlib.bench                 # table
    python -m lnlib.bench --json out.json # and the measurements with their provenance
"""

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.benchmark import Timer
from tqdm import tqdm

from lnlib import functional
from lnlib.provenance import environment, hardware

Function = Callable[[Tensor, Tensor, Tensor], Tensor]
TOKENS, IMAGES = (4096, 1024), (64, 64, 32, 32)
ROUNDS, SECONDS = 5, 0.1


@dataclass(frozen=True)
class Case:
    """One function on one shape: input, weight and bias to output, ours and torch's."""

    name: str
    shape: tuple[int, ...]
    features: int
    ours: Function
    torch: Function


@dataclass(frozen=True)
class Row:
    """Median milliseconds of one pass of one function."""

    function: str
    passed: str
    shape: tuple[int, ...]
    ours_ms: float
    torch_ms: float
    copy_ms: float

    @property
    def ratios(self) -> tuple[float, float, float]:
        """Ours over torch's, ours over the copy, torch's over the copy."""
        return (
            self.ours_ms / self.torch_ms,
            self.ours_ms / self.copy_ms,
            self.torch_ms / self.copy_ms,
        )


def cases() -> list[Case]:
    """Return the five functions on sizes of about four million elements."""

    def pair(name: str, call: Callable[..., Tensor], *shape: int) -> Case:
        features = shape[1]
        return Case(
            name,
            shape,
            features,
            lambda x, w, b: call(functional, x, w, b),
            lambda x, w, b: call(F, x, w, b),
        )

    return [
        pair("layer_norm", lambda m, x, w, b: m.layer_norm(x, w.shape, w, b), *TOKENS),
        pair("rms_norm", lambda m, x, w, b: m.rms_norm(x, w.shape, w), *TOKENS),
        pair("group_norm", lambda m, x, w, b: m.group_norm(x, 8, w, b), *IMAGES),
        pair("instance_norm", lambda m, x, w, b: m.instance_norm(x, None, None, w, b), *IMAGES),
        pair("batch_norm", lambda m, x, w, b: m.batch_norm(x, None, None, w, b, True), *IMAGES),
    ]


def measure(case: Case, device: torch.device) -> list[Row]:
    """Check that both implementations agree, then time them and a copy in turns.

    Raises:
        AssertionError: ours and torch's results differ by more than float32 explains.
    """
    generator = torch.Generator(device).manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device, requires_grad=True)

    x, weight, bias = random(*case.shape), random(case.features), random(case.features)
    outputs = {"ours": case.ours(x, weight, bias), "torch": case.torch(x, weight, bias)}
    torch.testing.assert_close(outputs["ours"], outputs["torch"], rtol=1e-4, atol=1e-5)
    dy, source = torch.randn_like(x), x.detach()
    used = [x, weight] if case.name == "rms_norm" else [x, weight, bias]

    def backward(output: Tensor) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(output, used, dy, retain_graph=True)

    forward = {
        "ours": lambda: case.ours(x, weight, bias),
        "torch": lambda: case.torch(x, weight, bias),
        "copy": source.clone,
    }
    backwards = {k: backward(y) for k, y in outputs.items()} | {"copy": source.clone}
    return [
        Row(case.name, passed, case.shape, *_median_ms(contenders).values())
        for passed, contenders in (("forward", forward), ("backward", backwards))
    ]


def _median_ms(contenders: dict[str, Callable[[], Any]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
            times[name].append(timer.blocked_autorange(min_run_time=SECONDS).median * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def provenance(device: torch.device) -> dict[str, Any]:
    """Return where, when and with what a measurement was made."""
    protocol = f"median of {ROUNDS} rounds in turns, each {SECONDS} s or more"
    return {**environment(), **hardware(device), "protocol": protocol}


def table(rows: list[Row]) -> str:
    """Return the rows as text.

    Example:
        >>> print(table([Row("layer_norm", "forward", (2, 3), 2.0, 1.0, 0.5)]))
        function       pass         ms  ours/torch   ours/copy  torch/copy
        layer_norm     forward    2.00        2.00        4.00        2.00
    """
    lines = [
        f"{'function':<14} {'pass':<8} {'ms':>6}  {'ours/torch':>10}  {'ours/copy':>10}  "
        f"{'torch/copy':>10}"
    ]
    for row in rows:
        ratios = "  ".join(f"{ratio:>10.2f}" for ratio in row.ratios)
        lines.append(f"{row.function:<14} {row.passed:<8} {row.ours_ms:>6.2f}  {ratios}")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m lnlib.bench", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the measurements")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = [row for case in tqdm(cases(), unit="function") for row in measure(case, device)]
    about = provenance(device)
    print("\n".join(f"{key}: {value}" for key, value in about.items()), table(rows), sep="\n\n")
    if options.json:
        measured = {"provenance": about, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
