"""Where, when and with what something was computed: what every recording names."""

import platform
from datetime import UTC, datetime
from importlib.metadata import packages_distributions, version
from typing import Any

import torch


def environment() -> dict[str, str]:
    """Return the date, the versions of Python and torch, and the kind of processor.

    Example:
        >>> list(environment())
        ['date', 'python', 'torch', 'machine']
    """
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def hardware(device: torch.device) -> dict[str, Any]:
    """Return the name of a device, how many threads torch has, and the operating system.

    Example:
        >>> hardware(torch.device("cpu"))["device"].split(":")[0]
        'cpu'
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "device": f"{device.type}: {name or platform.machine()}",
        "threads": torch.get_num_threads(),
        "system": platform.system(),
    }


def installed(*modules: str) -> dict[str, str]:
    """Return the versions of the distributions that hold these modules, as far as installed.

    Example:
        >>> list(installed("numpy", "no_such_module"))
        ['numpy']
    """
    owners = packages_distributions()
    names = {name for module in modules for name in owners.get(module, ())}
    return {name: version(name) for name in sorted(names)}
