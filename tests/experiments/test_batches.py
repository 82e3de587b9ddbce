"""Groups apart from batches: what shares a statistic, what the arms share, what is scored."""

from itertools import product

import pytest
import torch
from torch import nn

from lnlib.experiments import batches, digits, recorded
from lnlib.experiments.batches import NORMS, GhostNorm, build
from lnlib.randomness import VARIABLE

ARMS = [
    *((net, norm, 4, None, None) for net in NORMS for norm in NORMS[net]),
    ("vectors", "BN", 64, 4, "position"),
    *(("images", "BN", 64, 4, source) for source in ("image", "position", "apart")),
]


def standardized(values):
    return (values - values.mean()) / (values.var(correction=0) + 1e-5).sqrt()


def entries(source, group, shape):
    """Yield the places of every group of one channel, as (example, position)."""
    n, positions = shape
    if source == "image":
        tiles = {2: [(0, 1), (2, 3)], 4: [(0, 1, 2, 3)]}[group]  # of 2 × 2 positions
        yield from ([(i, q) for q in tile] for i in range(n) for tile in tiles)
        return
    turn = source == "apart"
    for first, q in product(range(0, n, group), range(positions)):
        yield [(first + j, (q + turn * j) % positions) for j in range(group)]


@pytest.mark.parametrize(
    ("source", "group"),
    [("image", 2), ("image", 4), *product(("position", "apart"), (2, 4, 8))],
)
def test_a_group_holds_what_its_source_says(source, group):
    x = torch.randn(8, 3, 2, 2, dtype=torch.float64)
    norm = build("images", "BN", 8, group, source)[2]
    assert isinstance(norm, GhostNorm)
    norm = GhostNorm(3, norm.examples, norm.tile, norm.apart).double()
    flat, expected, means, variances = x.flatten(2), torch.full((8, 3, 4), torch.nan), [], []
    expected = expected.double()
    for places in entries(source, group, (8, 4)):
        rows, columns = map(torch.tensor, zip(*places, strict=True))
        for c in range(3):
            found = flat[rows, c, columns]
            expected[rows, c, columns] = standardized(found)
            means.append(found.mean())
            variances.append(found.var())
    torch.testing.assert_close(norm(x).flatten(2), expected, rtol=0, atol=1e-12)
    for running, start, values in (
        (norm.running_mean, 0.0, means),
        (norm.running_var, 1.0, variances),
    ):
        now = torch.stack(values).view(-1, 3).mean(0)
        torch.testing.assert_close(running, 0.9 * start + 0.1 * now, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("shape", "plain"), [((6, 3), "1"), ((6, 3, 4, 4), "2")])
def test_the_whole_batch_in_one_group_is_batch_norm(shape, plain):
    ours, theirs = GhostNorm(3).double(), getattr(nn, f"BatchNorm{plain}d")(3).double()
    for norm in (ours, theirs):
        nn.init.constant_(norm.weight, 2.0)
        nn.init.constant_(norm.bias, -1.0)
    for _ in range(3):
        x, dy = torch.randn(2, *shape, dtype=torch.float64)
        x.requires_grad_()
        (dx, expected) = (torch.autograd.grad(norm(x), x, dy)[0] for norm in (ours, theirs))
        torch.testing.assert_close(dx, expected, rtol=0, atol=1e-12)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("arm", ARMS)
def test_arms_differ_in_the_norm_alone(arm):
    net, batch = arm[0], torch.randn(64, 64)
    torch.manual_seed(0)
    plain = build(net, "none", 4)
    torch.manual_seed(0)
    normed = build(*arm)
    assert normed(batch).shape == (64, 10)
    kinds = (nn.Linear, nn.Conv2d)
    first, second = ([m for m in n.modules() if isinstance(m, kinds)] for n in (plain, normed))
    assert len(first) == len(second) == {"vectors": 4, "images": 3}[net]
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(first, second, strict=True))
    norms = [m for m in normed.modules() if isinstance(m, GhostNorm)]
    assert len(norms) == (arm[1] == "BN") * {"vectors": 3, "images": 2}[net]


@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm[1] == "BN"])
def test_only_examples_of_one_group_feel_each_other(arm):
    net = build(*arm).double()
    examples = net[1 if arm[0] == "vectors" else 2].examples
    x = torch.randn(64, 64, dtype=torch.float64)
    other = x.clone()
    other[:examples] += torch.randn(examples, 64, dtype=torch.float64)
    moved = (net(x) - net(other)).abs().amax(1) > 0
    assert moved.nonzero().flatten().tolist() == [*range(examples)]


def test_a_seed_moves_split_start_and_order():
    first, again, other = (
        batches.train_net("vectors", "BN", 4, seed, steps=3).ensemble for seed in (1, 1, 2)
    )
    assert torch.equal(first.parameters["0.weight"], again.parameters["0.weight"])
    assert not torch.equal(first.parameters["0.weight"], other.parameters["0.weight"])
    assert not torch.equal(digits(seed=1).test[1], digits(seed=2).test[1])


def test_other_statistics_are_those_of_the_test_batch():
    data, found = digits(seed=0), batches.train_net("vectors", "BN", 4, seed=0, steps=5)
    ensemble = found.ensemble
    for parameter in ensemble.buffers.values():
        parameter.fill_(7)  # a bug in the running statistics would pass by
    ways = batches.with_other_statistics(found, data)
    plain = batches.dense(nn.BatchNorm1d)
    accuracies = {"groups": [], "all": []}
    for k in range(len(ensemble.learning_rates)):
        plain.load_state_dict({n: p[k] for n, p in ensemble.parameters.items()}, strict=False)
        for way, parts in (("groups", 4), ("all", 10**9)):
            row = []
            for x, y in (data.validation, data.test):
                n = len(y) // 64 * 64 if way == "groups" else len(y)
                outputs = torch.cat([plain(part) for part in x[:n].split(parts)])
                row.append((outputs.argmax(1) == y[:n]).float().mean().item())
            accuracies[way].append(row)
    for way, rows in accuracies.items():
        best = max(range(len(rows)), key=lambda k: rows[k][0])
        assert ways[way] == pytest.approx(rows[best][1], abs=0.01)
        assert ways[f"{way}_at_edge"] == (best in (0, len(rows) - 1))
    assert ensemble.net[1].examples == 4  # as it was


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (("words", "LN", 4), "net, norm: expected one of"),
        (("vectors", "GN", 4), "net, norm: expected one of .* got 'vectors' and 'GN'"),
        (("vectors", "LN", 4, 2, "position"), "only BN has any"),
        (("images", "BN", 64, 4, None), "got 4 and None"),
        (("images", "BN", 64, None, "apart"), "got None and 'apart'"),
        (("images", "BN", 64, 16, "image"), "got 16 and 'image'"),
    ],
)
def test_an_arm_that_does_not_exist_is_refused(arm, message):
    with pytest.raises(ValueError, match=message):
        build(*arm)


def test_a_recorded_run_is_found_again(monkeypatch):
    monkeypatch.setenv(VARIABLE, "0")
    (row,) = recorded("batches").where(net="vectors", norm="LN", batch=64, seed=0)
    point = {name: row[name] for name in batches.points(1)[0]}
    again = batches.run(**point)
    assert again["test"] == pytest.approx(row["test"], abs=0.01)
    assert again.keys() | point.keys() == row.keys()


def test_every_arm_runs_on_the_same_seeds():
    points = batches.points()
    arms = {tuple(v for k, v in point.items() if k != "seed") for point in points}
    assert len(points) == 16 * len(arms)
    assert {point["seed"] for point in points} == set(range(16))
