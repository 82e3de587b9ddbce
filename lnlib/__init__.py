"""Layer normalization and its relatives, written to be read.

`lnlib.reference` is NumPy alone; `lnlib.functional` and the modules below need torch and are
imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "RMSNorm",
]

if TYPE_CHECKING:
    from lnlib.modules import (
        BatchNorm1d,
        BatchNorm2d,
        BatchNorm3d,
        GroupNorm,
        InstanceNorm1d,
        InstanceNorm2d,
        InstanceNorm3d,
        LayerNorm,
        RMSNorm,
    )


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("lnlib.modules"), name)
    raise AttributeError(f"module 'lnlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
