"""Recurrent nets on long sequences: digits pixel by pixel, and the adding problem."""

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lnlib.experiments.ensembles import Data, digits, minus_squared_error, right, train
from lnlib.experiments.sweeps import Sweep
from lnlib.modules import MakeNorm
from lnlib.randomness import moved
from lnlib.recurrent import GRUCell, LSTMCell

NORMS: dict[str, MakeNorm] = {
    "none": nn.Identity,
    "LN": nn.LayerNorm,
    "BN": nn.BatchNorm1d,
}
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)


class Reader(nn.Module):
    """Read a sequence of shape (N, T, inputs) with one cell; answer from the last state.

    Args:
        cell: "LSTM" or "GRU".
        norm: one of `NORMS`.
        inputs: entries at each step.
        outputs: of the answer.
        hidden: entries of the state.
        gain: factor on the cell's initial weights.
    """

    def __init__(
        self, cell: str, norm: str, inputs: int, outputs: int, hidden: int = 32, gain: float = 1.0
    ) -> None:
        super().__init__()
        kind: Any = {"LSTM": LSTMCell, "GRU": GRUCell}[cell]
        self.cell: nn.Module = kind(inputs, hidden, NORMS[norm])
        self.answer, self.hidden = nn.Linear(hidden, outputs), hidden
        with torch.no_grad():
            for name, parameter in self.cell.named_parameters():
                if name.startswith("weight_"):
                    parameter *= gain

    def states(self, x: Tensor) -> Tensor:
        """Return the visible state after every step, of shape (T, N, hidden)."""
        h = x.new_zeros(len(x), self.hidden)
        c, found = h, []
        for step in x.unbind(1):
            if isinstance(self.cell, LSTMCell):
                h, c = self.cell(step, (h, c))
            else:
                h = self.cell(step, h)
            found.append(h)
        return torch.stack(found)

    def forward(self, x: Tensor) -> Tensor:
        """Return the answers, of shape (N, outputs)."""
        return self.answer(self.states(x)[-1])


def pixels(steps: int) -> Data:
    """Return the digits as sequences: 64 pixels, dealt out evenly over the steps."""
    return digits().map(lambda x, y: (x.view(len(x), steps, -1), y))


def adding(steps: int, examples: int = 4000) -> Data:
    """Return the adding problem: the sum of the two marked ones of many random numbers.

    Args:
        steps: length of the sequences; one mark lies in each half.
        examples: for training; a quarter as many each for validation and test.

    Example:
        >>> x, y = adding(10).test
        >>> x.shape, bool(torch.allclose((x[..., 0] * x[..., 1]).sum(1, keepdim=True), y))
        (torch.Size([1000, 10, 2]), True)

    Source: Hochreiter, Schmidhuber (1997), https://doi.org/10.1162/neco.1997.9.8.1735.
    """
    generator = torch.Generator().manual_seed(moved())

    def part(count: int) -> tuple[Tensor, Tensor]:
        values = torch.rand(count, steps, generator=generator)
        half = steps // 2
        first = torch.randint(half, (count,), generator=generator)
        second = half + torch.randint(steps - half, (count,), generator=generator)
        marks = F.one_hot(first, steps) + F.one_hot(second, steps)
        return torch.stack([values, marks], -1), (values * marks).sum(1, keepdim=True)

    return Data(part(examples), part(examples // 4), part(examples // 4))


def run(*, task: str, cell: str, norm: str, length: int, gain: float) -> dict[str, Any]:
    """Train five seeds at every learning rate; return the scores at the chosen one.

    The score is the accuracy for "pixels" and minus the mean squared error for "adding".
    """
    problem: Any = (
        (pixels, 10, 64 // length, F.cross_entropy, right, 200)
        if task == "pixels"
        else (adding, 1, 2, F.mse_loss, minus_squared_error, 600)
    )
    data, outputs, inputs, loss, measure, steps = problem
    found = train(
        lambda: Reader(cell, norm, inputs, outputs, gain=gain), data(length), batch_size=32,
        steps=steps, learning_rates=RATES, loss=loss, measure=measure, optimizer=torch.optim.Adam,
    )  # fmt: skip
    return found.figures()


def points() -> list[dict[str, Any]]:
    """Return the arguments of all runs that the book shows."""
    names = ("task", "cell", "norm", "length", "gain")
    arms = [
        *product(["pixels"], ["LSTM", "GRU"], ["none", "LN"], [16, 32, 64], [1.0]),
        *product(["pixels"], ["LSTM"], ["none", "LN"], [32], [0.1, 4.0]),
        *product(["pixels"], ["LSTM"], ["BN"], [16, 32, 64], [1.0]),
        *product(["adding"], ["LSTM", "GRU"], ["none", "LN"], [20, 40], [1.0]),
    ]
    return [dict(zip(names, arm, strict=True)) for arm in arms]


SWEEPS: dict[str, Sweep] = {"recurrent": (run, points)}
