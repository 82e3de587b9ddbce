"""Under what conditions a device is measured: which it is, at what clocks, with which code."""

import hashlib
import os
import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from lnlib.kernels import peers
from lnlib.provenance import environment, hardware, installed

FOLDER = Path(__file__).parent
CARD = ("driver_version", "power.limit", "clocks.max.sm", "clocks.max.mem")
STATE = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")
REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")  # new name, old name


def provenance(device: torch.device) -> dict[str, Any]:
    """Return all on which a measurement depends: versions, device, which Liger, revision.

    Example:
        >>> about = provenance(torch.device("cpu"))
        >>> {"date", "torch", "device", "versions", "revision"} <= about.keys()
        True
    """
    versions = installed("triton", "numba", "numpy", *peers.PEERS)
    about = environment() | hardware(device) | card(device)
    liger = {"LIGER_KERNEL_IMPL": os.environ.get("LIGER_KERNEL_IMPL")}
    return about | {"versions": versions, **liger, "revision": revision()}


def card(device: torch.device) -> dict[str, Any]:
    """Return what a GPU is and how it is set up, as far as the driver says; of a CPU, its kind.

    Example:
        >>> card(torch.device("cpu")).keys() >= {"capability"}  # the vectors that torch uses
        True
    """
    if device.type != "cuda":
        kind = {"capability": torch.backends.cpu.get_cpu_capability()}
        if find_spec("llvmlite"):
            kind["processor"] = import_module("llvmlite.binding").get_host_cpu_name()
        return kind
    about = torch.cuda.get_device_properties(device)
    return {
        "capability": f"{about.major}.{about.minor}",
        "processors": about.multi_processor_count,
        "l2_bytes": about.L2_cache_size,
        "memory_bytes": about.total_memory,
        "cuda": torch.version.cuda,
        **asked(device, CARD),
    }


def state(device: torch.device) -> dict[str, str]:
    """Return clocks, power, temperature and why the driver holds the clocks down (0: nothing)."""
    if device.type != "cuda":
        return {}
    new, old = ((*STATE, reason) for reason in REASONS)
    return asked(device, new) or asked(device, old) or asked(device, STATE)


def asked(device: torch.device, fields: tuple[str, ...]) -> dict[str, str]:
    """Return what nvidia-smi says of a GPU; nothing where it is missing or refuses."""
    number = f"--id=GPU-{torch.cuda.get_device_properties(device).uuid}"
    command = ["nvidia-smi", number, f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(fields, said.stdout.strip().split(", "), strict=True))


def revision() -> str:
    """Return the commit of the checkout, "+" if the kernels differ from it; else their digest."""
    commit = _git("rev-parse", "--short", "HEAD")
    if commit:
        return commit + ("+" if _git("status", "--porcelain", "--", ".") else "")
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(FOLDER.glob("*.py"))))
    return f"sha256 {digest.hexdigest()[:12]}"


def _git(*arguments: str) -> str:
    try:
        command = ["git", "-C", str(FOLDER), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
