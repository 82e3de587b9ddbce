"""Which axes a method averages over.

The five methods differ in one thing: the set of axes that share a mean and a variance. A `Layout`
states that set, and `lnlib.reference` (NumPy) and `lnlib.functional` (torch) are written around it.
Shapes are plain tuples here, so this module needs neither library.

What the methods share has a place of its own for each library: ε and its default stand in the
signatures of `lnlib.reference`, `lnlib.functional` and `lnlib.modules`; the arithmetic stands in
`lnlib.reference.standardize`, `lnlib.formula` and `lnlib.kernels`, the checks in `lnlib.checks`.
"""

import math
from typing import NamedTuple


class Layout(NamedTuple):
    """The axes of one method on one input shape."""

    view: tuple[int, ...]
    """Shape of the input in which each group of values is a slice along `axes`."""
    axes: tuple[int, ...]
    """Axes of `view` that share one mean and one variance."""
    parameter: tuple[int, ...]
    """Shape that broadcasts `weight` and `bias` against the input."""

    @property
    def group_size(self) -> int:
        """Number of values that share one mean."""
        return math.prod(self.view[axis] for axis in self.axes)


def layer_layout(shape: tuple[int, ...], normalized_shape: tuple[int, ...]) -> Layout:
    """Layer norm, RMSNorm: the trailing axes of each example (or token)."""
    rows = math.prod(shape[: len(shape) - len(normalized_shape)])
    return Layout((rows, math.prod(normalized_shape)), (1,), normalized_shape)


def group_layout(shape: tuple[int, ...], num_groups: int) -> Layout:
    """Group norm: `channels / num_groups` channels of one example, over all positions."""
    batch, channels, *positions = shape
    view = (batch * num_groups, channels // num_groups * math.prod(positions))
    return Layout(view, (1,), _per_channel(shape))


def instance_layout(shape: tuple[int, ...]) -> Layout:
    """Instance norm: one channel of one example, over all positions."""
    batch, channels, *positions = shape
    return Layout((batch * channels, math.prod(positions)), (1,), _per_channel(shape))


def batch_layout(shape: tuple[int, ...]) -> Layout:
    """Batch norm: one channel, over all examples and positions."""
    batch, channels, *positions = shape
    return Layout((batch, channels, math.prod(positions)), (0, 2), _per_channel(shape))


def _per_channel(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1, shape[1], *(1 for _ in shape[2:]))
