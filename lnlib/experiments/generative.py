"""Generative models of handwritten digits: a VAE, a WGAN with gradient penalty, a denoiser.

All are small nets on vectors of 64 pixels, so that only the norm differs between two arms.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lnlib.experiments.ensembles import Data, Outcome, digits, minus_squared_error, train
from lnlib.experiments.sweeps import Sweep
from lnlib.modules import MakeNorm
from lnlib.randomness import moved

PIXELS, LATENT, LABELS = 64, 8, 10
NORMS: dict[str, MakeNorm] = {
    "none": nn.Identity,
    "LN": nn.LayerNorm,
    "GN": lambda width: nn.GroupNorm(8, width),
    "BN": nn.BatchNorm1d,
}
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)


def hidden(inputs: int, width: int, norm: MakeNorm, depth: int = 2) -> nn.Sequential:
    """Return hidden layers: linear, norm, leaky ReLU."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), norm(width), nn.LeakyReLU(0.2)]
        inputs = width
    return nn.Sequential(*layers)


class VAE(nn.Module):
    """A variational autoencoder whose noise comes with the input.

    Takes an image of 64 pixels followed by 8 numbers of standard normal noise; returns the
    reconstruction, the mean and the logarithm of the variance of the code, side by side.

    Source: Kingma, Welling (2014), https://arxiv.org/abs/1312.6114.
    """

    def __init__(self, norm: MakeNorm, width: int = 64) -> None:
        super().__init__()
        self.encode = nn.Sequential(hidden(PIXELS, width, norm), nn.Linear(width, 2 * LATENT))
        self.decode = nn.Sequential(hidden(LATENT, width, norm), nn.Linear(width, PIXELS))

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (N, 64 + 8 + 8) for shape (N, 64 + 8)."""
        image, noise = x.split([PIXELS, LATENT], -1)
        mean, log_variance = self.encode(image).chunk(2, -1)
        code = mean + (log_variance / 2).exp() * noise
        return torch.cat([self.decode(code), mean, log_variance], -1)


def elbo(outputs: Tensor, image: Tensor, variance: float = 0.1) -> Tensor:
    """Return the evidence lower bound of each image in nats, up to a constant.

    The pixels are normal with a fixed variance around the reconstruction.
    """
    found, mean, log_variance = outputs.split([PIXELS, LATENT, LATENT], -1)
    fit = (found - image).square().sum(-1) / (2 * variance)
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1) / 2
    return -fit - divergence


class Critic(nn.Module):
    """Score images of shape (N, 64) with one number each."""

    def __init__(self, norm: MakeNorm, width: int = 64) -> None:
        super().__init__()
        self.net = nn.Sequential(hidden(PIXELS, width, norm), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of shape (N,)."""
        return self.net(x).squeeze(-1)


def penalty(critic: nn.Module, real: Tensor, fake: Tensor, generator: torch.Generator) -> Tensor:
    """Return the mean of (‖∇D(x)‖ − 1)² at random points between real and fake.

    The gradient is that of the sum of all scores, as usual: it is each image's own only if no
    score depends on another image.

    Source: Gulrajani et al. (2017), https://arxiv.org/abs/1704.00028.
    """
    share = torch.rand(len(real), 1, generator=generator, dtype=real.dtype)
    mixed = real.lerp(fake, share).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    return (gradient.norm(dim=1) - 1).square().mean()


def energy_distance(x: Tensor, y: Tensor) -> float:
    """Return twice the mean distance between two sets less those within each; 0 if the same.

    Example:
        >>> energy_distance(torch.zeros(3, 2), torch.zeros(5, 2))
        0.0

    Source: Székely, Rizzo (2013), https://doi.org/10.1016/j.jspi.2013.03.018.
    """
    between, within_x, within_y = (torch.cdist(*p).mean() for p in ((x, y), (x, x), (y, y)))
    return (2 * between - within_x - within_y).item()


def run_gan(*, norm: str, learning_rate: float, seed: int, steps: int = 400) -> dict[str, float]:
    """Train a WGAN with this norm in its critic; return energy distances, less is better."""
    torch.manual_seed(moved(seed))
    generator = torch.Generator().manual_seed(moved(seed))
    data = digits()
    images = data.training[0]
    maker = nn.Sequential(hidden(16, 64, NORMS["none"]), nn.Linear(64, PIXELS))
    critic = Critic(NORMS[norm])
    make, judge = (
        torch.optim.Adam(net.parameters(), lr=learning_rate, betas=(0.0, 0.9), fused=True)
        for net in (maker, critic)
    )

    def fakes(count: int) -> Tensor:
        return maker(torch.randn(count, 16, generator=generator))

    for _ in range(steps):
        for _ in range(3):
            real = images[torch.randint(len(images), (64,), generator=generator)]
            fake = fakes(64).detach()
            loss = critic(fake).mean() - critic(real).mean()
            judge.zero_grad()
            (loss + 10 * penalty(critic, real, fake, generator)).backward()
            judge.step()
        make.zero_grad()
        (-critic(fakes(64)).mean()).backward()
        make.step()
    with torch.no_grad():
        drawn = fakes(1000)
        return {
            name: round(energy_distance(drawn, part[0]), 4)
            for name, part in (("validation", data.validation), ("test", data.test))
        }


Conditioning = Literal["time", "LN", "zero", "input"]


class Denoiser(nn.Module):
    """Guess the noise in an image; whatever is known about it acts through the layer norms.

    Takes an image of 64 pixels, the share of noise s in [0, 1], and the label as ten numbers of
    which one is 1. Every block computes x + gate · f(γ LN(x) + β).

    Args:
        conditioning: what γ and β are computed from. "time": from s alone; "LN": from s and the
            label; "zero": the same, with a gate from them, too, and all starting at zero
            (adaLN-Zero); "input": from s alone, and the label is handed in beside the image.
        width: entries of a block.
        depth: blocks.

    Source: Peebles, Xie (2023), https://arxiv.org/abs/2212.09748.
    """

    def __init__(self, conditioning: Conditioning, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.conditioning, self.width = conditioning, width
        extra = LABELS if conditioning == "input" else 0
        self.start, self.end = nn.Linear(PIXELS + extra, width), nn.Linear(width, PIXELS)
        self.norms = nn.ModuleList(
            nn.LayerNorm(width, elementwise_affine=False) for _ in range(depth)
        )
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.condition = nn.Sequential(
            nn.Linear(1 + LABELS, width), nn.GELU(), nn.Linear(width, depth * 3 * width)
        )
        if conditioning == "zero":
            last: Any = self.condition[-1]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the noise, of shape (N, 64), for shape (N, 64 + 1 + 10)."""
        image, known, label = x.split([PIXELS, 1, LABELS], -1)
        if self.conditioning == "input":
            image = torch.cat([image, label], -1)
        told = self.conditioning in ("LN", "zero")
        condition = self.condition(torch.cat([known, label if told else 0 * label], -1))
        parts = condition.unflatten(-1, (len(self.norms), 3, self.width)).unbind(-3)
        stream = self.start(image)
        for norm, branch, part in zip(self.norms, self.branches, parts, strict=True):
            scale, shift, gate = part.unbind(-2)
            update = branch((1 + scale) * norm(stream) + shift)
            stream = stream + (gate * update if self.conditioning == "zero" else update)
        return self.end(stream)


def noisy(data: Data, draws: int = 20) -> Data:
    """Return images with noise, its share and the label, and the noise to be guessed.

    An image x becomes √(1 − s) x + √s z with s uniform in [0.02, 1] and z standard normal.

    Args:
        data: images with labels.
        draws: of noise, for each image.
    """
    generator = torch.Generator().manual_seed(moved())

    def part(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = images.repeat(draws, 1), labels.repeat(draws)
        share = 0.02 + 0.98 * torch.rand(len(images), 1, generator=generator)
        noise = torch.randn(images.shape, generator=generator)
        mixed = (1 - share).sqrt() * images + share.sqrt() * noise
        return torch.cat([mixed, share, F.one_hot(labels, LABELS)], -1), noise

    return data.map(part)


@torch.no_grad()
def generate(
    guess: Callable[[Tensor], Tensor], labels: Tensor, seed: int = 0, steps: int = 40
) -> Tensor:
    """Draw images of these labels: from pure noise in small steps to none (DDIM).

    Args:
        guess: a trained `Denoiser`.
        labels: of shape (N,).
        seed: of the noise.
        steps: how many.

    Source: Song et al. (2021), https://arxiv.org/abs/2010.02502.
    """
    x = torch.randn(len(labels), PIXELS, generator=torch.Generator().manual_seed(moved(seed)))
    told = F.one_hot(labels, LABELS).float()
    shares = torch.linspace(0.98, 0.02, steps)
    for share, following in pairwise(shares):
        noise = guess(torch.cat([x, share.expand(len(x), 1), told], -1))
        image = ((x - share.sqrt() * noise) / (1 - share).sqrt()).clamp(-3, 3)
        x = (1 - following).sqrt() * image + following.sqrt() * noise
    return image


def coded(data: Data, draws: int = 5) -> Data:
    """Return images followed by noise for the code of a `VAE`, and the images alone."""
    generator = torch.Generator().manual_seed(moved())

    def part(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        images = images.repeat(draws, 1)
        noise = torch.randn(len(images), LATENT, generator=generator)
        return torch.cat([images, noise], -1), images

    return data.map(part)


def train_vae(norm: str, learning_rates: Sequence[float] = RATES) -> Outcome:
    """Train VAEs with this norm; the score is the evidence lower bound."""
    return train(
        lambda: VAE(NORMS[norm]), coded(digits()), batch_size=64, steps=400,
        learning_rates=learning_rates, loss=lambda outputs, image: -elbo(outputs, image).mean(),
        measure=elbo, optimizer=torch.optim.Adam, description=norm,
    )  # fmt: skip


def train_denoiser(conditioning: Conditioning, learning_rates: Sequence[float] = RATES) -> Outcome:
    """Train denoisers; the score is minus the mean squared error of the guessed noise."""
    return train(
        lambda: Denoiser(conditioning), noisy(digits()), batch_size=64, steps=600,
        learning_rates=learning_rates, loss=F.mse_loss, measure=minus_squared_error,
        optimizer=torch.optim.Adam, description=conditioning,
    )  # fmt: skip


def with_wrong_labels(denoiser: Outcome) -> list[float]:
    """Return the scores on test data where every label is the next one."""
    x, noise = noisy(digits()).test
    mixed, label = x.split([PIXELS + 1, LABELS], -1)
    wrong = torch.cat([mixed, label.roll(1, -1)], -1)
    scores = denoiser.ensemble.score(wrong, noise, measure=minus_squared_error)
    return scores[denoiser.chosen].tolist()


def run(*, model: str, arm: Any) -> dict[str, Any]:
    """Train one arm at every learning rate; return the scores at the chosen one."""
    found = train_vae(arm) if model == "vae" else train_denoiser(arm)
    if model == "vae":
        return found.figures()
    return {**found.figures(), "wrong": [round(v, 4) for v in with_wrong_labels(found)]}


def points() -> list[dict[str, Any]]:
    """Return the arguments of all runs of `run` that the book shows."""
    arms = [("vae", norm) for norm in NORMS]
    arms += [("denoiser", conditioning) for conditioning in get_args(Conditioning)]
    return [{"model": model, "arm": arm} for model, arm in arms]


def gan_points(seeds: int = 5) -> list[dict[str, Any]]:
    """Return the arguments of all runs of `run_gan` that the book shows."""
    arms = product(NORMS, (0.0001, *RATES), range(seeds))
    return [dict(zip(("norm", "learning_rate", "seed"), arm, strict=True)) for arm in arms]


SWEEPS: dict[str, Sweep] = {"gan": (run_gan, gan_points), "generative": (run, points)}
