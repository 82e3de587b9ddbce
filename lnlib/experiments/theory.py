"""Deep nets of linear layers, a norm and ReLU: which explanation of normalization survives here?

All layers are as wide as the digits have pixels, so that only norm, order and depth differ.
"""

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lnlib.experiments.ensembles import Ensemble, digits
from lnlib.experiments.sweeps import Row, Sweep
from lnlib.modules import MakeNorm
from lnlib.variants import AdaNorm, DetachNorm

Order = Literal["norm-relu", "relu-norm", "residual"]
WIDTH = 64  # pixels of a digit
CENTERED = round((1 - 1 / math.pi) ** -0.5, 3)  # the gain that keeps the variance of centered ReLUs
DIVIDED = round(20**-0.5, 3)  # the gain that keeps the variance of a stream with 20 branches


class Centering(nn.Module):
    """The half of layer norm that RMSNorm leaves out: x − mean(x).

    Args:
        width: H.

    Example:
        >>> Centering(2)(torch.tensor([1.0, 3.0]))
        tensor([-1.,  1.])
    """

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` of shape (..., H) with mean zero in every row."""
        return input - input.mean(-1, keepdim=True)


NORMS: dict[str, MakeNorm] = {
    "none": nn.Identity,
    "LN": nn.LayerNorm,
    "RMS": lambda width: nn.RMSNorm(width, eps=1e-5),
    "centering": Centering,
    "BN": nn.BatchNorm1d,
    "DetachNorm": DetachNorm,
    "AdaNorm": AdaNorm,
}
OPTIMIZERS = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}


class Layer(nn.Module):
    """One linear layer with norm and ReLU around it.

    ========= ==================
    order     formula
    ========= ==================
    norm-relu ReLU(N(W x))
    relu-norm N(ReLU(W x))
    residual  x + W ReLU(N(x))
    ========= ==================
    """

    def __init__(self, norm: MakeNorm, order: Order, gain: float) -> None:
        super().__init__()
        self.linear, self.norm, self.relu = nn.Linear(WIDTH, WIDTH), norm(WIDTH), nn.ReLU()
        self.order = order
        nn.init.normal_(self.linear.weight, std=gain * (2 / WIDTH) ** 0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the order says."""
        if self.order == "norm-relu":
            return self.relu(self.norm(self.linear(x)))
        if self.order == "relu-norm":
            return self.norm(self.relu(self.linear(x)))
        return x + self.linear(self.relu(self.norm(x)))


class MLP(nn.Module):
    """Hidden layers, all of the same width, and a linear output for ten labels.

    Args:
        depth: of the hidden layers.
        norm: makes a norm of a width; one of `NORMS`.
        order: of linear layer, norm and ReLU, see `Layer`.
        gain: of the hidden weights at the start; 1 is He's, √(2 / H) for every entry.

    Raises:
        ValueError: if the order is unknown.

    Example:
        >>> MLP(3, nn.LayerNorm)(torch.zeros(5, 64)).shape
        torch.Size([5, 10])

    Source: He et al. (2015), https://arxiv.org/abs/1502.01852, for the start.
    """

    def __init__(
        self,
        depth: int,
        norm: MakeNorm = nn.Identity,
        order: Order = "norm-relu",
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        if order not in get_args(Order):
            raise ValueError(f"order: expected one of {get_args(Order)}, got {order!r}")
        self.hidden = nn.Sequential(*(Layer(norm, order, gain) for _ in range(depth)))
        self.norm_out = norm(WIDTH) if order == "residual" else nn.Identity()
        self.scores = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of shape (N, 10) for x of shape (N, 64)."""
        return self.scores(self.norm_out(self.hidden(x)))


class Shift(NamedTuple):
    """What changes in gradients G when the layers below take their step; G' is the new one.

    `distance` is ‖G − G'‖, `cosine` that of the angle between G and G', `relative` our own
    ‖G − G'‖ / ‖G‖; each of shape (layers, learning rates, seeds).
    """

    distance: Tensor
    cosine: Tensor
    relative: Tensor


def covariate_shift(ensemble: Ensemble, x: Tensor, y: Tensor, layers: tuple[int, ...]) -> Shift:
    """Return by how much a layer's gradient changes when the layers below it take their step.

    G is the gradient for the layer's weight, G' the same after one step of gradient descent by the
    hidden layers below alone.

    Args:
        ensemble: of `MLP`.
        x: one batch, the same for all.
        y: its labels.
        layers: which of the hidden ones, counted from 0.

    Source: Santurkar et al. (2018), section 2.2 with definition 2.1,
    https://arxiv.org/abs/1805.11604.
    """
    before = ensemble.gradients(x, y)
    rates = torch.tensor(ensemble.learning_rates).repeat_interleave(ensemble.seeds)
    found = []
    for layer in layers:
        below = tuple(f"hidden.{i}." for i in range(layer))
        moved = {
            name: p - spread(rates, p) * before[name] if name.startswith(below) else p
            for name, p in ensemble.parameters.items()
        }
        weight = f"hidden.{layer}.linear.weight"
        old = before[weight].flatten(1)
        new = ensemble.gradients(x, y, moved)[weight].flatten(1)
        distance = (new - old).norm(dim=1)
        cosine = F.cosine_similarity(new, old, dim=1)
        found.append(torch.stack([distance, cosine, distance / old.norm(dim=1)]))
    return Shift(*torch.stack(found, 1).view(3, len(layers), -1, ensemble.seeds))


def along_gradient(
    ensemble: Ensemble, x: Tensor, y: Tensor, steps: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Return how loss and gradient change along the direction of steepest descent.

    Args:
        ensemble: the nets.
        x: one batch, the same for all.
        y: its labels.
        steps: how far to go, in multiples of the gradient.

    Returns:
        The losses after each step, and ‖g' − g‖ / ‖θ' − θ‖, how steeply the gradient changes; both
        of shape (steps, learning rates, seeds).

    Source: Santurkar et al. (2018), figure 4, https://arxiv.org/abs/1805.11604.
    """
    start = ensemble.gradients(x, y)
    losses, slopes = [], []
    for step in steps:
        moved = {name: p - step * start[name] for name, p in ensemble.parameters.items()}
        there = ensemble.gradients(x, y, moved)
        change = _norm({name: there[name] - g for name, g in start.items()})
        slopes.append(change / (step * _norm(start)))
        losses.append(ensemble.losses(x, y, moved))
    shape = (len(steps), -1, ensemble.seeds)
    return torch.stack(losses).view(shape), torch.stack(slopes).view(shape)


def spread(values: Tensor, like: Tensor) -> Tensor:
    """Return one value for each net, ready to be multiplied with its parameters."""
    return values.view(-1, *[1] * (like.ndim - 1))


def _norm(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([g.flatten(1) for g in gradients.values()], 1).norm(dim=1)


def minus_cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Return minus the loss of each example."""
    return -F.cross_entropy(outputs, y, reduction="none")


LAYERS, STEPS = (1, 3, 5), (0.05, 0.1, 0.2, 0.4)  # where and how far a net of six is measured


def rates(octaves: tuple[int, int]) -> list[float]:
    """Return learning rates from the first to the second power of 2 / 100, each twice the last.

    Example:
        >>> rates((-1, 2))
        [0.005, 0.01, 0.02, 0.04]
    """
    lowest, highest = octaves
    return [0.01 * 2.0**k for k in range(lowest, highest + 1)]


def run(
    *,
    depth: int,
    norm: str,
    octaves: tuple[int, int],
    order: Order = "norm-relu",
    gain: float = 1.0,
    seeds: int = 8,
    measured: bool = False,
    steps: int = 300,
) -> Row:
    """Train at every learning rate of a range; return what the nets reach, after 100 steps, too.

    Args:
        depth: of the hidden layers.
        norm: one of `NORMS`.
        octaves: the lowest and the highest learning rate, see `rates`.
        order: see `Layer`.
        gain: see `MLP`.
        seeds: nets at every rate.
        measured: whether to `measure` every 30 steps, and average that over the training.
        steps: of training.

    Returns:
        The learning rates, and tables with a row for each of them and a column for each seed: the
        loss on the training data, the shares of right answers on the validation and the test data,
        "early" for the same two after 100 steps, and the measures; None for what is not finite.
    """
    data = digits()
    learning_rates = rates(octaves)
    ensemble = Ensemble(lambda: MLP(depth, NORMS[norm], order, gain), learning_rates, seeds)
    tables: dict[str, Tensor] = {}
    measures: list[dict[str, Tensor]] = []

    def after(step: int) -> None:
        if step == 100:
            tables["early validation"] = ensemble.score(*data.validation)
            tables["early test"] = ensemble.score(*data.test)
        if measured and step % 30 == 0:
            measures.append(measure(ensemble, *(part[:64] for part in data.training)))
        ensemble.net.train()

    ensemble.fit(*data.training, batch_size=64, steps=steps, description=norm, after=after)
    for name in measures[0] if measures else ():
        tables[name] = torch.stack([found[name] for found in measures]).mean(0)
    tables["loss"] = -ensemble.score(*data.training, measure=minus_cross_entropy)
    tables["validation"] = ensemble.score(*data.validation)
    tables["test"] = ensemble.score(*data.test)
    return {"rates": learning_rates} | {name: _rounded(table) for name, table in tables.items()}


def own_rate(row: Row, validation: str = "validation") -> int:
    """Return the place of the learning rate with the most right answers on the validation data.

    Args:
        row: of `run`.
        validation: "early validation" for the best after 100 steps.

    Example:
        >>> own_rate({"validation": [[0.5, 0.6], [0.9, 0.7], [0.1, 0.9]]})
        1
    """
    means = [sum(shares) / len(shares) for shares in row[validation]]
    return means.index(max(means))


def measure(ensemble: Ensemble, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return `Shift` in three layers, and how far loss and gradient change along the gradient.

    Args:
        ensemble: of `MLP` with six hidden layers.
        x: one batch, the same for all.
        y: its labels.

    Returns:
        Under names like "distance 4" the shift in the fourth layer; under "band" the largest minus
        the smallest loss, under "slope" the steepest change of the gradient, both over `STEPS`.
    """
    found = {
        f"{name} {layer + 1}": values
        for name, table in covariate_shift(ensemble, x, y, LAYERS)._asdict().items()
        for layer, values in zip(LAYERS, table, strict=True)
    }
    losses, slopes = along_gradient(ensemble, x, y, STEPS)
    return found | {"band": losses.amax(0) - losses.amin(0), "slope": slopes.amax(0)}


def _rounded(table: Tensor) -> list[list[float | None]]:
    return [[round(v, 4) if abs(v) < torch.inf else None for v in row] for row in table.tolist()]


def points() -> list[Row]:
    """Return the arguments of all runs that the book shows."""
    six: list[Row] = [
        {"norm": norm, "depth": 6, "octaves": [0, 9], "seeds": 16, "measured": True}
        for norm in ("none", "LN", "BN")
    ]
    six += [
        {"norm": norm, "depth": 6, "octaves": [0, 9]} for norm in ("RMS", "DetachNorm", "AdaNorm")
    ]
    deep: list[tuple[str, Order, float, list[int]]] = [
        ("none", "norm-relu", 1, [-3, 3]),
        ("LN", "norm-relu", 1, [-2, 4]),
        ("RMS", "norm-relu", 1, [-2, 4]),
        ("BN", "norm-relu", 1, [1, 7]),
        ("LN", "relu-norm", 1, [-2, 4]),
        ("RMS", "relu-norm", 1, [-2, 4]),
        ("centering", "relu-norm", CENTERED, [-2, 4]),
        ("BN", "relu-norm", 1, [1, 7]),
        ("none", "residual", 1, [-8, -2]),
        ("none", "residual", DIVIDED, [-1, 5]),
        ("LN", "residual", 1, [1, 7]),
        ("LN", "residual", DIVIDED, [1, 7]),
        ("RMS", "residual", 1, [1, 7]),
    ]
    twenty: list[Row] = [
        dict(norm=norm, depth=20, order=order, gain=gain, octaves=octaves, seeds=16)
        for norm, order, gain, octaves in deep
    ]
    defaults = {"order": "norm-relu", "gain": 1, "seeds": 8, "measured": False}
    return [defaults | point for point in six + twenty]


SWEEPS: dict[str, Sweep] = {"theory": (run, points)}
