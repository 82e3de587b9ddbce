"""Small nets that learn digits from batches of different sizes, and groups chosen apart from them.

A normalization group holds the entries that share a mean and a variance. That of batch norm is the
whole batch; here the batch may also be split into groups of a few entries, so that one can be
varied without the other.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import product
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lnlib.experiments.ensembles import Data, Outcome, digits, train
from lnlib.experiments.sweeps import Row, Sweep
from lnlib.modules import MakeNorm

Net = Literal["vectors", "images"]
Norm = Literal["none", "LN", "GN", "IN", "BN"]
Source = Literal["image", "position", "apart"]
STEPS = 100
RATES = {
    "vectors": tuple(0.002 * 2**k for k in range(12)),  # to 4.096
    "images": tuple(0.001 * 2**k for k in range(14)),  # to 8.192
}
TILES = {2: (1, 2), 4: (2, 2)}  # rows and columns of neighbors in one image
FULL = 64  # examples that groups of every size fill


class GhostNorm(nn.BatchNorm1d):
    """Batch norm for (N, C) or (N, C, H, W) whose groups hold fewer entries than the batch.

    In training each group has its own mean and variance, and the running statistics move towards
    their average over the groups; inference is that of batch norm.

    Args:
        channels: C.
        examples: how many consecutive ones share a group; None for all.
        tile: rows and columns of neighboring positions that share a group; None for all.
        apart: whether the examples of a group lend it different positions, not the same.

    Example:
        >>> x = torch.randn(64, 8, 4, 4)
        >>> torch.allclose(GhostNorm(8)(x), nn.BatchNorm2d(8)(x), atol=1e-5)
        True

    Source: ghost batches in E. Hoffer et al. (2017), https://arxiv.org/abs/1705.08741.
    """

    momentum: float
    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        channels: int,
        examples: int | None = None,
        tile: tuple[int, int] | None = None,
        apart: bool = False,
    ) -> None:
        super().__init__(channels)
        self.examples, self.tile, self.apart = examples, tile, apart

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept vectors and images."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x, in training normalized group by group."""
        if not self.training:
            return super().forward(x)
        images = x if x.ndim == 4 else x[:, :, None, None]
        n, channels, height, width = images.shape
        examples, (rows, columns) = self.examples or n, self.tile or (height, width)
        if self.apart:
            images = _turned(images, examples)
        shape = (n // examples, examples, channels)
        groups = images.reshape(*shape, height // rows, rows, width // columns, columns)
        axes, others = (1, 4, 6), (0, 1, 3, 4, 5, 6)
        mean = groups.mean(axes, keepdim=True)
        centered = groups - mean
        variance = centered.square().mean(axes, keepdim=True)
        entries = examples * rows * columns
        unbiased = variance * entries / max(entries - 1, 1)
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            running += self.momentum * (new.detach().mean(others) - running)
        images = (centered * torch.rsqrt(variance + self.eps)).reshape(images.shape)
        if self.apart:
            images = _turned(images, examples, back=True)
        weight, bias = self.weight[:, None, None], self.bias[:, None, None]
        return (images * weight + bias).reshape(x.shape)


def _turned(images: Tensor, examples: int, back: bool = False) -> Tensor:
    """Move the positions of each image in turn by 0, 1, ..., examples − 1, or back."""
    flat = images.flatten(2)
    shift = (torch.arange(len(flat)) % examples)[:, None] * (-1 if back else 1)
    places = (torch.arange(flat.shape[2]) + shift) % flat.shape[2]
    return flat.gather(2, places[:, None].expand(flat.shape)).reshape(images.shape)


def dense(norm: MakeNorm) -> nn.Module:
    """Return a net for vectors: three hidden layers of 64, each with a norm and a ReLU."""
    hidden = (m for _ in range(3) for m in (nn.Linear(64, 64), norm(64), nn.ReLU()))
    return nn.Sequential(*hidden, nn.Linear(64, 10))


def convolutional(norm: MakeNorm) -> nn.Module:
    """Return a net for images: two convolutions, to 4 × 4 and 2 × 2, with norms and ReLUs."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        *(nn.Conv2d(1, 8, 3, stride=2, padding=1), norm(8), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, stride=2, padding=1), norm(16), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )


BODIES: dict[Net, Callable[[MakeNorm], nn.Module]] = {
    "vectors": dense,
    "images": convolutional,
}
NORMS: dict[Net, dict[Norm, MakeNorm]] = {
    "vectors": {"none": nn.Identity, "LN": nn.LayerNorm, "BN": GhostNorm},
    "images": {
        "none": nn.Identity,
        "LN": lambda channels: nn.GroupNorm(1, channels),
        "GN": lambda channels: nn.GroupNorm(4, channels),
        "IN": lambda channels: nn.GroupNorm(channels, channels),
        "BN": GhostNorm,
    },
}


def build(
    net: Net, norm: Norm, batch: int, group: int | None = None, source: Source | None = None
) -> nn.Module:
    """Return a new net of one arm.

    Args:
        net: for vectors or for images.
        norm: one of `NORMS`.
        batch: examples in a batch.
        group: entries that share a statistic, for BN; None for those of the whole batch.
        source: where these come from: neighbors in one "image", the same "position" of several
            examples, or different positions of several examples, "apart".

    Raises:
        ValueError: if there is no such arm.

    Example:
        >>> build("images", "BN", batch=64, group=4, source="apart")(torch.randn(64, 64)).shape
        torch.Size([64, 10])
    """
    if norm not in NORMS.get(net, {}):
        known = {name: [*norms] for name, norms in NORMS.items()}
        raise ValueError(f"net, norm: expected one of {known}, got {net!r} and {norm!r}")
    if norm == "BN":
        return BODIES[net](_ghost_norm(batch, group, source))
    if group is not None or source is not None:
        raise ValueError(f"group, source: only BN has any, got {group!r} and {source!r} for {norm}")
    return BODIES[net](NORMS[net][norm])


def _ghost_norm(batch: int, group: int | None, source: Source | None) -> MakeNorm:
    if group is None and source is None:
        return lambda channels: GhostNorm(channels, batch)
    if group in TILES and source == "image":
        return lambda channels: GhostNorm(channels, 1, TILES[group])
    if group is not None and source in ("position", "apart"):
        return lambda channels: GhostNorm(channels, group, (1, 1), source == "apart")
    raise ValueError(
        f"group, source: expected a size and one of {get_args(Source)}, where an image gives one "
        f"of {[*TILES]} entries, or None for both; got {group!r} and {source!r}"
    )


def train_net(
    net: Net, norm: Norm, batch: int, seed: int, group: int | None = None,
    source: Source | None = None, steps: int = STEPS,
) -> Outcome:  # fmt: skip
    """Train one arm at every learning rate; the seed is that of the split, start and order."""
    return train(
        lambda: build(net, norm, batch, group, source), digits(seed=seed), batch_size=batch,
        steps=steps, learning_rates=RATES[net], seeds=(seed,), description=f"{norm}, {batch}",
    )  # fmt: skip


def with_other_statistics(found: Outcome, data: Data) -> dict[str, float | bool]:
    """Return the test accuracy of BN without its running statistics.

    Args:
        found: an arm with BN.
        data: what it was trained on.

    Returns:
        With the statistics of groups as in training ("groups") and with those of all test data
        ("all"), each at the learning rate that is best in this way on validation data, and
        whether that is at the edge of the grid.
    """
    reached: dict[str, float | bool] = {}
    ensemble = found.ensemble
    for way, size in (("groups", FULL), ("all", 1)):
        with nullcontext() if way == "groups" else _one_group(ensemble.net):
            validation, test = (
                ensemble.score(x[:n], y[:n], batch_size=n).flatten()
                for x, y in (data.validation, data.test)
                for n in (len(y) // size * size,)
            )
        best = int(validation.argmax())
        reached[way] = round(test[best].item(), 4)
        reached[f"{way}_at_edge"] = best in (0, len(test) - 1)
    return reached


@contextmanager
def _one_group(net: nn.Module) -> Iterator[None]:
    """Let all examples and positions share one statistic of each channel, for a while."""
    norms = [module for module in net.modules() if isinstance(module, GhostNorm)]
    before = [(norm.examples, norm.tile, norm.apart) for norm in norms]
    for norm in norms:
        norm.examples, norm.tile, norm.apart = None, None, False
    try:
        yield
    finally:
        for norm, group in zip(norms, before, strict=True):
            norm.examples, norm.tile, norm.apart = group


def run(
    *, net: Net, norm: Norm, batch: int, seed: int, group: int | None = None,
    source: Source | None = None, steps: int = STEPS,
) -> Row:  # fmt: skip
    """Train one arm; return its accuracy, for BN also with other than the running statistics."""
    found = train_net(net, norm, batch, seed, group, source, steps)
    others = with_other_statistics(found, digits(seed=seed)) if norm == "BN" else {}
    return found.figures() | {"test": round(found.test.item(), 4)} | others


def points(seeds: int = 16) -> list[Row]:
    """Return the arguments of all runs of `run` that the book shows."""
    columns = ("net", "norm", "batch", "group", "source", "steps")
    arms: list[tuple[Any, ...]] = [
        *(
            (*arm, None, None, STEPS)
            for arm in product(["vectors"], NORMS["vectors"], (2, 4, 16, 64))
        ),
        *((*arm, None, None, STEPS) for arm in product(["images"], NORMS["images"], (1, 4, 64))),
        *(("vectors", norm, 2, None, None, 8 * STEPS) for norm in ("LN", "BN")),
        *(("vectors", "BN", 64, group, "position", STEPS) for group in (2, 4, 16)),
        *(("images", "BN", 64, group, "image", STEPS) for group in TILES),
        *(("images", "BN", 64, *arm, STEPS) for arm in product((2, 4, 16), ("position", "apart"))),
        ("images", "BN", 1, 2, "image", STEPS),
    ]
    return [
        dict(zip((*columns, "seed"), (*arm, seed), strict=True))
        for arm in arms for seed in range(seeds)
    ]  # fmt: skip


SWEEPS: dict[str, Sweep] = {"batches": (run, points)}
