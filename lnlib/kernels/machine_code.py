"""What the compiler makes of `lnlib.kernels.gpu`, found out without a GPU.

Triton brings NVIDIA's assembler and disassembler along, so a kernel can be compiled for a GPU that
is not there, and its registers, spills, load widths and barriers counted. These are facts of the
code, not speeds. Needs the extra `kernels`, and `TRITON_INTERPRET` must not be set.

    python -m lnlib.kernels.machine_code                            # table, of layer norm
    python -m lnlib.kernels.machine_code 1024 4096 --capability 90  # of some rows, for one GPU
    python -m lnlib.kernels.machine_code --dtype fp32 fp64 --norm rms_norm add_rms_norm

Source: NVIDIA, CUDA Binary Utilities (cuobjdump), https://docs.nvidia.com/cuda/cuda-binary-utilities/,
and for what a multiprocessor has, CUDA C++ Programming Guide, Technical Specifications per Compute
Capability, https://docs.nvidia.com/cuda/cuda-c-programming-guide/.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import triton
from tqdm import tqdm
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from lnlib.kernels import gpu, launch
from lnlib.kernels.launch import Launch

TARGETS = {"T4": 75, "A100": 80, "A10": 86, "L4": 89, "H100, H200": 90}
WIDTHS = (64, 256, 768, 1000, 1024, 4096, 8192, 16384, 32768, 65536)
SIZES = {"fp16": 2, "bf16": 2, "fp32": 4, "fp64": 8}
NORMS = ("layer_norm", "rms_norm", "add_layer_norm", "add_rms_norm")
TENSORS = ("X", "R", "W", "B", "Y", "S", "DY", "DS", "DX", "FIRST", "SECOND")
STATISTICS = ("STATS", "MEANS", "PARTS")


class Multiprocessor(NamedTuple):
    """What the programs on one multiprocessor share, beside 65536 registers."""

    warps: int
    programs: int
    shared: int
    """Bytes, of which each program takes 1024 beside its own."""


MULTIPROCESSORS = {
    75: Multiprocessor(32, 16, 64 * 1024),
    80: Multiprocessor(64, 32, 164 * 1024),
    86: Multiprocessor(48, 16, 100 * 1024),
    89: Multiprocessor(48, 24, 100 * 1024),
    90: Multiprocessor(64, 32, 228 * 1024),
}


def shared_limit(capability: int) -> int:
    """Return how many bytes of shared memory one program may have."""
    return MULTIPROCESSORS[capability].shared - (1024 if capability >= 80 else 0)


@dataclass(frozen=True)
class Facts:
    """What one kernel became.

    `spills` counts loads and stores of values that found no register; `wide` and `narrow` count
    loads from global memory of 16 bytes and of fewer; `asynchronous` those that bypass registers.
    `offset_bits` is the width of a row's offset: 32 bits end at 2³¹ elements. `programs` is how
    many of its programs a multiprocessor runs at a time, and `in_flight` how many bytes of rows
    these have asked for, at most, before they compute.
    """

    kernel: str
    norm: str
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
    programs: int
    in_flight: int


def facts(
    how: Launch, columns: int, capability: int, *, dtype: str = "bf16", norm: str = "layer_norm"
) -> Facts:
    """Compile a kernel as it is launched, and read its machine code.

    Args:
        how: one of the launches of `launches(columns)`.
        columns: length of a row.
        capability: the GPU's compute capability, one of `TARGETS`.
        dtype: of all tensors but the statistics, in Triton's names: fp16, bf16, fp32, fp64.
        norm: one of `NORMS`.
    """
    kernel = getattr(gpu, how.kernel)
    center, residual = "layer" in norm, "add" in norm
    absent = (
        {"GROUP", "DR"} | (set() if residual else {"R", "S", "DS"}) | (set() if center else {"B"})
    )
    values: dict[str, Any] = {
        "EPS": 1e-5, "N": columns, "STRIDE": columns, "INNER": 0, "DY_STRIDE": columns,
        "DY_INNER": 0, "CENTER": center, "OFFSET": 0.0, "DW": True, "DB": center, **how.constants,
    }  # fmt: skip
    types = argument_types(kernel, dtype, absent)
    constants = {k: values.get(k) for k, kind in types.items() if kind == "constexpr"}
    aligned = {
        (i,): [["tt.divisibility", 16]] for i, kind in enumerate(types.values()) if kind[0] == "*"
    }
    source = ASTSource(kernel, types, constants, aligned)
    target = GPUTarget("cuda", capability, 32)
    compiled = triton.compile(source, target=target, options={"num_warps": how.warps})
    code, resources = disassemble(compiled.asm["cubin"])
    loads = re.findall(r"\bLDG\.E(\S*)", code)
    wide = sum(".128" in load for load in loads)
    registers = int(re.findall(r"REG:(\d+)", resources)[0])
    programs = resident(how, registers, compiled.metadata.shared, capability)
    return Facts(
        kernel=how.kernel,
        norm=norm,
        columns=columns,
        dtype=dtype,
        capability=capability,
        warps=how.warps,
        registers=registers,
        shared=compiled.metadata.shared,
        spills=len(re.findall(r"\b(?:LDL|STL)\b", code)),
        wide=wide,
        narrow=len(loads) - wide,
        asynchronous=len(re.findall(r"\bLDGSTS\b", code)),
        barriers=len(re.findall(r"\bBAR\.", code)),
        offset_bits=offset_bits(compiled.asm["ttir"]),
        programs=programs,
        in_flight=programs * in_flight(how, columns, SIZES[dtype], residual, capability),
    )


def argument_types(kernel: Any, dtype: str, absent: Collection[str] = ()) -> dict[str, str]:
    """Return the types of a kernel's arguments, in Triton's names: pointers, counts, constants.

    Args:
        kernel: one of `lnlib.kernels.gpu`.
        dtype: of all tensors but the statistics.
        absent: arguments that are None.

    Example:
        >>> argument_types(gpu.forward_kernel, "bf16", absent=("R", "S"))["X"]
        '*bf16'
    """
    sums = "*fp64" if dtype == "fp64" else "*fp32"
    known = dict.fromkeys(TENSORS, f"*{dtype}") | dict.fromkeys(STATISTICS, sums)
    known |= dict.fromkeys(gpu.COUNTS, "i32") | dict.fromkeys(absent, "constexpr")
    return {name: known.get(name, "constexpr") for name in kernel.arg_names}


def resident(how: Launch, registers: int, shared: int, capability: int) -> int:
    """Return how many programs of a kernel a multiprocessor runs at a time.

    Example:
        >>> resident(launch.forward(4096), registers=40, shared=32, capability=90)
        6
    """
    most = MULTIPROCESSORS[capability]
    of_a_warp = 32 * 8 * -(-registers // 8)  # registers are given out in portions
    fit = (
        most.programs,
        most.warps // how.warps,
        65536 // of_a_warp // how.warps,
        most.shared // (shared + (1024 if capability >= 80 else 0)),
    )
    return min(*fit, how.programs or most.programs)


def in_flight(how: Launch, columns: int, size: int, residual: bool, capability: int) -> int:
    """Return how many bytes of rows one program asks for before it computes.

    Forward that is a tile or a block of input and residual; backward, of input and gradients, and
    as many turns of the loop as are loaded in advance: before sm_80, and of rows that begin at no
    multiple of 4 bytes, only the one at hand.
    """
    tensors = (1 if "forward" in how.kernel else 2) + residual
    entries = (how.rows or 1) * min(columns, how.columns * (how.strips or 1))
    if how.kernel == "strips_backward_kernel":
        entries = min(columns, how.columns)
    ahead = capability >= 80 and columns * size % 4 == 0
    turns = (how.stages or 2) - 1 if ahead else 1
    return tensors * entries * size * max(1, turns)


def offset_bits(ttir: str) -> int:
    """Return the width of the offsets by which a kernel finds its rows of the input."""
    inputs = {"%X", *re.findall(r"(%\w+) = tt\.splat %X :", ttir)}
    offsets = re.findall(r"tt\.addptr (%\w+), %\w+ : .*?, (?:tensor<(?:\d+x)*)?i(\d+)", ttir)
    return min(int(bits) for base, bits in offsets if base in inputs)


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


def launches(
    columns: int, dtype: str = "bf16", norm: str = "layer_norm", capability: int = 90
) -> tuple[Launch, ...]:
    """Return how rows of a length are gone over, forward and backward."""
    return launch.launches(
        columns, SIZES[dtype], center="layer" in norm, residual="add" in norm,
        shared=shared_limit(capability),
    )  # fmt: skip


class Case(NamedTuple):
    """Rows of a norm, and the GPU that they are on."""

    columns: int
    capability: int
    dtype: str = "bf16"
    norm: str = "layer_norm"


def cases(
    widths: Collection[int], capabilities: Collection[int], dtypes: Collection[str] = ("bf16",),
    norms: Collection[str] = ("layer_norm",),
) -> list[Case]:  # fmt: skip
    """Return all combinations; a T4 has float16 for bfloat16."""
    return [
        Case(columns, capability, "fp16" if (capability, dtype) == (75, "bf16") else dtype, norm)
        for capability, dtype, norm, columns in product(capabilities, dtypes, norms, widths)
    ]


def survey(chosen: Iterable[Case]) -> Iterator[Facts]:
    """Compile the kernels of each case."""
    for columns, capability, dtype, norm in chosen:
        for how in launches(columns, dtype, norm, capability):
            yield facts(how, columns, capability, dtype=dtype, norm=norm)


def survey_apart(chosen: Iterable[Case]) -> list[Facts]:
    """Make the survey in a process of its own, in which `TRITON_INTERPRET` is not set."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "lnlib.kernels.machine_code", "--cases", json.dumps([*chosen])]
    done = subprocess.run(command, env=environment, check=True, capture_output=True)
    return [Facts(**found) for found in json.loads(done.stdout)]


def table(found: list[Facts]) -> str:
    """Return the facts as text."""
    head = (
        f"{'kernel':22} {'norm':14} columns  dtype  sm  warps  registers  spills  16-byte  other  "
        "async  barriers  programs  KB in flight"
    )
    rows = (
        f"{f.kernel:22} {f.norm:14} {f.columns:>7}  {f.dtype:>5}  {f.capability}  {f.warps:>5}  "
        f"{f.registers:>9}  {f.spills:>6}  {f.wide:>7}  {f.narrow:>5}  {f.asynchronous:>5}  "
        f"{f.barriers:>8}  {f.programs:>8}  {f.in_flight / 1024:>12.0f}"
        for f in found
    )
    return "\n".join([head, *rows])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lnlib.kernels.machine_code", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("columns", type=int, nargs="*", default=WIDTHS, help="row lengths; default: all of WIDTHS")
    targets = tuple(TARGETS.values())
    add("--capability", type=int, nargs="+", choices=targets, default=targets, help="default: all")
    add("--dtype", nargs="+", choices=SIZES, default=("bf16",), help="default: bf16")
    add("--norm", nargs="+", choices=NORMS, default=("layer_norm",), help="default: layer_norm")
    add("--cases", type=json.loads, help="JSON of cases to compile; facts are printed as JSON, too")
    options = parser.parse_args()
    if options.cases is not None:
        print(json.dumps([asdict(f) for f in survey(options.cases)]))
        return
    chosen = cases(options.columns, options.capability, options.dtype, options.norm)
    print(table(list(tqdm(survey(chosen), unit="case"))))


if __name__ == "__main__":
    main()
