"""A WGAN with gradient penalty on handwritten digits, with the norm of one's choice in its critic.

What batch norm does there is crossed out of two factors: whether real and generated images share a
batch, and whether the penalty's gradient couples the images of a batch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from tqdm import tqdm

from lnlib.experiments import generative
from lnlib.experiments.ensembles import Ensemble, batch_generator, digits
from lnlib.experiments.generative import PIXELS, hidden
from lnlib.experiments.sweeps import Sweep
from lnlib.modules import MakeNorm

NOISE, WIDTH, SIZE = 16, 32, 32  # numbers a generator gets, entries of a layer, images in a batch
RATES = (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008)
HIGH = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064)
Batch = Literal["separate", "joint"]


class BatchNorm(nn.Module):
    """Batch norm in training whose statistics count as constants where one says so.

    With `constant`, every derivative takes mean and variance of the batch as given numbers, as in
    inference; the values are the same.

    Example:
        >>> norm, x = BatchNorm(3), torch.randn(5, 3)
        >>> torch.allclose(norm(x), nn.functional.batch_norm(x, None, None, training=True))
        True
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.constant = False

    def forward(self, x: Tensor) -> Tensor:
        """Return x of shape (N, width) normalized over N."""
        variance, mean = torch.var_mean(x, 0, correction=0)
        if self.constant:
            variance, mean = variance.detach(), mean.detach()
        return (x - mean) * (variance + 1e-5).rsqrt() * self.weight + self.bias


NORMS: dict[str, MakeNorm] = {**generative.NORMS, "BN": BatchNorm}


class Critic(nn.Module):
    """Score images of shape (N, 64) with one number each."""

    def __init__(self, norm: MakeNorm, width: int = WIDTH) -> None:
        super().__init__()
        self.net = nn.Sequential(hidden(PIXELS, width, norm), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of shape (N,)."""
        return self.net(x).squeeze(-1)


@contextmanager
def constants(net: nn.Module, constant: bool = True) -> Iterator[None]:
    """Let derivatives take the statistics of every `BatchNorm` of a net as constants."""
    norms = [module for module in net.modules() if isinstance(module, BatchNorm)]
    for norm in norms:
        norm.constant = constant
    try:
        yield
    finally:
        for norm in norms:
            norm.constant = False


def penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor
) -> Tensor:
    """Return (‖∇D(x)‖ − 1)² at points between real and fake, one for each.

    The gradient is that of the sum of all scores, as usual: it is each image's own only if no
    score depends on another image.

    Args:
        critic: D, takes images of shape (..., 64).
        real: of shape (..., 64).
        fake: of the same shape.
        share: of the fake image in each point, of shape (..., 1).

    Source: Gulrajani et al. (2017), https://arxiv.org/abs/1704.00028.
    """
    mixed = real.lerp(fake, share).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    return (gradient.norm(dim=-1) - 1).square()


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return twice the mean distance between two sets less those within each; 0 if the same.

    Args:
        x: of shape (..., N, features).
        y: of shape (..., M, features).

    Example:
        >>> energy_distance(torch.zeros(3, 2), torch.zeros(5, 2))
        tensor(0.)

    Source: Székely, Rizzo (2013), https://doi.org/10.1016/j.jspi.2013.03.018.
    """
    pairs = (x, y), (x, x), (y, y)
    between, within_x, within_y = (torch.cdist(*p).mean((-2, -1)) for p in pairs)
    return 2 * between - within_x - within_y


class Nets(Ensemble):
    """Copies of one net for every learning rate and seed, each with inputs and a loss of its own.

    Args:
        build: returns a new net; called once for each seed, after seeding torch.
        learning_rates: of Adam.
        seeds: how many.

    Example:
        >>> nets = Nets(lambda: nn.Linear(3, 2), (0.1, 0.2), seeds=4)
        >>> nets(torch.randn(8, 5, 3)).shape
        torch.Size([8, 5, 2])
    """

    def __init__(
        self, build: Callable[[], nn.Module], learning_rates: Sequence[float], seeds: int
    ) -> None:
        super().__init__(build, learning_rates, seeds)
        for parameter in self.parameters.values():
            parameter.requires_grad_()
        self._parts = [parameter.detach().split(seeds) for parameter in self.parameters.values()]
        groups = zip(self.learning_rates, zip(*self._parts, strict=True), strict=True)
        self._adam = torch.optim.Adam(
            [{"params": [*parts], "lr": rate} for rate, parts in groups], betas=(0.0, 0.9)
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Return what each net makes of its own input, of shape (nets, N, ...)."""
        return vmap(lambda p, x: functional_call(self.net, p, (x,)))(self.parameters, x)

    def step(self, losses: Tensor) -> None:
        """Take one step down, each net its own loss."""
        gradients = torch.autograd.grad(losses.sum(), [*self.parameters.values()])
        for parts, gradient in zip(self._parts, gradients, strict=True):
            for part, its_own in zip(parts, gradient.split(self.seeds), strict=True):
                part.grad = its_own
        self._adam.step()


def train_gan(
    norm: str, batch: Batch, constant: bool, learning_rates: Sequence[float],
    *, seeds: int = 16, steps: int = 250,
) -> dict[str, Tensor]:  # fmt: skip
    """Train WGANs; return energy distances of generated to real images, less is better.

    Args:
        norm: in the critic, a name in `NORMS`.
        batch: whether the critic gets real and generated images in batches of their own
            ("separate") or in one ("joint"). The points of the penalty are always a batch.
        constant: whether the penalty takes the statistics of a batch norm as constants.
        learning_rates: of both nets.
        seeds: of split, start, images and noise.
        steps: of the generator; the critic takes three for each.

    Returns:
        To "validation" and "test" images, each of shape (learning rates, seeds).
    """
    splits = [digits(seed=seed) for seed in range(seeds)]
    images = torch.stack([split.training[0] for split in splits])
    generator, copies = batch_generator(0), len(learning_rates)
    maker = Nets(
        lambda: nn.Sequential(hidden(NOISE, WIDTH, nn.Identity), nn.Linear(WIDTH, PIXELS)),
        learning_rates, seeds,
    )  # fmt: skip
    critic = Nets(lambda: Critic(NORMS[norm]), learning_rates, seeds)

    def reals(count: int = SIZE) -> Tensor:
        chosen = torch.randint(images.shape[1], (seeds, count), generator=generator)
        return images[torch.arange(seeds)[:, None], chosen].repeat(copies, 1, 1)

    def fakes(count: int = SIZE) -> Tensor:
        return maker(torch.randn(seeds, count, NOISE, generator=generator).repeat(copies, 1, 1))

    def scores(real: Tensor, fake: Tensor) -> Sequence[Tensor]:
        if batch == "joint":
            return critic(torch.cat([real, fake], 1)).chunk(2, 1)
        return critic(real), critic(fake)

    for _ in tqdm(range(steps), f"{norm}, {batch}", leave=False):
        for _ in range(3):
            real, fake = reals(), fakes().detach()
            of_real, of_fake = scores(real, fake)
            share = torch.rand(seeds, SIZE, 1, generator=generator).repeat(copies, 1, 1)
            with constants(critic.net, constant):
                strayed = penalty(critic, real, fake, share)
            critic.step((of_fake - of_real + 10 * strayed).mean(1))
        maker.step(-scores(reals(), fakes())[1].mean(1))
    with torch.no_grad():
        drawn = fakes(500)
    held_out = {
        "validation": [s.validation[0] for s in splits],
        "test": [s.test[0] for s in splits],
    }
    return {
        name: energy_distance(drawn, torch.stack(part).repeat(copies, 1, 1)).view(copies, seeds)
        for name, part in held_out.items()
    }


def run(*, norm: str, batch: Batch, constant: bool) -> dict[str, Any]:
    """Train one arm at every rate; return what it reached at the rate that validation chose."""
    rates = HIGH if (norm, batch) == ("BN", "separate") else RATES
    found = train_gan(norm, batch, constant, rates)
    best = int(found["validation"].mean(1).argmin())
    return {
        "learning_rate": rates[best],
        "at_edge": best in (0, len(rates) - 1),
        "test": [round(value, 4) for value in found["test"][best].tolist()],
        "means": [round(value, 4) for value in found["test"].mean(1).tolist()],
    }


def points() -> list[dict[str, Any]]:
    """Return the arguments of all runs of `run` that the book shows."""
    arms = [(norm, "separate", False) for norm in ("none", "LN", "GN")]
    arms += product(("BN",), get_args(Batch), (False, True))
    return [dict(zip(("norm", "batch", "constant"), arm, strict=True)) for arm in arms]


SWEEPS: dict[str, Sweep] = {"gan": (run, points)}
