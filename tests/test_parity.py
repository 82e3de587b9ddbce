"""Other libraries: what the table says is what they do; converters keep what a layer computes."""

import os
import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

import lnlib
from lnlib import parity, reference

NAMES = list(parity.CONVENTIONS)
EPS = float(np.finfo(np.float32).eps)


@pytest.fixture(params=NAMES)
def library(request):
    if request.param not in parity.installed():
        pytest.skip(f"{request.param} is not installed")
    return request.param


def test_asking_what_is_installed_changes_nothing(monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(parity, "find_spec", lambda module: module != "tensorflow")
    assert parity.installed() == NAMES
    assert "KERAS_BACKEND" not in os.environ


@pytest.mark.parametrize(
    ("missing", "before", "after"),
    [
        ((), {}, {}),
        (("tensorflow",), {}, {"KERAS_BACKEND": "torch"}),
        (("tensorflow",), {"KERAS_BACKEND": "jax"}, {"KERAS_BACKEND": "jax"}),
    ],
)
def test_keras_runs_on_torch_without_tensorflow(missing, before, after, monkeypatch):
    monkeypatch.setattr(parity.keras, "find_spec", lambda module: module not in missing)
    monkeypatch.setitem(sys.modules, "keras", ModuleType("keras"))
    monkeypatch.setattr(os, "environ", before)
    parity.keras.load()
    assert before == after


@pytest.mark.skipif(
    not (find_spec("tensorflow") and find_spec("triton")), reason="they do not meet here"
)
def test_triton_outlives_tensorflow():
    code = "from lnlib import parity; import tensorflow, triton; print(parity.installed())"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def random_parameters(shape, eps, seed=0):
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(2, *shape)).astype(np.float32)
    return parity.Parameters(eps, weight, bias), rng.normal(2, 3, (7, *shape)).astype(np.float32)


def test_the_table_says_what_the_library_does(library):
    convention, found = parity.CONVENTIONS[library], parity.measure(library)
    assert found.eps == pytest.approx(convention.eps, rel=1e-4)
    assert found.batch_eps == pytest.approx(convention.batch_eps, rel=1e-4)
    assert found.momentum == pytest.approx(convention.momentum, abs=1e-5)
    assert found.unbiased == convention.unbiased


@pytest.mark.parametrize("eps", [1e-5, 0.3])
@pytest.mark.parametrize("shape", [(1,), (64,), (3, 5)])
def test_a_layer_made_elsewhere_computes_the_same(library, shape, eps):
    parameters, x = random_parameters(shape, eps)
    if library == "Flax" and len(shape) > 1:
        with pytest.raises(ValueError, match=r"\(3, 5\), expected one axis.*flatten"):
            parity.to_flax(parameters)
        return
    exact = (a.astype(float) for a in (parameters.weight, parameters.bias))
    want = reference.layer_norm(x.astype(float), shape, *exact, eps)
    got = parity.apply(library, parity.TO[library](parameters), x)
    rstd = 1 / np.sqrt(x.astype(float).reshape(7, -1).var(1) + eps)
    folded = np.abs(x).max() * rstd.max() * np.abs(parameters.weight).max()  # Keras: x·r − μ·r
    assert np.abs(got - want).max() < 4 * EPS * (np.abs(want).max() + folded)


@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_there_and_back_changes_no_bit(library, eps):
    parameters, _ = random_parameters((64,), eps)
    back = parity.FROM[library](parity.TO[library](parameters))
    assert np.array_equal(back.weight, parameters.weight)
    assert np.array_equal(back.bias, parameters.bias)
    assert back.weight.dtype == np.float32
    assert back.eps == pytest.approx(eps, rel=EPS)  # ONNX keeps it in float32


def test_weights_and_their_order_are_not_mixed_up(library):
    shift_only = parity.Parameters(0.3, np.zeros(4, np.float32), np.arange(4, dtype=np.float32))
    got = parity.apply(library, parity.TO[library](shift_only), np.ones((2, 4), np.float32))
    assert got.tolist() == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize("kind", [nn.LayerNorm, lnlib.LayerNorm])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"elementwise_affine": False}])
def test_reads_layers_with_and_without_parameters(kind, options):
    layer = kind((3, 5), eps=0.3, **options)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(4, 3, 5)
    copy = parity.to_torch(parity.from_torch(layer))
    torch.testing.assert_close(copy(x), layer(x))


def test_exports_our_layer_to_onnx():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    layer = lnlib.LayerNorm((3, 5), eps=0.3)
    nn.init.normal_(layer.weight)
    x = torch.randn(4, 3, 5)
    model = parity.to_onnx(parity.from_torch(layer))
    y = parity.apply("ONNX", model, x.numpy())
    torch.testing.assert_close(torch.from_numpy(y), layer(x).detach())


def test_an_onnx_model_without_the_operator_is_named():
    helper = pytest.importorskip("onnx").helper
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [])
    with pytest.raises(ValueError, match=r"\['Relu'\], expected a LayerNormalization.*opset 17"):
        parity.from_onnx(helper.make_model(graph))


def test_keras_without_gamma_or_beta():
    if "Keras" not in parity.installed():
        pytest.skip("Keras is not installed")
    keras = parity.keras.load()
    layer = keras.layers.LayerNormalization(scale=False, epsilon=0.3)
    layer.build((None, 4))
    layer.set_weights([np.arange(4, dtype=np.float32)])
    read = parity.from_keras(layer)
    assert read.weight.tolist() == [1, 1, 1, 1]
    assert read.bias.tolist() == [0, 1, 2, 3]
