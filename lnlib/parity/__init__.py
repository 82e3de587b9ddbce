r"""Layer norm and batch norm elsewhere: conventions as data, checked by calling; converters.

`CONVENTIONS` says what PyTorch, Keras, Flax and ONNX call things and which defaults they choose.
`measure` finds the numbers among these out from outside, by what a library's layers return.
`Parameters` is a layer norm that belongs to no library; for each library there is a function to
make its layer from them and one to read them off. Needs the extra `parity`, as far as installed.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Convention:
    """What one library calls things, and its defaults.

    `axes` is the argument that names the axes, by sizes, by indices or by the first index of a
    block; `eps` and `batch_eps` are the default ε of layer norm and batch norm; `momentum` is
    batch norm's and weighs the new batch or the old average; `unbiased` says whether batch norm
    remembers the variance with n − 1 in the denominator.
    """

    module: str
    axes: str
    axes_are: str
    eps: float
    weight: str
    bias: str
    batch_eps: float
    momentum: float
    weighs: str
    unbiased: bool


CONVENTIONS = {
    "PyTorch": Convention(
        "torch", "normalized_shape", "sizes", 1e-5,
        "weight", "bias", 1e-5, 0.1, "new", unbiased=True,
    ),
    "Keras": Convention(
        "keras", "axis", "indices", 1e-3,
        "gamma", "beta", 1e-3, 0.99, "old", unbiased=False,
    ),
    "Flax": Convention(
        "flax", "reduction_axes", "indices", 1e-6,
        "scale", "bias", 1e-5, 0.99, "old", unbiased=False,
    ),
    "ONNX": Convention(
        "onnxruntime", "axis", "first index", 1e-5,
        "Scale", "B", 1e-5, 0.9, "old", unbiased=False,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Parameters:
    """A layer norm over the last axes: ε, γ and β, the latter of the sizes of these axes."""

    eps: float
    weight: Array
    bias: Array

    @property
    def normalized_shape(self) -> tuple[int, ...]:
        """The sizes of the axes normalized over."""
        return self.weight.shape


def installed() -> list[str]:
    """Return the libraries that can be called here, in the order of `CONVENTIONS`.

    Example:
        >>> "PyTorch" in installed()
        True
    """
    return [name for name, c in CONVENTIONS.items() if find_spec(c.module)]


def load_keras() -> Any:
    """Import Keras, on torch where its default, TensorFlow, is not installed."""
    if not find_spec("tensorflow"):
        os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    return keras


def only_last(parameters: Parameters, library: str) -> int:
    """Return the size of the one axis, which is all that some layers can normalize over."""
    if len(parameters.normalized_shape) != 1:
        raise ValueError(
            f"parameters have normalized_shape {parameters.normalized_shape}, expected one axis as "
            f"{library}'s layer has no more; flatten the last axes of input and parameters"
        )
    return parameters.normalized_shape[0]


# --- converters ---------------------------------------------------------------------------------


def to_torch(parameters: Parameters) -> Any:
    """Return a `torch.nn.LayerNorm`."""
    import torch

    layer = torch.nn.LayerNorm(parameters.normalized_shape, eps=parameters.eps)
    layer.weight.data = torch.from_numpy(parameters.weight.copy())
    layer.bias.data = torch.from_numpy(parameters.bias.copy())
    return layer


def from_torch(layer: Any) -> Parameters:
    """Read a `torch.nn.LayerNorm` or `lnlib.LayerNorm`; without γ or β, take ones and zeros."""
    import torch

    shape = tuple(layer.normalized_shape)
    weight = torch.ones(shape) if layer.weight is None else layer.weight
    bias = torch.zeros(shape) if layer.bias is None else layer.bias
    return Parameters(layer.eps, weight.detach().cpu().numpy(), bias.detach().cpu().numpy())


def to_keras(parameters: Parameters) -> Any:
    """Return a built `keras.layers.LayerNormalization`."""
    keras = load_keras()
    axes = list(range(-len(parameters.normalized_shape), 0))
    layer = keras.layers.LayerNormalization(
        axis=axes, epsilon=parameters.eps, dtype=str(parameters.weight.dtype)
    )
    layer.build((None, *parameters.normalized_shape))
    layer.set_weights([parameters.weight, parameters.bias])
    return layer


def from_keras(layer: Any) -> Parameters:
    """Read a built `keras.layers.LayerNormalization`."""
    shape = tuple(layer.get_weights()[0].shape) if layer.get_weights() else ()
    weights = iter(layer.get_weights())
    weight = next(weights) if layer.scale else np.ones(shape)
    bias = next(weights) if layer.center else np.zeros(shape)
    return Parameters(float(layer.epsilon), np.asarray(weight), np.asarray(bias))


def to_flax(parameters: Parameters) -> Any:
    """Return a `flax.nnx.LayerNorm`, with the variance in two passes."""
    from flax import nnx

    layer = nnx.LayerNorm(
        only_last(parameters, "Flax"), epsilon=parameters.eps, use_fast_variance=False,
        rngs=nnx.Rngs(0),
    )  # fmt: skip
    layer.scale[...] = parameters.weight
    layer.bias[...] = parameters.bias
    return layer


def from_flax(layer: Any) -> Parameters:
    """Read a `flax.nnx.LayerNorm`."""
    scale, bias = np.asarray(layer.scale[...]), np.asarray(layer.bias[...])
    return Parameters(float(layer.epsilon), scale, bias)


def to_onnx(parameters: Parameters) -> Any:
    """Return an ONNX model with one node, `LayerNormalization`, from `x` to `y`."""
    import onnx
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(parameters.weight.dtype)
    shape: list[str | int | None] = ["N", *parameters.normalized_shape]
    node = helper.make_node(
        "LayerNormalization", ["x", "weight", "bias"], ["y"],
        axis=-len(parameters.normalized_shape), epsilon=parameters.eps,
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "layer_norm",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
        [numpy_helper.from_array(getattr(parameters, n), n) for n in ("weight", "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def from_onnx(model: Any) -> Parameters:
    """Read the first `LayerNormalization` of an ONNX model."""
    from onnx import helper, numpy_helper

    nodes = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    if not nodes:
        raise ValueError(
            f"model has the operators {sorted({n.op_type for n in model.graph.node})}, expected a "
            "LayerNormalization; export with opset 17 or later"
        )
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    attributes = {a.name: helper.get_attribute_value(a) for a in nodes[0].attribute}
    names = list(nodes[0].input)
    weight = stored[names[1]]
    bias = stored[names[2]] if len(names) > 2 else np.zeros_like(weight)
    return Parameters(attributes.get("epsilon", CONVENTIONS["ONNX"].eps), weight, bias)


# --- calls --------------------------------------------------------------------------------------


def run_onnx(model: Any, **inputs: Array) -> list[Array]:
    """Compute a model in ONNX Runtime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, inputs))


def apply(library: str, layer: Any, x: Array) -> Array:
    """Return what a library's layer (or ONNX model) makes of an array."""
    if library == "PyTorch":
        import torch

        with torch.no_grad():
            return layer(torch.from_numpy(x)).numpy()  # type: ignore[no-any-return]
    if library == "ONNX":
        return run_onnx(layer, x=x)[0]
    return np.asarray(layer(x))


Converter = Callable[[Any], Any]
TO: dict[str, Converter] = {
    "PyTorch": to_torch, "Keras": to_keras, "Flax": to_flax, "ONNX": to_onnx
}  # fmt: skip
FROM: dict[str, Converter] = {
    "PyTorch": from_torch, "Keras": from_keras, "Flax": from_flax, "ONNX": from_onnx
}  # fmt: skip


# --- measurements -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Numbers of a `Convention`, found out by calling the library."""

    eps: float
    batch_eps: float
    momentum: float
    unbiased: bool


def measure(library: str) -> Measured:
    r"""Find out a library's defaults from what its layers return.

    The row $(-s, s)$ becomes $\pm s/\sqrt{s^2+\varepsilon}$, which tells ε. Batch norm, fed once
    with the column $(1, 3)$, remembers a mean between 0 and 2, which tells the weight of the new
    value, and a variance of 1 (biased) or more (unbiased).

    Args:
        library: one of `installed()`.
    """
    row = np.array([[-1e-3, 1e-3]], np.float32)
    step = {"PyTorch": _torch_step, "Keras": _keras_step, "Flax": _flax_step, "ONNX": _onnx_step}
    layer, normalize, learn = step[library]()
    mean, variance = learn(np.array([[1.0], [3.0]], np.float32))
    new = mean / 2
    return Measured(
        eps=_eps_from(layer(row)),
        batch_eps=_eps_from(normalize(row.T)),
        momentum=new if CONVENTIONS[library].weighs == "new" else 1 - new,
        unbiased=variance > 1 + new / 2,
    )


def _eps_from(y: Array) -> float:
    return float(1e-6 * (1 / np.abs(np.asarray(y, np.float64)).max() ** 2 - 1))


Norm = Callable[[Array], Array]
Step = tuple[Norm, Norm, Callable[[Array], tuple[float, float]]]  # layer norm, batch norm, learn


def _torch_step() -> Step:
    import torch
    from torch import nn

    def learn(x: Array) -> tuple[float, float]:
        layer = nn.BatchNorm1d(1)
        layer(torch.from_numpy(x))
        return float(layer.running_mean), float(layer.running_var)  # type: ignore[arg-type]

    return (
        lambda x: apply("PyTorch", nn.LayerNorm(2), x),
        lambda x: apply("PyTorch", nn.BatchNorm1d(1), x),
        learn,
    )


def _keras_step() -> Step:
    keras = load_keras()

    def learn(x: Array) -> tuple[float, float]:
        layer = keras.layers.BatchNormalization()
        layer(x, training=True)
        mean, variance = layer.get_weights()[2:]
        return float(mean[0]), float(variance[0])

    return (
        lambda x: apply("Keras", keras.layers.LayerNormalization(), x),
        lambda x: np.asarray(keras.layers.BatchNormalization()(x, training=True)),
        learn,
    )


def _flax_step() -> Step:
    from flax import nnx

    def batch_norm() -> Any:
        return nnx.BatchNorm(1, rngs=nnx.Rngs(0))

    def learn(x: Array) -> tuple[float, float]:
        layer = batch_norm()
        layer(x, use_running_average=False)
        return float(layer.mean[...][0]), float(layer.var[...][0])

    return (
        lambda x: apply("Flax", nnx.LayerNorm(2, rngs=nnx.Rngs(0)), x),
        lambda x: np.asarray(batch_norm()(x, use_running_average=False)),
        learn,
    )


def _onnx_step() -> Step:
    from onnx import TensorProto, helper

    def model(operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
        kind = TensorProto.FLOAT
        graph = helper.make_graph(
            [helper.make_node(operator, inputs, outputs, **attributes)],
            "defaults",
            [helper.make_tensor_value_info(n, kind, None) for n in inputs],
            [helper.make_tensor_value_info(n, kind, None) for n in outputs],
        )
        opset = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opset, ir_version=10)

    ones, zero = np.ones(1, np.float32), np.zeros(1, np.float32)

    def batch_norm(x: Array) -> list[Array]:
        names = ["x", "scale", "b", "mean", "var"]
        made = model("BatchNormalization", names, ["y", "new_mean", "new_var"], training_mode=1)
        return run_onnx(made, x=x, scale=ones, b=zero, mean=zero, var=ones)

    def learn(x: Array) -> tuple[float, float]:
        _, mean, variance = batch_norm(x)
        return float(mean[0]), float(variance[0])

    return (
        lambda x: run_onnx(
            model("LayerNormalization", ["x", "scale"], ["y"]), x=x, scale=np.ones(2, np.float32)
        )[0],
        lambda x: batch_norm(x)[0],
        learn,
    )
