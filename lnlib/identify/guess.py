"""Which library's arrays a function takes, as far as can be told before it is called."""

import functools
import sys
import types
from typing import Any

from lnlib.identify.libraries import (
    Failed,
    Jax,
    Keras,
    Library,
    Lists,
    Onnx,
    Tensorflow,
    Torch,
)


def libraries_of(f: Any) -> list[Library]:
    """Return the libraries whose arrays the function may take, the likeliest first."""
    known: dict[str, Library] = {
        "numpy": Library(), "torch": Torch(), "jax": Jax(), "tensorflow": Tensorflow(),
    }  # fmt: skip
    roots = {_root(cls) for cls in type(f).__mro__}
    if roots & {"onnxruntime", "onnx"}:
        return [Onnx()]
    if not callable(f):
        raise TypeError(
            f"f must be callable, or a session of ONNX Runtime or an ONNX model, got {f!r}; "
            "pass a module, a layer or a function"
        )
    if "flax" in roots and getattr(f, "scope", f) is None:
        raise Failed("a linen module knows no variables; pass module.bind(variables)")
    if "keras" in roots:
        return [Keras()]
    for root, name in {"torch": "torch", "flax": "jax", "jaxlib": "jax", "jax": "jax"}.items():
        if root in roots:
            return [known[name]]
    names = _mentions(f)
    mentioned = [known[name] for name in ("torch", "jax", "tensorflow") if name in names]
    present = [library for name, library in known.items() if name in sys.modules]
    return list(dict.fromkeys([*mentioned, *present, Lists()]))


def _mentions(f: Any, depth: int = 2) -> set[str]:
    """Return the libraries that a function's code, or what it calls, refers to."""
    while isinstance(f, functools.partial):
        f = f.func
    if not isinstance(f, (types.FunctionType, types.MethodType)):
        f = type(f).__call__
    code, space = getattr(f, "__code__", None), getattr(f, "__globals__", {})
    if code is None:
        return set()
    cells = [cell.cell_contents for cell in f.__closure__ or () if _filled(cell)]
    used = [space[name] for name in code.co_names if name in space] + cells
    inner = [value for value in used if isinstance(value, types.FunctionType) and depth]
    found = {_root(value) for value in used} | {_root(type(value)) for value in used}
    return found.union(*(_mentions(value, depth - 1) for value in inner))


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (raises if empty)
    except ValueError:
        return False
    return True


def _root(value: Any) -> str:
    module = getattr(value, "__module__", None) or getattr(value, "__name__", "")
    root = str(module).split(".")[0]
    return {"jaxlib": "jax", "onnxruntime_pybind11_state": "onnxruntime"}.get(root, root)
