r"""Layer norm and batch norm elsewhere: conventions as data, checked by calling; converters.

`CONVENTIONS` says what PyTorch, Keras, Flax and ONNX call things and which defaults they choose.
`measure` finds the numbers among these out from outside, by what a library's layers return.
`Parameters` is a layer norm that belongs to no library; for each library there is a function to
make its layer from them and one to read them off, in a file of its own (`Library` says what such a
file holds). Needs the extra `parity`, as far as installed.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from lnlib.parity import flax, keras, onnx, torch
from lnlib.parity.flax import make as to_flax
from lnlib.parity.flax import read as from_flax
from lnlib.parity.keras import make as to_keras
from lnlib.parity.keras import read as from_keras
from lnlib.parity.library import Array, Convention, Library, Parameters
from lnlib.parity.onnx import make as to_onnx
from lnlib.parity.onnx import read as from_onnx
from lnlib.parity.torch import make as to_torch
from lnlib.parity.torch import read as from_torch

__all__ = [
    "CONVENTIONS", "FROM", "LIBRARIES", "TO", "Convention", "Library", "Measured", "Parameters",
    "apply", "from_flax", "from_keras", "from_onnx", "from_torch", "installed", "measure",
    "to_flax", "to_keras", "to_onnx", "to_torch",
]  # fmt: skip

LIBRARIES: dict[str, Library] = {"PyTorch": torch, "Keras": keras, "Flax": flax, "ONNX": onnx}
CONVENTIONS = {name: library.CONVENTION for name, library in LIBRARIES.items()}
TO = {name: library.make for name, library in LIBRARIES.items()}
FROM = {name: library.read for name, library in LIBRARIES.items()}


def installed() -> list[str]:
    """Return the libraries that can be called here, in the order of `LIBRARIES`.

    Example:
        >>> "PyTorch" in installed()
        True
    """
    return [name for name, c in CONVENTIONS.items() if find_spec(c.module)]


def apply(library: str, layer: Any, x: Array) -> Array:
    """Return what a library's layer (or ONNX model) makes of an array."""
    return LIBRARIES[library].apply(layer, x)


@dataclass(frozen=True)
class Measured:
    """Numbers of a `Convention`, found out by calling the library."""

    eps: float
    batch_eps: float
    momentum: float
    unbiased: bool


def measure(library: str) -> Measured:
    r"""Find out a library's defaults from what its layers return.

    The row $(-s, s)$ becomes $\pm s/\sqrt{s^2+\varepsilon}$, which tells ε. Batch norm, fed once
    with the column $(1, 3)$, remembers a mean between 0 and 2, which tells the weight of the new
    value, and a variance of 1 (biased) or more (unbiased).

    Args:
        library: one of `installed()`.
    """
    row = np.array([[-1e-3, 1e-3]], np.float32)
    elsewhere = LIBRARIES[library]
    y_batch, _, _ = elsewhere.step(row.T)
    _, mean, variance = elsewhere.step(np.array([[1.0], [3.0]], np.float32))
    new = float(mean[0]) / 2
    return Measured(
        eps=_eps_from(elsewhere.apply(elsewhere.default(2), row)),
        batch_eps=_eps_from(y_batch),
        momentum=new if elsewhere.CONVENTION.weighs == "new" else 1 - new,
        unbiased=bool(variance[0] > 1 + new / 2),
    )


def _eps_from(y: Array) -> float:
    return float(1e-6 * (1 / np.abs(np.asarray(y, np.float64)).max() ** 2 - 1))
