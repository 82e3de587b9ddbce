"""Train copies of a small net side by side, each seed on a split of the data of its own.

As `ensembles.train`, which gives all seeds the same split: here a seed also says which examples a
net learns from and which it is tested on, at hardly more cost.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from lnlib.experiments.ensembles import Data, Ensemble, Labelled, Outcome, Score, right


class SplitEnsemble(Ensemble):
    """An ensemble whose training data are those of all seeds, one after the other.

    Example:
        >>> ensemble = SplitEnsemble(lambda: nn.Linear(2, 3), (0.1, 0.2), seeds=4)
        >>> ensemble.own_scores((torch.randn(4, 9, 2), torch.zeros(4, 9).long())).shape
        torch.Size([2, 4])
    """

    def _batches(self, examples: int, batch_size: int, steps: int) -> Tensor:
        own, rest = divmod(examples, self.seeds)
        assert not rest
        drawn = super()._batches(own, batch_size, steps)
        firsts = own * torch.arange(self.seeds).repeat(len(self.learning_rates))
        return drawn + firsts[:, None]

    @torch.no_grad()
    def own_scores(self, part: Labelled, measure: Score = right) -> Tensor:
        """Return the mean score of every net on the examples of its seed.

        Args:
            part: inputs and labels, of shape (seeds, examples, ...).
            measure: of outputs and labels, one number for each example.

        Returns:
            Of shape (learning rates, seeds).
        """
        self.net.eval()

        def one(parameters: Any, buffers: Any, x: Tensor, y: Tensor) -> Tensor:
            return measure(functional_call(self.net, (parameters, buffers), (x,)), y).mean()

        found = []
        for rate in range(len(self.learning_rates)):
            nets = slice(rate * self.seeds, (rate + 1) * self.seeds)
            parameters, buffers = (
                {name: values[nets] for name, values in state.items()}
                for state in (self.parameters, self.buffers)
            )
            found.append(vmap(one)(parameters, buffers, *part))
        return torch.stack(found)


def train_splits(
    build: Callable[[], nn.Module],
    data: Sequence[Data],
    *,
    learning_rates: Sequence[float],
    measure: Score = right,
    **fit: Any,
) -> Outcome:
    """Train for every learning rate and split, choose the rate on validation data, once for all.

    Args:
        build: returns a new net.
        data: a split for each seed, counted from 0.
        learning_rates: the grid, in increasing order.
        measure: of outputs and labels, one number for each example; more is better.
        fit: see `Ensemble.fit`.

    Example:
        >>> from lnlib.experiments import digits
        >>> splits = [digits(seed=seed) for seed in range(2)]
        >>> found = train_splits(
        ...     lambda: nn.Linear(64, 10), splits,
        ...     learning_rates=(0.1, 0.3), batch_size=16, steps=99,
        ... )
        >>> found.test.shape, bool(found.test.min() > 0.8)
        (torch.Size([2]), True)
    """
    ensemble = SplitEnsemble(build, learning_rates, len(data))
    training, validation, test = (
        [torch.stack(values) for values in zip(*parts, strict=True)]
        for parts in zip(*((d.training, d.validation, d.test) for d in data), strict=True)
    )
    ensemble.fit(*(values.flatten(0, 1) for values in training), **fit)
    scores = ensemble.own_scores((validation[0], validation[1]), measure)
    best = int(scores.mean(1).nan_to_num(nan=-torch.inf).argmax())
    return Outcome(
        learning_rate=learning_rates[best],
        at_edge=best in (0, len(learning_rates) - 1),
        validation=scores,
        test=ensemble.own_scores((test[0], test[1]), measure)[best],
        ensemble=ensemble,
    )
