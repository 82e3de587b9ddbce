"""The exercises of chapters 4 and 5: applications, theory."""

import copy
import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lnlib import reference
from lnlib.pages.exercises.cases import Call, Cases, Holds, Value
from lnlib.pages.exercises.inputs import Function, conventions, draw, normalized
from lnlib.randomness import SEED


def transformer_path(factor: Any) -> Cases:
    """What a block of Post-LN leaves of what was in the stream."""
    yield Value("factor", factor, 0.5, {"A block has two branches.": 0.5**0.5})


def transformer_sharp(largest: Function) -> Cases:
    """The largest weight of one of T characters under QK norm."""
    for d, T in (4, 2), (4, 64), (16, 64):
        want = 1 / (1 + (T - 1) * math.exp(-2 * d**0.5))
        slips = {
            "The others can have −√d, not only 0.": 1 / (1 + (T - 1) * math.exp(-(d**0.5))),
            "There are T − 1 others.": 1 / (1 + T * math.exp(-2 * d**0.5)),
        }
        yield Call(largest, {"d": d, "T": T}, want, slips, close=1e-9)


def transformer_only_pre(works: Function) -> Cases:
    """Whether RMSNorm does as LN does in three blocks of Post-LN with this β."""
    for entries in (0, 0, 0, 0), (2, -1, -3, 2), (1, 1, 1, 1), (3, 0, -1, 0):
        beta = torch.tensor(entries, dtype=torch.float64)
        start, matrix = map(torch.from_numpy, draw(4, 4, count=2))
        streams = []
        for norm, W in (
            (F.layer_norm, matrix),
            (F.rms_norm, matrix - matrix.mean(1, keepdim=True)),
        ):
            stream = start - start.mean(1, keepdim=True)
            for _ in range(3):
                stream = norm(stream + stream @ W, (4,), eps=1e-5) + beta
            streams.append(stream)
        slips = {"β need not be 0 for that.": not any(entries)}
        same = (streams[0] - streams[1]).abs().max().item() < 1e-9
        yield Call(works, {"beta": beta}, same, slips)


def recurrent_gamma(factor: Function, gamma: Any) -> Cases:
    """What one step leaves of a gradient, and the γ with which 60 steps leave a half."""
    for g, tau in (0.5, 1.0), (3.0, 4.0):
        slips = {
            "The state is γ x̂ + x, not x alone.": g / tau,
            "The state is γ x̂ + x, not γ x̂ alone.": 1.0,
            "Variances add, not standard deviations.": g / (g + tau),
            "It is a root: σ, not σ².": g**2 / (g**2 + tau**2),
        }
        given = {"gamma": g, "tau": tau}
        yield Call(factor, given, g / (g**2 + tau**2) ** 0.5, slips, close=1e-9)
    one, as_square, right = (0.5 / (4 ** (1 / n) - 1) ** 0.5 for n in (1, 120, 60))
    slips = {"That is one step.": one, "It is a root: σ, not σ².": as_square}
    yield Value("gamma", gamma, right, slips, close=0.02)


def generative_pixel(pixel_norm: Function) -> Cases:
    """PixelNorm of (N, C, H, W) by way of RMSNorm."""
    for shape in (1, 2, 1, 2), (2, 16, 4, 4):
        x = next(draw(*shape))
        want = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-8)
        slips = {
            "The mean is subtracted.": normalized(x, (1,), 1e-8),
            "The mean runs over the last axis.": reference.rms_norm(x, shape[3:], eps=1e-8),
            "All positions share one mean square.": reference.rms_norm(x, shape[1:], eps=1e-8),
        }
        yield Call(pixel_norm, {"image": torch.from_numpy(x)}, want, slips)


def reinforcement_reach(reach: Function) -> Cases:
    """Weights of a critic, and a state whose value comes close to the bound."""
    from lnlib.experiments import reinforcement

    torch.manual_seed(SEED)
    critic = reinforcement.Critic(nn.LayerNorm).double()
    with torch.no_grad():
        state = torch.as_tensor(reach(critic), dtype=torch.float64)
        value = critic(state.reshape(1, 4)).max().item()
    close = value > 0.99 * reinforcement.bound(critic)
    yield Holds(close, "The largest value is less than 99% of the bound.")


def reinforcement_copies(after_30: Any, copies: Any) -> Cases:
    """The largest value after 30 copies, and the copies for a value of 95."""
    right, next_one = ((1 - 0.99**k) / (1 - 0.99) for k in (30, 31))
    yield Value("after_30", after_30, right, {"That is after 31 copies.": next_one}, close=5e-3)
    yield Value("copies", copies, 299)


def optimization_half(steps: Function) -> Cases:
    """After how many steps the effective learning rate has halved."""
    for length, rate, g in (1.0, 0.1, 1.0), (5.0, 1.0, 2.0):
        unit = length**4 / (2 * rate**2 * g**2)
        slips = {
            "It is ‖W‖² that doubles, not ‖W‖.": 15 * unit,
            "‖W‖² does not grow evenly: the longer W is, the shorter the steps.": 2 * unit,
        }
        yield Call(steps, {"length": length, "rate": rate, "g": g}, 3 * unit, slips, close=1e-9)


def optimization_hurt(task: Function) -> Cases:
    """A task that a net solves without a norm of its input, and not with it."""
    generator = torch.Generator().manual_seed(SEED)
    (x, y), (unseen, answers) = (task(count, generator) for count in (4000, 1000))
    for norm, solved, otherwise in (
        (nn.Identity(), True, "Without a norm the net is right in less than 80%."),
        (nn.LayerNorm(64), False, "With the norm the net is right in more than 60%."),
    ):
        torch.manual_seed(SEED)
        net = nn.Sequential(norm, nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        descent = torch.optim.Adam(net.parameters(), lr=0.01)
        for batch in torch.randint(4000, (150, 256), generator=generator):
            descent.zero_grad()
            F.cross_entropy(net(x[batch]), y[batch]).backward()
            descent.step()
        right = (net(unseen).argmax(1) == answers).double().mean()
        yield Holds(right > 0.8 if solved else right < 0.6, otherwise)


def regularization_noise(batch: Any) -> Cases:
    """From which batch size on the noise at x̂ = 0 is below 1%."""
    yield Value("batch", batch, 10_000, {"The noise falls with the root of B.": 100})


def regularization_angle(settled: Function) -> Cases:
    """How far a step turns W in equilibrium, and how long W is then."""
    for rate, penalty, g in (0.5, 0.002, 1.0), (0.5, 0.002, 10.0), (0.1, 0.02, 1.0):
        angle, length = (2 * rate * penalty) ** 0.5, (rate * g**2 / (2 * penalty)) ** 0.25
        slips = {
            "Decay takes 2ηλ of ‖W‖², not ηλ.": (angle / 2**0.5, length * 2**0.25),
            "The angle is in radians.": (math.degrees(angle), length),
            "That is ‖W‖².": (angle, length**2),
        }
        given = {"rate": rate, "penalty": penalty, "g": g}
        yield Call(settled, given, (angle, length), slips, close=0.03)


def regularization_gamma(shrink: Function) -> Cases:
    """A net whose output stays while the γ of a norm in it shrinks."""
    torch.manual_seed(SEED)
    net = nn.Sequential(
        nn.Linear(3, 6), nn.LayerNorm(6, 0.0), nn.ReLU(), nn.Linear(6, 6), nn.LayerNorm(6, 0.0)
    ).double()  # fmt: skip
    nn.init.normal_(net.get_parameter("1.bias"))
    probe, changed = torch.from_numpy(next(draw(4, 3))), copy.deepcopy(net)

    @torch.no_grad()
    def output(factor: float) -> Any:
        shrink(changed, factor)
        return changed(probe)

    @torch.no_grad()
    def otherwise(*names: str) -> Any:
        other = copy.deepcopy(net)
        for name in names:
            other.get_parameter(name).mul_(0.1)
        return other(probe)

    slips = {
        "β has to shrink, too.": otherwise("1.weight"),
        "The bias of the linear layer has to shrink, too.": otherwise("1.weight", "1.bias"),
    }
    yield Call(output, {"factor": 0.1}, net(probe), slips, close=1e-9)
    before, after = (n.get_parameter("1.weight") for n in (net, changed))
    yield Holds(torch.allclose(after, 0.1 * before), "γ has not shrunk by this factor.")


def invariances_shift(direction: Function) -> Cases:
    """A shift of the input that LN(W x) does not notice."""
    for width in 2, 6:
        W, x = next(draw(width, width)), next(draw(3, width))
        b = np.asarray(direction(W.copy()))
        yield Holds(b.shape == (width,) and np.abs(b).max() > 0, "b should be a vector, and not 0.")
        moved, still = (normalized(v @ W.T, (1,), 1e-5) for v in (x + 5 * b / np.abs(b).max(), x))
        yield Holds(np.abs(moved - still).max() < 1e-9, "LN(W x) notices this b.")


def invariances_memorize(quantities: Any) -> Cases:
    """How many numbers per row are not linear in it, among 64 entries."""
    want = {"none": 0, "LN": 1, "groups": 64 // 4, "ReLU": 64}
    slips = {
        "The mean is linear.": {**want, "LN": 2, "groups": 32},
        "A group has four entries.": {**want, "groups": 4},
        "ReLU decides for every entry.": {**want, "ReLU": 1},
    }
    yield Value("quantities", quantities, want, slips, close=0)


def invariances_ghost(loss: Function) -> Cases:
    """The loss whose gradient is the mean of those of the pieces."""
    for rows, pieces, width in (4, 2, 1), (24, 4, 3):
        x, y = draw(rows, width, count=2)
        weight = next(draw(width, width))
        z = x @ weight.T
        split = z.reshape(pieces, -1, width)
        parts = {"": normalized(split, (1,), 1e-5), **conventions(split, (1,), 1e-5)}
        losses = {
            name: float(np.square(p.reshape(y.shape) - y).mean()) for name, p in parts.items()
        }
        whole = float(np.square(normalized(z, (0,), 1e-5) - y).mean())
        want, slips = losses.pop(""), {**losses, "All pieces share one mean.": whole}
        given = {"x": x, "y": y, "weight": weight}
        tensors = {name: torch.from_numpy(value) for name, value in given.items()}
        yield Call(loss, {**tensors, "pieces": pieces}, want, slips)
