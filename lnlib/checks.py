"""What is said of wrong arguments, and the order in which a call is checked.

`rows` and `channels` check whole calls, for arrays and tensors alike; the other functions one
argument each. A message names the argument, what was received, what was expected and, after a
semicolon, the fix.
"""

import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

from lnlib.layout import Layout, layer_layout

NormalizedShape = int | Sequence[int]


class Arrays(NamedTuple):
    """What a library computes with: NumPy's arrays, torch's tensors."""

    array: type[Any]
    is_floating: Callable[[Any], bool]
    """Whether an array has a real floating dtype."""
    advice: str
    """Which module takes which arrays."""


# --- calls --------------------------------------------------------------------------------------


def rows(arrays: Arrays, input: Any, sizes: NormalizedShape, **parameters: Any) -> Layout:
    """Check a call that normalizes over the trailing `sizes`, and return its layout.

    Args:
        arrays: the library's.
        input: of shape `(*, *sizes)`.
        sizes: the argument `normalized_shape`.
        parameters: by name, of shape `sizes`, or None.
    """
    sizes = normalized_shape(sizes)
    real_input(arrays, input, len(sizes))
    trailing(tuple(input.shape), sizes)
    _shapes(arrays, sizes, parameters)
    return layer_layout(tuple(input.shape), sizes)


def channels(arrays: Arrays, input: Any, **parameters: Any) -> tuple[int, ...]:
    """Check a call on input of shape `(batch, channels, *positions)`, and return this shape.

    Args:
        arrays: the library's.
        input: with channels on axis 1.
        parameters: weight, bias and running statistics by name, of shape `(channels,)`, or None.
    """
    real_input(arrays, input, None)
    _shapes(arrays, (input.shape[1],), parameters)
    return tuple(input.shape)


def _shapes(arrays: Arrays, expected: tuple[int, ...], parameters: dict[str, Any]) -> None:
    for name, parameter in parameters.items():
        if parameter is not None:
            floating(arrays, name, parameter)
            shape(name, tuple(parameter.shape), expected)


# --- one argument -------------------------------------------------------------------------------


def kind(arrays: Arrays, name: str, value: Any) -> None:
    """Reject what is none of the library's arrays."""
    if not isinstance(value, arrays.array):
        raise TypeError(
            f"{name} must be of type {arrays.array.__name__}, got {type(value).__name__}; "
            f"{arrays.advice}"
        )


def floating(arrays: Arrays, name: str, value: Any) -> None:
    """Reject what is no array of real floating dtype."""
    kind(arrays, name, value)
    if not arrays.is_floating(value):
        raise TypeError(
            f"{name} must be real floating point, got {value.dtype}; "
            "convert it first, for example to float32"
        )


def counter(arrays: Arrays, num_batches_tracked: Any) -> None:
    """Reject a counter of batches that could not be raised in place."""
    if num_batches_tracked is not None:
        kind(arrays, "num_batches_tracked", num_batches_tracked)


def cache(cache: Any, made: type[Any], entries: int) -> None:
    """Reject what no forward function of this method has kept for its backward function."""
    if not isinstance(cache, made) or len(cache) != entries:
        raise TypeError(
            f"cache must be what the method's forward function kept, got {type(cache).__name__}; "
            "pass the second of the two results of f_forward to f_backward"
        )


def flag(name: str, value: Any) -> None:
    """Reject what is neither True nor False: a text such as "no" would count as True."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, got {value!r}; pass True or False")


def number(name: str, value: Any) -> None:
    """Reject what is no real number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number, got {value!r}; pass one such as 1.0")


def real_input(arrays: Arrays, input: Any, trailing: int | None) -> None:
    """Reject input that has no real mean, or too few axes: `trailing`, or batch and channels."""
    floating(arrays, "input", input)
    if input.ndim < (2 if trailing is None else trailing):
        wanted = "(batch, channels, ...)" if trailing is None else f"at least {trailing} axes"
        raise ValueError(
            f"input must have {wanted}, got shape {tuple(input.shape)}; "
            "add the missing axes with reshape"
        )


def shape(name: str, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Reject an array of another shape."""
    if got != expected:
        raise ValueError(f"{name} must have shape {expected}, got {got}; reshape or re-create it")


def normalized_shape(normalized_shape: NormalizedShape) -> tuple[int, ...]:
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


def trailing(shape: tuple[int, ...], normalized_shape: tuple[int, ...]) -> None:
    """Reject a `normalized_shape` that is not the end of the input's shape."""
    ndim = len(normalized_shape)
    if shape[-ndim:] != normalized_shape:
        raise ValueError(
            f"normalized_shape {normalized_shape} must equal the trailing sizes of the input, "
            f"got input of shape {shape}; pass normalized_shape={shape[-ndim:]}, or move the axes "
            "to normalize over to the end (channels-first images: group_norm, or permute)"
        )


def groups(channels: int, num_groups: int) -> None:
    """Reject a number of groups that does not divide the channels."""
    size("num_channels", channels, least=0)
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


def eps(eps: float) -> None:
    """Reject an `eps` under the root that is no finite number >= 0."""
    if type(eps) is float and 0 <= eps < math.inf:  # the usual case, soon told
        return
    if isinstance(eps, bool) or not isinstance(eps, Real):
        raise TypeError(f"eps must be a real number, got {eps!r}; pass a float such as 1e-5")
    if not math.isfinite(eps) or eps < 0:
        raise ValueError(f"eps must be finite and >= 0, got {eps}; pass a value such as 1e-5")


def momentum(momentum: float | None, num_batches_tracked: object) -> None:
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


def running(running_mean: object, running_var: object, required: bool, switch: str) -> None:
    """Reject half a pair of running statistics, or none where they are needed."""
    if (running_mean is None) != (running_var is None):
        missing = "running_mean" if running_mean is None else "running_var"
        raise ValueError(f"{missing} is None but its partner is not; pass both or neither")
    if required and running_mean is None:
        raise ValueError(
            f"running_mean and running_var are needed when {switch}=False, got None; "
            f"pass both, or set {switch}=True to use the statistics of the input"
        )


def several_values(shape: tuple[int, ...], layout: Layout, method: str) -> None:
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


def ndim(shape: tuple[int, ...], allowed: tuple[int, ...], module: str) -> None:
    """Reject input with a number of axes that the module was not made for."""
    if len(shape) not in allowed:
        wanted = " or ".join(str(ndim) for ndim in allowed)
        raise ValueError(
            f"{module} needs input with {wanted} axes, got shape {shape}; "
            "reshape it, or use the module for its number of positions (1d, 2d, 3d)"
        )


def made_for(module: str, channels: int, shape: tuple[int, ...], axis: int = 1) -> None:
    """Reject input whose number of entries on an axis, 1 or -1, is not the one promised."""
    found = shape[1:2] if axis == 1 else shape[-1:]
    if found != (channels,):
        what = "channels on axis 1" if axis == 1 else "entries on the last axis"
        raise ValueError(
            f"{module} was made for {channels} {what}, got input of shape {shape}; "
            "move the axis there, or make a module for this number"
        )


def size(name: str, value: int, *, least: int = 1, what: str = "entries") -> None:
    """Reject a number of entries, or of something else, that is no int, or too small."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an int, got {value!r}; pass the number of {what}")
    if value < least:
        wanted = "positive" if least == 1 else f">= {least}"
        raise ValueError(f"{name} must be {wanted}, got {value}; pass the number of {what}")
