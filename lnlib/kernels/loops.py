r"""The loops of `lnlib.kernels.cpu`, compiled by Numba for the processor at hand.

Every array is seen as `x[b, g, k, i]`: the entries `x[:, g]` share a mean and a variance, the
entries `x[:, g, k]` are a channel. Layer norm has a row in each group and one "channel", group norm
the channels and positions of one example, batch norm those of all examples. A parameter is indexed
by `[g, k, i]`, with period in `g`; along `i` it is constant, except in layer norm. Memory is read
once: what a group needs twice lies in the cache. Groups of middling size are read ahead: while one
is written, the next is summed, and what follows is asked for, so that the memory does not wait for
the arithmetic.

Sums of float32 entries are float64, which holds every square of a float32 and makes one pass
enough: $\sigma^2 = \langle x^2\rangle - \mu^2$ loses at most 20 of its 53 bits, or the entries are
summed again about their mean. The mean is kept as $\mu + \delta$, since a float32 rounds it, and
entries are written as $((x - \mu) - \delta)\,r$. Entries of float64 are always summed twice, times
a power of two if their squares would leave the format. Backward, sums are of numbers of order dy:
up to `PART` of them are added in the format of the entries, in twice as many lanes of a register.
"""

import math
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from lnlib.kernels import team

SUM = {"reassoc", "contract", "nsz"}  # added in any order, so that they are added in vectors
MAP = {"contract"}  # (x − µ) − δ stays as it is written
PART = 2**7  # entries that are added in their own format, or read ahead at a time
AHEAD = 2**11, 2**15  # entries of groups for which reading ahead has been faster
FAR, LINE = 2**10, 2**6  # bytes: how far beyond a step memory is asked for, and what comes at once
TEAM = team.found()  # whether loops can run together on torch's threads
MEAN, REST, RSTD, SCALE, VAR = range(5)  # what is kept of a group

# Without counting references: threads that count the same array's up and down wait for each other.
compiled = partial(njit, cache=True, error_model="numpy", _nrt=False)
add_up = compiled(fastmath=SUM, forceinline=True)
apply = compiled(fastmath=MAP, forceinline=True)
run = compiled(fastmath=MAP, nogil=True)  # with all the others inside


# --- memory -------------------------------------------------------------------------------------


@intrinsic
def prefetch(context: Any, x: Any, distance: Any) -> Any:
    """Ask for the line of memory that lies some bytes after the first entry, if there is one."""

    def write(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first = make_array(signature.args[0])(target, builder, arguments[0]).data
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        order = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        place = builder.gep(builder.bitcast(first, byte), arguments[1:])
        builder.call(order, [place, number(0), number(3), number(1)])  # to read, and soon; data
        return target.get_dummy_value()

    return types.void(x, types.int64), write


@apply
def fetch(x):
    """Ask for the memory that lies `FAR` beyond some entries."""
    for distance in range(FAR, FAR + x.itemsize * len(x), LINE):
        prefetch(x, distance)


# --- statistics ---------------------------------------------------------------------------------


@add_up
def moments(x):
    """Return the sums of some entries and of their squares."""
    total = square = 0.0
    for i in range(len(x)):
        v = np.float64(x[i])
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
def describe(x, g, total, square, eps, center, stats):
    """Write what is kept of a group, given the sums of its entries and of their squares."""
    count, wide = len(x) * x.shape[2] * x.shape[3], x.itemsize == 8
    mean, power = total / count if center else 0.0, square / count
    var, rest, scale = power - mean * mean, 0.0, 1.0
    if not wide and (var > power * 2.0**-20 or not center):  # as a rule
        stats[g, MEAN], stats[g, REST], stats[g, SCALE], stats[g, VAR] = mean, rest, scale, var
        stats[g, RSTD] = 1 / math.sqrt(var + eps)
        return
    root = math.sqrt(eps)
    if wide and not 1e-290 < power + eps < 1e290:
        scale = power_of_two(x, g, root)
        mean = deviations(x, g, scale, 0.0)[0] / count if center else 0.0
    if scale != 1 or center:
        total, square = deviations(x, g, scale, mean)
        rest = total / count if center else 0.0
        var = max(square / count - rest * rest, 0.0)
    stats[g, MEAN], stats[g, REST], stats[g, SCALE] = mean, rest, scale
    stats[g, RSTD] = 1 / math.sqrt(var + (root * scale) ** 2)
    stats[g, VAR] = var / scale / scale


@apply
def recall(stats, g):
    """Return what standardizes a group: µ, δ, r and the scale."""
    return stats[g, MEAN], stats[g, REST], stats[g, RSTD], stats[g, SCALE]


@apply
def rounded(x, mean, rest, rstd, scale):
    """Return the same in the format of the entries, with what µ loses in δ."""
    real = x.dtype.type
    high = real(mean)
    return high, real(mean - high + rest), real(rstd), real(scale)


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
def write(x, numbers, rows, weight, bias, y):
    """Write x̂ γ + β of some entries, which share γ and β or have their own."""
    mean, rest, rstd, scale = numbers
    if rows:
        for i in range(len(x)):
            y[i] = standardize(x[i], mean, rest, rstd, scale) * weight[i] + bias[i]
    else:
        for i in range(len(x)):
            y[i] = standardize(x[i], mean, rest, rstd, scale) * weight[0] + bias[0]


@apply
def forward_apart(begin, end, x, weight, bias, eps, center, y, stats):
    """Sum up each group, then write it."""
    rows = weight.shape[2] > 1
    for g in range(begin, end):
        total = square = 0.0
        for b in range(len(x)):
            for k in range(x.shape[2]):
                t, q = moments(x[b, g, k])
                total, square = total + t, square + q
        describe(x, g, total, square, eps, center, stats)
        exact, p = recall(stats, g), g % len(weight)
        near, fit = rounded(x, *exact), fits(x, exact[0], exact[2])
        for b in range(len(x)):
            if fit:
                for k in range(x.shape[2]):
                    write(x[b, g, k], near, rows, weight[p, k], bias[p, k], y[b, g, k])
            else:
                for k in range(x.shape[2]):
                    write(x[b, g, k], exact, rows, weight[p, k], bias[p, k], y[b, g, k])


@apply
def forward_ahead(begin, end, x, weight, bias, eps, center, y, stats):
    """Sum up each group while the one before it is written."""
    length, rows = x.shape[3], weight.shape[2] > 1
    for g in range(begin, end + 1):
        done = max(g - 1, begin)  # at first none
        exact, p = recall(stats, done), done % len(weight)
        near, fit = rounded(x, *exact), fits(x, exact[0], exact[2])
        total = square = 0.0
        for k in range(x.shape[2]):
            for start in range(0, length, PART):
                step = slice(start, min(start + PART, length))
                own = step if rows else slice(0, 1)
                if g > begin:
                    v, out = x[0, done, k, step], y[0, done, k, step]
                    write(v, near, rows, weight[p, k, own], bias[p, k, own], out)
                if g < end:
                    fetch(x[0, g, k, step])
                    t, q = moments(x[0, g, k, step])
                    total, square = total + t, square + q
        if not fit and g > begin:
            for k in range(x.shape[2]):
                write(x[0, done, k], exact, rows, weight[p, k], bias[p, k], y[0, done, k])
        if g < end:
            describe(x, g, total, square, eps, center, stats)


@run
def forward(first, last, bounds, x, weight, bias, eps, center, y, stats):
    """Normalize the groups of the pieces from `first` on, before `last`."""
    ahead = len(x) == 1 and AHEAD[0] <= x.shape[2] * x.shape[3] <= AHEAD[1] and PART < x.shape[3]
    begin, end = bounds[first], bounds[last]
    if ahead:
        forward_ahead(begin, end, x, weight, bias, eps, center, y, stats)
    else:
        forward_apart(begin, end, x, weight, bias, eps, center, y, stats)


# --- backward -----------------------------------------------------------------------------------


@add_up
def gather(x, dy, mean, rest, rstd, scale):
    """Return the sums of dy and of dy x̂ over a part of a row, in the format they come in."""
    total = product = x.dtype.type(0)
    for i in range(len(x)):
        v = dy[i]
        total += v
        product += v * standardize(x[i], mean, rest, rstd, scale)
    return total, product


@add_up
def gather_weighted(x, dy, weight, mean, rest, rstd, scale):
    """Return the sums of γ dy and of γ dy x̂ over a part of a row."""
    total = product = x.dtype.type(0)
    for i in range(len(x)):
        v = dy[i] * weight[i]
        total += v
        product += v * standardize(x[i], mean, rest, rstd, scale)
    return total, product


@apply
def gather_group(x, b, g, numbers, weight, dy, learned, dweight, dbias):
    """Return the sums of γ dy and of γ dy x̂; add up the gradients of parameters along `i`."""
    p = g % len(weight)
    total = product = 0.0
    for k in range(x.shape[2]):
        plain = weighted = 0.0
        for first in range(0, x.shape[3], PART):
            part = slice(first, min(first + PART, x.shape[3]))
            v, d = x[b, g, k, part], dy[b, g, k, part]
            if weight.shape[2] == 1:
                t, c = gather(v, d, *numbers)
            else:
                t, c = gather_weighted(v, d, weight[p, k, part], *numbers)
            plain, weighted = plain + t, weighted + c
        if weight.shape[2] == 1:
            if learned:
                dweight[p, k, 0] += weighted
                dbias[p, k, 0] += plain
            plain, weighted = plain * weight[p, k, 0], weighted * weight[p, k, 0]
        total, product = total + plain, product + weighted
    return total, product


@apply
def spread(x, b, g, numbers, weight, dy, wanted, learned, dx, dweight, dbias):
    """Write r (γ dy − ⟨γ dy⟩ − x̂ ⟨γ dy x̂⟩), or add up the gradients of parameters along `g`."""
    mean, rest, rstd, scale, total, product = numbers
    p, r = g % len(weight), rstd * scale
    for k in range(x.shape[2]):
        if weight.shape[2] == 1:
            for i in range(x.shape[3] if wanted else 0):
                x_hat = standardize(x[b, g, k, i], mean, rest, rstd, scale)
                dx[b, g, k, i] = (dy[b, g, k, i] * weight[p, k, 0] - total - x_hat * product) * r
        elif not learned:
            for i in range(x.shape[3]):
                x_hat = standardize(x[b, g, k, i], mean, rest, rstd, scale)
                dx[b, g, k, i] = (dy[b, g, k, i] * weight[p, k, i] - total - x_hat * product) * r
        else:
            for i in range(x.shape[3]):
                v = dy[b, g, k, i]
                dweight[p, k, i] += v * standardize(x[b, g, k, i], mean, rest, rstd, scale)
                dbias[p, k, i] += v


@apply
def spread_both(x, dy, numbers, weight, dx, dweight, dbias):
    """Write and add up what `spread` does, all of it, of entries that have their own γ and β."""
    mean, rest, rstd, scale, total, product = numbers
    r = rstd * scale
    for i in range(len(x)):
        x_hat = standardize(x[i], mean, rest, rstd, scale)
        v = dy[i]
        dx[i] = (v * weight[i] - total - x_hat * product) * r
        dweight[i] += v * x_hat
        dbias[i] += v


@apply
def backward_rows(begin, end, x, weight, stats, dy, center, dx, dweight, dbias):
    """Sum up each row, then write it, with all gradients."""
    real, length = x.dtype.type, x.shape[3]
    for g in range(begin, end):
        exact, p = recall(stats, g), g % len(weight)
        near, fit = rounded(x, *exact), fits(x, exact[0], exact[2])
        v, d, out = x[0, g, 0], dy[0, g, 0], dx[0, g, 0]
        gain, dgain, dshift = weight[p, 0], dweight[p, 0], dbias[p, 0]
        total = product = 0.0
        if fit:
            for start in range(0, length, PART):
                part = slice(start, min(start + PART, length))
                t, c = gather_weighted(v[part], d[part], gain[part], *near)
                total, product = total + t, product + c
        else:
            total, product = gather_weighted(v, d, gain, *exact)
        total, product = total / length if center else 0.0, product / length
        if fit:
            spread_both(v, d, (*near, real(total), real(product)), gain, out, dgain, dshift)
        else:
            spread_both(v, d, (*exact, total, product), gain, out, dgain, dshift)


@apply
def backward_ahead(begin, end, x, weight, stats, dy, center, dx, dweight, dbias):
    """Sum up each row while the one before it is written, likewise."""
    real, length = x.dtype.type, x.shape[3]
    total = product = 0.0
    for g in range(begin, end + 1):
        done, ahead = max(g - 1, begin), min(g, end - 1)  # at first, at last none
        exact, p = recall(stats, done), done % len(weight)
        fit, near = fits(x, exact[0], exact[2]), rounded(x, *exact)
        given, given_near = (*exact, total, product), (*near, real(total), real(product))
        exact, q = recall(stats, ahead), ahead % len(weight)
        near = rounded(x, *exact)
        total = product = 0.0
        for start in range(0, length, PART):
            step = slice(start, min(start + PART, length))
            if g > begin and fit:
                v, d, out = x[0, done, 0, step], dy[0, done, 0, step], dx[0, done, 0, step]
                gain, dgain, dshift = weight[p, 0, step], dweight[p, 0, step], dbias[p, 0, step]
                spread_both(v, d, given_near, gain, out, dgain, dshift)
            if g < end:
                v, d, gain = x[0, g, 0, step], dy[0, g, 0, step], weight[q, 0, step]
                fetch(v)
                fetch(d)
                t, c = gather_weighted(v, d, gain, *near)
                total, product = total + t, product + c
        if g > begin and not fit:
            v, d, out = x[0, done, 0], dy[0, done, 0], dx[0, done, 0]
            spread_both(v, d, given, weight[p, 0], out, dweight[p, 0], dbias[p, 0])
        if not fits(x, exact[0], exact[2]):
            total, product = gather_weighted(x[0, ahead, 0], dy[0, ahead, 0], weight[q, 0], *exact)
        total, product = total / length if center else 0.0, product / length


@apply
def backward_apart(begin, end, x, weight, stats, dy, center, wanted, learned, dx, dweight, dbias):
    """Sum up each group, then write what is asked for."""
    real, count = x.dtype.type, len(x) * x.shape[2] * x.shape[3]
    summed = wanted or weight.shape[2] == 1
    for g in range(begin, end):
        exact = recall(stats, g)
        near, fit = rounded(x, *exact), fits(x, exact[0], exact[2])
        total = product = 0.0
        for b in range(len(x) if summed else 0):
            if fit:
                t, c = gather_group(x, b, g, near, weight, dy, learned, dweight, dbias)
            else:
                t, c = gather_group(x, b, g, exact, weight, dy, learned, dweight, dbias)
            total, product = total + t / count, product + c / count
        total = total if center else 0.0
        given, given_near = (*exact, total, product), (*near, real(total), real(product))
        for b in range(len(x)):
            if fit:
                spread(x, b, g, given_near, weight, dy, wanted, learned, dx, dweight, dbias)
            else:
                spread(x, b, g, given, weight, dy, wanted, learned, dx, dweight, dbias)


@run
def backward(first, last, bounds, x, weight, stats, dy, center, wanted, learned, dx, sums):
    """Differentiate the groups of some pieces; each piece has its part of the sums.

    `wanted` says whether dx is computed, `learned` whether the gradients of parameters are.
    """
    rows = wanted and learned and weight.shape[2] > 1
    for piece in range(first, last):
        begin, end, own = bounds[piece], bounds[piece + 1], piece % len(sums)
        dweight, dbias = sums[own, 0], sums[own, 1]  # contiguous, as unpacking a row would not say
        if rows and AHEAD[0] <= x.shape[3]:
            backward_ahead(begin, end, x, weight, stats, dy, center, dx, dweight, dbias)
        elif rows:
            backward_rows(begin, end, x, weight, stats, dy, center, dx, dweight, dbias)
        else:
            backward_apart(
                begin, end, x, weight, stats, dy, center, wanted, learned, dx, dweight, dbias
            )


@run
def add_parts(parts, dweight, dbias):
    """Add what the pieces have summed up to the gradients of parameters, in order."""
    for piece in range(len(parts)):
        dweight += parts[piece, 0]
        dbias += parts[piece, 1]


# --- together -----------------------------------------------------------------------------------


@run
def forward_together(threads, *given):
    """Run `forward` on threads of OpenMP; what is given begins with the bounds of the pieces."""
    team.share_out(forward, threads, len(given[0]) - 1, given)


@run
def backward_together(threads, *given):
    """Run `backward` likewise."""
    team.share_out(backward, threads, len(given[0]) - 1, given)
