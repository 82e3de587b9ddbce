"""The exercises of chapters 4 and 5: applications, theory."""

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


def invariances_shift(direction: Function) -> Cases:
    """A shift of the input that LN(W x) does not notice."""
    for width in 2, 6:
        W, x = next(draw(width, width)), next(draw(3, width))
        b = np.asarray(direction(W.copy()))
        yield Holds(b.shape == (width,) and np.abs(b).max() > 0, "b should be a vector, and not 0.")
        moved, still = (normalized(v @ W.T, (1,), 1e-5) for v in (x + 5 * b / np.abs(b).max(), x))
        yield Holds(np.abs(moved - still).max() < 1e-9, "LN(W x) notices this b.")


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
