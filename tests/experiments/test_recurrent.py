"""The recurrent nets of the experiments, and their sequences."""

import pytest
import torch
from torch.nn import functional as F

from lnlib.experiments import digits, recurrent
from lnlib.experiments.ensembles import batch_generator, right
from lnlib.randomness import moved


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_gradient_through_time_ignores_the_scale_of_normed_weights(cell):
    def arrived(norm, gain):
        torch.manual_seed(0)
        reader = recurrent.Reader(cell, norm, 2, 1, gain=gain).double()
        x = torch.randn(1, 30, 2, dtype=torch.float64)
        start = torch.randn(1, reader.hidden, dtype=torch.float64, requires_grad=True)
        h, c = start, torch.zeros_like(start)
        for step in x.unbind(1):
            h, c = reader.cell(step, (h, c)) if cell == "LSTM" else (reader.cell(step, h), c)
        dy = torch.ones_like(h)
        return torch.autograd.grad(h, start, dy)[0].norm().item()

    assert arrived("LN", 80.0) == pytest.approx(arrived("LN", 8.0), rel=0.01)
    assert arrived("none", 8.0) > 1e3 * arrived("none", 1.0)


def test_sequences_hold_the_digits():
    data = recurrent.pixels(16)
    assert data.training[0].shape == (1000, 16, 4)
    assert torch.equal(data.training[0].flatten(1), digits().training[0])
    assert torch.equal(recurrent.pixels(64, seed=3).test[1], digits(seed=3).test[1])


def test_a_one_stands_beside_the_inputs():
    x, y = recurrent.adding(10, 8).training
    both, same = recurrent.with_one(recurrent.adding(10, 8)).training
    assert torch.equal(both, torch.cat([x, torch.ones(8, 10, 1)], -1))
    assert torch.equal(same, y)


RATES = (0.01, 0.02)


def small(norm="LN"):
    return recurrent.Reader("LSTM", norm, 1, 10, hidden=5)


def data(seed):
    part = recurrent.pixels(64, seed=seed)
    return part.map(lambda x, y: (x[:40, :9], y[:40]))


def fitted(stops=(3,)):
    readers = recurrent.Readers(small, [data(0), data(1)], RATES)
    for _ in readers.fit(stops=stops, batch_size=4, loss=F.cross_entropy):
        pass
    return readers


def alone(seed, rate, steps=3):
    """Train one net the plain way."""
    torch.manual_seed(moved(seed))
    net, (x, y) = small(), data(seed).training
    descent = torch.optim.Adam(net.parameters(), lr=rate)
    for batch in torch.randint(len(y), (steps, 4), generator=batch_generator(seed)):
        descent.zero_grad()
        F.cross_entropy(net(x[batch]), y[batch]).backward()
        descent.step()
    return net


def test_each_net_is_trained_as_if_alone_on_the_data_of_its_seed():
    parameters = fitted().nets.parameters
    for place, (rate, seed) in enumerate((r, s) for r in RATES for s in (0, 1)):
        for name, expected in alone(seed, rate).named_parameters():
            torch.testing.assert_close(parameters[name][place], expected, rtol=1e-3, atol=1e-4)


def test_each_net_is_scored_on_the_data_of_its_seed():
    readers = fitted()
    scores = readers.score([each.test for each in readers.data], right)
    assert scores.shape == (2, 2)
    for i, rate in enumerate(RATES):
        for seed in (0, 1):
            x, y = data(seed).test
            expected = right(alone(seed, rate)(x), y).mean()
            assert scores[i, seed] == pytest.approx(expected.item(), abs=0.03)


def test_the_rate_is_chosen_on_the_validation_data():
    readers = fitted()
    found = readers.figures(right)
    best = max(range(2), key=found["validation"].__getitem__)
    assert found["learning_rate"] == RATES[best]
    assert found["at_edge"]
    expected = readers.score([each.test for each in readers.data], right)[best]
    assert found["test"] == pytest.approx(expected.tolist(), abs=1e-4)


def test_every_run_is_there_with_and_without_a_norm():
    arms = {norm: [] for norm in ("none", "LN")}
    for point in recurrent.points():
        norm = point.pop("norm")
        arms[norm].append(point)
    assert arms["none"] == arms["LN"]
