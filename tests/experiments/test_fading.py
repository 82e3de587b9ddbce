"""Layer norms that fade into linear maps, and the sweep that removes them from a trained model."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lnlib.experiments import fading, language
from lnlib.experiments.transformer import LanguageModel


def a_norm(width=8):
    torch.manual_seed(0)
    norm = nn.LayerNorm(width).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


ROWS = torch.randn(32, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 + 1


def test_it_begins_as_layer_norm():
    norm = a_norm()
    assert (fading.FadingNorm(norm)(ROWS) - norm(ROWS)).abs().max() < 1e-12


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_it_is_layer_norm_with_a_larger_epsilon_up_to_a_factor(share):
    norm = a_norm()
    module = fading.FadingNorm(norm)
    module(ROWS)
    module.share = share
    eps = (share * module.typical + norm.eps) / (1 - share)
    larger = F.layer_norm(ROWS, (8,), eps=eps.item()) / (1 - share) ** 0.5
    assert (module(ROWS) - (norm.weight * larger + norm.bias)).abs().max() < 1e-12


def test_it_ends_as_a_linear_map_with_a_shift():
    module = fading.FadingNorm(a_norm())
    module(ROWS)
    module.share = 1.0
    nothing = module(torch.zeros(1, 8, dtype=torch.float64))
    assert (module(3 * ROWS) - nothing - 3 * (module(ROWS) - nothing)).abs().max() < 1e-12


def test_the_typical_variance_is_set_once():
    module = fading.FadingNorm(a_norm())
    module(ROWS)
    before = module.typical
    module(10 * ROWS)
    assert module.typical is before
    assert before == pytest.approx(ROWS.var(1, correction=0).mean().item())


def test_a_model_is_copied_and_stays_the_same_function_until_it_fades():
    torch.manual_seed(0)
    model = LanguageModel(1)
    copy = fading.with_fading_norms(model)
    text = torch.randint(128, (4, 9))
    assert not any(isinstance(m, nn.LayerNorm) for m in copy.modules())
    assert copy.scores.weight is not model.scores.weight
    assert torch.allclose(copy(text), model(text), atol=1e-5)
    fading.fade(copy, 1.0)
    assert not torch.allclose(copy(text), model(text), atol=1e-2)


def test_a_model_without_layer_norms_has_nothing_to_fade():
    with pytest.raises(ValueError, match="expected layer norms"):
        fading.with_fading_norms(LanguageModel(1, nn.RMSNorm))


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_lies_between_nothing_and_all(share):
    with pytest.raises(ValueError, match="share must be in"):
        fading.fade(LanguageModel(1), share)


def test_a_run_trains_further_from_the_same_model_whatever_ran_before(monkeypatch):
    monkeypatch.setattr(fading, "SHARES", (0.0, 1.0))
    monkeypatch.setattr(fading, "trained", lambda seed: _barely_trained(seed))
    fading.losses_while_fading.cache_clear()
    runs = [
        fading.run(norm=norm, learning_rate=0.01, seed=0, steps=2)
        for norm in ("LN", "linear", "LN")
    ]
    fading.losses_while_fading.cache_clear()
    assert runs[0] == runs[2]
    assert runs[0]["test"] != runs[1]["test"]
    assert len(runs[0]["faded"]) == 2


def _barely_trained(seed):
    torch.manual_seed(seed)
    return LanguageModel(1)


def test_the_points_share_their_seeds():
    points = fading.points()
    seeds = {
        norm: sorted({p["seed"] for p in points if p["norm"] == norm}) for norm in ("LN", "linear")
    }
    assert seeds["LN"] == seeds["linear"] == [*range(16)]


def test_a_finished_model_is_that_of_the_sweep_of_page_4a():
    model = fading.trained(3, depth=1)
    loss = language.evaluate(model, language.source_code().test)
    again = language.run(learning_rate=fading.RATE, seed=3, depth=1)
    assert round(loss, 4) == again["test"]
