"""The torch functions: against the NumPy reference, and under every way torch differentiates."""

from functools import partial

import numpy as np
import pytest
import torch
from oracles import assert_close, normal
from torch.func import grad, hessian, jvp, vmap

import lnlib
from lnlib import formula, functional, reference
from lnlib.kernels import cpu

EPS = (1e-5, 0.3)
SHAPE = (3, 4, 5)
METHODS = {
    "layer_norm": {"normalized_shape": (4, 5)},
    "rms_norm": {"normalized_shape": (5,)},
    "group_norm": {"num_groups": 2},
    "instance_norm": {},
    "batch_norm": {"training": True},
}

with_eps = pytest.mark.parametrize("eps", EPS)
with_each_method = pytest.mark.parametrize("method", METHODS)
with_each_way = pytest.mark.usefixtures("each_way")
with_half = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


@pytest.fixture(params=[cpu, formula] if cpu.INSTALLED else [formula], ids=lambda way: way.__name__)
def each_way(request):
    """The loops and, where they cannot go, the formula; then the formula alone."""
    with functional.only(*dict.fromkeys([request.param, formula])):
        yield


def draw(method, dtype=torch.float64, requires_grad=False):
    """Input and parameters of a method."""
    shape = METHODS[method].get("normalized_shape", SHAPE[1:2])
    names = ("weight",) if method == "rms_norm" else ("weight", "bias")
    values = {name: normal(*shape, seed=seed) for seed, name in enumerate(names, 2)}
    tensors = {"input": normal(*SHAPE) * 2 + 1, **values}
    return {k: v.to(dtype).requires_grad_(requires_grad) for k, v in tensors.items()}


def cotangent(like, seed=1):
    return normal(*like.shape, seed=seed, dtype=like.dtype)


def call(library, method, input, eps, weight=None, bias=None):
    options = METHODS[method]
    if method == "batch_norm":
        options = {"running_mean": None, "running_var": None, **options}
    affine = {"weight": weight} if method == "rms_norm" else {"weight": weight, "bias": bias}
    return getattr(library, method)(input, **options, **affine, eps=eps)


def of_input(method, eps, tensors=None):
    """The method as a function of its input alone."""
    parameters = {k: v.detach() for k, v in (tensors or {}).items() if k != "input"}
    return partial(call, functional, method, eps=eps, **parameters)


def composition(method, x, eps):
    """The definition in plain torch operations, without parameters."""
    axes = {"layer_norm": (1, 2), "rms_norm": (2,), "instance_norm": (2,), "batch_norm": (0, 2)}
    v = x.reshape(3, 2, 2, 5) if method == "group_norm" else x
    over = (2, 3) if method == "group_norm" else axes[method]
    c = v if method == "rms_norm" else v - v.mean(over, keepdim=True)
    return (c * (c.square().mean(over, keepdim=True) + eps).rsqrt()).reshape(x.shape)


# --- values and gradients -------------------------------------------------------------------------


@with_each_way
@with_eps
@with_each_method
def test_values_are_those_of_the_reference(method, eps):
    tensors = draw(method)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    want = call(reference, method, eps=eps, **arrays)
    assert_close(call(functional, method, eps=eps, **tensors), torch.from_numpy(want))


@with_each_way
@with_eps
@with_each_method
def test_values_and_gradients_are_those_of_torch(method, eps):
    tensors = draw(method, requires_grad=True)
    ours = call(functional, method, eps=eps, **tensors)
    torchs = call(torch.nn.functional, method, eps=eps, **tensors)
    assert_close(ours, torchs)
    dy = cotangent(ours)
    got = torch.autograd.grad(ours, tuple(tensors.values()), dy)
    want = torch.autograd.grad(torchs, tuple(tensors.values()), dy)
    for g, w in zip(got, want, strict=True):
        assert_close(g, w)


@with_each_way
@with_eps
@with_each_method
def test_first_and_second_derivatives_pass_gradcheck(method, eps):
    tensors = draw(method, requires_grad=True)

    def function(*values):
        return call(functional, method, eps=eps, **dict(zip(tensors, values, strict=True)))

    assert torch.autograd.gradcheck(function, tuple(tensors.values()), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, tuple(tensors.values()))


@with_each_way
@with_eps
@with_each_method
def test_three_derivatives_are_those_of_the_composition(method, eps):
    """Released torch is silently wrong in the third derivative of layer, batch, instance norm."""

    def derivatives(function):
        x, found = draw(method, requires_grad=True)["input"], []
        value = function(x)
        for order in range(3):
            (value,) = torch.autograd.grad(value, x, cotangent(x, order), create_graph=True)
            found.append(value)
        return found

    got = derivatives(of_input(method, eps))
    for g, w in zip(got, derivatives(lambda x: composition(method, x, eps)), strict=True):
        assert_close(g, w)


# --- transforms -----------------------------------------------------------------------------------


@with_each_method
def test_vmap_is_a_loop(method):
    function = of_input(method, 0.3, draw(method))
    batch = torch.stack([draw(method)["input"] * scale for scale in (1.0, -2.0, 0.5)])
    assert_close(vmap(function)(batch), torch.stack([function(x) for x in batch]))
    scalar = lambda x: (function(x) * cotangent(x)).sum()  # noqa: E731
    gradients = torch.stack([grad(scalar)(x) for x in batch])
    assert_close(vmap(grad(scalar), randomness="same")(batch), gradients)


@with_eps
@with_each_method
def test_forward_mode_composes(method, eps):
    """Nested forward mode returns 0 for any `autograd.Function`: ours must not be one there."""
    ours, plain = of_input(method, eps), partial(composition, method, eps=eps)
    x = draw(method)["input"]
    v, w = cotangent(x, 1), cotangent(x, 2)

    def second(function):
        return jvp(lambda x: jvp(function, (x,), (v,))[1], (x,), (w,))[1]

    assert_close(jvp(ours, (x,), (v,))[1], jvp(plain, (x,), (v,))[1])
    want = second(plain)
    assert want.abs().max() > 1e-3
    assert_close(second(ours), want)
    row = lambda f: lambda x: (f(x) * v).sum()  # noqa: E731
    assert_close(hessian(row(ours))(x), hessian(row(plain))(x))


@with_each_method
def test_compiles_without_a_break(method):
    tensors = draw(method, requires_grad=True)
    function = partial(call, functional, method, eps=0.3)
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    got, want = compiled(**tensors), function(**tensors)
    assert_close(got, want)
    dy = cotangent(want)
    for g, w in zip(
        torch.autograd.grad(got, tuple(tensors.values()), dy),
        torch.autograd.grad(want, tuple(tensors.values()), dy),
        strict=True,
    ):
        assert_close(g, w)


# --- precision ------------------------------------------------------------------------------------


@with_each_way
@with_half
@with_each_method
def test_half_precision_rounds_once(method, dtype):
    tensors = draw(method, dtype)
    y = call(functional, method, eps=1e-5, **tensors)
    want = call(functional, method, eps=1e-5, **{k: v.double() for k, v in tensors.items()})
    assert y.dtype == dtype
    unit = torch.finfo(dtype).eps / 2
    assert ((y.double() - want).abs() <= 1.01 * unit * want.abs().clamp(min=0.1)).all()


@with_each_way
@with_each_method
def test_autocast_keeps_the_dtype_of_the_input(method):
    tensors = draw(method, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = call(functional, method, eps=1e-5, **tensors)
    assert y.dtype == torch.float32
    assert torch.equal(y, call(functional, method, eps=1e-5, **tensors))


@with_each_way
@with_each_method
@pytest.mark.parametrize("size", [1e-30, 1e20, 3e38])
def test_rows_of_any_size(method, size):
    x = draw(method)["input"]
    x = x / x.abs().max()
    y = of_input(method, 0.0)((x * size).float())
    assert_close(y.double(), of_input(method, 0.0)(x), 32 * torch.finfo(torch.float32).eps)


@with_each_way
@with_eps
@pytest.mark.parametrize("value", [0.0, 0.1, 1e8, 1e20, 3e38])
@pytest.mark.parametrize("method", [m for m in METHODS if m != "rms_norm"])
def test_constant_input_returns_zero_and_a_finite_gradient(method, value, eps):
    x = torch.full(SHAPE, value, requires_grad=True)
    y = of_input(method, eps)(x)
    assert (y == 0).all()
    (got,) = torch.autograd.grad(y, x, cotangent(x))
    zero = torch.zeros(SHAPE, dtype=torch.float64, requires_grad=True)
    dy = cotangent(x).double()
    (want,) = torch.autograd.grad(composition(method, zero, eps), zero, dy)
    assert_close(got.double(), want, 32 * torch.finfo(torch.float32).eps)


# --- memory ---------------------------------------------------------------------------------------


@with_each_way
@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.flip(0).mT.contiguous().mT,
        lambda x: x[:1].expand(SHAPE),
        lambda x: x[..., :1].expand(SHAPE),
        lambda x: x.repeat_interleave(2, -1)[..., ::2],
    ],
    ids=["transposed", "zero-stride-batch", "zero-stride-last", "strided"],
)
@with_each_method
def test_memory_layout_does_not_matter(method, view):
    tensors = draw(method)
    x, copy = view(tensors.pop("input")), view(draw(method)["input"]).clone()
    got = call(functional, method, x, 0.3, **tensors)
    assert_close(got, call(functional, method, copy, 0.3, **tensors))


@with_each_way
@with_each_method
@pytest.mark.parametrize("recording", [True, False])
def test_the_input_is_left_alone(method, recording):
    tensors = draw(method, requires_grad=recording)
    copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    with torch.set_grad_enabled(recording):
        y = call(functional, method, eps=1e-5, **tensors)
    if recording:
        torch.autograd.grad(y, tuple(tensors.values()), cotangent(y))
    for name, tensor in tensors.items():
        assert torch.equal(tensor, copies[name])


@with_each_way
@with_each_method
def test_the_output_may_be_overwritten_before_backward(method):
    x, expected = draw(method, requires_grad=True)["input"], draw(method)["input"]
    y = of_input(method, 0.3)(x)
    dy = cotangent(x)
    y.mul_(2)
    (got,) = torch.autograd.grad(y, x, dy)
    expected.requires_grad_()
    (want,) = torch.autograd.grad(2 * composition(method, expected, 0.3), expected, dy)
    assert_close(got, want)


@with_each_way
@with_each_method
def test_empty_batch(method):
    tensors = draw(method, requires_grad=True)
    empty = tensors["input"][:0].detach().requires_grad_()
    y = call(functional, method, **{**tensors, "input": empty}, eps=1e-5)
    assert y.shape == (0, *SHAPE[1:])
    assert torch.autograd.grad(y, empty, torch.empty_like(y))[0].shape == empty.shape


# --- running statistics ---------------------------------------------------------------------------


@with_each_way
@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0, None])
def test_batch_norm_tracks_what_torch_tracks(momentum):
    layer = torch.nn.BatchNorm1d(4, momentum=momentum, affine=False, dtype=torch.float64)
    mean, var = torch.zeros(4).double(), torch.ones(4).double()
    count = torch.tensor(0)
    for scale in (1.0, 3.0, -0.5):
        x = draw("batch_norm")["input"] * scale
        y = functional.batch_norm(
            x, mean, var, training=True, momentum=momentum, num_batches_tracked=count
        )
        assert_close(y, layer(x))
    assert_close(mean, layer.running_mean)
    assert_close(var, layer.running_var)
    assert count == layer.num_batches_tracked
    assert_close(functional.batch_norm(x, mean, var), layer.eval()(x))


@with_each_way
def test_running_statistics_match_the_reference():
    x = draw("instance_norm")["input"]
    tensors, arrays = (torch.zeros(4).double(), torch.ones(4).double()), (np.zeros(4), np.ones(4))
    functional.instance_norm(x, *tensors)
    reference.instance_norm(x.numpy(), *arrays)
    for tensor, array in zip(tensors, arrays, strict=True):
        assert_close(tensor, torch.from_numpy(array))


@pytest.mark.parametrize("momentum", [0.1, None])
@with_half
def test_running_statistics_of_a_half_are_rounded_once(dtype, momentum):
    """What float32 would keep, rounded; torch's own are up to a unit farther off."""
    x = draw("batch_norm")["input"].to(dtype)
    halves, singles = (
        (torch.zeros(4, dtype=d), torch.ones(4, dtype=d)) for d in (dtype, torch.float)
    )
    for _ in range(2):
        for pair in (halves, singles):
            options = {"training": True, "momentum": momentum}
            functional.batch_norm(x, *pair, num_batches_tracked=torch.tensor(0), **options)
        for half, single in zip(halves, singles, strict=True):
            assert torch.equal(half, single.to(dtype))
            single.copy_(half)


def test_an_empty_batch_is_counted_and_changes_nothing_else():
    layer, twin = lnlib.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    for norm in (layer, twin):
        norm(torch.zeros(0, 3, 4))
    for (name, got), want in zip(
        layer.state_dict().items(), twin.state_dict().values(), strict=True
    ):
        assert torch.equal(got, want), name


@pytest.mark.parametrize("momentum", ["x", True, 1.5])
def test_momentum_is_checked_without_running_statistics_too(momentum):
    for library, x in ((functional, torch.zeros(2, 3)), (reference, np.zeros((2, 3)))):
        with pytest.raises((TypeError, ValueError), match="momentum"):
            library.batch_norm(x, None, None, training=True, momentum=momentum)
