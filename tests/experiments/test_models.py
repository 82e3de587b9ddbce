"""The nets of the experiments: what their pages rely on, each against an independent oracle."""

import math
from copy import deepcopy
from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lnlib.experiments import (
    Ensemble,
    digits,
    generative,
    recurrent,
    reinforcement,
    theory,
    transformer,
)
from lnlib.experiments.transformer import NORMS, LanguageModel, Placement, Residual
from lnlib.recurrent import GRUCell, LSTMCell

FORMULAS = {
    "post": lambda x, f, n: n(x + f(x)),
    "pre": lambda x, f, n: x + f(n(x)),
    "output": lambda x, f, n: x + n(f(x)),
    "sandwich": lambda x, f, n: x + n(f(n(x))),
    "peri": lambda x, f, n: x + n(f(n(x))),
    "deepnorm": lambda x, f, n: n(2.0 * x + f(x)),  # (2 · 8)^¼
    "zero": lambda x, f, n: x + f(x),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("placement", get_args(Placement))
def test_residual_is_its_formula(placement):
    branch, x = nn.Linear(6, 6).double(), torch.randn(5, 6, dtype=torch.float64)
    block = Residual(branch, 6, nn.LayerNorm, placement, depth=8).double()
    expected = FORMULAS[placement](x, branch, lambda v: F.layer_norm(v, (6,)))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


def test_placements_are_seven_different_functions():
    x, branch = torch.randn(5, 6), nn.Linear(6, 6)
    outputs = [f(x, branch, lambda v: F.layer_norm(v, (6,))) for f in FORMULAS.values()]
    same = sum(torch.equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])
    assert same == 1  # peri differs from sandwich only in front of the first block


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


def test_zero_starts_as_if_there_were_no_blocks():
    model, text = LanguageModel(3, NORMS["none"], "zero"), torch.randint(128, (2, 9))
    first, *_, last = model.stream(text)
    assert torch.equal(first, last)


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


def test_training_repeats_under_a_seed_and_stops_when_it_diverges():
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        losses.append(transformer.fit(LanguageModel(1), learning_rate=0.01, steps=3, seed=1))
    assert losses[0] == losses[1]
    torch.manual_seed(0)
    broken = LanguageModel(1)
    broken.scores.weight.data.fill_(math.inf)
    assert len(transformer.fit(broken, learning_rate=0.01, steps=3)) == 1
    assert transformer.evaluate(broken, transformer.source_code().test, 2) is None


def test_warm_up_starts_small():
    """The first step of Adam moves every weight by the learning rate."""
    moved = []
    for warmup in (0, 9):
        torch.manual_seed(0)
        model = LanguageModel(1)
        before = model.scores.weight.detach().clone()
        transformer.fit(model, learning_rate=0.01, steps=1, warmup=warmup)
        moved.append((model.scores.weight - before).abs().max().item())
    assert moved[1] == pytest.approx(moved[0] / 10, rel=0.01)


def test_text_parts_share_no_file():
    text = transformer.source_code()
    assert all(part.max() < 128 for part in (text.training, text.validation, text.test))
    training = bytes(text.training.tolist())
    for part in (text.validation, text.test):
        assert bytes(part[:2000].tolist()) not in training


@pytest.mark.parametrize(("ours", "theirs"), [(LSTMCell, nn.LSTMCell), (GRUCell, nn.GRUCell)])
def test_cell_without_norm_is_torchs(ours, theirs):
    a, b = ours(3, 5, lambda width: nn.Identity()).double(), theirs(3, 5).double()
    assert a.load_state_dict(b.state_dict()).missing_keys == []
    x, h, c = (torch.randn(7, n, dtype=torch.float64, requires_grad=True) for n in (3, 5, 5))
    state = (h, c) if ours is LSTMCell else h
    first = [out[0] if isinstance(out, tuple) else out for out in (a(x, state), b(x, state))]
    torch.testing.assert_close(*first, rtol=0, atol=1e-12)
    dy = torch.randn_like(first[0])
    gradients = [torch.autograd.grad(y, (x, h), dy) for y in first]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


def test_normed_lstm_is_the_authors_formula():
    cell = LSTMCell(3, 5).double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter)
    x, h, c = (torch.randn(7, n, dtype=torch.float64) for n in (3, 5, 5))

    def norm(v, module):
        centred = v - v.mean(-1, keepdim=True)
        rstd = (centred.square().mean(-1, keepdim=True) + 1e-5) ** -0.5
        return module.weight * centred * rstd + module.bias

    sums = norm(x @ cell.weight_ih.T, cell.norm_ih) + norm(h @ cell.weight_hh.T, cell.norm_hh)
    i, f, g, o = (sums + cell.bias_ih + cell.bias_hh).chunk(4, -1)
    after = f.sigmoid() * c + i.sigmoid() * g.tanh()
    expected = o.sigmoid() * norm(after, cell.norm_c).tanh(), after
    torch.testing.assert_close(cell(x, (h, c)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [LSTMCell, GRUCell])
def test_cell_refuses_an_empty_state(kind):
    with pytest.raises(ValueError, match="hidden_size must be positive, got 0"):
        kind(3, 0)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_gradient_through_time_ignores_the_scale_of_normed_weights(cell):
    def arrived(norm, gain):
        torch.manual_seed(0)
        reader = recurrent.Reader(cell, norm, 2, 1, gain=gain).double()
        x = torch.randn(1, 30, 2, dtype=torch.float64)
        start = torch.randn(1, 32, dtype=torch.float64, requires_grad=True)
        h, c = start, torch.zeros(1, 32, dtype=torch.float64)
        for step in x.unbind(1):
            h, c = reader.cell(step, (h, c)) if cell == "LSTM" else (reader.cell(step, h), c)
        dy = torch.ones_like(h)
        return torch.autograd.grad(h, start, dy)[0].norm().item()

    assert arrived("LN", 80.0) == pytest.approx(arrived("LN", 8.0), rel=0.01)
    assert arrived("none", 8.0) > 1e3 * arrived("none", 1.0)


def test_sequences_hold_the_digits():
    data = recurrent.pixels(16)
    assert data.training[0].shape == (1000, 16, 4)
    assert torch.equal(data.training[0].flatten(1), digits().training[0])


def test_evidence_bound_is_torchs_divergence():
    outputs, image = torch.randn(5, 80, dtype=torch.float64), torch.randn(5, 64).double()
    found, mean, log_variance = outputs.split([64, 8, 8], -1)
    code = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean), 1.0)
    pixels = torch.distributions.Normal(found, 0.1**0.5)
    constant = 32 * math.log(2 * math.pi * 0.1)
    likelihood = pixels.log_prob(image).sum(-1) + constant
    expected = likelihood - torch.distributions.kl_divergence(code, prior).sum(-1)
    torch.testing.assert_close(generative.elbo(outputs, image), expected)


@pytest.mark.parametrize(("norm", "own"), [("none", True), ("LN", True), ("BN", False)])
def test_penalty_is_each_images_own_only_without_the_batch(norm, own):
    critic = generative.Critic(generative.NORMS[norm]).double()
    real, fake = torch.randn(2, 6, 64, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    together = generative.penalty(critic, real, fake, generator)
    share = torch.rand(6, 1, generator=generator.manual_seed(0), dtype=torch.float64)
    mixed = real.lerp(fake, share)
    jacobian = torch.autograd.functional.jacobian(critic, mixed)
    each = jacobian[torch.arange(6), torch.arange(6)]
    alone = (each.norm(dim=1) - 1).square().mean()
    assert (abs(together - alone) < 1e-12) == own


def test_noise_and_image_make_the_mixture():
    data = generative.noisy(digits(), draws=2)
    x, noise = data.training
    mixed, share, label = x.split([64, 1, 10], -1)
    images, labels = digits().training
    torch.testing.assert_close(
        (mixed - share.sqrt() * noise) / (1 - share).sqrt().clamp_min(1e-3),
        images.repeat(2, 1),
        rtol=0.01,
        atol=0.01,
    )
    assert torch.equal(label.argmax(1), labels.repeat(2))


def test_adaptive_norm_from_zero_starts_as_the_identity():
    denoiser = generative.Denoiser("zero")
    x = torch.randn(5, 75)
    assert torch.equal(denoiser(x), denoiser.end(denoiser.start(x[:, :64])))


@pytest.mark.parametrize("conditioning", ["time", "LN", "zero", "input"])
def test_only_time_ignores_the_label(conditioning):
    denoiser, x = generative.Denoiser(conditioning), torch.randn(5, 75)
    for parameter in denoiser.parameters():
        nn.init.normal_(parameter, std=0.3)
    other = torch.cat([x[:, :65], x[:, 65:].roll(1, -1)], 1)
    assert torch.equal(denoiser(x), denoiser(other)) == (conditioning == "time")


def test_a_perfect_guess_generates_its_image():
    """For a single image the noise can be computed; the sampler must then end at that image."""
    image = torch.linspace(-2, 2, 64)

    def guess(x):
        share = x[:, 64:65]
        return (x[:, :64] - (1 - share).sqrt() * image) / share.sqrt()

    drawn = generative.generate(guess, torch.tensor([3, 7]))
    torch.testing.assert_close(drawn, image.expand(2, 64), rtol=0, atol=1e-4)


def test_bound_holds_and_is_nearly_reached():
    critic = reinforcement.Critic(nn.LayerNorm).double()
    for parameter in critic.parameters():
        nn.init.normal_(parameter)
    most = reinforcement.bound(critic)
    states = 1e6 * torch.randn(2000, 4, dtype=torch.float64)
    assert critic(states).abs().max().item() <= most
    last = critic.values
    with torch.no_grad():  # a normalized vector along w, the longest there is
        critic.norm_second.weight.fill_(1.0)
        critic.norm_second.bias.zero_()
        last.bias.zero_()
        w = F.one_hot(torch.tensor(0), 64).double()
        last.weight.copy_(torch.stack([w, w]))
        critic.second.weight.zero_()
        critic.second.bias.copy_(100 * w)
    reached = critic(states).abs().max().item()
    assert 0.99 * reinforcement.bound(critic) < reached <= reinforcement.bound(critic)


def test_bound_needs_a_layer_norm():
    with pytest.raises(ValueError, match="critic: expected a layer norm before the last ReLU"):
        reinforcement.bound(reinforcement.Critic(reinforcement.NORMS["none"]))


def test_transitions_follow_each_other_and_repeat_under_a_seed():
    states, actions, following, ended = reinforcement.random_transitions(300)
    assert torch.equal(following[:-1][~ended[:-1]], states[1:][~ended[:-1]])
    assert 5 < ended.sum() < 40
    assert set(actions.tolist()) == {0, 1}
    assert torch.equal(reinforcement.random_transitions(300)[0], states)


def test_goals_stop_at_the_end_of_a_game():
    critic = reinforcement.Critic(nn.LayerNorm)
    with torch.no_grad():
        critic.values.weight.zero_()
        critic.values.bias.fill_(50.0)
    part = torch.zeros(1, 4), torch.zeros(1, dtype=torch.long), torch.zeros(1, 4)
    goes_on, ends = (
        reinforcement.bellman_error(critic, critic, *part, torch.tensor([end])).item()
        for end in (False, True)
    )
    assert goes_on == pytest.approx((50 - (1 + 0.99 * 50)) ** 2, rel=1e-4)
    assert ends == pytest.approx((50 - 1) ** 2, rel=1e-4)


def test_a_longer_pole_is_another_game():
    torch.manual_seed(3)
    critic = reinforcement.Critic(nn.LayerNorm)
    games = [reinforcement.play(critic, range(5), length) for length in (0.5, 0.5, 4.0)]
    assert games[0] == games[1] != games[2]


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
    torch.manual_seed(0)
    return ensemble, theory.MLP(3, theory.NORMS[norm]), *(v[:40] for v in digits().training)


@pytest.mark.parametrize("norm", ["none", "LN", "BN"])
def test_covariate_shift_is_its_definition(norm):
    ensemble, net, x, y = one_ensemble(norm)
    found = theory.covariate_shift(ensemble, x, y, layer=2)
    before = gradient_of(net, x, y)["hidden.2.linear.weight"]
    for rate, shift in zip((0.1, 1.0), found[:, 0], strict=True):
        moved = deepcopy(net)
        for name, g in gradient_of(net, x, y).items():
            if name.startswith(("hidden.0.", "hidden.1.")):
                moved.get_parameter(name).data -= rate * g
        after = gradient_of(moved, x, y)["hidden.2.linear.weight"]
        expected = (after - before).norm() / before.norm()
        torch.testing.assert_close(shift, expected, rtol=1e-3, atol=1e-5)


def test_nothing_shifts_below_the_first_layer():
    ensemble, _, x, y = one_ensemble("LN")
    assert not theory.covariate_shift(ensemble, x, y, layer=0).any()


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
    found = theory.run(depth=20, norm="none", gain=10.0, examples=200, seeds=2, steps=3)
    assert len(found["every"]) == len(found["losses"]) == len(theory.RATES)
    assert None in found["losses"][-1]
    assert None not in found["every"][-1]


@pytest.mark.parametrize("start", transformer.DEEP_STARTS)
def test_deep_start_trains(start):
    found = transformer.run_deep(start=start, learning_rate=0.001, seed=0, depth=2, steps=2)
    assert 3 < found["test"] < 6


def test_deep_start_refuses_an_unknown_name():
    with pytest.raises(ValueError, match=r"start: expected one of .* got '0.1'"):
        transformer.run_deep(start="0.1", learning_rate=0.001, seed=0)
