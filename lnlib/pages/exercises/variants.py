"""The exercises of chapters 6 and 7: variants, related topics."""

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lnlib import reference, variants
from lnlib.experiments.quantization import product_error
from lnlib.pages.exercises.cases import Call, Cases, Holds, Value
from lnlib.pages.exercises.inputs import EPSILONS, SHAPES, Function, draw
from lnlib.randomness import SEED


def variants_who(which: Function) -> Cases:
    """The name of each of four layers, from what it returns."""
    boxes = {
        "LN": lambda: nn.LayerNorm(6).double(),
        "RMSNorm": lambda: nn.RMSNorm(6, 1e-5).double(),
        "DyT": lambda: variants.DynamicTanh(6).double(),
        "PowerNorm": lambda: variants.PowerNorm(6).double(),
    }
    for name, make in boxes.items():
        yield Holds(which(make) == name, "is not recognized.", name)


def variants_count(counts: Any) -> Cases:
    """The trained parameters of each variant at H = 4096."""
    H = 4096
    want = {
        "LN": 2 * H,
        "RMSNorm": H,
        "ScaleNorm": 1,
        "AdaNorm": 0,
        "DyT": 2 * H + 1,
        "adaLN-Zero": 3 * H * (1024 + 1),
    }
    slips = {"The linear layer has a bias.": {**want, "adaLN-Zero": 3 * H * 1024}}
    yield Value("counts", counts, want, slips, close=0)


def variants_adanorm(mean: Function) -> Cases:
    """The mean of the output of AdaNorm."""
    for C, k in (1.0, 0.1), (2.0, 0.3):
        yield Call(mean, {"C": C, "k": k}, -C * k, {"The sign.": C * k, "C is missing.": -k})


def rms_norm_backward(backward: Function) -> Cases:
    """The backward pass of RMSNorm with gain."""
    for eps in EPSILONS:
        for shape in SHAPES:
            (x, dy), gain = draw(*shape, count=2), next(draw(shape[1]))
            _, cache = reference.rms_norm_forward(x, shape[1:], gain, eps)
            g, q = gain * dy, cache.stats.rstd
            x_hat = q * x
            along = x_hat * (g * x_hat).mean(1, keepdims=True)
            slips = {
                "γ belongs to the gradient, too.": q
                * (dy - x_hat * (dy * x_hat).mean(1, keepdims=True)),
                "No mean of g is subtracted.": q * (g - g.mean(1, keepdims=True) - along),
                "The part along x̂ is still there.": q * g,
            }
            given = {"x": x, "dy": dy, "gain": gain, "eps": eps}
            yield Call(backward, given, reference.rms_norm_backward(dy, cache)[0], slips)


def rms_norm_partial(relative_error: Function) -> Cases:
    """The relative error of a root mean square of k entries."""
    for k in 64, 256:
        slips = {"The root halves the error of the mean square.": (2 / k) ** 0.5}
        yield Call(relative_error, {"k": k}, (2 * k) ** -0.5, slips, close=1e-9)


def rms_norm_compressed(compressed_rms_norm: Function) -> Cases:
    """RMSNorm of centered rows without their last entry."""
    for eps in EPSILONS:
        for shape in SHAPES:
            x = next(draw(*shape))
            x -= x.mean(1, keepdims=True)
            known, squares = x[:, :-1], (x**2).sum(1, keepdims=True)
            want = reference.rms_norm(x, shape[1:], eps=eps)[:, :-1]
            slips = {
                "The last entry contributes its square, too.": known
                / np.sqrt((known**2).sum(1, keepdims=True) / shape[1] + eps),
                "The mean runs over H entries, not over H − 1.": known
                / np.sqrt(squares / (shape[1] - 1) + eps),
                "That is RMSNorm of H − 1 entries.": reference.rms_norm(
                    known, shape[1] - 1, eps=eps
                ),
            }
            yield Call(compressed_rms_norm, {"x": known, "eps": eps}, want, slips)


def power_strength(partly_normed: Function) -> Cases:
    """A norm that centers at p = 0 and is LN at p = 1."""
    for p in 0.0, 0.5, 1.0:
        for shape in SHAPES:
            x = next(draw(*shape))
            centered, sigma = x - x.mean(1, keepdims=True), x.std(1, keepdims=True)
            slips = {
                "The mean is not subtracted.": x / sigma**p,
                "σ to the power of p, not the variance.": centered / sigma ** (2 * p),
                "This divides by n − 1.": centered / x.std(1, keepdims=True, ddof=1) ** p,
                "This mixes two outputs.": (1 - p) * centered + p * centered / sigma,
            }
            yield Call(partly_normed, {"x": x, "p": p}, centered / sigma**p, slips)


def power_backward(first_gradient: Function) -> Cases:
    """What PowerNorm returns as dx in its first step."""
    for eps in EPSILONS:
        for shape in (3, 1), (8, 4):
            x, dy = draw(*shape, count=2)
            layer, leaf = variants.PowerNorm(shape[1], eps=eps).double(), torch.from_numpy(x)
            layer(leaf.requires_grad_()).backward(torch.from_numpy(dy))
            r = 1 / np.sqrt((x**2).mean(0) + eps)
            exact = r * (dy - r * x * (dy * r * x).mean(0))
            slips = {"That is the exact gradient.": exact}
            yield Call(first_gradient, {"x": x, "dy": dy, "eps": eps}, leaf.grad, slips)


def conditional_fold(fold: Function) -> Cases:
    """A linear layer that has taken up γ and β of one condition."""
    for features, outputs in (2, 1), (6, 4):
        W, (gain, shift) = next(draw(outputs, features)), draw(features, count=2)
        b = next(draw(outputs))
        slips = {
            "The factor is 1 + γ(c).": (W * gain, b + W @ shift),
            "V β(c) is missing.": (W * (1 + gain), b),
        }
        given = {"V": W, "b": b, "gain": gain, "shift": shift}
        tensors = {name: torch.from_numpy(value) for name, value in given.items()}
        yield Call(fold, tensors, (W * (1 + gain), b + W @ shift), slips)


def conditional_cost(share: Any) -> Cases:
    """The share of the weights for γ, β and α in a block."""
    slips = {"It is their share of the whole block.": 0.5, "There are six vectors.": 0.2}
    yield Value("share", share, 1 / 3, slips, close=0.02)


def layer_scale_step(sgd: Any, adam: Any) -> Cases:
    """How many times as much a step changes the branch at λ = .1."""
    yield Value("sgd", sgd, 0.01, {"λ enters twice.": 0.1})
    yield Value("adam", adam, 0.1, {"Adam divides the gradient’s λ out.": 0.01})


def layer_scale_depth(independent: Function, equal: Function) -> Cases:
    """The λ at which the variance doubles."""
    for L in 12, 48:
        slips = {"Each block has two branches.": L**-0.5}
        yield Call(independent, {"L": L}, (2 * L) ** -0.5, slips, close=1e-9)
    for L in 12, 48:
        slips = {"Each block has two branches.": 1 / L, "Equal vectors add first.": (2 * L) ** -0.5}
        yield Call(equal, {"L": L}, 1 / (2 * L), slips, close=1e-9)


def without_half(distance: Function) -> Cases:
    """Where an entry reaches half of its saturation."""
    for s, H in (1.0, 3), (2.0, 64):
        slips = {"Both sides are squared: 4 − 1 is 3.": s * H**0.5, "H is under a root.": s * H / 3}
        yield Call(distance, {"s": s, "H": H}, s * (H / 3) ** 0.5, slips, close=1e-9)


def without_ngpt(degrees: Function) -> Cases:
    """How far a step turns h at a right angle to b."""
    for alpha in 0.1, 0.5:
        want = math.degrees(math.atan(alpha / (1 - alpha)))
        slips = {
            "It is the chord that is divided, not the arc.": 90 * alpha,
            "The result is in degrees.": math.radians(want),
            "What is left of h is 1 − α.": math.degrees(math.atan(alpha)),
        }
        yield Call(degrees, {"alpha": alpha}, want, slips, close=1e-9)


def without_share(kept: Any) -> Cases:
    """The power of γ that the activation keeps, with a scale per tensor and with one per row."""
    shares = np.linspace(0, 1, 11)
    for outlier in (5, 60):
        for i, axis in enumerate((None, 1)):
            answer = float(kept[outlier][i])
            errors = np.mean([_errors(outlier, (*shares, answer), axis, s) for s in range(32)], 0)
            best = errors[-1] < 1.06 * errors[:-1].min()
            about = f"kept[{outlier}][{i}] = {answer:g}:"
            yield Holds(best, "its error is more than 6% larger than another’s.", about)


def _errors(outlier: float, shares: tuple[float, ...], axis: int | None, seed: int) -> Any:
    generator = np.random.default_rng(SEED + seed)
    x_hat = reference.layer_norm(generator.normal(size=(32, 256)), (256,))
    weight, gain = generator.normal(size=(32, 256)), 1 + 0.1 * generator.normal(size=256)
    gain[7] = outlier
    return [product_error(x_hat, weight, np.abs(gain), share, (None, axis)) for share in shares]


def related_config(parameters: Any) -> Cases:
    """The parameters of all norms of a model."""
    blocks, heads = 36 * 2 * 4096, 36 * 2 * 128
    slips = {
        "One more norm follows the last block.": blocks + heads,
        "Queries and keys have a norm of their own.": blocks + 4096,
        "All heads share one γ.": blocks + 32 * heads + 4096,
        "RMSNorm has no β.": 2 * (blocks + heads + 4096),
    }
    yield Value("parameters", parameters, blocks + heads + 4096, slips, close=0)


def related_eps(percent: Any, sigma: Any) -> Cases:
    """By how much ε shortens a row, and where that is one percent."""
    names = {"BERT": 1e-12, "GPT-2": 1e-5, "Gemma 3": 1e-6}
    want, squared = (
        {name: 100 * (1 - (9e-6 / (9e-6 + eps)) ** power) for name, eps in names.items()}
        for power in (0.5, 1)
    )
    listed = [percent[name] for name in names]
    slips = {"The row is shortened by the root of this.": np.array([*squared.values()])}
    yield Value("percent", listed, np.array([*want.values()]), slips)
    yield Value("sigma", sigma, (1e-5 / (0.99**-2 - 1)) ** 0.5, close=0.03)


def related_slope(spectral: Function, steep: Function) -> Cases:
    """A matrix that stretches no vector, and a row at which LN is nearly as steep as it can be."""
    for shape in (2, 3), (6, 6):
        W = next(draw(*shape))
        largest = np.linalg.norm(W, 2)
        slips = {
            "That is the root of the sum of all squares.": W / np.linalg.norm(W),
            "That is the largest entry.": W / np.abs(W).max(),
            "A vector that is stretched most should keep its length.": W / largest**2,
        }
        yield Call(spectral, {"W": W}, W / largest, slips)
    for eps in (1e-2, 1e-5):
        row = torch.as_tensor(steep(eps), dtype=torch.float64)
        yield Holds(row.ndim == 1 and len(row) > 2, "A row of three or more entries is asked for.")
        yield Holds(row.std() > 0, "All entries of the row are equal.")
        slopes = torch.autograd.functional.jacobian(
            partial(F.layer_norm, normalized_shape=row.shape, eps=eps), row
        )
        yield Holds(
            torch.linalg.matrix_norm(slopes, 2) > 0.99 * eps**-0.5,
            "The slope is below 99% of 1/√ε.",
        )
