"""The task that needs a condition, and the net that is told one: by their formulas."""

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lnlib.experiments import conditional, digits
from lnlib.experiments.conditional import FACTORS, Shifter

ARMS = list(product(*FACTORS.values()))


def norm(v, on):
    return F.layer_norm(v, (64,)) if on else v


@pytest.mark.parametrize(("place", "kind", "on"), ARMS)
def test_the_net_is_its_formula(place, kind, on):
    net = Shifter(place, kind, on).double()
    nn.init.normal_(net.told.weight)
    both = torch.cat([torch.randn(5, 64), F.one_hot(torch.arange(5), 10).float()], 1).double()
    first, second, third = net.layers
    a = net.told.weight.T[:5]
    enter = {"summand": lambda v: v + a, "factor": lambda v: v + a * v}[kind]
    x = norm(first(both[:, :64]), on)
    x = F.relu(enter(x) if place == "early" else x)
    x = norm(second(x), on)
    x = F.relu(enter(x) if place == "late" else x)
    torch.testing.assert_close(net(both), third(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("place", "kind", "on"), ARMS)
def test_the_number_changes_nothing_at_first(place, kind, on):
    net, image = Shifter(place, kind, on), torch.randn(1, 64).expand(10, -1)
    outputs = net(torch.cat([image, torch.eye(10)], 1))
    torch.testing.assert_close(outputs, outputs[:1].expand(10, -1))


def test_labels_are_moved_by_the_number_beside_the_image():
    plain, moved = digits(seed=3), conditional.shifted(digits(seed=3), seed=3)
    for (images, labels), (both, targets) in zip(
        (plain.training, plain.test), (moved.training, moved.test), strict=True
    ):
        assert torch.equal(both[:, :64], images)
        assert torch.equal(targets, (labels + both[:, 64:].argmax(1)) % 10)
        assert len(both[:, 64:].argmax(1).unique()) == 10


def test_a_seed_moves_split_numbers_start_and_order():
    first, again, other = (
        conditional.train_shifter("late", "summand", True, seed, steps=3) for seed in (1, 1, 2)
    )
    same, different = (
        torch.equal(first.ensemble.parameters["told.weight"], o.ensemble.parameters["told.weight"])
        for o in (again, other)
    )
    assert same
    assert not different


@pytest.mark.parametrize("wrong", [{"place": "first"}, {"kind": "product"}])
def test_an_unknown_arm_is_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=rf"{name}: expected one of .* got '{value}'"):
        Shifter(**{"place": "early", "kind": "factor", "norm": True} | wrong)
