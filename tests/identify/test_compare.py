"""Differences between two norms, in words, the largest effect first."""

import numpy as np
import pytest
import torch
from torch import nn

import lnlib
from lnlib import compare


def says(f, g, shape=(8, 16)):
    return [difference.says for difference in compare(f, g, shape).differences]


def by_hand(x, ddof=1, eps=1e-5):
    mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=ddof)
    return (x - mean) / torch.sqrt(var + eps)


def test_the_divisor():
    found = compare(nn.LayerNorm(16), by_hand, (8, 16)).differences[0]
    assert found.says == "the second divides by n − 1: a factor of 0.968 at n = 16"
    assert found.effect == pytest.approx(1 - np.sqrt(15 / 16), rel=1e-3)


def test_the_advice_on_the_divisor_reproduces_the_second():
    found = compare(nn.LayerNorm(16), by_hand, (8, 16)).differences[0]
    factor, scale = (float(found.reproduce.split()[k].rstrip(".")) for k in (3, -1))
    ours = nn.LayerNorm(16, eps=1e-5 * scale)
    nn.init.constant_(ours.weight, factor)
    x = torch.from_numpy(found.input).float()
    torch.testing.assert_close(ours(x), by_hand(x), rtol=1e-5, atol=1e-5)


def test_eps_is_shown_by_rows_of_its_size():
    found = compare(nn.LayerNorm(16), nn.LayerNorm(16, eps=1e-3)).differences
    says = "ε is 1e-05 under the root in the first, 0.001 under the root in the second"
    assert found[0].says == says
    assert found[0].reproduce == "eps=0.001"
    assert np.abs(found[0].input).std() < 0.1
    x = torch.from_numpy(found[0].input).float()
    y, z = (nn.functional.layer_norm(x, (16,), eps=eps) for eps in (1e-5, 1e-3))
    effect = ((y - z).abs().max() / y.abs().max()).item()
    assert effect == pytest.approx(found[0].effect, rel=1e-3)


def test_the_largest_effect_comes_first():
    found = compare(nn.LayerNorm(16), nn.RMSNorm(16, eps=1e-5)).differences
    assert found[0].says == "the second does not subtract the mean"
    assert found[0].shown_by == "rows of mean 5 and spread 1"
    several = compare(nn.LayerNorm(16), by_hand, (8, 16)).differences
    assert [d.effect for d in several] == sorted((d.effect for d in several), reverse=True)


def test_groups_axes_and_parameters():
    assert says(nn.GroupNorm(2, 6), nn.GroupNorm(3, 6), (2, 6, 5, 5))[0] == (
        "the first shares statistics over axes [1, 2, 3] in 2 groups, "
        "the second over [1, 2, 3] in 3 groups"
    )
    other = nn.LayerNorm(16)
    nn.init.constant_(other.weight, 2.0)
    nn.init.constant_(other.bias, 0.5)
    assert says(nn.LayerNorm(16), other) == ["γ differs by up to 1", "β differs by up to 0.5"]


def test_no_difference_and_no_norm():
    assert str(compare(nn.LayerNorm(16), lnlib.LayerNorm(16))).endswith("no difference")
    no_norm = "one of the two is no norm that could be identified"
    assert says(nn.LayerNorm(16), nn.Tanh()) == [no_norm]
    assert "fails" in says(nn.LayerNorm(16), nn.LayerNorm(8))[0]


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda m: m.LayerNorm(7), (8, 7)),
        (lambda m: m.LayerNorm((3, 5)), (8, 3, 5)),
        (lambda m: m.GroupNorm(3, 6), (8, 6)),
        (lambda m: m.BatchNorm2d(6), (2, 6, 5, 5)),
    ],
)
def test_the_shape_is_guessed_from_the_parameters(make, shape):
    assert compare(make(nn), make(lnlib)).first.shape == shape


class Casts(nn.RMSNorm):
    """RMSNorm that casts before the weight, as Llama's."""

    def forward(self, x):
        y = nn.functional.rms_norm(x.float(), self.normalized_shape, None, self.eps)
        return self.weight * y.to(x.dtype)


def test_what_half_precision_alone_shows_is_named_too():
    found = says(nn.RMSNorm(16, eps=1e-6), Casts(16, eps=1e-6))
    sentence = "the cast to half precision stands last in the first, before weight in the second"
    assert found == [sentence]
