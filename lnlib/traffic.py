"""Count the bytes a Triton kernel asks memory for, in Triton's interpreter.

The interpreter performs every load and store as a call with an address for each entry, so the
addresses can be counted. What a GPU's memory must deliver lies between the bytes at distinct
addresses, if its caches hold everything that is read again, and all bytes asked for, if they hold
nothing. Needs `TRITON_INTERPRET=1` in the environment before Triton is imported.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from triton.runtime.interpreter import interpreter_builder


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
    """Count what the kernels launched in this block load and store.

    Example:
        >>> import torch
        >>> from lnlib import kernels
        >>> x = torch.randn(8, 64)
        >>> with traffic() as moved:
        ...     y = kernels.rms_norm(x, (64,))
        >>> moved.read == x.nbytes, moved.written - y.nbytes  # and 8 times rstd
        (True, 32)
    """
    moved, builder = Traffic(), interpreter_builder
    load, store = builder.create_masked_load, builder.create_masked_store

    def counted_load(pointers: Any, mask: Any, *rest: Any) -> Any:
        moved.load(pointers.data[mask.data], _size(pointers))
        return load(pointers, mask, *rest)

    def counted_store(pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        moved.store(pointers.data[mask.data], _size(pointers))
        return store(pointers, value, mask, *rest)

    builder.create_masked_load, builder.create_masked_store = counted_load, counted_store
    try:
        yield moved
    finally:
        del builder.create_masked_load, builder.create_masked_store


def _size(pointers: Any) -> int:
    return int(pointers.get_element_ty().primitive_bitwidth) // 8
