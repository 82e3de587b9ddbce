"""The transformer of the experiments: what its pages rely on, against independent formulas."""

from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lnlib.experiments import transformer
from lnlib.experiments.transformer import (
    NORMS,
    BatchNorm,
    LanguageModel,
    Placement,
    Residual,
    Start,
    begin,
    scaled_power_norm,
)
from lnlib.variants import PowerNorm

FORMULAS = {
    "post": lambda x, f, n: n(x + f(x)),
    "pre": lambda x, f, n: x + f(n(x)),
    "output": lambda x, f, n: x + n(f(x)),
    "sandwich": lambda x, f, n: x + n(f(n(x))),
    "peri": lambda x, f, n: x + n(f(n(x))),
    "deepnorm": lambda x, f, n: n(2.0 * x + f(x)),  # (2 · 8)^¼
}


@pytest.mark.parametrize("placement", get_args(Placement))
def test_residual_is_its_formula(placement):
    branch, x = nn.Linear(6, 6).double(), torch.randn(5, 6, dtype=torch.float64)
    block = Residual(branch, 6, nn.LayerNorm, placement, depth=8).double()
    expected = FORMULAS[placement](x, branch, lambda v: F.layer_norm(v, (6,)))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


def test_placements_are_six_different_functions():
    x, branch = torch.randn(5, 6), nn.Linear(6, 6)
    outputs = [f(x, branch, lambda v: F.layer_norm(v, (6,))) for f in FORMULAS.values()]
    same = sum(torch.equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])
    assert same == 1  # peri differs from sandwich only in front of the first block


@pytest.mark.parametrize("centered", [True, False])
def test_batch_norm_averages_over_examples_and_positions(centered):
    norm, x = BatchNorm(6, centered=centered).double(), torch.randn(3, 4, 6).double() * 2 + 1
    x.requires_grad_()
    mean = x.mean((0, 1)) if centered else torch.zeros(6)
    variance = (x - mean).square().mean((0, 1))
    expected = (x - mean) / (variance + norm.eps).sqrt()
    torch.testing.assert_close(norm(x), expected, rtol=0, atol=1e-12)
    upstream = torch.randn_like(x)
    found, wanted = (torch.autograd.grad(y, x, upstream, True)[0] for y in (norm(x), expected))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    for _ in range(300):
        norm(x)
    torch.testing.assert_close(norm.eval()(x), expected, rtol=0.05, atol=1e-3)


def test_scaled_power_norm_forgets_the_length_of_a_row():
    norm, x = scaled_power_norm(6), torch.randn(5, 6) * 2
    expected = PowerNorm(6)(F.rms_norm(x, (6,), eps=1e-5))
    torch.testing.assert_close(norm(x), expected)
    grown = torch.cat([3 * x[:1], x[1:]])
    torch.testing.assert_close(norm(grown), norm(x), rtol=0, atol=1e-3)


@pytest.mark.parametrize("placement", get_args(Placement))
def test_language_model_does_not_see_the_future(placement):
    model, text = LanguageModel(2, placement=placement), torch.randint(128, (3, 20))
    changed = text.clone()
    changed[:, 12:] = torch.randint(128, (3, 8))
    before, after = model(text), model(changed)
    torch.testing.assert_close(before[:, :12], after[:, :12])
    assert (before[:, 12:] - after[:, 12:]).abs().max() > 0.01


def test_language_model_refuses_an_unknown_placement():
    with pytest.raises(ValueError, match=r"placement: expected one of .* got 'middle'"):
        LanguageModel(2, placement="middle")


def test_deepnorm_shrinks_what_its_paper_shrinks():
    plain, deep = (LanguageModel(8, placement=p) for p in ("post", "deepnorm"))
    ratio = {
        name: (dict(deep.named_parameters())[name].std() / p.std()).item()
        for name, p in plain.named_parameters()
        if p.ndim == 2
    }
    beta = 64**-0.25
    for name in ("blocks.0.branch.out.weight", "blocks.1.branch.up.weight"):
        assert ratio[name] == pytest.approx(beta, rel=0.15)
    assert ratio["scores.weight"] == pytest.approx(1, rel=0.15)
    q, k, v = (w.std().item() for w in deep.blocks[0].branch.qkv.weight.chunk(3))
    assert v / q == pytest.approx(beta, rel=0.15)
    assert k / q == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("norm", ["LN", "none"])
@pytest.mark.parametrize("start", get_args(Start))
def test_start_scales_what_a_branch_writes(start, norm):
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(LanguageModel(3, NORMS[norm]))
    plain, model = models
    begin(model, start)
    x = torch.randn(4, 7, 32)
    scale = {"plain": 1, "1/√(2L)": 6**-0.5, "zero": 0, "λ = 0.1": 0.1, "λ = 1e-5": 1e-5}[start]
    for before, after in zip(plain.blocks, model.blocks, strict=True):
        torch.testing.assert_close(after(x) - x, scale * (before(x) - x), rtol=1e-4, atol=1e-6)


def test_start_refuses_an_unknown_name():
    with pytest.raises(ValueError, match=r"start: expected one of .* got '0.1'"):
        begin(LanguageModel(2), "0.1")


def test_conversion_to_rms_norm_is_exact():
    model = LanguageModel(3).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    text = torch.randint(128, (4, 30))
    found = transformer.to_rms_norm(model)
    torch.testing.assert_close(found(text), model(text), rtol=0, atol=1e-11)
    assert not any(isinstance(module, nn.LayerNorm) for module in found.modules())
    assert sum(isinstance(module, nn.LayerNorm) for module in model.modules()) == 7


@pytest.mark.parametrize(
    "model", [LanguageModel(1, placement="post"), LanguageModel(1, NORMS["RMS"])]
)
def test_conversion_refuses_what_would_not_be_exact(model):
    with pytest.raises(ValueError, match="model: expected layer norms at placement 'pre'"):
        transformer.to_rms_norm(model)
