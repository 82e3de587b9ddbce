"""The exercises of chapters 0 to 2: the principle, the backward pass, numerics, the difference."""

from typing import Any

import numpy as np
import torch

from lnlib import functional, reference
from lnlib.pages.exercises.cases import Call, Cases, Holds, Value
from lnlib.pages.exercises.inputs import EPSILONS, SHAPES, Function, conventions, draw, normalized
from lnlib.randomness import SEED
from lnlib.reference.standardize import Array, standardize
from lnlib.reference.variants import partial_rms_norm_backward, partial_rms_norm_forward

# --- layer normalization in ten minutes -----------------------------------------------------------


def ten_hand(x_hat: Any, length: Any) -> Cases:
    """The normalized vector, and its length."""
    row = np.array([1.0, 1.0, 1.0, 5.0])
    right = reference.layer_norm(row, (4,), eps=0.0)
    yield Value(
        "x_hat",
        x_hat,
        right,
        {
            "This divides by H − 1.": right * 0.75**0.5,
            "This is x − μ; the division by σ is missing.": row - 2,
            "This divides by the variance, not by its root.": (row - 2) / 3,
            "The mean is not subtracted.": reference.rms_norm(row, (4,), eps=0.0),
        },
    )
    yield Value("length", length, 2.0, {"This is its square.": 4.0})


def ten_undo(gain: Any, shift: Any) -> Cases:
    """Gain and shift with which LN leaves a vector unchanged."""
    row = np.array([3.0, 9.0, 11.0, 17.0])
    x_hat = reference.layer_norm(row, (4,), eps=0.0)

    def normalize(x: Array) -> Any:
        return np.asarray(gain) * x_hat + np.asarray(shift)

    slips = {"γ is σ here, not σ².": 25 * x_hat + 10, "γ and β are swapped.": 10 * x_hat + 5}
    yield Call(normalize, {"x": row}, row, slips, close=5e-3)


# --- how it works ---------------------------------------------------------------------------------


def principle_fiber(x: Any) -> Cases:
    """The vector with this x̂, with mean 5 and standard deviation 2."""
    x_hat = np.array([-1.4, -0.2, 0.2, 1.4])
    yield Value("x", x, 2 * x_hat + 5, {"μ and σ are swapped.": 5 * x_hat + 2})


def principle_means(means: Any) -> Cases:
    """How many means there are, and how many of them a token moves."""
    want = {"LN (C)": (12, 1), "LN (T, C)": (2, 1), "BN": (8, 8), "IN": (16, 8), "GN": (4, 2)}
    yield Value("means", means, want)


# --- the backward pass ----------------------------------------------------------------------------


def back_two(factor: Any) -> Cases:
    """What two entries leave of g − ⟨g⟩ at σ = 1 and ε = 1e-5."""
    g = np.array([[1.0, -1.0]])
    _, cache = reference.layer_norm_forward(g, (2,), eps=1e-5)
    right = reference.layer_norm_backward(g, cache)[0][0, 0]
    slips = {
        "This is r; with two entries every gradient points along x̂.": cache.stats.rstd[0, 0],
        "Without ε it would be 0.": 0.0,
    }
    yield Value("factor", factor, right, slips)


def back_outside(backward: Function) -> Cases:
    """The backward pass with ε beside σ."""
    for eps in EPSILONS:
        for shape in SHAPES:
            x, dy = draw(*shape, count=2)
            x_hat, cache = reference.layer_norm_forward(x, shape[1:], eps=eps, eps_mode="outside")
            r, want = cache.stats.rstd, reference.layer_norm_backward(dy, cache)[0]
            inside = dy - dy.mean(1, keepdims=True) - x_hat * (dy * x_hat).mean(1, keepdims=True)
            slips = {"The third term needs c/σ once, in place of x̂.": r * inside}
            yield Call(backward, {"x": x, "dy": dy, "eps": eps}, want, slips)
    x, dy = np.full((1, 3), 2.0), np.array([[1.0, 2.0, 6.0]])
    slips = {"At σ = 0 it is NaN; c/σ counts as 0 there.": np.full((1, 3), np.nan)}
    yield Call(backward, {"x": x, "dy": dy, "eps": 0.3}, (dy - 3) / 0.3, slips)


def back_partial(backward: Function) -> Cases:
    """The backward pass of RMSNorm over the first k entries."""
    for eps in EPSILONS:
        for shape, k in ((1, 3), 2), ((4, 8), 3):
            x, g = draw(*shape, count=2)
            x_hat, cache = partial_rms_norm_forward(x, np.ones(shape[1]), k, eps)
            want, _ = partial_rms_norm_backward(g, cache)
            q, moves = cache[2], np.arange(shape[1]) < k
            first = (g * x_hat)[:, :k].sum(1, keepdims=True) / k
            all_of_them = (g * x_hat).sum(1, keepdims=True) / k
            slips = {
                "The sum runs over all H outputs: q moves every one of them.": q
                * (g - moves * x_hat * first),
                "Only the first k entries move q.": q * (g - x_hat * all_of_them),
            }
            yield Call(backward, {"x": x, "g": g, "k": k, "eps": eps}, want, slips)


def back_radial(inner: Function) -> Cases:
    """The inner product of W and its gradient, from x = W z and the gradient of the output."""
    for eps in EPSILONS:
        for rows, width in (1, 3), (4, 8):
            z, W, g = (next(draw(*shape)) for shape in ((rows, 2), (width, 2), (rows, width)))
            x = z @ W.T
            x_hat, cache = reference.layer_norm_forward(x, (width,), eps=eps)
            r, want = cache.stats.rstd, (W * (reference.layer_norm_backward(g, cache)[0].T @ z))
            slips = {
                "Of each row it is c that counts, not x.": (eps * r**3 * g * x).sum(),
                "Of each row it is c that counts, not x̂.": (eps * r**3 * g * x_hat).sum(),
                "r has the power of three.": (eps * g * x_hat).sum(),
            }
            yield Call(inner, {"x": x, "g": g, "eps": eps}, want.sum(), slips, close=1e-6)


def back_half(repair: Function) -> Cases:
    """What makes two identities exact again after rounding x̂."""
    for eps in EPSILONS:
        for shape in SHAPES:
            exact, stats = standardize(next(draw(*shape)), (1,), eps)
            loaded = torch.from_numpy(exact).bfloat16().double().numpy()
            centered = loaded - loaded.mean(1, keepdims=True)
            length = np.sqrt(1 - eps * stats.rstd**2)
            spread = np.sqrt((centered**2).mean(1, keepdims=True))
            slips = {
                "The mean square is 1 − ε r², not 1.": centered / spread,
                "Its mean is right, its mean square not yet.": centered,
                "Its mean is not 0.": loaded * length / np.sqrt((loaded**2).mean(1, keepdims=True)),
            }
            given = {
                "x_hat": torch.from_numpy(loaded),
                "r": torch.from_numpy(stats.rstd),
                "eps": eps,
            }
            yield Call(repair, given, centered * length / spread, slips)


# --- numerics -------------------------------------------------------------------------------------


def merge_split(merged: Any, sums: Any) -> Cases:
    """The digits of the variance that the three numbers of each part leave."""
    yield Holds(abs(merged - 4) <= 1, "merged: how large is the error beside the variance?")
    yield Holds(sums <= 0.5, "sums: how large is the error beside the variance?")


def smallest_nan(three: Any, two: Any) -> Cases:
    """The smallest n at which the one-pass variance is negative."""
    yield Value("three", three, 4096)
    yield Value("two", two, 5793)


def safe_eps(eps: Any) -> Cases:
    """The smallest ε that is safe in float16."""
    yield Holds(np.float16(eps) > 0, "This ε is 0 in float16.")
    smallest = 2.0**-25 / 2.0**-11
    yield Holds(eps > 0.97 * smallest, "A square that vanishes is more than u beside this ε.")
    yield Holds(eps < 2 * smallest, "A smaller ε is enough.")


def shift_worst(row: Any) -> Cases:
    """A row whose first entry is a bad shift."""
    x = np.asarray(row, float)
    yield Holds(x.ndim == 1 and x.size > 7, "The row should have eight entries or more.")
    yield Holds(x.std() > 0, "All entries of the row are equal.")
    kappa = 1 + (x[0] - x.mean()) ** 2 / x.var()
    yield Holds(kappa > 0.9 * x.size, "After the shift κ² is below 0.9 H.")


# --- the fine print -------------------------------------------------------------------------------


def eps_design(inside: Any, outside: Any) -> Cases:
    """The ε that makes σ = .01 come out as one half."""
    yield Value(
        "inside",
        inside,
        3e-4,
        {"This would be right outside.": 1e-2, "Then σ²/(σ² + ε) is ½; its root should be.": 1e-4},
    )
    yield Value("outside", outside, 1e-2, {"This would be right inside.": 3e-4})


def nan(norm: Function) -> Cases:
    """A norm with ε beside σ, or a similar one, whose gradient is finite."""
    ordinary = torch.from_numpy(next(draw(3)))
    for eps in EPSILONS:
        x = torch.full((3,), 3.0, dtype=torch.float64, requires_grad=True)
        y = norm(x, eps)
        slopes = torch.autograd.grad(y, x, torch.tensor([1.0, 2.0, 4.0], dtype=x.dtype))[0]
        yield Holds(slopes.isfinite().all(), "On a constant vector the gradient is not finite.")
        want = reference.layer_norm(ordinary.numpy(), (3,), eps=eps, eps_mode="outside")
        inside = functional.layer_norm(ordinary, (3,), eps=eps)
        changed = torch.allclose(norm(ordinary, eps), inside, rtol=0, atol=1e-12)
        yield Call(norm, {"x": ordinary, "eps": eps}, inside if changed else want)


def collapse(rms_norm: Any, centering: Any) -> Cases:
    """How alike digits are after 30 layers, with RMSNorm after ReLU and with centering."""
    from sklearn.datasets import load_digits

    images = load_digits().data
    for given, after, otherwise in (
        (rms_norm, reference.rms_norm, "RMSNorm subtracts no mean."),
        (
            centering,
            lambda h, shape: h - h.mean(1, keepdims=True),
            "What all have in common after ReLU is a mean.",
        ),
    ):
        generator = np.random.default_rng(SEED)
        h = (images[:100] - images.mean()) / images.std()
        for _ in range(30):
            w = generator.normal(0, (2 / h.shape[1]) ** 0.5, (h.shape[1], 256))
            h = after(np.maximum(h @ w, 0), (256,))
        unit = h / np.linalg.norm(h, axis=1, keepdims=True)
        yield Holds(abs(given - (unit @ unit.T).mean()) < 0.1, otherwise)


# --- the difference, and batch size ---------------------------------------------------------------


def _batch_norm(x: Array, eps: float = 1e-5) -> Array:
    return reference.batch_norm(x, None, None, training=True, eps=eps)


def diff_leak(hidden: Function) -> Cases:
    """The input that the outputs of the others give away."""
    for shape in (4, 1), (16, 5):
        x = next(draw(*shape))
        y = _batch_norm(x)
        slips = {"This is μ of the whole batch.": x.mean(0)}
        yield Call(hidden, {"known": x[:-1], "seen": y[:-1]}, x[-1], slips, close=1e-6)


def diff_equal(image: Any) -> Cases:
    """An image for which LN and IN agree."""
    x = np.asarray(image, float)
    yield Holds(x.ndim == 4 and x.shape[:2] == (1, 2), "The shape should be (1, 2, H, W).")
    yield Holds((x.std((2, 3)) > 0).all(), "A channel is constant.")
    one, other = np.sort(x[0].reshape(2, -1))
    yield Holds(not np.allclose(one, other), "One channel is a rearrangement of the other.")
    means, spreads = x.mean((2, 3)), x.std((2, 3))
    yield Holds(np.ptp(means) < 1e-6 * spreads.max(), "The channels differ in their mean.")
    yield Holds(np.ptp(spreads) < 1e-6 * spreads.max(), "The channels differ in their σ.")


def diff_switchable(switchable: Function) -> Cases:
    """The mixture of the statistics of BN, LN and IN."""
    axes = ((0, 2), (1, 2), (2,))
    for shape in (2, 2, 2), (3, 4, 5):
        for shares, eps in ((0.0, 0.5, 0.5), 0.3), ((0.2, 0.5, 0.3), 1e-5):
            x = next(draw(*shape))
            mixed = [*zip(shares, axes, strict=True)]
            mean, var = (
                sum(w * f(x, a, keepdims=True) for w, a in mixed) for f in (np.mean, np.var)
            )
            outputs = sum(w * standardize(x, a, eps)[0] for w, a in mixed)
            slips = {"This mixes the outputs, not the means and the variances.": outputs}
            want = (x - mean) / np.sqrt(var + eps)
            yield Call(switchable, {"x": x, "shares": np.array(shares), "eps": eps}, want, slips)


def batch_momentum(momentum: Any) -> Cases:
    """The momentum of PyTorch that does what .99 does in Keras."""
    yield Value("momentum", momentum, 0.01, {"This is the weight of the old value.": 0.99})


def batch_fold(fold: Function) -> Cases:
    """Weight and bias of a linear layer that has taken up γ and β."""
    for features, outputs in (2, 1), (6, 4):
        draw = np.random.default_rng(SEED)
        W, b, gain, shift = (
            draw.normal(1, 2, size).round(2)
            for size in ((outputs, features), outputs, features, features)
        )
        want = (W * gain, b + W @ shift)
        slips = {"W β is missing.": (W * gain, b)}
        given = {"W": W, "b": b, "gain": gain, "shift": shift}
        yield Call(fold, {k: torch.from_numpy(v) for k, v in given.items()}, want, slips)


def batch_ghost(ghost_batch_norm: Function) -> Cases:
    """Batch norm in training, each group of consecutive examples by itself."""
    for eps in EPSILONS:
        for shape, group in ((4, 1), 2), ((12, 3), 4):
            x = next(draw(*shape))
            groups = x.reshape(-1, group, shape[1])
            want = normalized(groups, (1,), eps)
            strided = normalized(x.reshape(group, -1, shape[1]), (0,), eps)
            slips = {
                **conventions(groups, (1,), eps),
                "Groups are consecutive examples.": strided,
                "All examples share one mean.": _batch_norm(x, eps),
            }
            shaped = {sentence: wrong.reshape(shape) for sentence, wrong in slips.items()}
            given = {"x": torch.from_numpy(x), "group": group, "eps": eps}
            yield Call(ghost_batch_norm, given, want.reshape(shape), shaped)
