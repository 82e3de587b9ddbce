"""The classic bugs of a norm, planted one by one: each is caught, the right code passes."""

import numpy as np
import pytest
from oracles import complex_step

from lnlib import reference

H = 16
EPS = (1e-5, 0.3)


def mean(v):
    return v.mean(-1, keepdims=True)


def forward(x, weight, bias, eps):
    """Layer norm as `lnlib.reference` computes it."""
    return reference.layer_norm(x, (H,), weight, bias, eps)


def backward(x, weight, dy, eps):
    _, cache = reference.layer_norm_forward(x, (H,), weight, None, eps)
    return reference.layer_norm_backward(dy, cache)[0]


def affine(x_hat, weight, bias):
    return x_hat * weight + bias


def ddof_1(x, weight, bias, eps):
    return affine((x - mean(x)) / np.sqrt(x.var(-1, ddof=1, keepdims=True) + eps), weight, bias)


def eps_outside(x, weight, bias, eps):
    return affine((x - mean(x)) / (x.std(-1, keepdims=True) + eps), weight, bias)


def eps_forgotten(x, weight, bias, eps):
    return affine((x - mean(x)) / x.std(-1, keepdims=True), weight, bias)


def bias_omitted(x, weight, bias, eps):
    return forward(x, weight, 0 * bias, eps)


def mean_kept(x, weight, bias, eps):
    return affine(x / np.sqrt(x.var(-1, keepdims=True) + eps), weight, bias)


def padding_counted(x, weight, bias, eps):
    """A kernel's block of 32 lanes, masked after and not before the subtraction."""
    lanes = np.zeros((len(x), 32))
    lanes[:, :H] = x
    var = ((lanes - mean(x)) ** 2).sum(-1, keepdims=True) / H
    return affine((x - mean(x)) / np.sqrt(var + eps), weight, bias)


def half_statistics(x, weight, bias, eps):
    h = x.astype(np.float16)
    return affine((x - mean(h)) / np.sqrt(h.var(-1, keepdims=True) + eps), weight, bias)


def one_pass(x, weight, bias, eps):
    """Variance as mean(x²) − mean(x)²."""
    var = mean(x**2) - mean(x) ** 2
    return affine((x - mean(x)) / np.sqrt(np.maximum(var, 0) + eps), weight, bias)


def parts(x, eps):
    rstd = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    return (x - mean(x)) * rstd, rstd


def statistics_frozen(x, weight, dy, eps):
    return parts(x, eps)[1] * dy * weight


def mean_term_dropped(x, weight, dy, eps):
    (x_hat, rstd), g = parts(x, eps), dy * weight
    return rstd * (g - x_hat * mean(g * x_hat))


def x_hat_term_dropped(x, weight, dy, eps):
    g = dy * weight
    return parts(x, eps)[1] * (g - mean(g))


def weight_pulled_out(x, weight, dy, eps):
    x_hat, rstd = parts(x, eps)
    return weight * rstd * (dy - mean(dy) - x_hat * mean(dy * x_hat))


def backward_ddof_1(x, weight, dy, eps):
    (x_hat, rstd), g = parts(x, eps), dy * weight
    return rstd * (g - mean(g) - x_hat * (g * x_hat).sum(-1, keepdims=True) / (H - 1))


def backward_eps_forgotten(x, weight, dy, eps):
    rstd, u, g = parts(x, eps)[1], parts(x, 0)[0], dy * weight
    return rstd * (g - mean(g) - u * mean(g * u))


def running_var_biased(x, mean, var):
    reference.batch_norm(x, mean, var, training=True, unbiased=False)


def momentum_swapped(x, mean, var):
    reference.batch_norm(x, mean, var, training=True, momentum=0.9)


FORWARD = [
    ddof_1,
    eps_outside,
    eps_forgotten,
    bias_omitted,
    mean_kept,
    padding_counted,
    half_statistics,
    one_pass,
]
BACKWARD = [
    statistics_frozen,
    mean_term_dropped,
    x_hat_term_dropped,
    weight_pulled_out,
    backward_ddof_1,
    backward_eps_forgotten,
]
RUNNING = [running_var_biased, momentum_swapped]


def draw(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(1, 2, (4, H)), rng.normal(size=H), rng.normal(size=H), rng.normal(size=(4, H))


def loss(x, weight, bias, dy, eps):
    """The definition, written out once more, against `dy`."""
    c = x - x.sum(-1, keepdims=True) / H
    return (dy * (c / np.sqrt((c * c).sum(-1, keepdims=True) / H + eps) * weight + bias)).sum()


def check_forward(function):
    """⟨dy, y⟩ for random dy, at two ε and at a large offset."""
    x, weight, bias, dy = draw()
    for eps in EPS:
        got = (dy * function(x, weight, bias, eps)).sum()
        np.testing.assert_allclose(got, loss(x, weight, bias, dy, eps), rtol=1e-12)
    shifted = np.round(x * 8) / 8
    got = function(shifted + 2.0**24, weight, bias, 0.3)
    np.testing.assert_allclose(got, function(shifted, weight, bias, 0.3), rtol=1e-9)


def check_backward(function, weight, dy, eps):
    """⟨dx, v⟩ against the complex step of the definition, for every unit vector v."""
    x, _, bias, _ = draw()
    units = np.eye(x.size).reshape(-1, *x.shape)
    slopes = [complex_step(lambda z: loss(z, weight, bias, dy, eps), x, unit) for unit in units]
    want = np.reshape(slopes, x.shape)
    np.testing.assert_allclose(function(x, weight, dy, eps), want, rtol=0, atol=1e-12)


def check_gradients(function):
    _, weight, _, dy = draw()
    for eps in EPS:
        check_backward(function, weight, dy, eps)


def check_running(update):
    x = draw()[0]
    running = np.zeros(H), np.ones(H)
    update(x, *running)
    np.testing.assert_allclose(running[0], 0.1 * x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(running[1], 0.9 + 0.1 * x.var(0, ddof=1), rtol=1e-12)


def test_the_right_code_passes():
    check_forward(forward)
    check_gradients(backward)
    check_running(lambda x, mean, var: reference.batch_norm(x, mean, var, training=True))


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (check, mutant)
        for check, mutants in (
            (check_forward, FORWARD),
            (check_gradients, BACKWARD),
            (check_running, RUNNING),
        )
        for mutant in mutants
    ],
)
def test_each_mutant_is_caught(check, mutant):
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check(mutant)


SURVIVORS = [x_hat_term_dropped, weight_pulled_out, backward_ddof_1, backward_eps_forgotten]


@pytest.mark.parametrize("mutant", BACKWARD)
def test_a_sum_sees_two_mutants_of_six(mutant):
    """Without a weight the true gradient of `y.sum()` is zero: four wrong ones are zero too."""
    ones = np.ones(H)
    if mutant in SURVIVORS:
        check_backward(mutant, ones, np.ones((4, H)), 1e-5)
    else:
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            check_backward(mutant, ones, np.ones((4, H)), 1e-5)
