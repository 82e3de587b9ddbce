"""ONNX: models with one node, `LayerNormalization`, executed by ONNX Runtime."""

from typing import Any

import numpy as np

from lnlib.parity.library import Array, Convention, Parameters

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
    return _run(layer, x)[0]


def default(size: int) -> Any:
    """Return a model whose node has no attributes; γ and β are no defaults but inputs."""
    return _layer_norm(np.ones(size, np.float32), np.zeros(size, np.float32))


def step(x: Array) -> tuple[Array, Array, Array]:
    """Compute `BatchNormalization` in training mode."""
    size = x.shape[1]
    ones, zeros = np.ones(size, x.dtype), np.zeros(size, x.dtype)
    stored = {"scale": ones, "bias": zeros, "mean": zeros, "var": ones}
    outputs = {"y": ("N", size), "new_mean": (size,), "new_var": (size,)}
    y, mean, variance = _run(_model("BatchNormalization", stored, outputs, training_mode=1), x)
    return y, mean, variance


def _layer_norm(weight: Array, bias: Array, **attributes: Any) -> Any:
    stored, outputs = {"weight": weight, "bias": bias}, {"y": ("N", *weight.shape)}
    return _model("LayerNormalization", stored, outputs, **attributes)


def _model(
    operator: str,
    stored: dict[str, Array],
    outputs: dict[str, tuple[str | int, ...]],
    **attributes: Any,
) -> Any:
    """Return a model with one node; `x`, its input, has the shape of `y`."""
    import onnx
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(next(iter(stored.values())).dtype)
    x, *found = (
        helper.make_tensor_value_info(name, kind, shape)
        for name, shape in {"x": outputs["y"], **outputs}.items()
    )
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *stored], [*outputs], **attributes)],
        operator,
        [x],
        found,
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def _run(model: Any, x: Array) -> list[Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {"x": x}))
