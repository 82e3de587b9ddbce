"""A task that needs a condition: given a digit and a number k, which digit is k further, modulo 10?

How k enters the net is crossed out of three factors: early or late, as a summand or as a factor,
with layer norm or without any.
"""

from itertools import product
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lnlib.experiments.ensembles import Data, Outcome, digits, train
from lnlib.experiments.sweeps import Sweep
from lnlib.randomness import moved

Place = Literal["early", "late"]
Kind = Literal["summand", "factor"]
FACTORS = {"place": get_args(Place), "kind": get_args(Kind), "norm": (False, True)}
RATES = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128)
PIXELS, NUMBERS = 64, 10


def shifted(data: Data, seed: int) -> Data:
    """Return images followed by a number k, one-hot, with the labels moved by k, modulo 10.

    Args:
        data: as from `digits`.
        seed: of the numbers, one for each image.
    """
    generator = torch.Generator().manual_seed(moved(seed))

    def part(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        k = torch.randint(NUMBERS, (len(labels),), generator=generator)
        return torch.cat([images, F.one_hot(k, NUMBERS).float()], 1), (labels + k) % NUMBERS

    return data.map(part)


class Shifter(nn.Module):
    """Three linear layers; behind the first or the second, k enters before the ReLU.

    A summand is a(k), a factor is 1 + a(k), with a linear and zero at first.

    Args:
        place: behind the first layer ("early") or the second ("late").
        kind: "summand" or "factor".
        norm: layer norm behind both layers, before k enters, or none.
        width: entries of a layer.

    Raises:
        ValueError: if place or kind is none of these.

    Example:
        >>> Shifter("late", "factor", True)(torch.randn(5, 74)).shape
        torch.Size([5, 10])
    """

    def __init__(self, place: Place, kind: Kind, norm: bool, width: int = 64) -> None:
        super().__init__()
        for name, value in (("place", place), ("kind", kind)):
            if value not in FACTORS[name]:
                raise ValueError(f"{name}: expected one of {FACTORS[name]}, got {value!r}")
        sizes = (PIXELS, width, width, NUMBERS)
        self.layers = nn.ModuleList(map(nn.Linear, sizes, sizes[1:]))
        self.norms = nn.ModuleList(nn.LayerNorm(width) if norm else nn.Identity() for _ in range(2))
        self.told = nn.Linear(NUMBERS, width)
        nn.init.zeros_(self.told.weight)
        nn.init.zeros_(self.told.bias)
        self.enters, self.kind = FACTORS["place"].index(place), kind

    def forward(self, both: Tensor) -> Tensor:
        """Return scores of shape (N, 10) for images and numbers of shape (N, 74)."""
        x, k = both.split([PIXELS, NUMBERS], -1)
        for number, norm in enumerate(self.norms):
            x = norm(self.layers[number](x))
            if number == self.enters:
                a = self.told(k)
                x = (1 + a) * x if self.kind == "factor" else x + a
            x = F.relu(x)
        return self.layers[2](x)


def train_shifter(place: Place, kind: Kind, norm: bool, seed: int, steps: int = 400) -> Outcome:
    """Train one arm at every learning rate; the seed is that of the split, k, start and order."""
    return train(
        lambda: Shifter(place, kind, norm), shifted(digits(seed=seed), seed),
        batch_size=64, steps=steps, learning_rates=RATES, seeds=(seed,),
        optimizer=torch.optim.Adam, description=f"{place}, {kind}",
    )  # fmt: skip


def run(*, place: Place, kind: Kind, norm: bool, seed: int) -> dict[str, Any]:
    """Train one arm; return the share of correct answers at the learning rate it chose."""
    found = train_shifter(place, kind, norm, seed)
    return found.figures() | {"test": round(found.test.item(), 4)}


def points(seeds: int = 16) -> list[dict[str, Any]]:
    """Return the arguments of all runs of `run` that the book shows: every combination."""
    cells = product(*FACTORS.values(), range(seeds))
    return [dict(zip((*FACTORS, "seed"), cell, strict=True)) for cell in cells]


SWEEPS: dict[str, Sweep] = {"conditional": (run, points)}
