"""The generative nets of the experiments: what their page relies on, against other formulas."""

import pytest
import torch
from torch import nn

from lnlib.experiments import (
    digits,
    generative,
)


def test_evidence_bound_is_torchs_divergence():
    outputs, image = torch.randn(5, 80, dtype=torch.float64), torch.randn(5, 64).double()
    found, mean, log_variance = outputs.split([64, 8, 8], -1)
    code = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean), 1.0)
    pixels = torch.distributions.Normal(found, 0.1**0.5)
    likelihood = pixels.log_prob(image).sum(-1)
    expected = likelihood - torch.distributions.kl_divergence(code, prior).sum(-1)
    torch.testing.assert_close(generative.elbo(outputs, image), expected)


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


@pytest.mark.parametrize("label", ["none", "input", "blocks"])
@pytest.mark.parametrize("norm", [False, True])
def test_blocks_that_start_at_zero_are_the_identity(label, norm):
    denoiser = generative.Denoiser(label, norm=norm)
    x = torch.randn(5, 75)
    assert torch.equal(denoiser(x), denoiser.end(denoiser.start(x[:, :64])))


@pytest.mark.parametrize("start", ["plain", "zero"])
@pytest.mark.parametrize("kind", ["shift", "factor"])
@pytest.mark.parametrize("label", ["none", "input", "blocks"])
def test_the_label_is_seen_unless_it_enters_nowhere(label, kind, start):
    denoiser, x = generative.Denoiser(label, kind, start=start), torch.randn(5, 75)
    for parameter in denoiser.parameters():
        nn.init.normal_(parameter, std=0.3)
    other = torch.cat([x[:, :65], x[:, 65:].roll(1, -1)], 1)
    assert torch.equal(denoiser(x), denoiser(other)) == (label == "none")


def test_a_shift_of_the_label_is_the_same_for_every_image():
    """With branches that add nothing, all is linear but the factor."""
    images = torch.cat([torch.randn(5, 64), torch.full((5, 1), 0.5)], 1)
    told = [torch.cat([images, torch.eye(10)[label].expand(5, 10)], 1) for label in (3, 4)]
    moved = {}
    for kind in ("shift", "factor"):
        denoiser = generative.Denoiser("input", kind, norm=False, start="plain")
        for parameter in denoiser.branches.parameters():
            nn.init.zeros_(parameter)
        moved[kind] = denoiser(told[1]) - denoiser(told[0])
    torch.testing.assert_close(moved["shift"], moved["shift"][:1].expand(5, 64))
    assert (moved["factor"] - moved["factor"][:1]).abs().max() > 1e-3


def test_a_wrong_label_harms_who_listens():
    rates = [0.01]
    found = generative.train_denoiser(rates, seeds=2, steps=60)
    deaf = generative.train_denoiser(rates, seeds=2, steps=60, label="none")
    assert torch.tensor(generative.with_wrong_labels(found)).sub(found.test).max() < 0
    assert torch.tensor(generative.with_wrong_labels(deaf)).sub(deaf.test).abs().max() < 1e-6


def test_a_perfect_guess_generates_its_image():
    """For a single image the noise can be computed; the sampler must then end at that image."""
    image = torch.linspace(-2, 2, 64)

    def guess(x):
        share = x[:, 64:65]
        return (x[:, :64] - (1 - share).sqrt() * image) / share.sqrt()

    drawn = generative.generate(guess, torch.tensor([3, 7]))
    torch.testing.assert_close(drawn, image.expand(2, 64), rtol=0, atol=1e-4)
