"""Only who computes what float64 computes is timed: every planted bug is rejected."""

import pytest
import torch
from torch.nn import functional as F

from lnlib.kernels import gate, peers, problems
from lnlib.kernels.problems import Problem, Shape

CPU = torch.device("cpu")
HALVES = [torch.float32, torch.bfloat16]


def data(operation, dtype, rows=300, columns=64, heads=0):
    shape = Shape(rows, columns, "", heads)
    if operation in problems.GROUPED:
        shape = Shape(5 * peers.GROUPS, 2 * 7 * 7, "", channels=2 * peers.GROUPS)
    return problems.data(Problem(operation, shape, dtype), CPU)


def careful(operation):
    """In float64, rounded at the end: as well as it can be done."""
    exact = peers.of_torch(operation)

    def norm(*arguments):
        *tensors, eps = arguments
        y = exact(*(t.double() for t in tensors), eps)
        return (
            tuple(t.to(tensors[0].dtype) for t in y)
            if isinstance(y, tuple)
            else y.to(tensors[0].dtype)
        )

    return norm


class Spoiled(torch.autograd.Function):
    """Identity whose gradient is not."""

    @staticmethod
    def forward(ctx, t, spoil):
        ctx.spoil = spoil
        return t.clone()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.spoil(gradient), None


def with_gain(spoil):
    right = careful("layer_norm")
    return lambda x, w, b, eps: right(x, Spoiled.apply(w, spoil), b, eps)


def with_input(spoil):
    right = careful("layer_norm")
    return lambda x, w, b, eps: right(Spoiled.apply(x, spoil), w, b, eps)


def last_entry(t):
    t = t.clone()
    t[-1, -1] += 0.1
    return t


def nan(t):
    return torch.where(torch.arange(len(t)) == 1, torch.nan, t)


@pytest.mark.parametrize("operation", peers.OPERATIONS)
@pytest.mark.parametrize("dtype", HALVES)
def test_admits_what_is_rounded_once(operation, dtype):
    assert gate.deviation(careful(operation), operation, data(operation, dtype)) < 0.6


def test_images_have_groups_of_whole_channels():
    (x,), (weight, _) = (known := data("group_norm", torch.float32)).inputs, known.parameters
    assert x.shape == (5, 64, 7, 7)
    assert weight.shape == (64,)
    for norm in (peers.of_lnlib("group_norm"), peers.of_torch("group_norm")):
        assert gate.deviation(norm, "group_norm", known) < 1
    assert gate.deviation(lambda x, w, b, eps: F.group_norm(x, 16, w, b), "group_norm", known) > 1


@pytest.mark.parametrize("operation", problems.PLAIN)
def test_admits_ours_and_those_of_torch_in_float32(operation):
    for norm in (peers.of_lnlib(operation), peers.of_torch(operation)):
        for heads in (0, 4):
            known = data(operation, torch.float32, heads=heads)
            assert known.inputs[0].is_contiguous() == (heads == 0)
            assert gate.deviation(norm, operation, known) < 1


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(
    "bug",
    [
        with_gain(lambda g: g / 2),
        with_gain(lambda g: g * 0.9),
        with_gain(torch.zeros_like),
        with_gain(nan),
        with_input(last_entry),
        with_input(lambda g: g - g.mean(-1, keepdim=True) + 0.05),
        lambda x, w, b, eps: F.rms_norm(x, w.shape, w, eps) + b,
        lambda x, w, b, eps: last_entry(careful("layer_norm")(x, w, b, eps)),
        lambda x, w, b, eps: careful("layer_norm")(x, w, b, eps) * torch.nan,
    ],
)  # fmt: skip
def test_turns_bugs_away(bug, dtype):
    assert not gate.deviation(bug, "layer_norm", data("layer_norm", dtype)) <= 1


@pytest.mark.parametrize("dtype", HALVES)
def test_misses_no_program_of_hundreds(dtype):
    """A gradient that lacks the rows of one of 264 programs, 8 rows of 2112."""
    known = data("layer_norm", dtype, rows=2112)
    (x,), (dy,) = known.inputs, known.cotangents
    lost = (dy * F.layer_norm(x.float(), (64,)))[:8].sum(0)
    assert gate.deviation(with_gain(lambda g: g - lost.to(dtype)), "layer_norm", known) > 2


def test_turns_away_who_sums_in_16_bits():
    """As torch does on a CPU."""
    known = data("layer_norm", torch.bfloat16, rows=4096)
    assert gate.deviation(peers.of_torch("layer_norm"), "layer_norm", known) > 2
    assert gate.deviation(careful("layer_norm"), "layer_norm", known) < 0.6


def test_judges_all_rows_in_parts(monkeypatch):
    known = data("rms_norm", torch.float32)
    whole = gate.deviation(peers.of_torch("rms_norm"), "rms_norm", known)
    monkeypatch.setattr(gate, "CHUNK", 64 * 7)
    assert gate.deviation(peers.of_torch("rms_norm"), "rms_norm", known) == pytest.approx(
        whole, rel=1e-6
    )
