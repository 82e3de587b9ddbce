"""Generative models of handwritten digits: a VAE and a denoiser.

Both are small nets on vectors of 64 pixels, so that the factors can be crossed.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lnlib.experiments.ensembles import Data, Outcome, digits, minus_squared_error
from lnlib.experiments.splits import train_splits
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
RATES = (0.002, 0.004, 0.008, 0.016)


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
    """Return the evidence lower bound of each image in nats.

    It bounds the logarithm of a density: the pixels are normal with a fixed variance around the
    reconstruction.
    """
    found, mean, log_variance = outputs.split([PIXELS, LATENT, LATENT], -1)
    fit = (found - image).square().sum(-1) / variance + PIXELS * math.log(2 * math.pi * variance)
    divergence = mean.square() + log_variance.exp() - 1 - log_variance
    return -(fit + divergence.sum(-1)) / 2


Label = Literal["none", "input", "blocks"]
Kind = Literal["shift", "factor"]
Start = Literal["plain", "zero"]


class Denoiser(nn.Module):
    """Guess the noise in an image; its share and the label steer with factors and summands.

    Takes an image of 64 pixels, the share of noise s in [0, 1], and the label as ten numbers of
    which one is 1. Every block computes x + α f((1 + γ) N(x) + β), where γ and β are functions
    of s, and α = 1.

    Args:
        label: where its own γ and β enter, which are functions of label and s: nowhere, once in
            front of all blocks, or in every block, where they are added to those of s.
        kind: whether the label has both ("factor") or β alone ("shift").
        norm: N is layer norm without γ and β of its own, or the identity.
        start: with "zero", α is a function of s, too, as of the label if that has a factor, and
            α, β, γ begin at zero. In every block, with factor and norm, this is adaLN-Zero.
        width: entries of a block.
        depth: blocks.

    Source: Peebles, Xie (2023), https://arxiv.org/abs/2212.09748.
    """

    def __init__(
        self, label: Label = "blocks", kind: Kind = "factor", norm: bool = True,
        start: Start = "zero", *, width: int = 64, depth: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.label, self.kind, self.gated = label, kind, start == "zero"
        self.norm = nn.LayerNorm(width, elementwise_affine=False) if norm else nn.Identity()
        self.start, self.end = nn.Linear(PIXELS, width), nn.Linear(width, PIXELS)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        places = 1 if label == "input" else depth
        self.by_share = _steering(1, (depth, 3, width), start)
        self.by_label = _steering(1 + LABELS, (places, 3, width), start)

    def forward(self, x: Tensor) -> Tensor:
        """Return the noise, of shape (N, 64), for shape (N, 64 + 1 + 10)."""
        image, both = x.split([PIXELS, 1 + LABELS], -1)
        stream, parts = self.start(image), self.by_share(both[..., :1])
        told = self.by_label(both)
        if self.kind == "shift":
            told = torch.stack([z := torch.zeros_like(told[..., 0, :]), told[..., 1, :], z], -2)
        if self.label == "blocks":
            parts = parts + told
        if self.label == "input":
            stream = (1 + told[..., 0, 0, :]) * stream + told[..., 0, 1, :]
        for branch, part in zip(self.branches, parts.unbind(-3), strict=True):
            scale, shift, gate = part.unbind(-2)
            update = branch((1 + scale) * self.norm(stream) + shift)
            stream = stream + (gate * update if self.gated else update)
        return self.end(stream)


def _steering(inputs: int, shape: tuple[int, ...], start: Start) -> nn.Sequential:
    width = shape[-1]
    last = nn.Linear(width, math.prod(shape))
    if start == "zero":
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), last, nn.Unflatten(-1, shape))


def noisy(data: Data, seed: int = 0, draws: int = 10) -> Data:
    """Return images with noise, its share and the label, and the noise to be guessed.

    An image x becomes √(1 − s) x + √s z with s uniform in [0.02, 1] and z standard normal.

    Args:
        data: images with labels.
        seed: of the noise.
        draws: of noise, for each image.
    """
    generator = torch.Generator().manual_seed(moved(seed))

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


def coded(data: Data, seed: int = 0, draws: int = 5) -> Data:
    """Return images followed by noise for the code of a `VAE`, and the images alone."""
    generator = torch.Generator().manual_seed(moved(seed))

    def part(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        images = images.repeat(draws, 1)
        noise = torch.randn(len(images), LATENT, generator=generator)
        return torch.cat([images, noise], -1), images

    return data.map(part)


def train_vae(norm: str, learning_rates: Sequence[float] = RATES, seeds: int = 8) -> Outcome:
    """Train VAEs with this norm; the score is the evidence lower bound."""
    return train_splits(
        lambda: VAE(NORMS[norm]), [coded(digits(seed=seed), seed) for seed in range(seeds)],
        batch_size=64, steps=400, learning_rates=learning_rates, measure=elbo,
        loss=lambda outputs, image: -elbo(outputs, image).mean(),
        optimizer=torch.optim.Adam, description=f"VAE, {norm}",
    )  # fmt: skip


def train_denoiser(
    learning_rates: Sequence[float] = RATES, seeds: int = 8, steps: int = 400, **arm: Any
) -> Outcome:
    """Train denoisers; the score is minus the mean squared error of the guessed noise.

    Args:
        learning_rates: the grid.
        seeds: how many.
        steps: batches.
        arm: see `Denoiser`.
    """
    return train_splits(
        lambda: Denoiser(**arm), [noisy(digits(seed=seed), seed) for seed in range(seeds)],
        batch_size=64, steps=steps, learning_rates=learning_rates, measure=minus_squared_error,
        loss=F.mse_loss, optimizer=torch.optim.Adam, description="denoiser",
    )  # fmt: skip


def with_wrong_labels(denoiser: Outcome) -> list[float]:
    """Return the scores on test data where every label is the next one, seed by seed."""
    parts = [noisy(digits(seed=seed), seed).test for seed in range(denoiser.ensemble.seeds)]
    x, noise = (torch.stack(values) for values in zip(*parts, strict=True))
    mixed, label = x.split([PIXELS + 1, LABELS], -1)
    wrong = torch.cat([mixed, label.roll(1, -1)], -1)
    ensemble: Any = denoiser.ensemble
    return ensemble.own_scores((wrong, noise), minus_squared_error)[denoiser.chosen].tolist()


def run(*, model: str, **arm: Any) -> dict[str, Any]:
    """Train one arm at every learning rate; return the scores at the chosen one."""
    if model == "VAE":
        return train_vae(**arm).figures()
    found = train_denoiser(**arm)
    return {**found.figures(), "wrong": [round(score, 4) for score in with_wrong_labels(found)]}


def points() -> list[dict[str, Any]]:
    """Return the arguments of all runs of `run` that the book shows."""
    every: list[tuple[Any, ...]] = [("none", "shift", norm, "plain") for norm in (False, True)]
    every += product(("input", "blocks"), get_args(Kind), (False, True), ("plain",))
    every += product(("blocks",), ("factor",), (False, True), ("zero",))
    denoisers = [dict(zip(("label", "kind", "norm", "start"), arm, strict=True)) for arm in every]
    return [
        *({"model": "denoiser", **arm} for arm in denoisers),
        *({"model": "VAE", "norm": norm} for norm in NORMS),
    ]


SWEEPS: dict[str, Sweep] = {"generative": (run, points)}
