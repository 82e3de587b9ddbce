"""Training side by side: the same as alone, and chosen without a look at the test data."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lnlib import experiments
from lnlib.experiments import Data, Ensemble, digits, train
from lnlib.experiments.ensembles import batch_generator
from lnlib.randomness import moved

RATES = (0.03, 0.3)


def net():
    return nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))


def test_digits_come_in_parts_that_share_nothing():
    data = digits()
    parts = [data.training, data.validation, data.test]
    assert [len(y) for _, y in parts] == [1000, 300, 497]
    assert len(torch.cat([x for x, _ in parts])) == 1797
    x = data.training[0]
    torch.testing.assert_close(torch.stack([x.mean(), x.std()]), torch.tensor([0.0, 1.0]))
    assert sorted(set(data.validation[1].tolist())) == list(range(10))


def plain():
    """Return a net without the directions of zero gradient whose rounding Adam would blow up."""
    return nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10))


@pytest.mark.parametrize(("kind", "build"), [(torch.optim.SGD, net), (torch.optim.Adam, plain)])
def test_side_by_side_is_as_alone(kind, build):
    """Parameters, running statistics and accuracies of each net, trained by itself."""
    data, together = digits(), Ensemble(build, RATES, seeds=2)
    x, y = data.training
    together.fit(x, y, batch_size=6, steps=5, optimizer=kind)
    accuracy = together.score(*data.test)
    for i, rate in enumerate(RATES):
        for seed in range(2):
            torch.manual_seed(moved(seed))
            alone = build()
            optimizer = kind(alone.parameters(), lr=rate)
            batches = torch.randint(1000, (5, 6), generator=batch_generator(seed))
            for batch in batches:
                optimizer.zero_grad()
                F.cross_entropy(alone(x[batch]), y[batch]).backward()
                optimizer.step()
            copy = 2 * i + seed
            for name, value in alone.state_dict().items():
                stacked = together.parameters | together.buffers
                torch.testing.assert_close(stacked[name][copy], value, rtol=1e-4, atol=1e-5)
            right = (alone.eval()(data.test[0]).argmax(-1) == data.test[1]).float().mean()
            assert abs(accuracy[i, seed] - right) < 0.01


def test_score_by_batches_uses_their_statistics_and_keeps_none():
    data, ensemble = digits(), Ensemble(net, RATES, seeds=2)
    ensemble.fit(*data.training, batch_size=32, steps=20)
    before = {name: b.clone() for name, b in ensemble.buffers.items()}
    x, y = data.test
    by_batches = ensemble.score(x, y, batch_size=2)
    assert by_batches.shape == (2, 2)
    assert not torch.equal(by_batches, ensemble.score(x, y))
    for name, value in before.items():
        assert torch.equal(ensemble.buffers[name], value)


def test_the_choice_never_sees_the_test_data():
    data = digits()
    spoiled = Data(data.training, data.validation, (data.test[0], data.test[1].roll(1)))
    outcomes = [
        train(net, d, batch_size=16, steps=30, learning_rates=RATES, seeds=2)
        for d in (data, spoiled)
    ]
    assert outcomes[0].learning_rate == outcomes[1].learning_rate
    assert torch.equal(outcomes[0].validation, outcomes[1].validation)
    assert outcomes[0].test.mean() > outcomes[1].test.mean() + 0.2
    best = outcomes[0].validation.mean(1).argmax()
    assert outcomes[0].chosen == best
    assert outcomes[0].at_edge


def test_loss_and_measure_are_those_asked_for():
    """A linear fit of the pixels by themselves: the squared error falls, the score rises to 0."""
    x = digits().training[0]
    ensemble = Ensemble(lambda: nn.Linear(64, 64), (0.01,), seeds=2)
    scores = []
    for steps in (0, 300):
        ensemble.fit(x, x, batch_size=16, steps=steps, loss=F.mse_loss, optimizer=torch.optim.Adam)
        scores.append(ensemble.score(x, x, measure=experiments.ensembles.minus_squared_error))
    expected = -(ensemble.outputs(x) - x).square().mean((1, 2))
    torch.testing.assert_close(scores[1][0], expected)
    assert scores[0].max() < -0.9
    assert scores[1].min() > -0.1


def test_a_rate_that_diverges_is_not_chosen():
    data = digits()
    outcome = train(net, data, batch_size=16, steps=20, learning_rates=(0.1, 1e30), seeds=2)
    assert outcome.learning_rate == 0.1


def test_nothing_is_left_to_chance():
    outcomes = [train(net, digits(), batch_size=8, steps=5, seeds=2) for _ in range(2)]
    assert torch.equal(outcomes[0].validation, outcomes[1].validation)
    assert not torch.equal(outcomes[0].validation[:, 0], outcomes[0].validation[:, 1])
