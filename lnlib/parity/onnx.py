"""ONNX: models with one node, `LayerNormalization`, executed by ONNX Runtime."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lnlib.parity.library import Array, Convention, Parameters

Shapes = Mapping[str, tuple[str | int, ...]]

CONVENTION = Convention(
    module="onnxruntime", axes="axis", axes_are="first index", eps=1e-5, weight="Scale",
    bias="B", batch_eps=1e-5, momentum=0.9, weighs="old", unbiased=False,
)  # fmt: skip


def make(parameters: Parameters) -> Any:
    """Return a model from `x` to `y`."""
    weight, bias = parameters.weight, parameters.bias
    return _layer_norm(weight, bias, axis=-weight.ndim, epsilon=parameters.eps)


def read(layer: Any) -> Parameters:
    """Read the first `LayerNormalization` of a model; without β, take zeros.

    Raises:
        ValueError: if the model has none.
    """
    from onnx import helper, numpy_helper

    nodes = [node for node in layer.graph.node if node.op_type == "LayerNormalization"]
    if not nodes:
        raise ValueError(
            f"model has the operators {sorted({n.op_type for n in layer.graph.node})}, expected a "
            "LayerNormalization; export with opset 17 or later"
        )
    stored = {t.name: numpy_helper.to_array(t) for t in layer.graph.initializer}
    attributes = {a.name: helper.get_attribute_value(a) for a in nodes[0].attribute}
    names = list(nodes[0].input)
    weight = stored[names[1]]
    bias = stored[names[2]] if len(names) > 2 else np.zeros_like(weight)
    return Parameters(attributes.get("epsilon", CONVENTION.eps), weight, bias)


def apply(layer: Any, x: Array) -> Array:
    """Return what a model makes of an array."""
    y: Array = session(layer).run(None, {"x": x})[0]
    return y


def default(size: int) -> Any:
    """Return a model whose node has no attributes; γ and β are no defaults but inputs."""
    return _layer_norm(np.ones(size, np.float32), np.zeros(size, np.float32))


def step(x: Array) -> tuple[Array, Array, Array]:
    """Compute `BatchNormalization` in training mode."""
    size = x.shape[1]
    ones, zeros = np.ones(size, x.dtype), np.zeros(size, x.dtype)
    stored = {"scale": ones, "bias": zeros, "mean": zeros, "var": ones}
    outputs: Shapes = {"y": ("N", size), "new_mean": (size,), "new_var": (size,)}
    layer = model("BatchNormalization", {"x": ("N", size)}, outputs, stored, training_mode=1)
    y, mean, variance = session(layer).run(None, {"x": x})
    return y, mean, variance


def _layer_norm(weight: Array, bias: Array, **attributes: Any) -> Any:
    shape, stored = ("N", *weight.shape), {"weight": weight, "bias": bias}
    return model("LayerNormalization", {"x": shape}, {"y": shape}, stored, **attributes)


def model(
    operator: str, inputs: Shapes, outputs: Shapes, stored: Mapping[str, Array] | None = None,
    *, opset: int = 17, **attributes: Any,
) -> Any:  # fmt: skip
    """Return a model with one node, which takes the inputs and then what is stored.

    Everything has the dtype of what is stored; if nothing is, float32.
    """
    import onnx
    from onnx import helper, numpy_helper

    arrays = [numpy_helper.from_array(array, name) for name, array in (stored or {}).items()]
    kind = arrays[0].data_type if arrays else onnx.TensorProto.FLOAT
    given, found = (
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()]
        for shapes in (inputs, outputs)
    )
    node = helper.make_node(operator, [*inputs, *(stored or ())], [*outputs], **attributes)
    graph = helper.make_graph([node], operator, given, found, arrays)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


def session(model: Any, threads: int = 0) -> Any:
    """Return a session of ONNX Runtime on so many threads; 0: as many as it likes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
