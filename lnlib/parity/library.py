"""What is said of a library, what a layer norm consists of, and what a library's file provides."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Convention:
    """What one library calls things, and its defaults.

    `axes` is the argument that names the axes, by sizes, by indices or by the first index of a
    block; `eps` and `batch_eps` are the default ε of layer norm and batch norm; `momentum` is
    batch norm's and weighs the new batch or the old average; `unbiased` says whether batch norm
    remembers the variance with n − 1 in the denominator.
    """

    module: str
    axes: str
    axes_are: str
    eps: float
    weight: str
    bias: str
    batch_eps: float
    momentum: float
    weighs: str
    unbiased: bool


@dataclass(frozen=True)
class Parameters:
    """A layer norm over the last axes: ε, γ and β, the latter of the sizes of these axes."""

    eps: float
    weight: Array
    bias: Array

    @property
    def normalized_shape(self) -> tuple[int, ...]:
        """The sizes of the axes normalized over."""
        return self.weight.shape


class Library(Protocol):
    """What the file of a library provides; a layer is the library's own, or an ONNX model."""

    CONVENTION: Convention

    def make(self, parameters: Parameters) -> Any:
        """Return a layer norm with these parameters."""

    def read(self, layer: Any) -> Parameters:
        """Return the parameters of a layer norm."""

    def apply(self, layer: Any, x: Array) -> Array:
        """Return what a layer makes of an array."""

    def default(self, size: int) -> Any:
        """Return a layer norm over one axis that was told nothing but its size."""

    def step(self, x: Array) -> tuple[Array, Array, Array]:
        """Train a default batch norm on x, of shape (N, C), once.

        Returns:
            The output, of shape (N, C); mean and variance that it remembers, of shape (C,).
        """
