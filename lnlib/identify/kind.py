"""What the axes and the shape of γ call a norm."""

from typing import Any

import numpy as np

from lnlib.identify.model import Array, Grouping
from lnlib.identify.report import Kind


def name(grouping: Grouping, centered: bool, gain: Array, called: str) -> tuple[Kind, bool]:
    """Return the kind of a norm, and whether another kind would compute the same.

    Args:
        grouping: which values share statistics.
        centered: whether the mean is subtracted.
        gain: γ, `settled`, in the shape of the input.
        called: name of the function's class, which decides between kinds that are one function.
    """
    axes, ndim = grouping.axes, len(grouping.shape)
    kind, same = _name(grouping, gain)
    kinds: tuple[Kind, ...] = ("layer", "group", "instance")
    said = next((k for k in kinds if k in called.lower()), None)
    if same and said in same:
        kind = said
    if kind == "layer" and not centered:
        return "rms", False
    return kind, len(same) > 1 and axes != (ndim - 1,)


def _name(grouping: Grouping, gain: Array) -> tuple[Kind, set[Kind]]:
    """Return the likeliest kind, and all kinds that are this function for some γ."""
    shape, axes = grouping.shape, grouping.axes
    ndim = len(shape)
    if grouping.split is not None:
        return "group", {"group"}
    if 0 in axes and len(axes) < ndim:
        return "batch", {"batch"}
    examples = tuple(range(1, ndim))
    if ndim > 2 and axes == examples:
        per_channel = not _varies(gain, axes[1:]) and _varies(gain, (1,))
        return ("group" if per_channel else "layer"), {"layer", "group"}
    if ndim > 3 and len(axes) == ndim - 2 and axes != (1,):
        return ("layer" if _varies(gain, axes) else "instance"), {"layer", "instance", "group"}
    per_channel = ndim == 3 and axes == (2,) and _varies(gain, (1,)) and not _varies(gain, (2,))
    one_position = ndim == 3 and axes == (1,) and _varies(gain, (2,)) and not _varies(gain, (1,))
    if per_channel or one_position:
        return "instance", {"instance", "group"}
    return "layer", {"layer", "group", "instance"} if ndim > 1 else {"layer"}


def settled(values: Array, tolerance: float) -> Array:
    """Return values without what only rounding tells apart: the same along as many axes as can be.

    Args:
        values: γ or β in the shape of the input.
        tolerance: relative.
    """
    size = tolerance * max(float(np.abs(values).max()), 1e-12)
    for axis in range(values.ndim):
        if np.ptp(values, axis=axis).max() < size:
            values = np.broadcast_to(values.mean(axis, keepdims=True), values.shape)
    return values


def channel_axis(grouping: Grouping, gain: Array) -> int:
    """Return the axis that γ of a group, instance or batch norm runs along."""
    ndim = len(grouping.shape)
    if grouping.split is not None:
        return grouping.split
    free = [axis for axis in range(1, ndim) if axis not in grouping.axes] or [1 % ndim]
    varying = [axis for axis in range(1, ndim) if _varies(gain, (axis,))]
    return next((axis for axis in free if axis in varying), varying[0] if varying else free[0])


def compact(values: Array, kind: str, grouping: Grouping, gain: Array) -> Array:
    """Return γ or β without the axes that it is the same along."""
    ndim = values.ndim
    keep: tuple[int, ...]
    if kind in ("layer", "rms"):
        keep = grouping.axes
    elif kind == "none" and not grouping.axes:
        keep = (ndim - 1,)
    else:
        keep = (channel_axis(grouping, gain),)
    drop = [a for a in range(ndim) if a not in keep and not _varies(values, (a,))]
    for axis in sorted(drop, reverse=True):
        values = values.mean(axis)
    return values


def _varies(values: Array, axes: tuple[int, ...]) -> bool:
    """Say whether an array is not the same along some axes."""
    spread = values.max(axis=axes) - values.min(axis=axes)
    return bool((spread > 1e-12 * max(float(np.abs(values).max()), 1e-12)).any())


def type_name(f: Any) -> str:
    """Return the name of a function's class, or nothing for a plain function."""
    cls = type(f)
    return "" if cls.__module__ in ("builtins", "functools") else cls.__name__
