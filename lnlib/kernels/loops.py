r"""The loops of `lnlib.kernels.cpu`, compiled by Numba for the processor at hand.

Every array is seen as `x[b, g, k, i]`: the entries `x[:, g]` share a mean and a variance, the
entries `x[:, g, k]` are a channel. Layer norm has a row in each group and one "channel", group norm
the channels and positions of one example, batch norm those of all examples. A parameter is indexed
by `[g, k, i]`, with period in `g`; along `i` it is constant, except in layer norm. Memory is read
once: what a group needs twice lies in the cache.

Sums of float32 entries are float64, which holds every square of a float32 and makes one pass
enough: $\sigma^2 = \langle x^2\rangle - \mu^2$ loses at most 20 of its 53 bits, or the entries are
summed again about their mean. The mean is kept as $\mu + \delta$, since a float32 rounds it, and
entries are written as $((x - \mu) - \delta)\,r$. Entries of float64 are always summed twice, times
a power of two if their squares would leave the format.
"""

import math

import numpy as np
from numba import njit

SUM = {"reassoc", "contract", "nsz"}  # added in any order, so that they are added in vectors
MAP = {"contract"}  # (x − µ) − δ stays as it is written
MEAN, REST, RSTD, SCALE, VAR = range(5)  # what is kept of a group

add_up = njit(cache=True, nogil=True, error_model="numpy", fastmath=SUM)
apply = njit(cache=True, nogil=True, error_model="numpy", fastmath=MAP)


# --- statistics ---------------------------------------------------------------------------------


@add_up
def moments(x, g):
    """Return the sums of a group's entries and of their squares."""
    total = square = 0.0
    for b in range(len(x)):
        for k in range(x.shape[2]):
            for i in range(x.shape[3]):
                v = np.float64(x[b, g, k, i])
                total += v
                square += v * v
    return total, square


@add_up
def deviations(x, g, scale, mean):
    """Return the sums of a group's `x * scale - mean` and of their squares."""
    total = square = 0.0
    for b in range(len(x)):
        for k in range(x.shape[2]):
            for i in range(x.shape[3]):
                v = x[b, g, k, i] * scale - mean
                total += v
                square += v * v
    return total, square


@apply
def power_of_two(x, g, floor):
    """Return 2^k that brings the largest entry of a group, at least `floor`, into [1/2, 1)."""
    largest = floor
    for b in range(len(x)):
        for k in range(x.shape[2]):
            for i in range(x.shape[3]):
                largest = max(largest, abs(x[b, g, k, i]))
    if not 0 < largest < np.inf:
        return 1.0
    return math.ldexp(1.0, min(-math.frexp(largest)[1], 1022))


@apply
def describe(x, g, eps, center, stats):
    """Write what is kept of a group."""
    count, wide = len(x) * x.shape[2] * x.shape[3], x.itemsize == 8
    total, square = moments(x, g)
    mean = total / count if center else 0.0
    var, rest, scale, root = square / count - mean * mean, 0.0, 1.0, math.sqrt(eps)
    if wide and not 1e-290 < square / count + eps < 1e290:
        scale = power_of_two(x, g, root)
        mean = deviations(x, g, scale, 0.0)[0] / count if center else 0.0
    if scale != 1 or (center and (wide or not var > square / count * 2.0**-20)):
        total, square = deviations(x, g, scale, mean)
        rest = total / count if center else 0.0
        var = max(square / count - rest * rest, 0.0)
    stats[MEAN], stats[REST], stats[SCALE] = mean, rest, scale
    stats[RSTD] = 1 / math.sqrt(var + (root * scale) ** 2)
    stats[VAR] = var / scale / scale


@apply
def fits(x, mean, rstd):
    """Say whether a group can be computed in the format of its entries."""
    return x.itemsize == 8 or (1e-30 < rstd < 1e30 and abs(mean) < 1e30)


# --- forward ------------------------------------------------------------------------------------


@apply
def standardize(v, mean, rest, rstd, scale):
    """Return an entry of x̂."""
    return ((v * scale - mean) - rest) * rstd


@apply
def write(x, b, g, mean, rest, rstd, scale, weight, bias, y):
    """Write a group's x̂ γ + β."""
    p = g % len(weight)
    for k in range(x.shape[2]):
        if weight.shape[2] == 1:
            for i in range(x.shape[3]):
                x_hat = standardize(x[b, g, k, i], mean, rest, rstd, scale)
                y[b, g, k, i] = x_hat * weight[p, k, 0] + bias[p, k, 0]
        else:
            for i in range(x.shape[3]):
                x_hat = standardize(x[b, g, k, i], mean, rest, rstd, scale)
                y[b, g, k, i] = x_hat * weight[p, k, i] + bias[p, k, i]


@apply
def forward(piece, bounds, x, weight, bias, eps, center, y, stats):
    """Normalize the groups of a piece."""
    real = x.dtype.type
    for g in range(bounds[piece], bounds[piece + 1]):
        describe(x, g, eps, center, stats[g])
        mean, rest, rstd, scale = stats[g, MEAN], stats[g, REST], stats[g, RSTD], stats[g, SCALE]
        high = real(mean)
        low, r, s = real(mean - high + rest), real(rstd), real(scale)
        for b in range(len(x)):
            if fits(x, mean, rstd):
                write(x, b, g, high, low, r, s, weight, bias, y)
            else:
                write(x, b, g, mean, rest, rstd, scale, weight, bias, y)


# --- backward -----------------------------------------------------------------------------------


@add_up
def gather(x, b, g, mean, rest, rstd, scale, weight, dy, dweight, dbias):
    """Return the sums of γ dy and of γ dy x̂; add up the gradients of parameters along `i`."""
    p, zero = g % len(weight), mean * 0
    total = product = zero
    for k in range(x.shape[2]):
        if weight.shape[2] == 1:
            plain = weighted = zero
            for i in range(x.shape[3]):
                v = dy[b, g, k, i]
                plain += v
                weighted += v * standardize(x[b, g, k, i], mean, rest, rstd, scale)
            dweight[p, k, 0] += weighted
            dbias[p, k, 0] += plain
            total += plain * weight[p, k, 0]
            product += weighted * weight[p, k, 0]
        else:
            for i in range(x.shape[3]):
                v = dy[b, g, k, i] * weight[p, k, i]
                total += v
                product += v * standardize(x[b, g, k, i], mean, rest, rstd, scale)
    return total, product


@apply
def spread(x, b, g, mean, rest, rstd, scale, weight, dy, total, product, dx, dweight, dbias):
    """Write r (γ dy − ⟨γ dy⟩ − x̂ ⟨γ dy x̂⟩); add up the gradients of parameters along `g`."""
    p, r = g % len(weight), rstd * scale
    for k in range(x.shape[2]):
        if weight.shape[2] == 1:
            for i in range(x.shape[3]):
                x_hat = standardize(x[b, g, k, i], mean, rest, rstd, scale)
                dx[b, g, k, i] = (dy[b, g, k, i] * weight[p, k, 0] - total - x_hat * product) * r
        else:
            for i in range(x.shape[3]):
                x_hat = standardize(x[b, g, k, i], mean, rest, rstd, scale)
                v = dy[b, g, k, i]
                dx[b, g, k, i] = (v * weight[p, k, i] - total - x_hat * product) * r
                dweight[p, k, i] += v * x_hat
                dbias[p, k, i] += v


@apply
def backward(piece, bounds, x, weight, stats, dy, center, dx, sums):
    """Differentiate the groups of a piece, whose part of the sums over groups is its own."""
    real, count = x.dtype.type, len(x) * x.shape[2] * x.shape[3]
    own = piece % len(sums)
    dweight, dbias = sums[own, 0], sums[own, 1]  # contiguous, as unpacking a row would not say
    for g in range(bounds[piece], bounds[piece + 1]):
        mean, rest, rstd, scale = stats[g, MEAN], stats[g, REST], stats[g, RSTD], stats[g, SCALE]
        high, total, product = real(mean), 0.0, 0.0
        low, r, s = real(mean - high + rest), real(rstd), real(scale)
        for b in range(len(x)):
            if fits(x, mean, rstd):
                t, c = gather(x, b, g, high, low, r, s, weight, dy, dweight, dbias)
            else:
                t, c = gather(x, b, g, mean, rest, rstd, scale, weight, dy, dweight, dbias)
            total, product = total + t / count, product + c / count
        total = total if center else 0.0
        for b in range(len(x)):
            if fits(x, mean, rstd):
                t, c = real(total), real(product)
                spread(x, b, g, high, low, r, s, weight, dy, t, c, dx, dweight, dbias)
            else:
                spread(
                    x, b, g, mean, rest, rstd, scale, weight, dy, total, product, dx, dweight, dbias
                )
