"""Recurrent nets on long sequences: digits pixel by pixel, and the adding problem.

Every seed has data of its own, and a start and an order of the batches that all arms share.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from lnlib.experiments.ensembles import (
    Data,
    Ensemble,
    Labelled,
    Score,
    batch_generator,
    digits,
    minus_squared_error,
    right,
)
from lnlib.experiments.sweeps import Sweep
from lnlib.modules import MakeNorm
from lnlib.randomness import moved
from lnlib.recurrent import GRUCell, LSTMCell

NORMS: dict[str, MakeNorm] = {
    "none": nn.Identity,
    "LN": nn.LayerNorm,
    "BN": nn.BatchNorm1d,
}
RATES = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128)
SEEDS = 16


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
        self, cell: str, norm: str, inputs: int, outputs: int, hidden: int = 24, gain: float = 1.0
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


def pixels(steps: int, seed: int = 0) -> Data:
    """Return the digits as sequences: 64 pixels, dealt out evenly over the steps."""
    return digits(seed=seed).map(lambda x, y: (x.view(len(x), steps, -1), y))


def adding(steps: int, examples: int = 2000, seed: int = 0) -> Data:
    """Return the adding problem: the sum of the two marked ones of many random numbers.

    Args:
        steps: length of the sequences; one mark lies in each half.
        examples: for training; a quarter as many each for validation and test.
        seed: of the numbers and marks.

    Example:
        >>> x, y = adding(10).test
        >>> x.shape, bool(torch.allclose((x[..., 0] * x[..., 1]).sum(1, keepdim=True), y))
        (torch.Size([500, 10, 2]), True)

    Source: Hochreiter, Schmidhuber (1997), https://doi.org/10.1162/neco.1997.9.8.1735.
    """
    generator = torch.Generator().manual_seed(moved(seed))

    def part(count: int) -> Labelled:
        values = torch.rand(count, steps, generator=generator)
        half = steps // 2
        first = torch.randint(half, (count,), generator=generator)
        second = half + torch.randint(steps - half, (count,), generator=generator)
        marks = F.one_hot(first, steps) + F.one_hot(second, steps)
        return torch.stack([values, marks], -1), (values * marks).sum(1, keepdim=True)

    return Data(part(examples), part(examples // 4), part(examples // 4))


def with_one(data: Data) -> Data:
    """Return sequences with a 1 beside the inputs at every step.

    Example:
        >>> with_one(pixels(64)).test[0][0, :2, 1]
        tensor([1., 1.])
    """
    return data.map(lambda x, y: (F.pad(x, (0, 1), value=1.0), y))


class Readers:
    """Copies of one net, for every learning rate and seed, each seed with data of its own.

    The gradient is taken outside of `vmap`, which for a net that is unrolled over many steps
    costs half as much as inside, where `Ensemble` takes it.

    Args:
        build: returns a new net without buffers; called once for each seed, after seeding torch.
        data: of each seed, all of the same sizes.
        learning_rates: the grid, in increasing order.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        data: Sequence[Data],
        learning_rates: Sequence[float] = RATES,
    ) -> None:
        self.nets, self.data = Ensemble(build, learning_rates, len(data)), data
        self._of_net = torch.arange(len(data)).repeat(len(learning_rates))

    def _each(self, measure: Score, parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        def one(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return measure(functional_call(self.nets.net, parameters, (x,)), y).mean()

        return vmap(one)(parameters, x, y)

    def fit(self, *, stops: Sequence[int], batch_size: int, loss: Score) -> Iterator[int]:
        """Take steps with Adam on random batches, and yield at each stop how many were taken."""
        x, y = _stacked([data.training for data in self.data])
        batches = torch.stack(
            [
                torch.randint(x.shape[1], (stops[-1], batch_size), generator=batch_generator(seed))
                for seed in range(len(self.data))
            ],
            1,
        )
        parameters, of_net = self.nets.parameters, self._of_net[:, None]
        shares = {name: p.split(len(self.data)) for name, p in parameters.items()}
        descent = torch.optim.Adam(
            [
                {"params": [share[i] for share in shares.values()], "lr": rate}
                for i, rate in enumerate(self.nets.learning_rates)
            ]
        )
        for step, batch in enumerate(batches, 1):
            chosen = batch[self._of_net]
            leaves = {name: p.detach().requires_grad_() for name, p in parameters.items()}
            losses = self._each(loss, leaves, x[of_net, chosen], y[of_net, chosen])
            found = torch.autograd.grad(losses.sum(), [*leaves.values()])
            for share, gradient in zip(shares.values(), found, strict=True):
                for part, its in zip(share, gradient.split(len(self.data)), strict=True):
                    part.grad = its
            descent.step()
            if step in stops:
                yield step

    @torch.no_grad()
    def score(self, parts: Sequence[Labelled], measure: Score) -> Tensor:
        """Return the mean over the examples of each seed's part, of shape (rates, seeds)."""
        x, y = (part[self._of_net] for part in _stacked(parts))
        return self._each(measure, self.nets.parameters, x, y).view(-1, len(self.data))

    def figures(self, measure: Score) -> dict[str, Any]:
        """Return the test scores at the rate with the best mean on the validation data."""
        validation = self.score([data.validation for data in self.data], measure).mean(1)
        best = int(validation.nan_to_num(nan=-torch.inf).argmax())
        test = self.score([data.test for data in self.data], measure)[best]
        return {
            "learning_rate": self.nets.learning_rates[best],
            "at_edge": best in (0, len(validation) - 1),
            "validation": [round(score, 4) for score in validation.tolist()],
            "test": [round(score, 4) for score in test.tolist()],
        }


def _stacked(parts: Sequence[Labelled]) -> Labelled:
    return torch.stack([x for x, _ in parts]), torch.stack([y for _, y in parts])


@dataclass(frozen=True)
class Task:
    """What a net is trained on, and after how many steps it is looked at."""

    data: Callable[..., Data]
    outputs: int
    loss: Score
    measure: Score
    batch_size: int
    stops: tuple[int, int]


TASKS = {
    "pixels": Task(pixels, 10, F.cross_entropy, right, 32, (100, 200)),
    "adding": Task(adding, 1, F.mse_loss, minus_squared_error, 16, (200, 600)),
}


def run(
    *, task: str, cell: str, norm: str, length: int, constant: bool, gain: float
) -> dict[str, Any]:
    """Train one arm with all seeds at every learning rate; return what it reached at two stops.

    The score is the accuracy for "pixels" and minus the mean squared error for "adding". Each
    stop has a learning rate of its own, the best for it.
    """
    problem = TASKS[task]
    data = [problem.data(length, seed=seed) for seed in range(SEEDS)]
    if constant:
        data = [with_one(each) for each in data]
    inputs = data[0].training[0].shape[-1]
    readers = Readers(lambda: Reader(cell, norm, inputs, problem.outputs, gain=gain), data)
    stops = readers.fit(stops=problem.stops, batch_size=problem.batch_size, loss=problem.loss)
    found = [readers.figures(problem.measure) for _ in stops]
    return dict(zip(("early", "late"), found, strict=True))


def points() -> list[dict[str, Any]]:
    """Return the arguments of all runs that the book shows."""
    names = ("task", "cell", "length", "constant", "gain", "norm")
    norms = ("none", "LN")
    arms = [
        *product(["pixels"], ["LSTM"], [64], [False, True], [1.0], norms),
        *product(["adding"], ["LSTM"], [20], [False], [1.0], norms),
        *product(["pixels"], ["LSTM"], [16], [True], [1.0, 0.1, 4.0], norms),
        *product(["pixels"], ["GRU"], [64], [False, True], [1.0], norms),
        *product(["adding"], ["GRU"], [20], [False], [1.0], norms),
        *product(["pixels"], ["LSTM", "GRU"], [16], [False], [1.0], norms),
    ]
    return [dict(zip(names, arm, strict=True)) for arm in arms]


SWEEPS: dict[str, Sweep] = {"recurrent": (run, points)}
