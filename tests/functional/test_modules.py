"""The modules are drop-ins for torch's: same signature, repr, state and training."""

import copy
import inspect
import pickle

import pytest
import torch
from oracles import normal
from torch import nn

import lnlib

INPUTS = {
    "LayerNorm": (2, 3, 4),
    "RMSNorm": (2, 3, 4),
    "GroupNorm": (2, 4, 3),
    "InstanceNorm1d": (2, 4, 5),
    "InstanceNorm2d": (2, 4, 3, 2),
    "InstanceNorm3d": (2, 4, 3, 2, 2),
    "BatchNorm1d": (5, 4),
    "BatchNorm2d": (2, 4, 3, 2),
    "BatchNorm3d": (2, 4, 3, 2, 2),
}
CASES = [
    ("LayerNorm", (4,), {}),
    ("LayerNorm", ((3, 4),), {"eps": 0.3}),
    ("LayerNorm", ([4],), {"bias": False}),
    ("LayerNorm", (4,), {"elementwise_affine": False}),
    ("RMSNorm", (4,), {}),
    ("RMSNorm", (4,), {"eps": 0.3, "elementwise_affine": False}),
    ("GroupNorm", (2, 4), {}),
    ("GroupNorm", (1, 4), {"affine": False, "eps": 0.3}),
    *((f"InstanceNorm{n}d", (4,), {}) for n in (1, 2, 3)),
    ("InstanceNorm1d", (4,), {"affine": True, "track_running_stats": True}),
    *((f"BatchNorm{n}d", (4,), {}) for n in (1, 2, 3)),
    ("BatchNorm1d", (4,), {"momentum": None, "eps": 0.3}),
    ("BatchNorm2d", (4,), {"track_running_stats": False}),
    ("BatchNorm1d", (4,), {"affine": False, "momentum": 0.5}),
]
IDS = [f"{name}-{'-'.join(options) or 'plain'}-{i}" for i, (name, _, options) in enumerate(CASES)]
with_each_case = pytest.mark.parametrize(("name", "args", "options"), CASES, ids=IDS)


def draw(name, seed=0, dtype=torch.float64):
    return 1 + 2 * normal(*INPUTS[name], seed=seed, dtype=dtype)


def pair(name, args, options, **more):
    """Our module and torch's, with the same random parameters."""
    more = {"dtype": torch.float64, **more}
    ours, torchs = (getattr(m, name)(*args, **options, **more) for m in (lnlib, nn))
    generator = torch.Generator().manual_seed(7)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, generator=generator)
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


def assert_same_state(a, b):
    assert list(a.state_dict()) == list(b.state_dict())
    for key, value in a.state_dict().items():
        torch.testing.assert_close(value, b.state_dict()[key], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", INPUTS)
def test_signature_is_that_of_torch(name):
    ours, torchs = (inspect.signature(getattr(m, name)).parameters for m in (lnlib, nn))
    assert list(ours) == list(torchs)
    assert [p.default for p in ours.values()] == [p.default for p in torchs.values()]
    assert issubclass(getattr(lnlib, name), getattr(nn, name))


@with_each_case
def test_repr_and_state_are_those_of_torch(name, args, options):
    ours, torchs = (getattr(m, name)(*args, **options) for m in (lnlib, nn))
    assert repr(ours) == repr(torchs)
    assert_same_state(ours, torchs)


@with_each_case
@pytest.mark.parametrize("training", [True, False])
def test_output_is_that_of_torch(name, args, options, training):
    ours, torchs = pair(name, args, options)
    for seed in range(2):  # gives running statistics other than 0 and 1
        ours(draw(name, seed))
        torchs(draw(name, seed))
    x = draw(name, 3)
    got, want = ours.train(training)(x), torchs.train(training)(x)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    assert_same_state(ours, torchs)


@with_each_case
def test_checkpoints_load_in_both_directions(name, args, options):
    ours, torchs = pair(name, args, options)
    torchs.eval(), ours.eval()
    fresh = getattr(lnlib, name)(*args, **options, dtype=torch.float64).eval()
    assert not fresh.load_state_dict(torchs.state_dict()).missing_keys
    torch.testing.assert_close(fresh(draw(name)), torchs(draw(name)), rtol=0, atol=1e-12)


@with_each_case
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_compute_the_same_and_share_nothing(name, args, options, clone):
    ours, _ = pair(name, args, options)
    twin = clone(ours)
    assert torch.equal(twin(draw(name)), ours(draw(name)))
    assert_same_state(twin, ours)
    pointers = [{t.data_ptr() for t in m.state_dict().values()} for m in (ours, twin)]
    assert pointers[0].isdisjoint(pointers[1])


@with_each_case
def test_training_is_that_of_torch(name, args, options):
    norms = pair(name, args, options)
    torch.manual_seed(0)
    first = nn.Linear(INPUTS[name][-1], INPUTS[name][-1], dtype=torch.float64)
    nets = [nn.Sequential(copy.deepcopy(first), norm) for norm in norms]
    for step in range(4):
        for net in nets:
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            loss = (net(draw(name, step)) * draw(name, 100 + step)).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert_same_state(*nets)


@with_each_case
def test_reset_parameters_restores_the_start(name, args, options):
    ours, _ = pair(name, args, options)
    ours(draw(name))
    ours.reset_parameters()
    assert_same_state(ours, getattr(nn, name)(*args, **options, dtype=torch.float64))


@with_each_case
def test_device_and_dtype_reach_every_tensor(name, args, options):
    meta = getattr(lnlib, name)(*args, **options, device="meta", dtype=torch.bfloat16)
    assert meta(draw(name, dtype=torch.bfloat16).to("meta")).shape == INPUTS[name]
    for tensor in meta.state_dict().values():
        assert tensor.device.type == "meta"
        assert tensor.dtype in (torch.bfloat16, torch.long)


@with_each_case
def test_exports(name, args, options):
    ours, _ = pair(name, args, options)
    program = torch.export.export(ours.eval(), (draw(name),))
    torch.testing.assert_close(program.module()(draw(name)), ours(draw(name)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", [name for name in INPUTS if "Instance" not in name])
def test_traces_symbolically(name, training):
    """Not instance norm, whose check for a missing batch axis, in torch, needs the shape."""
    arguments = (2, 4) if name == "GroupNorm" else (4,)
    net = nn.Sequential(nn.Identity(), getattr(lnlib, name)(*arguments)).train(training)
    traced, x = torch.fx.symbolic_trace(copy.deepcopy(net)), draw(name, dtype=torch.float32)
    assert torch.equal(traced(x), net(x))
    assert sum(node.op == "call_function" for node in traced.graph.nodes) == 1


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["GroupNorm", "InstanceNorm2d", "BatchNorm2d"])
def test_channels_stay_last_in_memory(name, training):
    arguments = (2, 4) if name == "GroupNorm" else (4,)
    ours, torchs = (getattr(m, name)(*arguments).train(training) for m in (lnlib, nn))
    x, dy = (normal(2, 4, 5, 6, seed=seed, dtype=torch.float32) for seed in range(2))
    x = x.to(memory_format=torch.channels_last)
    leaf, twin = (x.clone().requires_grad_() for _ in range(2))
    y = ours(leaf)
    y.backward(dy)
    torchs(twin).backward(dy)
    for tensor in (y, leaf.grad):
        assert tensor.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(leaf.grad, twin.grad)
