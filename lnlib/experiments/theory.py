"""Deep nets of linear layers, a norm and ReLU: which explanation of normalization survives here?

All layers are as wide as the digits have pixels, so that only norm, order and depth differ.
"""

from itertools import product
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lnlib.experiments.ensembles import Ensemble, digits, train
from lnlib.experiments.sweeps import Sweep
from lnlib.modules import MakeNorm
from lnlib.variants import AdaNorm, DetachNorm

Order = Literal["norm-relu", "relu-norm", "residual"]
WIDTH = 64  # pixels of a digit
NORMS: dict[str, MakeNorm] = {
    "none": nn.Identity,
    "LN": nn.LayerNorm,
    "RMS": lambda width: nn.RMSNorm(width, eps=1e-5),
    "BN": nn.BatchNorm1d,
    "DetachNorm": DetachNorm,
    "AdaNorm": AdaNorm,
}
RATES = tuple(10 ** (k / 2) for k in range(-10, 3))  # 1e-5 to 10
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
        self.linear, self.norm, self.order = nn.Linear(WIDTH, WIDTH), norm(WIDTH), order
        nn.init.normal_(self.linear.weight, std=gain * (2 / WIDTH) ** 0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the order says."""
        if self.order == "norm-relu":
            return F.relu(self.norm(self.linear(x)))
        if self.order == "relu-norm":
            return self.norm(F.relu(self.linear(x)))
        return x + self.linear(F.relu(self.norm(x)))


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


def covariate_shift(ensemble: Ensemble, x: Tensor, y: Tensor, layer: int) -> Tensor:
    """Return by how much a layer's gradient changes when the layers below it take their step.

    ‖G − G'‖ / ‖G‖, G the gradient for the layer's weight and G' the same after one step of
    gradient descent by the hidden layers below alone.

    Args:
        ensemble: of `MLP`.
        x: one batch, the same for all.
        y: its labels.
        layer: of the hidden ones, counted from 0.

    Returns:
        One number for each net, of shape (learning rates, seeds).

    Source: Santurkar et al. (2018), definition 2.1, https://arxiv.org/abs/1805.11604.
    """
    before = ensemble.gradients(x, y)
    below = {
        name for name in before if name.startswith(tuple(f"hidden.{i}." for i in range(layer)))
    }
    rates = torch.tensor(ensemble.learning_rates).repeat_interleave(ensemble.seeds)
    moved = {
        name: p - spread(rates, p) * before[name] if name in below else p
        for name, p in ensemble.parameters.items()
    }
    after = ensemble.gradients(x, y, moved)
    weight = f"hidden.{layer}.linear.weight"
    shift = (after[weight] - before[weight]).flatten(1).norm(dim=1)
    return (shift / before[weight].flatten(1).norm(dim=1)).view(-1, ensemble.seeds)


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


def run(
    *,
    depth: int,
    norm: str,
    order: Order = "norm-relu",
    gain: float = 1.0,
    optimizer: str = "SGD",
    examples: int = 1000,
    split: int = 0,
    seeds: int = 5,
    steps: int = 300,
) -> dict[str, Any]:
    """Train at every learning rate; return the scores at the chosen one, and those at all.

    `every` and `losses` have one row for each of `RATES`: test accuracies, and losses on the
    training data, None where they are not finite.
    """
    data = digits(examples, seed=split)
    found = train(
        lambda: MLP(depth, NORMS[norm], order, gain), data, batch_size=64, steps=steps,
        learning_rates=RATES, seeds=seeds, optimizer=OPTIMIZERS[optimizer], description=norm,
    )  # fmt: skip
    losses = -found.ensemble.score(*data.training, measure=minus_cross_entropy)
    return {
        **found.figures(),
        "every": _rounded(found.ensemble.score(*data.test)),
        "losses": _rounded(losses),
    }


def _rounded(table: Tensor) -> list[list[float | None]]:
    return [[round(v, 4) if abs(v) < torch.inf else None for v in row] for row in table.tolist()]


def points() -> list[dict[str, Any]]:
    """Return the arguments of all runs that the book shows."""
    plain: list[dict[str, Any]] = [
        {"depth": 6, "norm": norm, "seeds": 8, "steps": steps}
        for norm, steps in product(NORMS, (100, 300))
    ]
    deep = [("none", "norm-relu"), ("LN", "norm-relu"), ("BN", "norm-relu")]
    deep += [("LN", "relu-norm"), ("BN", "relu-norm"), ("none", "residual"), ("LN", "residual")]
    plain += [{"depth": 20, "norm": norm, "order": order} for norm, order in deep]
    three = ("none", "LN", "BN")
    plain += [
        {"depth": 6, "norm": norm, "gain": gain, "optimizer": optimizer}
        for norm, gain, optimizer in product(three, (0.01, 0.1, 1.0, 10.0), OPTIMIZERS)
    ]
    plain += [
        {"depth": 3, "norm": norm, "examples": examples, "split": split, "seeds": 3}
        for norm, examples, split in product(three, (50, 100, 200, 400, 800), range(10))
    ]
    defaults = {"order": "norm-relu", "gain": 1.0, "optimizer": "SGD", "examples": 1000, "split": 0}
    return [{**defaults, "seeds": 5, "steps": 300, **point} for point in plain]


SWEEPS: dict[str, Sweep] = {"theory": (run, points)}
