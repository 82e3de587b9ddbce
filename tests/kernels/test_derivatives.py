"""The derivatives of the kernels, and what of torch stands on them."""

import pytest
import torch
from kernel_cases import DEVICE, data, random
from torch.autograd import forward_ad, gradcheck, gradgradcheck

import lnlib
from lnlib import formula, functional, kernels
from lnlib.kernels.operators import norm_backward, norm_forward


@pytest.mark.parametrize(("eps", "fast_mode"), [(1e-5, False), (0.3, True)])
def test_gradients_by_differences(eps, fast_mode):
    """Every entry of the Jacobians for one ε, random combinations of them for the other."""
    x, weight, bias, _ = data(2, 4)
    residual = random(2, 4, seed=9).requires_grad_()

    def layer(x, residual, weight, bias):
        return kernels.add_layer_norm(x, residual, (4,), weight, bias, eps)

    def rms(x, weight):
        return kernels.rms_norm(x, (4,), weight, eps)

    for function, inputs in ((layer, (x, residual, weight, bias)), (rms, (x, weight))):
        assert gradcheck(function, inputs, fast_mode=fast_mode)
        assert gradgradcheck(function, inputs, fast_mode=fast_mode)


def test_third_derivative():
    x, directions = data(2, 6)[0], [random(2, 6, seed=s) for s in (1, 2, 3)]
    found = []
    for norm in (kernels.layer_norm, functional.layer_norm):
        value = norm(x, (6,), eps=0.3)
        for v in directions:
            (value,) = torch.autograd.grad(value, x, v, create_graph=True)
        found.append(value.detach())
    torch.testing.assert_close(*found, rtol=0, atol=1e-11)


@pytest.mark.parametrize("columns", [8, 700, 40_000])
def test_gradient_identities(columns):
    x, _, _, dy = data(3, columns)
    for eps in (1e-9, 0.3):
        y = kernels.layer_norm(x, (columns,), eps=eps)
        (dx,) = torch.autograd.grad(y, x, dy)
        c = (x - x.mean(1, keepdim=True)).detach()
        rstd = 1 / torch.sqrt(c.square().mean(1) + eps)
        assert dx.sum(1).abs().max() < 1e-10
        want = eps * rstd**3 * (dy * c).sum(1)
        torch.testing.assert_close((dx * c).sum(1), want, rtol=0, atol=1e-9)


def test_operators_are_registered_right():
    x, weight, bias, dy = data(3, 20, torch.float32)
    constants = (20, 1e-5, True, 0.0)
    forward = (x, None, weight, bias, *constants, True)
    torch.library.opcheck(norm_forward, forward)
    torch.library.opcheck(norm_forward, (x, dy.double(), weight, None, 20, 1e-5, False, 1.0, True))
    stats = norm_forward(*forward)[2].detach()
    wanted = [True, False, True, True]
    torch.library.opcheck(norm_backward, (dy, None, x, weight, bias, stats, *constants, wanted))


def test_compiles_without_a_break():
    arguments = data(3, 20, torch.float32)

    def norm(x, weight, bias):
        return kernels.layer_norm(x, (20,), weight, bias).sin()

    compiled = torch.compile(norm, fullgraph=True, backend="aot_eager")
    results = []
    for f in (norm, compiled):
        y = f(*arguments[:3])
        results.append((y, *torch.autograd.grad(y, arguments[:3], arguments[3])))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.fixture
def launches(monkeypatch):
    """Let the kernels take tensors of this machine, and note which norm was asked of them."""
    asked = []

    class Counted:
        takes = staticmethod(kernels.takes)

        def layer_norm(self, *arguments):
            asked.append("layer_norm")
            return kernels.layer_norm(*arguments)

        def rms_norm(self, *arguments):
            asked.append("rms_norm")
            return kernels.rms_norm(*arguments)

    monkeypatch.setattr(kernels, "DEVICES", (DEVICE,))
    with functional.only(Counted(), formula):
        yield asked


def test_functions_and_modules_use_the_kernels(launches):
    x, weight, bias, dy = data(3, 12, torch.float32)
    layer, rms = lnlib.LayerNorm(12, device=DEVICE), lnlib.RMSNorm(12, device=DEVICE)
    functional.layer_norm(x, (12,), weight, bias).backward(dy)
    layer(x), rms(x), functional.rms_norm(x, (12,), weight)
    assert launches == ["layer_norm", "layer_norm", "rms_norm", "rms_norm"]


def test_one_way_can_be_chosen_and_the_ways_come_back(launches):
    x, ways = data(3, 12, torch.float32)[0], functional.ways
    fast = functional.layer_norm(x, (12,))
    with functional.only(formula):
        torch.testing.assert_close(functional.layer_norm(x, (12,)), fast)
    assert launches == ["layer_norm"]
    with pytest.raises(ZeroDivisionError), functional.only(formula):
        1 / 0  # noqa: B018
    assert functional.ways == ways


def test_forward_mode_goes_without_the_kernels(launches):
    x, v = data(3, 12)[0].detach(), random(3, 12, seed=4)
    tangent = torch.func.jvp(lambda x: functional.layer_norm(x, (12,), eps=0.3), (x,), (v,))[1]
    with forward_ad.dual_level():
        y = functional.layer_norm(forward_ad.make_dual(x, v), (12,), eps=0.3)
        torch.testing.assert_close(forward_ad.unpack_dual(y).tangent, tangent)
    assert launches == []


def test_a_tensor_that_no_way_takes():
    x = data(3, 12)[0].detach()
    with (
        functional.only(kernels),
        forward_ad.dual_level(),
        pytest.raises(RuntimeError, match=r"lnlib.kernels cannot .*; add lnlib.formula"),
    ):
        functional.layer_norm(x, (12,))


def test_a_compiled_function_follows_the_ways():
    x = data(3, 12)[0].detach()
    compiled = torch.compile(lambda x: functional.layer_norm(x, (12,)), fullgraph=True)
    want = compiled(x)
    with functional.only(formula):
        torch.testing.assert_close(compiled(x), want)
