"""What goes over the wire."""

from typing import Any, ClassVar

import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode


class Sent(TorchDispatchMode):
    r"""Counts the numbers that this process sends in collective operations, forward and backward.

    Of n numbers in each of P processes, a ring sends $(P-1)\,n$ for an all-gather and
    $2\,\frac{P-1}{P}\,n$ for an all-reduce; a reduce-scatter and a broadcast are not known.

    Attributes:
        calls: the name of each operation with its n, in order.

    Example:
        >>> import torch
        >>> from lnlib.distributed import launch, layer_norm
        >>> def exchange():
        ...     with Sent() as sent:
        ...         layer_norm(torch.ones(3, 4))  # mean and variance of each row, and its width
        ...     return sent.calls
        >>> launch(exchange, processes=2)[0]
        [('all-gather', 7)]

    Source: Thakur, Rabenseifner, Gropp (2005), https://doi.org/10.1177/1094342005051521.
    """

    OPERATIONS: ClassVar = {  # which argument is sent
        "c10d::allreduce_": ("all-reduce", 0),
        "c10d::allgather_": ("all-gather", 1),
        "_c10d_functional::all_reduce": ("all-reduce", 0),
        "_c10d_functional::all_gather_into_tensor": ("all-gather", 0),
    }

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[str, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: D105
        if DTensor in types:  # its own operations on plain tensors come by again
            return NotImplemented
        known = self.OPERATIONS.get(func.name().split(".")[0])
        if known:
            name, position = known
            sent = args[position]
            tensors = [sent] if isinstance(sent, Tensor) else sent
            self.calls.append((name, sum(t.numel() for t in tensors)))
        return func(*args, **(kwargs or {}))

    @property
    def numbers(self) -> float:
        """How many numbers this process sent, if the operations are rings."""
        P = dist.get_world_size()
        price = {"all-gather": P - 1, "all-reduce": 2 * (P - 1) / P}
        return sum(price[name] * n for name, n in self.calls)
