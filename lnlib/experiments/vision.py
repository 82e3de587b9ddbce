"""A small vision transformer on handwritten digits, with the norm of one's choice."""

from itertools import product
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lnlib.experiments.ensembles import digits
from lnlib.experiments.splits import train_splits
from lnlib.experiments.sweeps import Sweep
from lnlib.experiments.transformer import MLP, NORMS, Placement, Residual

SIDE, PATCH, LABELS = 8, 2, 10
PATCHES = (SIDE // PATCH) ** 2
RATES = (0.0005, 0.001, 0.002, 0.004, 0.008)
Start = Literal["plain", "1/√(2L)"]


class Attention(nn.Module):
    """Attention of every patch to every patch, over x of shape (N, T, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the patches of each image."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


def patches(images: Tensor) -> Tensor:
    """Cut images of shape (..., 64) into patches, of shape (..., 16, 4).

    Example:
        >>> patches(torch.arange(64.0))[1]
        tensor([ 2.,  3., 10., 11.])
    """
    grid = images.unflatten(-1, (SIDE // PATCH, PATCH, SIDE // PATCH, PATCH))
    return grid.transpose(-3, -2).flatten(-2).flatten(-3, -2)


class PatchNet(nn.Module):
    """A vision transformer: patches, blocks of attention and MLP, mean, scores.

    Args:
        norm: a name in `transformer.NORMS`.
        placement: see `transformer.Residual`; ViT has "pre", Swin V2 "output".
        start: "1/√(2L)" divides the last matrix of each of the 2L branches by √(2L), as GPT-2.
        width: entries of a patch.
        depth: blocks.

    Source: Dosovitskiy et al. (2021), https://arxiv.org/abs/2010.11929.
    """

    def __init__(
        self, norm: str = "LN", placement: Placement = "pre", start: Start = "plain",
        *, width: int = 32, depth: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        make = NORMS[norm]
        self.embed = nn.Linear(PATCH**2, width)
        self.positions = nn.Parameter(torch.randn(PATCHES, width))
        branches = [branch for _ in range(depth) for branch in (Attention(width, 2), MLP(width))]
        if start != "plain":
            with torch.no_grad():
                for branch in branches:
                    branch.out.weight /= len(branches) ** 0.5
        self.blocks = nn.Sequential(
            *(Residual(branch, width, make, placement, depth) for branch in branches)
        )
        self.norm, self.scores = make(width), nn.Linear(width, LABELS)

    def forward(self, images: Tensor) -> Tensor:
        """Return scores of shape (N, 10) for images of shape (N, 64)."""
        stream = self.blocks(self.embed(patches(images)) + self.positions)
        return self.scores(self.norm(stream).mean(-2))


def run(*, norm: str, placement: Placement, start: Start, steps: int) -> dict[str, Any]:
    """Train one arm at every learning rate; return the share of correct answers at the chosen.

    The rates of batch norm are half as large, and so are those of longer training.
    """
    halvings = (norm == "BN") + (steps > 150)
    return train_splits(
        lambda: PatchNet(norm, placement, start), [digits(seed=seed) for seed in range(8)],
        learning_rates=[rate / 2**halvings for rate in RATES], batch_size=32, steps=steps,
        optimizer=torch.optim.Adam, description=f"{norm}, {placement}, {start}",
    ).figures()  # fmt: skip


def points() -> list[dict[str, Any]]:
    """Return the arguments of all runs of `run` that the book shows."""
    arms: list[tuple[Any, ...]] = [
        *product(("LN", "none"), ("pre",), get_args(Start), (150,)),
        ("LN", "output", "plain", 150),
        *product(("BN",), ("pre",), ("plain",), (150, 600)),
        ("LN", "pre", "plain", 600),
    ]
    return [dict(zip(("norm", "placement", "start", "steps"), arm, strict=True)) for arm in arms]


SWEEPS: dict[str, Sweep] = {"vision": (run, points)}
