"""Who is timed: who computes what float64 computes, up to rounding, on all of what is timed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lnlib.kernels import peers
from lnlib.kernels.peers import Call

EPS = 1e-5
CHUNK = 2**24  # entries that are computed in float64 at a time


@dataclass(frozen=True)
class Data:
    """Arguments of an operation: those of the input's shape, the parameters, the cotangents."""

    inputs: tuple[Tensor, ...]
    parameters: tuple[Tensor, ...]
    cotangents: tuple[Tensor, ...]


def outputs(
    norm: Call, operation: str, data: Data, *, back: bool = True
) -> tuple[tuple[Tensor, ...], ...]:
    """Return a contender's outputs, the gradients of its inputs, and those of its parameters."""
    y, used, count = _forward(norm, operation, data)
    gradients = torch.autograd.grad(y, used, data.cotangents) if back else ()
    return tuple(t.detach() for t in y), gradients[:count], gradients[count:]


def passes(
    norm: Call, operation: str, data: Data, *, back: bool = True
) -> dict[str, Callable[[], Any]]:
    """Return the forward pass, the backward pass and both, ready to be timed."""
    arguments = (*data.inputs, *data.parameters, EPS)
    if not back:
        return {"forward": lambda: norm(*arguments)}
    y, used, _ = _forward(norm, operation, data)

    def both() -> Any:
        y, used, _ = _forward(norm, operation, data)
        return torch.autograd.grad(y, used, data.cotangents)

    return {
        "forward": lambda: norm(*arguments),
        "backward": lambda: torch.autograd.grad(y, used, data.cotangents, retain_graph=True),
        "both": both,
    }


def _forward(
    norm: Call, operation: str, data: Data
) -> tuple[tuple[Tensor, ...], list[Tensor], int]:
    """Return outputs, what gets a gradient, and how many of these are inputs."""
    inputs = [t.detach().requires_grad_() for t in data.inputs]
    parameters = [t.detach().requires_grad_() for t in data.parameters]
    y = norm(*inputs, *parameters, EPS)
    used = parameters[:1] if operation.endswith("rms_norm") else parameters  # no bias
    return y if isinstance(y, tuple) else (y,), [*inputs, *used], len(inputs)


def deviation(norm: Call, operation: str, data: Data, *, back: bool = True) -> float:
    r"""Return how far a contender is from float64, 1 being what rounding explains.

    Every entry of outputs and input gradients may be off by $4u\max(1, |y|)$, with $u$ the unit
    roundoff of the input's dtype, but at least four times that of float32, because statistics in
    float32 are no more precise. A parameter's gradient is a sum over $M$ rows: its entries may be
    off by $4u + \epsilon\sqrt M$ ($\epsilon$ of float32, in which a running sum of random numbers
    errs by less) times their root mean square, or their own size if larger. A gradient that lacks a
    part, or is halved, is off by hundreds of $u$.

    Args:
        norm: the contender.
        operation: one of `peers.OPERATIONS`.
        data: its arguments, all rows; entries of about 1.
        back: whether it has gradients.

    Returns:
        The largest error in these units, NaN if an output has one.

    Example:
        >>> x, w, b, dy = torch.randn(64, 32), torch.ones(32), torch.zeros(32), torch.randn(64, 32)
        >>> data = Data((x,), (w, b), (dy,))
        >>> deviation(peers.of_torch("layer_norm"), "layer_norm", data) < 1
        True
        >>> deviation(lambda x, w, b, eps: x * w + b, "layer_norm", data) < 1
        False
    """
    y, dx, dparameters = outputs(norm, operation, data, back=back)
    x = data.inputs[0]
    u = max(torch.finfo(x.dtype).eps, 4 * torch.finfo(torch.float32).eps) / 2
    parameters = tuple(t.double() for t in data.parameters)
    sums = [torch.zeros_like(t, dtype=torch.float64) for t in dparameters]
    errors = []
    rows = max(1, CHUNK // x[0].numel())
    for start in range(0, len(x), rows):
        part = slice(start, start + rows)
        inputs, cotangents = (
            [t[part].double() for t in ts] for ts in (data.inputs, data.cotangents)
        )
        exact = Data(tuple(inputs), parameters, tuple(cotangents))
        *wanted, dpart = outputs(peers.of_torch(operation), operation, exact, back=back)
        for got, want in zip((*y, *dx), (*wanted[0], *wanted[1]), strict=True):
            scale = 4 * u * want.abs().clamp(min=1)
            errors.append(((got[part].double() - want).abs() / scale).max())
        for total, own in zip(sums, dpart, strict=True):
            total += own
    allowed = 4 * u + torch.finfo(torch.float32).eps * (x.numel() / parameters[0].numel()) ** 0.5
    for got, want in zip(dparameters, sums, strict=True):
        scale = allowed * want.abs().clamp(min=want.square().mean().sqrt())
        errors.append(((got.double() - want).abs() / scale).max())
    return float(torch.stack(errors).max())
