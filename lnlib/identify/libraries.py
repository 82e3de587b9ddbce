"""How each library's arrays are made, read and differentiated."""

import copy
from typing import Any

import numpy as np

from lnlib.identify.model import Array

Parameters = dict[str, Array]


class Failed(Exception):
    """The function could not be called, or returned what cannot be compared."""


class Library:
    """NumPy, and what all libraries have in common."""

    name = "numpy"
    dtypes: tuple[str, ...] = ("float64", "float32")
    takes_lists = False

    def enter(self, x: Array, dtype: str) -> Any:
        """Return a NumPy array as one of the library."""
        return x.astype(dtype)

    def leave(self, y: Any) -> tuple[Array, str]:
        """Return an array of the library in float64, and the name of its dtype.

        Raises:
            Failed: for a list: what returns lists may want lists, and is tried with them.
        """
        if isinstance(y, list) and not self.takes_lists:
            raise Failed("returned a list")
        array = np.asarray(y)
        return array.astype(np.float64), str(array.dtype)

    def call(self, f: Any, x: Any) -> Any:
        """Call the function on an array of the library."""
        return f(x)

    def copy(self, f: Any, dtype: str | None = None) -> Any:
        """Return a copy of the function, with parameters of a dtype if the library does that."""
        return f

    def parameters(self, f: Any) -> Parameters:
        """Return the arrays that the function holds, by name."""
        owner = getattr(f, "__self__", f)
        held = getattr(owner, "__dict__", {})
        kinds = (list, np.ndarray)
        arrays = {k: _plain(v) for k, v in held.items() if isinstance(v, kinds)}
        return {k: v.astype(float) for k, v in arrays.items() if v.dtype.kind in "fiu" and v.size}

    def rewrite(self, f: Any, name: str, value: Array | None) -> bool:
        """Overwrite a parameter of a copy, all others with zeros; say whether that can be done."""
        return False

    def gradient(self, f: Any, x: Array, dy: Array, dtype: str) -> Array | None:
        """Return the library's own gradient of `sum(dy * f(x))`; None if it has none."""
        return None


class Lists(Library):
    """Plain Python: nested lists of numbers."""

    name = "list"
    dtypes = ("float64",)
    takes_lists = True

    def enter(self, x: Array, dtype: str) -> Any:  # noqa: D102
        if dtype != "float64":
            raise Failed(f"lists hold Python's floats, not {dtype}")
        return x.tolist()


class Torch(Library):
    """PyTorch."""

    name = "torch"
    dtypes = ("float32", "float64")

    def enter(self, x: Array, dtype: str) -> Any:  # noqa: D102
        import torch

        return torch.from_numpy(np.ascontiguousarray(x)).to(getattr(torch, dtype))

    def leave(self, y: Any) -> tuple[Array, str]:  # noqa: D102
        import torch

        y = y[0] if isinstance(y, tuple) else y
        if not isinstance(y, torch.Tensor):
            return super().leave(y)
        return y.detach().double().cpu().numpy(), str(y.dtype).removeprefix("torch.")

    def call(self, f: Any, x: Any) -> Any:  # noqa: D102
        import torch

        with torch.no_grad():
            return f(x.to(_device(f)))

    def copy(self, f: Any, dtype: str | None = None) -> Any:  # noqa: D102
        import torch

        if not isinstance(f, torch.nn.Module):
            return f
        twin = copy.deepcopy(f)
        return twin if dtype is None else twin.to(getattr(torch, dtype))

    def parameters(self, f: Any) -> Parameters:  # noqa: D102
        import torch

        if not isinstance(f, torch.nn.Module):
            return super().parameters(f)
        state = f.state_dict().items()
        return {k: np.array(v.detach().double().cpu()) for k, v in state if v.is_floating_point()}

    def rewrite(self, f: Any, name: str, value: Array | None) -> bool:  # noqa: D102
        import torch

        held = dict(f.named_parameters()) if isinstance(f, torch.nn.Module) else {}
        if name not in held or value is None:
            return False
        with torch.no_grad():
            for parameter in held.values():
                parameter.zero_()
            held[name].copy_(torch.from_numpy(value).reshape(held[name].shape))
        return True

    def gradient(self, f: Any, x: Array, dy: Array, dtype: str) -> Array | None:  # noqa: D102
        import torch

        leaf = self.enter(x, dtype).requires_grad_()
        with torch.enable_grad():
            y = f(leaf.to(_device(f)) + 0)  # a copy, which may be overwritten
            y = y[0] if isinstance(y, tuple) else y
            if not isinstance(y, torch.Tensor):
                return None
            if not y.requires_grad:
                return np.zeros_like(x)
            total = (y * torch.from_numpy(dy).to(y)).sum()
            (dx,) = torch.autograd.grad(total, leaf, allow_unused=True)
        return np.zeros_like(x) if dx is None else dx.double().cpu().numpy()


class Jax(Library):
    """JAX; Flax, both its modules bound to variables (linen) and its own objects (nnx)."""

    name = "jax"
    dtypes = ("float32",)

    def enter(self, x: Array, dtype: str) -> Any:  # noqa: D102
        import jax.numpy as jnp

        return jnp.asarray(x, dtype)

    def copy(self, f: Any, dtype: str | None = None) -> Any:  # noqa: D102
        return copy.deepcopy(f) if _is_nnx(f) else f

    def parameters(self, f: Any) -> Parameters:  # noqa: D102
        import jax

        held: Any = {}
        if _is_nnx(f):
            from flax import nnx

            held = nnx.to_pure_dict(nnx.state(f, nnx.Variable))
        elif hasattr(f, "variables"):
            held = f.variables
        leaves, _ = jax.tree_util.tree_flatten_with_path(held)
        arrays = {
            ".".join(_key(k) for k in path): np.asarray(leaf)
            for path, leaf in leaves
            if hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, jax.numpy.number)
        }
        return {k: v.astype(float) for k, v in arrays.items() if v.dtype.kind != "V"}

    def gradient(self, f: Any, x: Array, dy: Array, dtype: str) -> Array | None:  # noqa: D102
        import jax

        if _is_nnx(f):
            from flax import nnx

            graph, state = nnx.split(f)
            y, pull = jax.vjp(lambda x: nnx.merge(graph, state, copy=True)(x), self.enter(x, dtype))
        else:
            y, pull = jax.vjp(f, self.enter(x, dtype))
        return np.asarray(pull(jax.numpy.asarray(dy, y.dtype))[0], np.float64)


class Keras(Library):
    """Keras, on whichever backend it runs."""

    name = "keras"
    dtypes = ("float32",)

    def enter(self, x: Array, dtype: str) -> Any:  # noqa: D102
        import keras

        return keras.ops.convert_to_tensor(x, dtype)

    def leave(self, y: Any) -> tuple[Array, str]:  # noqa: D102
        import keras

        return super().leave(keras.ops.convert_to_numpy(y))

    def parameters(self, f: Any) -> Parameters:  # noqa: D102
        return {w.path: np.asarray(w.numpy(), float) for w in getattr(f, "weights", ())}

    def gradient(self, f: Any, x: Array, dy: Array, dtype: str) -> Array | None:  # noqa: D102
        import keras

        if keras.backend.backend() == "tensorflow":
            return Tensorflow().gradient(f, x, dy, dtype)
        return (Torch() if keras.backend.backend() == "torch" else Jax()).gradient(f, x, dy, dtype)


class Tensorflow(Library):
    """Functions of TensorFlow's tensors."""

    name = "tensorflow"
    dtypes = ("float32", "float64")

    def enter(self, x: Array, dtype: str) -> Any:  # noqa: D102
        import tensorflow as tf  # type: ignore[import-untyped, unused-ignore]

        return tf.constant(x, dtype)

    def gradient(self, f: Any, x: Array, dy: Array, dtype: str) -> Array | None:  # noqa: D102
        import tensorflow as tf

        leaf = self.enter(x, dtype)
        with tf.GradientTape() as tape:
            tape.watch(leaf)
            y = f(leaf)
        dx = tape.gradient(y, leaf, tf.constant(dy, y.dtype))
        return np.zeros_like(x) if dx is None else dx.numpy().astype(float)


class Onnx(Library):
    """A session of ONNX Runtime with one input, or a model to open one for."""

    name = "onnx"
    dtypes = ("float32", "float64", "float16")

    def call(self, f: Any, x: Any) -> Any:  # noqa: D102
        return f.run(None, {f.get_inputs()[0].name: x})[0]

    def parameters(self, f: Any) -> Parameters:  # noqa: D102
        if not hasattr(f, "graph"):
            return {}
        from onnx import numpy_helper

        return {t.name: numpy_helper.to_array(t).astype(float) for t in f.graph.initializer}

    def copy(self, f: Any, dtype: str | None = None) -> Any:  # noqa: D102
        if not hasattr(f, "graph"):
            return f
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        return onnxruntime.InferenceSession(f.SerializeToString(), options, providers=providers)


def _plain(value: Any) -> Array:
    try:
        return np.array(value)
    except ValueError:  # a ragged list
        return np.array("")


def _is_nnx(f: Any) -> bool:
    return any(cls.__module__.startswith("flax.nnx") for cls in type(f).__mro__)


def _key(part: Any) -> str:
    return str(getattr(part, "key", getattr(part, "name", part)))


def _device(f: Any) -> Any:
    """Return the device of a module's first parameter, or else the CPU."""
    tensors = f.parameters() if hasattr(f, "parameters") else iter(())
    first = next(iter(tensors), None)
    return "cpu" if first is None else first.device
