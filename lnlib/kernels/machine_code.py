"""What the compiler makes of `lnlib.kernels.gpu`, found out without a GPU.

Triton brings NVIDIA's assembler and disassembler along, so a kernel can be compiled for a GPU that
is not there, and its registers, spills, load widths and barriers counted. These are facts of the
code, not speeds. Needs the extra `kernels`, and `TRITON_INTERPRET` must not be set.

    python -m lnlib.kernels.machine_code                            # table
    python -m lnlib.kernels.machine_code 1024 4096 --capability 90  # of some rows, for one GPU
    python -m lnlib.kernels.machine_code --json                     # for programs

Source: NVIDIA, CUDA Binary Utilities (cuobjdump), https://docs.nvidia.com/cuda/cuda-binary-utilities/.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton
from tqdm import tqdm
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from lnlib.kernels import gpu, launch
from lnlib.kernels.launch import Launch

TARGETS = {"T4": 75, "A100": 80, "H100, H200": 90}
WIDTHS = (256, 768, 1000, 1024, 4096, 8192, 16384, 32768, 65536)


@dataclass(frozen=True)
class Facts:
    """What one kernel became.

    `spills` counts loads and stores of values that found no register; `wide` and `narrow` count
    loads from global memory of 16 bytes and of fewer; `asynchronous` those that bypass registers.
    `offset_bits` is the width of a row's offset: 32 bits end at 2³¹ elements.
    """

    kernel: str
    columns: int
    dtype: str
    capability: int
    warps: int
    registers: int
    shared: int
    spills: int
    wide: int
    narrow: int
    asynchronous: int
    barriers: int
    offset_bits: int


def facts(
    how: Launch, columns: int, capability: int, *, dtype: str = "bf16", center: bool = True,
    residual: bool = False,
) -> Facts:  # fmt: skip
    """Compile a kernel as it is launched, and read its machine code.

    Args:
        how: one of the launches of `launches(columns)`.
        columns: length of a row.
        capability: the GPU's compute capability, 75, 80 or 90.
        dtype: of all tensors but the statistics, in Triton's names: fp16, bf16, fp32.
        center: layer norm, or RMSNorm.
        residual: with a residual added, or its gradient.
    """
    kernel = getattr(gpu, how.kernel)
    absent = () if residual else ("R", "S", "DS")
    types = gpu.types(kernel, dtype, absent)
    values: dict[str, Any] = {"eps": 1e-5, "N": columns, "CENTER": center, **how.constants}
    values |= dict.fromkeys(absent)
    constants = {k: values[k] for k, kind in types.items() if kind == "constexpr"}
    aligned = {
        (i,): [["tt.divisibility", 16]] for i, kind in enumerate(types.values()) if kind[0] == "*"
    }
    source = ASTSource(kernel, types, constants, aligned)
    target = GPUTarget("cuda", capability, 32)
    compiled = triton.compile(source, target=target, options={"num_warps": how.warps})
    code, resources = disassemble(compiled.asm["cubin"])
    loads = re.findall(r"\bLDG\.E(\S*)", code)
    wide = sum(".128" in load for load in loads)
    return Facts(
        kernel=how.kernel,
        columns=columns,
        dtype=dtype,
        capability=capability,
        warps=how.warps,
        registers=int(re.findall(r"REG:(\d+)", resources)[0]),
        shared=compiled.metadata.shared,
        spills=len(re.findall(r"\b(?:LDL|STL)\b", code)),
        wide=wide,
        narrow=len(loads) - wide,
        asynchronous=len(re.findall(r"\bLDGSTS\b", code)),
        barriers=len(re.findall(r"\bBAR\.", code)),
        offset_bits=offset_bits(compiled.asm["ttir"]),
    )


def offset_bits(ttir: str) -> int:
    """Return the width of the offsets by which a kernel finds its tiles, or else its row."""
    offsets = re.findall(r"tt\.addptr .*?: (\S*)!tt\.ptr<\w+>>?, (?:tensor<(?:\d+x)*)?i(\d+)", ttir)
    tiles = [int(bits) for shape, bits in offsets if shape.count("x") == 2]
    return min(tiles) if tiles else max(int(bits) for _, bits in offsets)


def disassemble(cubin: bytes) -> tuple[str, str]:
    """Return a compiled kernel's instructions, and the resources that it asks for."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return tuple(  # type: ignore[return-value]
            subprocess.run(
                [tool, flag, file.name], check=True, capture_output=True, text=True
            ).stdout
            for flag in ("-sass", "-res-usage")
        )


def launches(columns: int) -> tuple[Launch, ...]:
    """Return how rows of a length are gone over, forward and backward."""
    return (launch.forward(columns), *launch.backward(columns))


def survey(widths: Collection[int], capabilities: Collection[int]) -> Iterator[Facts]:
    """Compile layer norm in bfloat16 (float16 on the T4), for every target and row length."""
    for capability in capabilities:
        for columns in widths:
            for how in launches(columns):
                yield facts(how, columns, capability, dtype="fp16" if capability < 80 else "bf16")


def survey_apart(widths: Collection[int], capabilities: Collection[int]) -> list[Facts]:
    """Make the survey in a process of its own, in which `TRITON_INTERPRET` is not set."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "lnlib.kernels.machine_code", *map(str, widths), "--json"]
    command += ["--capability", *map(str, capabilities)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True)
    return [Facts(**found) for found in json.loads(done.stdout)]


def table(found: list[Facts]) -> str:
    """Return the facts as text."""
    head = (
        "kernel                 columns  sm  warps  registers  spills  16-byte  other  async  "
        "barriers"
    )
    rows = (
        f"{f.kernel:<21} {f.columns:>8}  {f.capability}  {f.warps:>5}  {f.registers:>9}  "
        f"{f.spills:>6}  {f.wide:>7}  {f.narrow:>5}  {f.asynchronous:>5}  {f.barriers:>8}"
        for f in found
    )
    return "\n".join([head, *rows])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lnlib.kernels.machine_code", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("columns", type=int, nargs="*", help="row lengths; default: all of WIDTHS")
    parser.add_argument(
        "--capability", type=int, nargs="+", choices=TARGETS.values(), help="default: all"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    widths = options.columns or WIDTHS
    targets = options.capability or list(TARGETS.values())
    total = len(targets) * sum(len(launches(columns)) for columns in widths)
    compiling = tqdm(survey(widths, targets), total=total, unit="kernel")
    found = list(compiling)
    print(json.dumps([asdict(f) for f in found]) if options.json else table(found))


if __name__ == "__main__":
    main()
