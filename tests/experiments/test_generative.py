"""The generative nets of the experiments: what their page relies on, against other formulas."""

import math

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
