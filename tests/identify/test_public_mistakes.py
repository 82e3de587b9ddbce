"""Mistakes that public repositories hold, written anew; and what is no norm."""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lnlib import identify

SHAPE = (4, 6, 16)


def mean(x):
    return x.mean(-1, keepdim=True)


def var(x):
    return x.var(-1, keepdim=True, correction=0)


def centered(x):
    return x - mean(x)


def one_pass(x):
    return centered(x) / torch.sqrt((x * x).mean(-1, keepdim=True) - mean(x) ** 2 + 1e-5)


def from_the_future(x):
    y = F.layer_norm(x, (16,))
    return y + 0.01 * torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)


def from_the_neighbor(x):
    return F.layer_norm(x, (16,)) + 0.01 * x.roll(1, 0)


MISTAKES = {
    "the square in place of the root": (
        lambda x: centered(x) / (var(x) + 1e-5) ** 2,
        "square of the variance",
    ),
    "no root": (lambda x: centered(x) / (var(x) + 1e-5), "divides by the variance"),
    "one over rsqrt": (
        lambda x: centered(x) / torch.rsqrt(var(x) + 1e-5),
        "multiplies by the root",
    ),
    "mean forgotten": (lambda x: x / torch.sqrt(var(x) + 1e-5), "not subtracted from the values"),
    "mean forgotten in the variance": (
        lambda x: centered(x) / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5),
        "not from what is squared",
    ),
    "mean absolute deviation": (
        lambda x: centered(x) / (mean(centered(x).abs()) + 1e-5),
        "mean absolute deviation",
    ),
    "statistics detached": (
        lambda x: centered(x) / torch.sqrt(var(x).detach() + 1e-5),
        "takes the variance for constant",
    ),
    "mean and variance detached": (
        lambda x: (x - mean(x).detach()) / torch.sqrt(var(x).detach() + 1e-5),
        "takes mean and variance for constant",
    ),
    "no gradient": (lambda x: F.layer_norm(x.detach(), (16,)), "the graph is cut"),
    "E[x²] − E[x]²": (one_pass, "falls below zero"),
    "no ε": (lambda x: centered(x) / torch.sqrt(var(x)), "give NaN"),
    "in place": (lambda x: x.div_(x.norm(dim=-1, keepdim=True) / 4), "overwrites its input"),
    "a leak from the future": (from_the_future, "leak from the future"),
    "a leak between examples": (from_the_neighbor, "along axis 0"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_public_mistake_is_named(name):
    f, sentence = MISTAKES[name]
    report = identify(f, SHAPE)
    assert any(sentence in fault for fault in report.faults), report


@pytest.mark.parametrize("name", [n for n in MISTAKES if "absolute" not in n])
def test_a_mistake_does_not_hide_the_axes(name):
    assert identify(MISTAKES[name][0], SHAPE).axes == (2,)


def test_a_gain_of_zero_hides_no_axis():
    norm = nn.LayerNorm(16)
    nn.init.normal_(norm.weight)
    norm.weight.data[::3] = 0
    report = identify(norm, (8, 16))
    assert (report.kind, report.axes, report.faults) == ("layer", (1,), ())


def test_two_eps_are_no_single_one():
    report = identify(lambda x: centered(x) / (torch.sqrt(var(x) + 1e-4) + 1e-2), SHAPE)
    assert (report.kind, report.eps, report.eps_place) == ("layer", None, None)
    assert "that no place of one ε explains" in str(report)


def test_no_eps_is_zero():
    assert identify(lambda x: centered(x) / torch.sqrt(var(x)), SHAPE).eps == 0


def test_the_annotated_transformer():
    report = identify(lambda x: centered(x) / (x.std(-1, keepdim=True) + 1e-6), SHAPE)
    assert (report.kind, report.divisor, report.eps_place) == ("layer", "n-1", "outside")
    assert report.eps == pytest.approx(1e-6)


def test_the_wrong_axis_is_seen():
    report = identify(lambda x: F.layer_norm(x.mT, (6,)).mT, SHAPE)
    assert report.axes == (1,)
    report = identify(
        lambda x: (x - x.mean(0)) / torch.sqrt(x.var(0, correction=0) + 1e-5), (8, 16)
    )
    assert (report.kind, report.axes) == ("batch", (0,))


def test_a_mean_without_keepdim_is_no_norm():
    report = identify(lambda x: (x - x.mean(-1)) / (x.std(-1) + 1e-5), (8, 8))
    assert report.kind == "unknown"
    assert any("axis 1" in fault or "axis 0" in fault for fault in report.faults)


def test_mean_and_variance_over_different_axes_are_no_norm():
    f = lambda x: centered(x) / torch.sqrt(x.var((1, 2), keepdim=True, correction=0) + 1e-5)  # noqa: E731
    assert identify(f, SHAPE).kind == "unknown"


def test_a_gain_applied_twice_is_named():
    class Twice(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x) * self.weight

    norm = Twice(16, bias=False)
    nn.init.uniform_(norm.weight, 0.5, 2)
    assert "weight is applied twice" in identify(norm, (8, 16)).faults


def test_a_scaled_gain_is_named():
    class Scaled(nn.LayerNorm):
        def forward(self, x):
            return 0.7 * super().forward(x)

    norm = Scaled(16, bias=False)
    nn.init.uniform_(norm.weight, 0.5, 2)
    assert "the gain is neither weight nor 1 + weight" in identify(norm, (8, 16)).faults


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax_is_told_from_norms(axis):
    report = identify(functools.partial(torch.softmax, dim=axis), SHAPE)
    assert report.kind == "unknown"
    assert report.faults[0] == f"this is softmax over axis {axis}, not a norm"


def test_l2_normalization_is_told_from_norms():
    report = identify(functools.partial(F.normalize, dim=-1), SHAPE)
    assert (report.kind, report.eps, report.eps_place) == ("unknown", 1e-12, "max")
    assert report.faults[0].startswith("this is L2 normalization")


def test_l2_normalization_times_the_root_of_n_is_rms_norm():
    report = identify(lambda x: F.normalize(x, dim=-1) * 4, SHAPE)
    assert (report.kind, report.faults) == ("rms", ())
    assert report.eps == pytest.approx(1e-12 / 4, rel=1e-3)


def test_dyt_is_told_from_norms():
    weight, bias = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    report = identify(lambda x: weight * torch.tanh(0.5 * x) + bias, SHAPE)
    assert report.kind == "unknown"
    assert "DyT" in report.faults[0]
    assert "α = 0.5" in report.faults[0]


@pytest.mark.parametrize("f", [torch.relu, F.gelu, torch.sin, torch.sign, torch.exp])
def test_other_functions_of_each_value_are_not_taken_for_dyt(f):
    report = identify(f, SHAPE)
    assert report.kind == "unknown"
    assert "DyT" not in str(report)


def test_maps_without_statistics_are_none():
    for f in (nn.Identity(), nn.Linear(16, 16), lambda x: 3 * x + 1, centered):
        report = identify(f, SHAPE)
        assert (report.kind, report.faults, report.eps) == ("none", (), None)
    assert "the identity" in str(identify(nn.Identity(), SHAPE))
    report = identify(lambda x: 3 * x + torch.arange(16), SHAPE)
    np.testing.assert_allclose(report.weight, np.full(16, 3), rtol=1e-5)
    np.testing.assert_allclose(report.bias, np.arange(16), atol=1e-5)


def test_other_normalizations_are_unknown():
    others = {
        "range": lambda x: (x - x.amin(-1, keepdim=True)) / (x.amax(-1, keepdim=True) - mean(x)),
        "sum": lambda x: x / x.sum(-1, keepdim=True),
        "log softmax": lambda x: x.log_softmax(-1),
        "largest value": lambda x: x / x.abs().amax(-1, keepdim=True),
        "clipped": lambda x: F.layer_norm(x, (16,)).clamp(-2, 2),
        "then tanh": lambda x: torch.tanh(F.layer_norm(x, (16,))),
    }
    for name, f in others.items():
        report = identify(f, SHAPE)
        assert report.kind == "unknown", name
        assert report.faults, name
