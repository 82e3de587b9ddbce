"""Count the bytes that a Triton kernel, or a formula written in PyTorch, asks memory for.

The interpreter performs every load and store as a call with an address for each entry, so the
addresses can be counted. What a GPU's memory must deliver lies between the bytes at distinct
addresses, if its caches hold everything that is read again, and all bytes asked for, if they hold
nothing. `traffic` needs `TRITON_INTERPRET=1` in the environment before Triton is imported.
PyTorch's operations are counted by what goes in and comes out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass
class Traffic:
    """Bytes asked for by loads and stores, and the addresses they went to."""

    read: int = 0
    written: int = 0
    _loaded: list[Any] = field(default_factory=list, repr=False)
    _stored: list[Any] = field(default_factory=list, repr=False)

    @property
    def distinct_read(self) -> int:
        """Bytes at different addresses among those read."""
        return _distinct(self._loaded)

    @property
    def distinct_written(self) -> int:
        """Bytes at different addresses among those written."""
        return _distinct(self._stored)

    def load(self, addresses: Any, size: int) -> None:
        """Note entries of `size` bytes read."""
        self.read += addresses.size * size
        self._loaded.append((addresses, size))

    def store(self, addresses: Any, size: int) -> None:
        """Note entries of `size` bytes written."""
        self.written += addresses.size * size
        self._stored.append((addresses, size))


def _distinct(accesses: list[tuple[Any, int]]) -> int:
    sizes = {size for _, size in accesses}
    parts = {s: np.unique(np.concatenate([a for a, t in accesses if t == s])) for s in sizes}
    return sum(size * addresses.size for size, addresses in parts.items())


@contextmanager
def traffic() -> Iterator[Traffic]:
    """Count what the kernels launched in this block load and store; atomic updates do both.

    Example:
        >>> import torch
        >>> from lnlib import kernels
        >>> x = torch.randn(8, 64)
        >>> with traffic() as moved:
        ...     y = kernels.rms_norm(x, (64,))
        >>> moved.read == x.nbytes, moved.written == y.nbytes
        (True, True)
    """
    from triton.runtime.interpreter import interpreter_builder as builder

    moved = Traffic()
    load, store = builder.create_masked_load, builder.create_masked_store
    update = builder.create_atomic_rmw

    def counted_load(pointers: Any, mask: Any, *rest: Any) -> Any:
        moved.load(pointers.data[mask.data], _size(pointers))
        return load(pointers, mask, *rest)

    def counted_store(pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        moved.store(pointers.data[mask.data], _size(pointers))
        return store(pointers, value, mask, *rest)

    def counted_update(operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        moved.load(pointers.data[mask.data], _size(pointers))
        moved.store(pointers.data[mask.data], _size(pointers))
        return update(operation, pointers, value, mask, *rest)

    builder.create_masked_load, builder.create_masked_store = counted_load, counted_store
    builder.create_atomic_rmw = counted_update
    try:
        yield moved
    finally:
        del builder.create_masked_load, builder.create_masked_store, builder.create_atomic_rmw


def _size(pointers: Any) -> int:
    return int(pointers.get_element_ty().primitive_bitwidth) // 8


class Operations(TorchDispatchMode):
    """Note the bytes that each PyTorch operation reads and writes, forward and backward.

    Each operation counts as a kernel of its own, as in eager mode. Views move nothing, and an
    expanded tensor is read once.

    Example:
        >>> import torch
        >>> x = torch.randn(4, 256)
        >>> with Operations() as operations:
        ...     y = (x * x).sum(-1)
        >>> [(name, read // x.nbytes) for name, read, _ in operations.lines]
        [('mul', 1), ('sum', 1)]
        >>> operations.moved == 3 * x.nbytes + y.nbytes
        True
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lines: list[tuple[str, int, int]] = []

    @property
    def moved(self) -> int:
        """Bytes read and written by all operations."""
        return sum(read + written for _, read, written in self.lines)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call an operation and note its tensors' sizes."""
        result = func(*args, **(kwargs or {}))
        operands = {_storage(t): _stored_bytes(t) for t in args if isinstance(t, Tensor)}
        results = {_storage(t): t.nbytes for t in _tensors(result)}
        if not operands.keys() & results.keys():
            name = func.overloadpacket.__name__
            self.lines.append((name, sum(operands.values()), sum(results.values())))
        return result


def _tensors(result: Any) -> list[Tensor]:
    values = result if isinstance(result, tuple | list) else (result,)
    return [v for v in values if isinstance(v, Tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _stored_bytes(tensor: Tensor) -> int:
    return min(tensor.nbytes, tensor.untyped_storage().nbytes())
