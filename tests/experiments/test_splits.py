"""Nets on splits of their own are trained and scored as if each were alone."""

import torch
from torch import nn

from lnlib.experiments import digits, splits, train
from lnlib.experiments.ensembles import Data


def test_a_seed_with_its_split_does_what_it_does_alone():
    data = [digits(seed=seed) for seed in range(3)]
    settings = {"batch_size": 8, "steps": 30, "learning_rates": (0.03, 0.1)}
    together = splits.train_splits(lambda: nn.Linear(64, 10), data, **settings)
    for seed, own in enumerate(data):
        alone = train(lambda: nn.Linear(64, 10), own, seeds=(seed,), **settings)
        torch.testing.assert_close(together.validation[:, seed], alone.validation[:, 0])


def test_batch_norms_are_scored_with_the_statistics_of_their_own_net():
    """Two splits on different scales: with the other's statistics no net could tell its labels."""
    x, y = torch.randn(90, 4), torch.arange(90) % 2
    x[:, 0] = 2.0 * y - 1
    near, far = ((shift + x, y) for shift in (0.0, 100.0))
    data = [Data(part, part, part) for part in (near, far)]
    found = splits.train_splits(
        lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)), data,
        batch_size=30, steps=100, learning_rates=(0.1, 0.3),
    )  # fmt: skip
    assert found.test.min() > 0.95
