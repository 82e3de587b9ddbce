"""Layer normalization and its relatives, written to be read.

The classes below are those of `torch.nn`. `identify(f, shape)` says which norm a function is,
`compare` how two differ, `replace` swaps those of a model for ours. Everything else is in rooms,
imported on first use:

- `layout`: which axes share a mean; `checks`: what is said of wrong arguments
- `reference`: NumPy alone, forward and backward
- `functional`, `formula`, `modules`: the same in torch; `variants`, `recurrent`: what came after
- `kernels`: as fast as the device allows, and what examines them
- `identify`: the room of the three, which can be called itself
- `distributed`, `parity`: over several processes; other libraries' conventions
- `experiments`, `randomness`, `provenance`, `pages`: the laboratory, and what pages import
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
    "compare",
    "replace",
]

ROOMS = (
    "checks",
    "distributed",
    "experiments",
    "formula",
    "functional",
    "identify",
    "kernels",
    "layout",
    "modules",
    "pages",
    "parity",
    "provenance",
    "randomness",
    "recurrent",
    "reference",
    "variants",
)

if TYPE_CHECKING:
    from lnlib.identify import compare, replace
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
    if name in ROOMS:
        return import_module(f"lnlib.{name}")
    if name in __all__:
        room = "modules" if name[0].isupper() else "identify"
        return getattr(import_module(f"lnlib.{room}"), name)
    raise AttributeError(f"module 'lnlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *ROOMS, "__version__"]
