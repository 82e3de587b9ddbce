"""Which axes a method averages over, and every check of its arguments.

The five methods differ in one thing: the set of axes that share a mean and a variance. A `Layout`
states that set, and `lnlib.reference` (NumPy) and `lnlib.functional` (torch) are written around it.
Shapes are plain tuples here, so this module needs neither library.
"""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import NamedTuple

NormalizedShape = int | Sequence[int]


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


def check_eps(eps: float) -> None:
    """Reject an `eps` under the root that is no finite number >= 0."""
    if isinstance(eps, bool) or not isinstance(eps, Real):
        raise TypeError(f"eps must be a real number, got {eps!r}; pass a float such as 1e-5")
    if not math.isfinite(eps) or eps < 0:
        raise ValueError(f"eps must be finite and >= 0, got {eps}; pass a value such as 1e-5")


def check_input(
    shape: tuple[int, ...], dtype: object, floating: bool, trailing: int | None
) -> None:
    """Reject input that has no real mean, or too few axes: `trailing`, or batch and channels."""
    if not floating:
        raise TypeError(
            f"input must be real floating point, got {dtype}; "
            "convert it first, for example to float32"
        )
    if len(shape) < (2 if trailing is None else trailing):
        wanted = "(batch, channels, ...)" if trailing is None else f"at least {trailing} axes"
        raise ValueError(
            f"input must have {wanted}, got shape {shape}; add the missing axes with reshape"
        )


def check_ndim(shape: tuple[int, ...], allowed: tuple[int, ...], module: str) -> None:
    """Reject input with a number of axes that the module was not made for."""
    if len(shape) not in allowed:
        wanted = " or ".join(str(ndim) for ndim in allowed)
        raise ValueError(
            f"{module} needs input with {wanted} axes, got shape {shape}; "
            "reshape it, or use the module for its number of positions (1d, 2d, 3d)"
        )


def check_normalized_shape(normalized_shape: NormalizedShape) -> tuple[int, ...]:
    """Return `normalized_shape` as a tuple of sizes."""
    sizes = (normalized_shape,) if isinstance(normalized_shape, Integral) else normalized_shape
    if not isinstance(sizes, Sequence) or not all(
        isinstance(size, Integral) and not isinstance(size, bool) for size in sizes
    ):
        raise TypeError(
            "normalized_shape must be an int or a sequence of ints (sizes, not axis numbers), "
            f"got {normalized_shape!r}; pass input.shape[-1:] for the last axis"
        )
    if not sizes:
        raise ValueError(
            "normalized_shape must name at least one trailing axis, got an empty sequence; "
            "pass input.shape[-1:] to normalize over the last axis"
        )
    if any(size < 0 for size in sizes):
        raise ValueError(
            "normalized_shape holds sizes and must be >= 0 everywhere, "
            f"got {tuple(sizes)}; it takes no axis numbers: pass input.shape[-1:] for the last axis"
        )
    return tuple(int(size) for size in sizes)


def check_trailing(shape: tuple[int, ...], normalized_shape: tuple[int, ...]) -> None:
    """Reject a `normalized_shape` that is not the end of the input's shape."""
    ndim = len(normalized_shape)
    if shape[-ndim:] != normalized_shape:
        raise ValueError(
            f"normalized_shape {normalized_shape} must equal the trailing sizes of the input, "
            f"got input of shape {shape}; pass normalized_shape={shape[-ndim:]}, or move the axes "
            "to normalize over to the end (channels-first images: group_norm, or permute)"
        )


def check_parameter(name: str, got: tuple[int, ...] | None, expected: tuple[int, ...]) -> None:
    """Reject a weight, bias or running statistic of another shape (`None` means absent)."""
    if got is not None and got != expected:
        raise ValueError(f"{name} must have shape {expected}, got {got}; reshape or re-create it")


def check_groups(channels: int, num_groups: int) -> None:
    """Reject a number of groups that does not divide the channels."""
    if isinstance(num_groups, bool) or not isinstance(num_groups, Integral):
        raise TypeError(
            f"num_groups must be an int, got {num_groups!r}; pass a divisor of {channels}"
        )
    if num_groups < 1:
        raise ValueError(f"num_groups must be >= 1, got {num_groups}; 1 normalizes all channels")
    if channels % num_groups:
        raise ValueError(
            f"the number of channels ({channels}) must be divisible by num_groups ({num_groups}); "
            f"choose a divisor of {channels}"
        )


def check_several_values(shape: tuple[int, ...], layout: Layout, method: str) -> None:
    """Reject statistics of a single value: its normalized value would be 0 whatever it is."""
    if layout.group_size == 1:
        advice = {
            "batch_norm": "use more examples or positions, or training=False",
            "instance_norm": "use more positions, or use_input_stats=False",
        }[method]
        raise ValueError(
            f"{method} needs more than one value per channel to compute statistics, "
            f"got input of shape {shape}; {advice}"
        )


def check_running(running_mean: object, running_var: object, required: bool, switch: str) -> None:
    """Reject half a pair of running statistics, or none where they are needed."""
    if (running_mean is None) != (running_var is None):
        missing = "running_mean" if running_mean is None else "running_var"
        raise ValueError(f"{missing} is None but its partner is not; pass both or neither")
    if required and running_mean is None:
        raise ValueError(
            f"running_mean and running_var are needed when {switch}=False, got None; "
            f"pass both, or set {switch}=True to use the statistics of the input"
        )


def check_momentum(momentum: float | None, num_batches_tracked: object) -> None:
    """Reject a weight of the new statistics outside [0, 1], or an average without its counter."""
    if momentum is None:
        if num_batches_tracked is None:
            raise ValueError(
                "momentum=None averages over all batches seen and needs the counter that "
                "batch_norm takes, got no num_batches_tracked; pass an integer array of one "
                "element to batch_norm, or a momentum such as 0.1"
            )
        return
    if isinstance(momentum, bool) or not isinstance(momentum, Real):
        raise TypeError(f"momentum must be a real number, got {momentum!r}; pass one such as 0.1")
    if not 0 <= momentum <= 1:
        raise ValueError(
            f"momentum is the weight of the new statistics and must be in [0, 1], got {momentum}; "
            "libraries that weight the old ones (Keras, Flax, ONNX) mean 1 - momentum"
        )
