"""Few digits and starts of all scales: who shares images, what is penalized, what is recorded."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from lnlib.experiments import choose, recorded
from lnlib.experiments.regularization import (
    few_digits,
    generalization,
    penalized,
    rates,
    run,
    starts,
    unfolded,
)
from lnlib.experiments.theory import MLP, NORMS
from lnlib.randomness import moved


def rows_of(tensor):
    return {tuple(row) for row in tensor.tolist()}


def test_each_part_is_a_split_of_its_own():
    splits = [few_digits(200, part) for part in range(3)]
    parts = [(data.training, data.validation, data.test) for data in splits]
    for part in parts:
        sets = [rows_of(x) for x, _ in part]
        assert [*map(len, sets)] == [200, 300, 497]
        assert len(set.union(*sets)) == sum(map(len, sets))
    for one, other in pairwise(parts):
        for (_, labels), (_, others) in zip(one, other, strict=True):
            assert not torch.equal(labels, others)


def test_fewer_digits_are_the_first_of_more():
    few, many = few_digits(50, 15), few_digits(800, 15)
    torch.testing.assert_close(few.training[0], many.training[0][:50], rtol=0, atol=0)
    assert all(map(torch.equal, few.test, many.test))


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_penalty_shrinks_matrices_and_nothing_else(optimizer):
    def step(penalty):
        parameters = [torch.full(shape, 2.0) for shape in ((1, 3, 3), (1, 3))]
        descent = penalized(optimizer, [penalty])([{"params": parameters, "lr": 0.5}])
        for p in parameters:
            p.grad = torch.zeros_like(p)
        descent.step()
        return parameters

    (matrix, vector), (before, _) = step(0.1), step(0.0)
    assert (matrix < before).all()
    assert (before == 2).all()
    assert (vector == 2).all()


def test_a_recorded_net_is_the_one_trained_alone():
    arm = {"norm": "LN", "depth": 2, "examples": 50, "part": 3, "gain": 0.5, "optimizer": "SGD",
           "low": 0, "high": 1, "penalties": [0.0, 0.1], "seeds": [3, 4], "steps": 20}  # fmt: skip
    (net,) = [
        net
        for net in unfolded([arm | run(**arm)])
        if (net["learning_rate"], net["penalty"], net["seed"]) == (0.2, 0.1, 4)
    ]
    data = few_digits(50, 3)
    torch.manual_seed(moved(4))
    alone = MLP(2, NORMS["LN"], gain=0.5)
    matrices = [p for p in alone.parameters() if p.ndim == 2]
    vectors = [p for p in alone.parameters() if p.ndim == 1]
    descent = torch.optim.SGD([{"params": matrices, "weight_decay": 0.1}, {"params": vectors}], 0.2)
    generator = torch.Generator().manual_seed(moved(1004))
    x, y = data.training
    for batch in torch.randint(50, (20, 32), generator=generator):
        descent.zero_grad()
        F.cross_entropy(alone(x[batch]), y[batch]).backward()
        descent.step()
    for name, value in (("validation", 1 - net["validation"]), ("test", net["test"])):
        x, y = getattr(data, name)
        right = (alone(x).argmax(1) == y).float().mean().item()
        assert value == pytest.approx(right, abs=1.5 / len(y))


@pytest.mark.parametrize(
    ("name", "points"), [("generalization", generalization), ("starts", starts)]
)
def test_recording_holds_all_points_and_no_winner_is_at_an_edge(name, points):
    rows = recorded(name).rows
    assert [{column: row[column] for column in points()[0]} for row in rows] == points()
    columns = ["norm", "examples", "optimizer", "gain", "penalty"]
    arms = {}
    for (*arm, penalty), nets in choose(unfolded(rows), columns).items():
        arms.setdefault((*arm, penalty > 0), []).append(nets)
    for (norm, _, optimizer, gain, _), by_penalty in arms.items():
        nets = min(by_penalty, key=lambda nets: sum(net["validation"] for net in nets))
        hopeless = norm == "none" and optimizer == "SGD" and gain != 1
        if hopeless:
            assert sum(net["test"] for net in nets) / len(nets) < 0.15
        else:
            grid = rates(optimizer, nets[0]["low"], nets[0]["high"])
            assert grid[0] < nets[0]["learning_rate"] < grid[-1]
            assert nets[0]["penalty"] in (0.0, *nets[0]["penalties"][1:-1])
