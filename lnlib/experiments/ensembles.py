"""Train small nets fairly: every method at its own learning rate, several seeds, all side by side.

One call trains a net for every learning rate of a grid and every seed at once, as one batched
computation. The learning rate is then chosen on validation data, once for all seeds, and only what
it yields on the test data is reported. Needs the extra `book` (scikit-learn, tqdm).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F
from tqdm import tqdm

from lnlib.randomness import moved

Labelled = tuple[Tensor, Tensor]
Score = Callable[[Tensor, Tensor], Tensor]
LEARNING_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


def right(outputs: Tensor, y: Tensor) -> Tensor:
    """Say for each example whether the largest output is that of its label."""
    return (outputs.argmax(-1) == y).float()


def minus_squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """Return minus the mean squared error of each example."""
    return -(outputs - y).square().flatten(-(y.ndim - 1)).mean(-1)


@dataclass(frozen=True)
class Data:
    """Inputs with their labels, in three parts that share no example."""

    training: Labelled
    validation: Labelled
    test: Labelled

    def map(self, change: Callable[[Tensor, Tensor], Labelled]) -> "Data":
        """Return the data whose parts are what `change` makes of these, one after the other."""
        return Data(*(change(x, y) for x, y in (self.training, self.validation, self.test)))


def digits(training: int = 1000, validation: int = 300, seed: int = 0) -> Data:
    """Return scikit-learn's handwritten digits, shuffled, with mean 0 and variance 1.

    Args:
        training: how many of the 1797 examples to train on.
        validation: how many of them to choose learning rates on; the rest is for the test.
        seed: of the shuffle, and so of who is in which part.

    Returns:
        Inputs of shape (examples, 64) and dtype float32, labels of dtype int64 from 0 to 9.

    Example:
        >>> [len(labels) for _, labels in (digits().training, digits().test)]
        [1000, 497]

    Source: E. Alpaydin, C. Kaynak (1998), https://doi.org/10.24432/C50P49.
    """
    from sklearn.datasets import load_digits

    inputs, labels = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(moved(seed)))
    x, y = inputs[order].float(), labels[order]
    seen, ends = x[:training], (training, training + validation)
    x = (x - seen.mean()) / seen.std()
    parts = zip(x.tensor_split(ends), y.tensor_split(ends), strict=True)
    return Data(*parts)


class Ensemble:
    """Copies of one net, for every learning rate and seed, trained side by side.

    Args:
        build: returns a new net; called once for each seed, after seeding torch.
        learning_rates: the grid, in increasing order.
        seeds: how many, counted from 0, or which.

    Example:
        >>> ensemble = Ensemble(lambda: nn.Linear(64, 10), seeds=2)
        >>> ensemble.fit(*digits().training, batch_size=8, steps=3)
        >>> ensemble.score(*digits().test).shape  # learning rates, seeds
        torch.Size([6, 2])
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        learning_rates: Sequence[float] = LEARNING_RATES,
        seeds: int | Sequence[int] = 5,
    ) -> None:
        nets = []
        self._seeds = range(seeds) if isinstance(seeds, int) else seeds
        for seed in self._seeds:
            torch.manual_seed(moved(seed))
            nets.append(build())
        self.net, self.seeds, self.learning_rates = nets[0], len(nets), tuple(learning_rates)
        parameters, self.buffers = stack_module_state(nets * len(self.learning_rates))
        self.parameters = {name: p.detach() for name, p in parameters.items()}

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        *,
        batch_size: int,
        steps: int,
        loss: Score = F.cross_entropy,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
        description: str = "",
        after: Callable[[int], None] | None = None,
    ) -> None:
        """Take steps on random batches, the same for all methods.

        Args:
            x: inputs, of shape (examples, ...).
            y: labels or targets, one for each example.
            batch_size: examples drawn, with replacement, for each step.
            steps: how many.
            loss: of outputs and labels, to be minimized.
            optimizer: a class of `torch.optim` that works entry by entry.
            description: shown beside the progress bar.
            after: called after every step with how many were taken.
        """
        self.net.train()
        gradients = vmap(grad(self._objective(loss)))
        shares = {name: p.split(self.seeds) for name, p in self.parameters.items()}
        descent = optimizer(
            [
                {"params": [share[i] for share in shares.values()], "lr": rate}
                for i, rate in enumerate(self.learning_rates)
            ]
        )
        batches = self._batches(len(y), batch_size, steps)
        with one_thread():
            for step, batch in enumerate(tqdm(batches, description, leave=False), 1):
                found = gradients(self.parameters, self.buffers, x[batch], y[batch])
                for name, share in shares.items():
                    for part, gradient in zip(share, found[name].split(self.seeds), strict=True):
                        part.grad = gradient
                descent.step()
                if after:
                    after(step)

    def _batches(self, examples: int, batch_size: int, steps: int) -> Tensor:
        each = [
            torch.randint(examples, (steps, batch_size), generator=batch_generator(seed))
            for seed in self._seeds
        ]
        return torch.stack(each, 1).repeat(1, len(self.learning_rates), 1)

    def _objective(self, loss: Score) -> Callable[..., Tensor]:
        def objective(
            parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor
        ) -> Tensor:
            return loss(functional_call(self.net, (parameters, buffers), (x,)), y)

        return objective

    def losses(self, x: Tensor, y: Tensor, parameters: dict[str, Tensor] | None = None) -> Tensor:
        """Return the cross entropy of every net on one batch, in training mode."""
        self.net.train()
        loss = vmap(self._objective(F.cross_entropy), (0, 0, None, None))
        return loss(parameters or self.parameters, self._copied_buffers(), x, y)

    def gradients(
        self, x: Tensor, y: Tensor, parameters: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return the gradients of `losses`, by name and with the nets on the first axis.

        Args:
            x: inputs, of shape (examples, ...).
            y: labels.
            parameters: to use in place of the nets' own.
        """
        self.net.train()
        gradient = vmap(grad(self._objective(F.cross_entropy)), (0, 0, None, None))
        return gradient(parameters or self.parameters, self._copied_buffers(), x, y)

    def _copied_buffers(self) -> dict[str, Tensor]:
        return {name: b.clone() for name, b in self.buffers.items()}

    def outputs(self, x: Tensor) -> Tensor:
        """Return what every net makes of x: learning rates times seeds, examples, ..."""
        buffers = self._copied_buffers()
        return vmap(lambda p, b: functional_call(self.net, (p, b), (x,)))(self.parameters, buffers)

    @torch.no_grad()
    def score(
        self, x: Tensor, y: Tensor, *, measure: Score = right, batch_size: int | None = None
    ) -> Tensor:
        """Return a mean over the examples, of shape (learning rates, seeds).

        Args:
            x: inputs, of shape (examples, ...).
            y: labels or targets.
            measure: of outputs and labels, one number for each example; more is better.
            batch_size: to compute in training mode, in batches of this size and without keeping
                their statistics; None for inference. The last, smaller batch is left out.
        """
        self.net.train(batch_size is not None)
        size = batch_size or len(y)
        found = []
        for start in range(0, len(y) - size + 1, size):
            part = slice(start, start + size)
            found.append(vmap(measure, (0, None))(self.outputs(x[part]), y[part]))
        return torch.cat(found, 1).mean(1).view(len(self.learning_rates), self.seeds)


@dataclass(frozen=True)
class Outcome:
    """What one method reached, at the learning rate chosen for it on validation data.

    `test` holds one score for each seed; `at_edge` says that the grid ended at the choice.
    """

    learning_rate: float
    at_edge: bool
    validation: Tensor
    test: Tensor
    ensemble: Ensemble

    @property
    def chosen(self) -> int:
        """The position of the learning rate in the grid."""
        return self.ensemble.learning_rates.index(self.learning_rate)

    def figures(self) -> dict[str, Any]:
        """Return what a sweep records: the learning rate, whether at the edge, the scores."""
        scores = [round(score, 4) for score in self.test.tolist()]
        return {"learning_rate": self.learning_rate, "at_edge": self.at_edge, "test": scores}


def train(
    build: Callable[[], nn.Module],
    data: Data,
    *,
    batch_size: int,
    steps: int,
    learning_rates: Sequence[float] = LEARNING_RATES,
    seeds: int | Sequence[int] = 5,
    loss: Score = F.cross_entropy,
    measure: Score = right,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
    description: str = "",
) -> Outcome:
    """Train for every learning rate and seed, choose on validation data, report the test.

    Arguments: `Ensemble`, `Ensemble.fit` and `Ensemble.score`.

    Example:
        >>> outcome = train(lambda: nn.Linear(64, 10), digits(), batch_size=16, steps=100)
        >>> outcome.test.shape, bool(outcome.test.min() > 0.8)
        (torch.Size([5]), True)
    """
    ensemble = Ensemble(build, learning_rates, seeds)
    ensemble.fit(
        *data.training, batch_size=batch_size, steps=steps, loss=loss, optimizer=optimizer,
        description=description,
    )  # fmt: skip
    validation = ensemble.score(*data.validation, measure=measure)
    best = int(validation.mean(1).nan_to_num(nan=-torch.inf).argmax())
    return Outcome(
        learning_rate=ensemble.learning_rates[best],
        at_edge=best in (0, len(learning_rates) - 1),
        validation=validation,
        test=ensemble.score(*data.test, measure=measure)[best],
        ensemble=ensemble,
    )


def batch_generator(seed: int) -> torch.Generator:
    """Return what draws the batches of a seed, apart from its initial weights."""
    return torch.Generator().manual_seed(moved(1000 + seed))


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch from sharing operations so small that waiting for each other costs more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
