"""ONNX's own node test cases for the five operators, run by NumPy and by torch."""

import pkgutil
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from onnx.backend.test.case import node
from onnx.helper import get_attribute_value

from lnlib import functional, reference

Arrays = tuple[np.ndarray, ...]


def layer_normalization(norms, x, weight, bias=None, *, axis=-1, epsilon=1e-5):
    return norms.layer_norm(x, x.shape[axis:], weight, bias, epsilon)


def rms_normalization(norms, x, weight, *, axis=-1, epsilon=1e-5):
    return norms.rms_norm(x, x.shape[axis:], weight, epsilon)


def group_normalization(norms, x, weight, bias, *, num_groups, epsilon=1e-5):
    return norms.group_norm(x, num_groups, weight, bias, epsilon)


def instance_normalization(norms, x, weight, bias, *, epsilon=1e-5):
    return norms.instance_norm(x, weight=weight, bias=bias, eps=epsilon)


def batch_normalization(
    norms, x, weight, bias, mean, var, *, epsilon=1e-5, momentum=0.9, training_mode=0
):
    """ONNX weights the old statistics with `momentum` and stores the biased variance."""
    new = 1 - momentum
    y = norms.batch_norm(
        x, mean, var, weight, bias, bool(training_mode), new, epsilon, unbiased=False
    )
    return (y, mean, var) if training_mode else y


OPERATORS: dict[str, Callable[..., Any]] = {
    "LayerNormalization": layer_normalization,
    "RMSNormalization": rms_normalization,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "BatchNormalization": batch_normalization,
}


def collect() -> dict[str, tuple[Any, Any]]:
    """Name of each case with a single node of one of the operators: its node and the case.

    ONNX makes the cases while it imports them; `collect_testcases` would import all operators.
    """
    wanted = tuple(name.removesuffix("alization").lower() for name in OPERATORS)
    for module in pkgutil.iter_modules(node.__path__):
        if module.name.replace("_", "").startswith(wanted):
            import_module(f"{node.__name__}.{module.name}")
    cases = ((case.model.graph.node, case) for case in node._NodeTestCases)
    return {
        case.name: (nodes[0], case)
        for nodes, case in cases
        if len(nodes) == 1 and nodes[0].op_type in OPERATORS
    }


CASES = collect()


def with_numpy(operator: Callable[..., Any], inputs: Arrays, attributes: dict) -> Any:
    return operator(reference, *(x.copy() for x in inputs), **attributes)


def with_torch(operator: Callable[..., Any], inputs: Arrays, attributes: dict) -> Any:
    return operator(functional, *(torch.tensor(x) for x in inputs), **attributes)


def test_no_case_is_missing():
    """The 46 cases of ONNX 1.23; a newer one may add some."""
    known = Counter(dict(zip(OPERATORS, (19, 19, 2, 2, 4), strict=True)))
    assert known.total() == 46
    assert Counter(operator.op_type for operator, _ in CASES.values()) >= known


@pytest.mark.parametrize("run", [with_numpy, with_torch])
@pytest.mark.parametrize("name", CASES)
def test_node_case(name, run):
    operator, case = CASES[name]
    attributes = {a.name: get_attribute_value(a) for a in operator.attribute}
    attributes.pop("stash_type", None)
    for inputs, expected in case.data_sets:
        outputs = run(OPERATORS[operator.op_type], inputs, attributes)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        # the mean and rstd that LayerNormalization returns too: see below
        for got, want in zip(outputs, expected[: len(outputs)], strict=True):
            np.testing.assert_allclose(np.asarray(got), want, case.rtol, case.atol)
            assert np.asarray(got).dtype == want.dtype


LAYER_NORM = [n for n in CASES if CASES[n][0].op_type == "LayerNormalization"]


@pytest.mark.parametrize("name", LAYER_NORM)
def test_layer_normalization_returns_mean_and_inverse_standard_deviation(name):
    operator, case = CASES[name]
    attributes = {a.name: get_attribute_value(a) for a in operator.attribute}
    inputs, (_, mean, rstd) = case.data_sets[0]
    axis, eps = attributes.get("axis", -1), attributes.get("epsilon", 1e-5)
    _, cache = reference.layer_norm_forward(inputs[0], inputs[0].shape[axis:], eps=eps)
    np.testing.assert_allclose(cache.stats.mean.reshape(mean.shape), mean, case.rtol, case.atol)
    np.testing.assert_allclose(cache.stats.rstd.reshape(rstd.shape), rstd, case.rtol, case.atol)
