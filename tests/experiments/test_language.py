"""The training of the small language model, and the text that it is trained on."""

import hashlib
import math
from importlib.resources import files

import pytest
import torch

from lnlib.experiments import Recording, language
from lnlib.experiments.transformer import NORMS, LanguageModel
from lnlib.randomness import moved


def test_training_repeats_under_a_seed_and_stops_when_it_diverges():
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        losses.append(language.fit(LanguageModel(1), learning_rate=0.01, steps=3, seed=1))
    assert losses[0] == losses[1]
    torch.manual_seed(0)
    broken = LanguageModel(1)
    broken.scores.weight.data.fill_(math.inf)
    assert len(language.fit(broken, learning_rate=0.01, steps=3)) == 1
    assert language.evaluate(broken, language.source_code().test, 2) is None


def test_warm_up_starts_small():
    """The first step of Adam moves every weight by the learning rate."""
    moved = []
    for warmup in (0, 9):
        torch.manual_seed(0)
        model = LanguageModel(1)
        before = model.scores.weight.detach().clone()
        language.fit(model, learning_rate=0.01, steps=1, warmup=warmup)
        moved.append((model.scores.weight - before).abs().max().item())
    assert moved[1] == pytest.approx(moved[0] / 10, rel=0.01)


def test_text_parts_share_no_file():
    text = language.source_code()
    assert all(part.max() < 128 for part in (text.training, text.validation, text.test))
    training = bytes(text.training.tolist())
    for part in (text.validation, text.test):
        assert bytes(part[:2000].tolist()) not in training


def test_text_is_the_one_that_the_recordings_saw():
    text = (files("lnlib.experiments") / "text.txt").read_bytes()
    assert hashlib.sha256(text).hexdigest().startswith("e326275eb933ee50")


def test_branches_have_a_learning_rate_of_their_own():
    """The first step of Adam moves every weight by the learning rate."""
    torch.manual_seed(0)
    model = LanguageModel(1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    language.fit(model, learning_rate=0.01, branch_rate=0.25, steps=1)
    for name, parameter in model.named_parameters():
        step = 0.0025 if ".branch." in name else 0.01
        assert (parameter - before[name]).abs().max().item() == pytest.approx(step, rel=0.05)


def test_run_returns_losses_and_none_when_it_diverges():
    found = language.run(learning_rate=0.001, seed=0, depth=2, steps=2, start="λ = 0.1")
    assert 3 < found["test"] < 6
    assert language.run(learning_rate=1e30, seed=0, depth=1, steps=5)["test"] is None


def test_evaluation_uses_running_statistics_and_leaves_the_mode():
    seen = []
    model = LanguageModel(1)
    model.norm_out.register_forward_hook(lambda norm, *_: seen.append(norm.training))
    language.evaluate(model, language.source_code().test, 2)
    assert seen == [False]
    assert model.norm_out.training


def test_evaluation_as_trained_uses_each_batch_and_leaves_the_model():
    torch.manual_seed(0)
    model, text = LanguageModel(1, NORMS["BN"]), language.source_code().test
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = language.evaluate_as_trained(model, text, 6, batch_size=3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    batches = language.windows(text, 6, torch.Generator().manual_seed(moved())).split(3)
    assert found == pytest.approx(sum(model.loss(batch).item() for batch in batches) / 2)
    assert abs(found - language.evaluate(model, text, 6)) > 0.01


def test_without_statistics_of_a_batch_both_ways_are_one():
    found = language.run_both_ways(learning_rate=0.001, seed=0, depth=1, steps=1)
    assert found["own"] == pytest.approx(found["test"], abs=2e-4)
    diverged = language.run_both_ways(learning_rate=1e30, seed=0, depth=1, steps=5)
    assert diverged == {"validation": None, "test": None, "own": None}


@pytest.mark.parametrize("points", [language.points, language.deep_points, language.power_points])
def test_arms_are_complete_grids(points):
    """Every arm has each of its rates with each of its seeds, and each run is there once."""
    arms: dict = {}
    for point in points():
        arm = tuple(sorted((k, v) for k, v in point.items() if k not in ("seed", "learning_rate")))
        arms.setdefault(arm, set()).add((point["learning_rate"], point["seed"]))
    assert sum(map(len, arms.values())) == len(points())
    for runs in arms.values():
        rates, seeds = ({run[i] for run in runs} for i in (0, 1))
        assert len(runs) == len(rates) * len(seeds)
        assert len(seeds) >= 8
        assert len(rates) >= 3


def test_own_rate_is_chosen_by_validation_and_ordered_by_seed():
    rows = [
        {**language.ARM, "learning_rate": rate, "seed": seed, "validation": rate, "test": seed}
        for seed in range(3)
        for rate in (2, 1)
    ]
    sweep = Recording({}, rows)
    assert language.own_rate(sweep, placement="pre") == [0, 1, 2]
    with pytest.raises(ValueError, match=r"arm: expected one .* got {'depth': 9}"):
        language.own_rate(sweep, depth=9)
