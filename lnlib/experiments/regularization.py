"""Small nets on few digits, with and without a weight penalty, and from starts of all scales.

The nets are those of `theory`. Every arm is trained on a grid of learning rates and penalties, and
the recording holds all of it.
"""

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import torch

from lnlib.experiments.ensembles import Data, digits, train
from lnlib.experiments.sweeps import Row, Sweep
from lnlib.experiments.theory import MLP, NORMS, OPTIMIZERS

POOL, PAIRS = 1000, 16
USUAL = {"SGD": 0.1, "Adam": 0.001}
PENALTIES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1)
GAINS = (0.01, 0.1, 1.0, 10.0)
ARMS = ("none", "LN", "BN")
LOWEST = {  # of the learning rates for each scale of the start, as powers of two times the usual
    ("none", "SGD"): (-10, -10, -3, -10),
    ("LN", "SGD"): (-14, -7, -2, 0),
    ("BN", "SGD"): (-14, -7, -2, 0),
    ("none", "Adam"): (0, 0, -2, 0),
    ("LN", "Adam"): (-9, -5, -2, 0),
    ("BN", "Adam"): (-9, -5, -2, 0),
}


def few_digits(examples: int, part: int) -> Data:
    """Return the first of 1000 digits to train on; each part is a shuffle of all digits.

    Args:
        examples: how many of the 1000 images to train on.
        part: which shuffle, and so who is trained on, who chooses and who is tested.

    Returns:
        Data with 300 images for validation and 497 for the test.

    Example:
        >>> len(few_digits(50, part=3).training[1])
        50
    """
    data = digits(POOL, seed=part)
    x, y = data.training
    return Data((x[:examples], y[:examples]), data.validation, data.test)


def penalized(
    optimizer: str, penalties: Iterable[float]
) -> Callable[[list[dict[str, Any]]], torch.optim.Optimizer]:
    """Return an optimizer that shrinks the matrices of each group by a penalty of its own.

    Args:
        optimizer: one of `theory.OPTIMIZERS`.
        penalties: λ for each group, in their order; biases, γ and β are not shrunk.

    Returns:
        What `Ensemble.fit` takes: a function of groups whose parameters count the nets on their
        first axis.
    """

    def make(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        parts = []
        for group, penalty in zip(groups, penalties, strict=True):
            for matrices, decay in ((False, 0.0), (True, penalty)):
                chosen = [p for p in group["params"] if (p.ndim == 3) == matrices]
                parts.append({"params": chosen, "lr": group["lr"], "weight_decay": decay})
        return OPTIMIZERS[optimizer](parts)

    return make


def rates(optimizer: str, low: int, high: int) -> list[float]:
    """Return the usual learning rate times the powers of two from low to high.

    Example:
        >>> rates("SGD", -1, 2)
        [0.05, 0.1, 0.2, 0.4]
    """
    return [USUAL[optimizer] * 2.0**k for k in range(low, high + 1)]


def run(
    *,
    norm: str,
    depth: int,
    examples: int,
    part: int,
    gain: float,
    optimizer: str,
    low: int,
    high: int,
    penalties: list[float],
    seeds: list[int],
    steps: int,
) -> Row:
    """Train one arm on a grid; return its errors in validation and test, see `unfolded`."""
    grid = [*product(rates(optimizer, low, high), penalties)]
    data = few_digits(examples, part)
    found = train(
        lambda: MLP(depth, NORMS[norm], gain=gain), data, batch_size=32, steps=steps,
        learning_rates=[rate for rate, _ in grid], seeds=seeds,
        optimizer=penalized(optimizer, [penalty for _, penalty in grid]), description=norm,
    )  # fmt: skip
    scores = {"validation": found.validation, "test": found.ensemble.score(*data.test)}
    counts = {"validation": len(data.validation[1]), "test": len(data.test[1])}
    return {
        name: ((1 - score) * counts[name]).round().int().flatten().tolist()
        for name, score in scores.items()
    }


def unfolded(rows: Iterable[Row]) -> list[Row]:
    """Return a row for each net: its learning rate, penalty, seed, and what it reached.

    "validation" is the share of errors there, "test" that of right answers.

    Args:
        rows: the recorded ones.

    Example:
        >>> row = {"optimizer": "SGD", "low": 0, "high": 1, "penalties": [0.0], "seeds": [5]}
        >>> found = unfolded([row | {"validation": [30, 60], "test": [0, 497]}])
        >>> [(net["learning_rate"], net["validation"], net["test"]) for net in found]
        [(0.1, 0.1, 1.0), (0.2, 0.2, 0.0)]
    """
    found = []
    for row in rows:
        grid = product(
            rates(row["optimizer"], row["low"], row["high"]), row["penalties"], row["seeds"]
        )
        nets = zip(grid, row["validation"], row["test"], strict=True)
        found += [
            row | {"learning_rate": rate, "penalty": penalty, "seed": seed,
                   "validation": validation / 300, "test": 1 - test / 497}
            for (rate, penalty, seed), validation, test in nets
        ]  # fmt: skip
    return found


def generalization() -> list[Row]:
    """Return the arguments of all runs on few digits."""
    return [
        {
            "norm": norm, "depth": 3, "examples": examples, "part": part, "gain": 1.0,
            "optimizer": "SGD", "low": low, "high": low + 6, "penalties": [*PENALTIES],
            "seeds": [part], "steps": 400,
        }
        for norm, low in (("none", -2), ("LN", -2), ("BN", -1))
        for examples in (50, 200, 800) for part in range(PAIRS)
    ]  # fmt: skip


def starts() -> list[Row]:
    """Return the arguments of all runs from starts of different scales."""
    return [
        {
            "norm": norm, "depth": 6, "examples": POOL, "part": 0, "gain": gain,
            "optimizer": optimizer, "low": low, "high": 7 if low == -10 else max(low + 6, 0),
            "penalties": [0.0], "seeds": [*range(8)], "steps": 300,
        }
        for norm, optimizer in LOWEST
        for gain, low in zip(GAINS, LOWEST[norm, optimizer], strict=True)
    ]  # fmt: skip


SWEEPS: dict[str, Sweep] = {
    "generalization": (run, generalization),
    "starts": (run, starts),
}
