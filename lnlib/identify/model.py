"""A norm as data: which values share statistics, what they are divided by, and the affine map."""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
EpsPlace = Literal["inside", "outside", "max"]


class Grouping(NamedTuple):
    """The values of an input that share statistics."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    """Axes over which values share statistics, counted from 0."""
    split: int | None = None
    """The axis of `axes` that is cut into groups of neighbors."""
    num_groups: int = 1

    @property
    def size(self) -> int:
        """Number of values that share statistics."""
        return math.prod(self.shape[axis] for axis in self.axes) // self.num_groups

    @property
    def others(self) -> tuple[int, ...]:
        """Axes that keep their own statistics at each index."""
        return tuple(axis for axis in range(len(self.shape)) if axis not in self.axes)

    def mean(self, x: Array) -> Array:
        """Return the mean of each value's group, in the shape of `x`."""
        if self.split is None:
            return np.broadcast_to(x.mean(self.axes, keepdims=True), x.shape)
        at = self.split
        view = x.reshape(*x.shape[:at], self.num_groups, -1, *x.shape[at + 1 :])
        axes = tuple(axis + (axis >= at) for axis in self.axes)
        return np.broadcast_to(view.mean(axes, keepdims=True), view.shape).reshape(x.shape)

    def resized(self, shape: tuple[int, ...]) -> "Grouping":
        """Return the same grouping of an input of another shape."""
        return self._replace(shape=shape)


@dataclass(frozen=True, eq=False)
class Model:
    r"""The function that a norm was found to be, in float64.

    $$y = \gamma\,\frac{x-\mu}{(v+\varepsilon)^k} + \beta,\qquad v=\frac{1}{n-d}\sum(x-\mu)^2$$

    `power` is $k$, ½ for a norm; outside, the denominator is $(\sqrt v+\varepsilon)^{2k}$, with max
    $\max(\sqrt v,\varepsilon)^{2k}$.
    """

    grouping: Grouping
    centered: bool
    """Whether the mean is subtracted from the values."""
    centered_statistics: bool
    """Whether the mean is subtracted from what is squared."""
    power: float
    ddof: int
    eps: float
    place: EpsPlace
    weight: Array
    bias: Array

    def normalized(self, x: Array) -> Array:
        """Return the values before the affine map."""
        mean = self.grouping.mean(x)
        deviation = x - mean if self.centered_statistics else x
        n = self.grouping.size
        variance = self.grouping.mean(deviation**2) * (n / max(n - self.ddof, 1))
        if self.place == "inside":
            divisor = (variance + self.eps) ** self.power
        elif self.place == "outside":
            divisor = (np.sqrt(variance) + self.eps) ** (2 * self.power)
        else:
            divisor = np.maximum(np.sqrt(variance), self.eps) ** (2 * self.power)
        return np.asarray((x - mean if self.centered else x) / divisor)

    def __call__(self, x: Array) -> Array:
        """Return what the norm makes of `x`."""
        return np.asarray(self.normalized(x) * self.weight + self.bias)
