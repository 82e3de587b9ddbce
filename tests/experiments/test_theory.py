"""The deep nets of the theory pages: their layers and measures, by definition."""

from copy import deepcopy
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lnlib.experiments import Ensemble, digits, recorded, theory
from lnlib.randomness import moved

LAYERS = {
    "norm-relu": lambda x, w, n: F.relu(n(w(x))),
    "relu-norm": lambda x, w, n: n(F.relu(w(x))),
    "residual": lambda x, w, n: x + w(F.relu(n(x))),
}


@pytest.mark.parametrize("order", LAYERS)
def test_layers_of_the_deep_net_are_their_formula(order):
    net, x = theory.MLP(2, nn.LayerNorm, order).double(), torch.randn(5, 64).double()
    expected = x
    for layer in net.hidden:
        expected = LAYERS[order](expected, layer.linear, lambda v: F.layer_norm(v, (64,)))
    if order == "residual":
        expected = F.layer_norm(expected, (64,))
    torch.testing.assert_close(net(x), net.scores(expected), rtol=0, atol=1e-12)


def test_deep_net_refuses_an_unknown_order():
    with pytest.raises(ValueError, match=r"order: expected one of .* got 'relu'"):
        theory.MLP(2, order="relu")


@pytest.mark.parametrize("norm", theory.NORMS)
def test_gain_scales_the_start(norm):
    for gain in (0.1, 1.0):
        net = theory.MLP(1, theory.NORMS[norm], gain=gain)
        assert net.hidden[0].linear.weight.std().item() == pytest.approx(gain * 32**-0.5, rel=0.05)


def gradient_of(net, x, y):
    found = torch.autograd.grad(F.cross_entropy(net(x), y), list(net.parameters()))
    return dict(zip(dict(net.named_parameters()), found, strict=True))


def one_ensemble(norm):
    """Return a net of its own for each of two learning rates, side by side and alone."""
    ensemble = Ensemble(lambda: theory.MLP(3, theory.NORMS[norm]), (0.1, 1.0), seeds=1)
    torch.manual_seed(moved())
    return ensemble, theory.MLP(3, theory.NORMS[norm]), *(v[:40] for v in digits().training)


@pytest.mark.parametrize("norm", ["none", "LN", "BN"])
def test_covariate_shift_is_its_definition(norm):
    ensemble, net, x, y = one_ensemble(norm)
    shift = theory.covariate_shift(ensemble, x, y, (1, 2))
    for layer, rate in product((1, 2), (0.1, 1.0)):
        weight = f"hidden.{layer}.linear.weight"
        before = gradient_of(net, x, y)
        moved = deepcopy(net)
        for name, g in before.items():
            if name.startswith(tuple(f"hidden.{i}." for i in range(layer))):
                moved.get_parameter(name).data -= rate * g
        old, new = before[weight].flatten(), gradient_of(moved, x, y)[weight].flatten()
        at = layer - 1, (0.1, 1.0).index(rate), 0
        expected = {
            "distance": (new - old).norm(),
            "cosine": new @ old / (new.norm() * old.norm()),
            "relative": (new - old).norm() / old.norm(),
        }
        for name, value in expected.items():
            torch.testing.assert_close(getattr(shift, name)[at], value, rtol=1e-3, atol=1e-5)


def test_nothing_shifts_below_the_first_layer():
    ensemble, _, x, y = one_ensemble("LN")
    assert not theory.covariate_shift(ensemble, x, y, (0,)).distance.any()


@pytest.mark.parametrize("norm", ["none", "LN", "BN"])
def test_along_gradient_is_its_definition(norm):
    ensemble, net, x, y = one_ensemble(norm)
    steps = (0.05, 0.4)
    losses, slopes = theory.along_gradient(ensemble, x, y, steps)
    start = gradient_of(net, x, y)
    length = torch.cat([g.flatten() for g in start.values()]).norm()
    for i, step in enumerate(steps):
        moved = deepcopy(net)
        for name, g in start.items():
            moved.get_parameter(name).data -= step * g
        there = gradient_of(moved, x, y)
        change = torch.cat([(there[n] - g).flatten() for n, g in start.items()]).norm()
        expected = F.cross_entropy(moved(x), y).detach()
        torch.testing.assert_close(losses[i, 0, 0], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(slopes[i, 0, 0], change / (step * length), rtol=1e-2, atol=1e-4)


def test_theory_run_says_which_losses_are_finite():
    found = theory.run(depth=20, norm="none", gain=10.0, octaves=(4, 5), seeds=2, steps=3)
    assert found["rates"] == [0.16, 0.32]
    assert found["loss"] == [[None, None], [None, None]]
    assert None not in found["test"][-1]


def test_theory_run_measures_and_looks_back():
    found = theory.run(depth=6, norm="LN", octaves=(4, 5), seeds=2, measured=True, steps=120)
    for name in ("distance 2", "cosine 4", "relative 6", "band", "slope", "early test", "test"):
        assert [len(row) for row in found[name]] == [2, 2], name
    assert found["test"] != found["early test"]


def test_own_rate_is_not_at_the_edge_of_what_was_tried():
    for row in recorded("theory").rows:
        assert 0 < theory.own_rate(row) < len(row["rates"]) - 1, row["norm"]


def test_centering_is_what_layer_norm_adds_to_rms_norm():
    torch.manual_seed(moved())
    x = torch.randn(5, 64).double()
    centered = theory.NORMS["centering"](64)(x)
    found = F.rms_norm(centered, (64,), eps=1e-5)
    torch.testing.assert_close(found, F.layer_norm(x, (64,)), rtol=0, atol=1e-12)
