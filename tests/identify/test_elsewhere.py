"""Norms of other libraries, as installed."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

import lnlib
from lnlib import identify, parity

EPS = pytest.approx


def check(f, shape, kind, axes, eps, **more):
    report = identify(f, shape)
    got = report.to_dict()
    want = {"kind": kind, "axes": axes, "eps": EPS(eps, rel=1e-3), "eps_place": "inside"}
    want |= {"statistics_dtype": "float32", "divisor": "n"} | more
    assert {key: got[key] for key in want} == want, report
    return report


TORCH = {
    "LayerNorm": ((8, 16), "layer", [1], 1e-5, lambda m: m.LayerNorm(16)),
    "LayerNorm, axes": ((4, 6, 8), "layer", [1, 2], 0.3, lambda m: m.LayerNorm((6, 8), eps=0.3)),
    "LayerNorm, bare": ((8, 16), "layer", [1], 1e-5, lambda m: m.LayerNorm(16, bias=False)),
    "RMSNorm": ((4, 6, 8), "rms", [2], 2.0**-23, lambda m: m.RMSNorm(8)),
    "GroupNorm": ((2, 6, 5, 5), "group", [1, 2, 3], 1e-5, lambda m: m.GroupNorm(3, 6)),
    "GroupNorm, one": ((2, 6, 5, 5), "group", [1, 2, 3], 1e-5, lambda m: m.GroupNorm(1, 6)),
    "GroupNorm, rows": ((8, 6), "group", [1], 1e-5, lambda m: m.GroupNorm(3, 6)),
    "InstanceNorm": ((2, 6, 5, 5), "instance", [2, 3], 1e-5, lambda m: m.InstanceNorm2d(6)),
    "InstanceNorm1d": ((4, 6, 8), "instance", [2], 1e-5, lambda m: m.InstanceNorm1d(6)),
}


@pytest.mark.parametrize("library", [nn, lnlib], ids=["torch", "lnlib"])
@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("random", [False, True])
def test_torch_and_ours(library, name, random):
    shape, kind, axes, eps, make = TORCH[name]
    module = make(library)
    for parameter in module.parameters() if random else ():
        nn.init.normal_(parameter)
    # on CPUs torch rounds what instance norm, as batch norm, saves of a float16 input to float16
    rounds = "Instance" in name and library is nn
    dtype = "float16" if rounds else "float32"
    groups = {"GroupNorm": 3, "GroupNorm, one": 1, "GroupNorm, rows": 3}.get(name)
    report = check(
        module, shape, kind, axes, eps, num_groups=groups, statistics_dtype=dtype, faults=[]
    )
    if random and module.weight is not None:
        np.testing.assert_allclose(report.weight, module.weight.detach(), atol=1e-5)


def test_keras():
    if "Keras" not in parity.installed():
        pytest.skip("Keras is not installed")
    layers = parity.keras.load().layers
    cases = [
        (layers.LayerNormalization(), (8, 16), "layer", [1], 1e-3, None),
        (layers.LayerNormalization(axis=[1, 2]), (4, 6, 8), "layer", [1, 2], 1e-3, None),
        (layers.RMSNormalization(), (8, 16), "rms", [1], 1e-6, None),
        (layers.GroupNormalization(groups=3), (2, 5, 5, 6), "group", [1, 2, 3], 1e-3, 3),
        (layers.GroupNormalization(groups=-1), (2, 5, 5, 6), "group", [1, 2], 1e-3, 6),
    ]
    for layer, shape, kind, axes, eps, groups in cases:
        layer.build((None, *shape[1:]))
        report = check(layer, shape, kind, axes, eps, num_groups=groups)
        # E[x²] − E[x]² of a large mean falls below zero or not as TensorFlow's threads add it up
        assert not [fault for fault in report.faults if "falls below zero" not in fault]
    layer = layers.BatchNormalization()
    layer.build((None, 16))
    check(layer, (8, 16), "batch", [0], 1e-3, statistics_dtype=None, divisor=None, faults=[])
    check(lambda x: layer(x, training=True), (8, 16), "batch", [0], 1e-3)
    report = identify(layers.UnitNormalization(), (8, 16))
    assert report.faults[0].startswith("this is L2 normalization")


def test_flax_nnx():
    nnx = pytest.importorskip("flax.nnx")
    rngs = nnx.Rngs(0)
    check(nnx.LayerNorm(16, rngs=rngs), (8, 16), "layer", [1], 1e-6, gain="weight", faults=[])
    check(nnx.RMSNorm(16, rngs=rngs), (8, 16), "rms", [1], 1e-6, gain="weight", faults=[])
    norm = nnx.BatchNorm(16, rngs=rngs)
    before = np.asarray(norm.mean[...])
    report = check(norm, (8, 16), "batch", [0], 1e-5)
    assert report.faults == ("changes its state when called: mean, var",)
    assert np.array_equal(before, np.asarray(norm.mean[...]))
    norm.use_running_average = True
    check(norm, (8, 16), "batch", [0], 1e-5, statistics_dtype=None, divisor=None, faults=[])


def test_flax_linen():
    linen, jax = pytest.importorskip("flax.linen"), pytest.importorskip("jax")
    module, x = linen.LayerNorm(epsilon=1e-4), jax.numpy.ones((8, 16))
    variables = module.init(jax.random.PRNGKey(0), x)
    check(module.bind(variables), (8, 16), "layer", [1], 1e-4, gain="weight", faults=[])
    check(functools.partial(module.apply, variables), (8, 16), "layer", [1], 1e-4, faults=[])
    report = identify(module, (8, 16))
    assert "pass module.bind(variables)" in report.faults[0]


@pytest.mark.parametrize("hidden", [False, True])
def test_onnx_runtime(hidden):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    weight, bias = np.random.default_rng(0).normal(size=(2, 16)).astype("float32")
    model = parity.to_onnx(parity.Parameters(1e-5, weight, bias))
    if hidden:
        model = onnxruntime.InferenceSession(model.SerializeToString())
    report = check(model, (8, 16), "layer", [1], 1e-5, gain=None if hidden else "weight", faults=[])
    np.testing.assert_allclose(report.weight, weight, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(report.bias, bias, atol=1e-5)


def test_tensorflow_and_jax_functions():
    tf, jax = pytest.importorskip("tensorflow"), pytest.importorskip("jax")

    def in_tensorflow(x):
        return x * tf.math.rsqrt(tf.reduce_mean(x * x, -1, keepdims=True) + 1e-3)

    def in_jax(x):
        return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-3)

    for f in (in_tensorflow, tf.function(in_tensorflow), in_jax, jax.jit(in_jax)):
        check(f, (8, 16), "rms", [1], 1e-3, statistics_dtype="float16", faults=[])


def test_plain_python():
    def norm(rows):
        out = []
        for row in rows:
            mean = sum(row) / len(row)
            var = sum((v - mean) ** 2 for v in row) / (len(row) - 1)
            out.append([(v - mean) / (var + 1e-5) ** 0.5 for v in row])
        return out

    check(norm, (8, 16), "layer", [1], 1e-5, divisor="n-1", statistics_dtype="float64", faults=[])


@pytest.mark.parametrize(
    ("name", "gain", "casts"),
    [
        ("llama.modeling_llama.LlamaRMSNorm", "weight", "before weight"),
        ("gemma.modeling_gemma.GemmaRMSNorm", "1 + weight", "last"),
        ("t5.modeling_t5.T5LayerNorm", "weight", "before weight"),
        ("olmo2.modeling_olmo2.Olmo2RMSNorm", "weight", "last"),
        ("qwen3.modeling_qwen3.Qwen3RMSNorm", "weight", "before weight"),
    ],
)
def test_transformers(name, gain, casts):
    pytest.importorskip("transformers")
    module, _, cls = name.rpartition(".")
    module = pytest.importorskip(f"transformers.models.{module}")
    norm = getattr(module, cls)(64)
    report = check(norm, (4, 6, 64), "rms", [2], 1e-6, gain=gain, faults=[])
    assert report.casts == casts
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(0))
    report = check(norm, (4, 6, 64), "rms", [2], 1e-6, gain=gain, faults=[])
    np.testing.assert_allclose(report.weight, norm.weight.detach(), atol=1e-5)
