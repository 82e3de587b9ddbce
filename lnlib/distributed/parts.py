"""A tensor in parts, one for each process: taken, normalized, put together."""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from lnlib import functional
from lnlib.distributed.norms import batch_norm
from lnlib.distributed.processes import launch

METHODS: dict[str, Callable[[Tensor], Tensor]] = {
    "BN, alone": lambda x: functional.batch_norm(x, None, None, training=True),
    "BN, synchronized": batch_norm,
    "LN": lambda x: functional.layer_norm(x, x.shape[1:]),
}


def own(x: Tensor, dim: int) -> Tensor:
    """Return this process's part of a tensor that is split along `dim`, as evenly as it goes."""
    return x.tensor_split(dist.get_world_size(), dim)[dist.get_rank()]


def normalize_in_parts(x: Tensor, dy: Tensor, processes: int = 2) -> dict[str, tuple[Tensor, ...]]:
    """Normalize a batch of which each process has a part, by every method of `METHODS`.

    Args:
        x: the whole batch, of shape (N, C).
        dy: cotangent of the output, of the same shape.
        processes: how many to start on this machine.

    Returns:
        For each method the output and the gradient of the input, of shape (N, C), put together.
    """
    parts = launch(_by_every_method, x, dy, processes=processes)
    return {
        name: tuple(torch.cat(tensors) for tensors in zip(*(p[name] for p in parts), strict=True))
        for name in METHODS
    }


def _by_every_method(x: Tensor, dy: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    found = {}
    for name, norm in METHODS.items():
        part = own(x, 0).clone().requires_grad_()
        y = norm(part)
        (dx,) = torch.autograd.grad(y, part, own(dy, 0))
        found[name] = (y.detach(), dx)
    return found
