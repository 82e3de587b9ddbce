"""A function under examination: called with care, counted, and left as it was."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lnlib.identify.guess import libraries_of
from lnlib.identify.libraries import Failed, Parameters
from lnlib.identify.model import Array


class Subject:
    """A function under examination: float64 in, float64 out, whatever it computes with."""

    def __init__(self, f: Any, shape: tuple[int, ...]) -> None:
        self.original, self.shape, self.calls = f, shape, 0
        x = np.random.default_rng(0).normal(size=shape)
        said = []
        for library in libraries_of(f):
            self.library = library
            for dtype in library.dtypes:
                try:
                    self.f = library.copy(f, dtype)
                    self.dtype = dtype
                    self.returns = self.run(x)[1]
                    return
                except Failed as failed:
                    said.append(str(failed))
                except Exception as error:  # whatever a stranger's function raises
                    said.append(_brief(f"{type(error).__name__}: {error}"))
        raise Failed(said[0])

    def run(self, x: Array, dtype: str | None = None, f: Any = None) -> tuple[Array, str]:
        """Return the output and the name of its dtype.

        Raises:
            Failed: if the function raises, or returns another shape than it was given.
        """
        self.calls += 1
        try:
            given = self.library.enter(x, dtype or self.dtype)
            y, returned = self.library.leave(self.library.call(self.f if f is None else f, given))
        except Exception as error:  # whatever a stranger's function raises
            raise Failed(_brief(f"{type(error).__name__}: {error}")) from error
        if y.shape != x.shape:
            raise Failed(f"returned shape {list(y.shape)} for an input of shape {list(x.shape)}")
        return y, returned

    def __call__(self, x: Array) -> Array:
        """Return the output of the copy with the highest precision."""
        return self.run(x)[0]

    def in_dtype(
        self, dtype: str, name: str = "", value: Array | None = None
    ) -> Callable[[Array], tuple[Array, str]] | None:
        """Return the function on inputs of a dtype, parameters converted; None if it cannot.

        With a `name`, that parameter of the copy becomes `value`, and all others 0.
        """
        try:
            f = self.library.copy(self.original, dtype)
            if name and not self.library.rewrite(f, name, value):
                return None
            self.run(np.random.default_rng(1).normal(size=self.shape), dtype, f)
        except Exception:  # whatever a stranger's function raises
            return None
        return lambda x: self.run(x, dtype, f)

    def overwrites(self, x: Array) -> bool:
        """Say whether a call changes the input that it is given."""
        self.calls += 1
        given = self.library.enter(x, self.dtype)
        before = self.library.leave(given)[0].copy()
        self.library.call(self.f, given)
        return not np.array_equal(before, self.library.leave(given)[0])

    def parameters(self) -> Parameters:
        """Return the arrays that the function holds, by name."""
        return self.library.parameters(self.original if self.library.name == "onnx" else self.f)

    def gradient(self, x: Array, dy: Array) -> Array | None:
        """Return the library's own gradient of `sum(dy * f(x))`; None if it has none."""
        self.calls += 1
        return self.library.gradient(self.f, x, dy, self.dtype)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Silence warnings of what is called, and put the generators of random numbers back."""
    torch = sys.modules.get("torch")
    state = np.random.get_state()  # noqa: NPY002 (what is called may draw from it)
    torch_state = torch.get_rng_state() if torch else None
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
        if torch:
            torch.set_rng_state(torch_state)


def _brief(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) < 200 else line[:197] + "..."
