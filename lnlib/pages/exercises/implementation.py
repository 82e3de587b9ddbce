"""The exercises of chapter 3: libraries, kernels, measurements, processes, detection."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from lnlib import reference
from lnlib.experiments import recorded
from lnlib.identify import identify
from lnlib.pages.exercises.cases import Call, Cases, Holds, Value
from lnlib.pages.exercises.inputs import EPSILONS, Function, conventions, draw, normalized
from lnlib.randomness import SEED
from lnlib.reference.standardize import Array

BYTES, PROCESSORS = 2, 132  # of an entry in bfloat16, on an H100


# --- libraries ------------------------------------------------------------------------------------


def impl_port(eps: Any, sigma: Any) -> Cases:
    """The ε of Keras, and the σ from which torch's is off by less than 1%."""
    yield Value("eps", eps, 1e-3, {"This is torch’s.": 1e-5})
    exact, squared = (((1e-3 - factor * 1e-5) / (factor - 1)) ** 0.5 for factor in (1.01**2, 1.01))
    yield Value("sigma", sigma, exact, {"The two are apart by the root of this.": squared})


def impl_unbiased(translate: Function) -> Cases:
    """γ and ε with which dividing by H does as dividing by H − 1."""
    for width in 2, 5:
        for eps in EPSILONS:
            weight, share = next(draw(width)), (width - 1) / width
            want = (share**0.5 * weight, share * eps)
            slips = {
                "ε changes, too.": (want[0], eps),
                "The factor of γ is a root.": (share * weight, want[1]),
                "This is the way back.": (weight / share**0.5, eps / share),
            }
            yield Call(translate, {"weight": weight, "eps": eps, "H": width}, want, slips)


def impl_channels(over_channels: Function) -> Cases:
    """Layer norm over axis 1 of (N, C, H, W)."""
    for eps in EPSILONS:
        for shape in (1, 2, 1, 2), (2, 6, 4, 4):
            x = next(draw(*shape))
            slips = {
                **conventions(x, (1,), eps),
                "All positions share one mean, as in GroupNorm(1, C).": normalized(
                    x, (1, 2, 3), eps
                ),
                "The mean runs over the last axis.": normalized(x, (3,), eps),
            }
            given = {"image": torch.from_numpy(x), "eps": eps}
            yield Call(over_channels, given, normalized(x, (1,), eps), slips)


def impl_shift(folded: Function) -> Cases:
    """Layer norm in the order of Keras, in float32."""
    for shape in (1, 3), (20, 64):
        x, (weight, bias) = next(draw(*shape)), draw(shape[1], count=2)
        want = normalized(x, (1,), 0.3) * weight + bias
        inputs: dict[str, Any] = {"x": x, "weight": weight, "bias": bias, "eps": 0.3}
        given = {name: np.float32(value) for name, value in inputs.items()}
        yield Call(folded, given, want, close=1e-5)
    far, ones = (x + 1e4).astype(np.float32), np.ones(shape[1], np.float32)
    error = folded(far, ones, 0 * ones, np.float32(0.3)) - normalized(far.astype(float), (1,), 0.3)
    lost = np.abs(error - error.mean(1, keepdims=True)).max()  # beside what the mean has lost
    yield Holds(lost > 1e-4, "Another order: this one loses no digits at mean 10⁴.")


def impl_saved(numbers: Any, share: Any) -> Cases:
    """What the backward pass is told of a row, beside 1024 entries."""
    row = next(draw(1, 1024))
    stats = reference.layer_norm_forward(row, (1024,))[1].stats
    right = sum(kept.size for kept in stats if kept is not None)
    yield Value("numbers", numbers, right, {"x̂ = (x − μ) r needs both.": 1})
    slips = {"There are two numbers.": 1 / row.size, "It is a share, not percent.": 200 / row.size}
    yield Value("share", share, right / row.size, slips, close=0.03)


# --- kernels for a GPU ----------------------------------------------------------------------------


def gpu_cache(columns: Any) -> Cases:
    """The longest row whose second read hits the cache; half as long if the output stays there."""
    longest = 50e6 / (BYTES * PROCESSORS)
    cached = columns < 0.75 * longest
    slips = {"An entry has two bytes.": 2 * longest, "132 rows are in progress.": 132 * longest}
    yield Value("columns", columns, longest / 2 if cached else longest, slips, close=0.05)


def gpu_spill(registers: Any, spilled: Any) -> Cases:
    """Registers for each of 1024 threads, and what finds none in a row as long as all of them."""
    slips = {"That is the most the compiler gives to one thread.": 255}
    yield Value("registers", registers, 65536 // 1024, slips, close=0)
    program = (
        "from lnlib.kernels import launch, machine_code\n"
        'how = launch.Launch("forward_kernel", 1, 65536, 32)\n'
        "print(machine_code.facts(how, 65536, 90).spills)"
    )
    compiled = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=compiled, capture_output=True, check=True)
    slips = {"That is a row that fits.": 0}
    yield Value("spilled", spilled, int(done.stdout), slips, close=0)


def gpu_rms(bytes_per_row: Any) -> Cases:
    """What the kernel saves of a row without the mean."""
    slips = {"The mean is stored in two parts.": 4}
    yield Value("bytes_per_row", bytes_per_row, 8, slips)


def gpu_little(programs: Any, kibibytes: Any, microseconds: Any) -> Cases:
    """Programs on a multiprocessor, what is under way, and how long it lasts."""
    yield Value("programs", programs, 1, {"64 warps fit, but registers do not.": 4})
    yield Value("kibibytes", kibibytes, 16, {"An entry has two bytes.": 8})
    about = recorded("h100-search").provenance
    reads = about["bytes_of_one_tensor"] / (about["copy_ms"] * 1e-3) / PROCESSORS * 1e-6 / 1024
    slips = {"Half of what a copy moves is read.": 8 / reads}
    yield Value("microseconds", microseconds, 16 / reads, slips, close=0.05)


def gpu_gate(gated: Any) -> Cases:
    """A kernel of RMSNorm, gain and gate, in three units."""
    from lnlib.kernels.traffic import traffic

    def launched(x: Any, z: Any, w: Any, eps: float) -> Any:
        y = torch.full_like(x, torch.nan)
        gated[(len(x),)](
            x, z, w, y, eps=eps, N=x.shape[1], BLOCK=2 ** (x.shape[1] - 1).bit_length()
        )
        if y.isnan().all():
            raise NotImplementedError
        return y

    generator = torch.Generator().manual_seed(SEED)
    for rows, width in (1, 3), (16, 200):
        x, z = 1 + 2 * torch.randn(2, rows, width, generator=generator)
        w = torch.randn(width, generator=generator)
        for eps in EPSILONS:
            normalized = F.rms_norm(x, (width,), w, eps)
            slips = {
                "The gate is missing.": normalized,
                "γ is missing.": F.rms_norm(x, (width,), eps=eps) * z.sigmoid(),
                "The mean is subtracted.": F.layer_norm(x, (width,), w, eps=eps) * z.sigmoid(),
                "The gate is σ(z), not z.": normalized * z,
            }
            given = {"x": x, "z": z, "w": w, "eps": eps}
            yield Call(launched, given, normalized * z.sigmoid(), slips)
    with traffic() as counted:
        launched(x, z, w, 0.3)
    units = (counted.read + counted.written - rows * w.nbytes) / x.nbytes
    yield Holds(units == 3, "It moves more than three units.")


def gpu_lock(different: Function) -> Cases:
    """How many results ten orders have, with row m in the partial sum m mod K."""
    shares = next(draw(12, 8)).astype(np.float32) / 3
    orders = [np.random.default_rng(SEED + run).permutation(12) for run in range(10)]
    for groups in (1, 3, 6, 12):
        bits = set()
        for order in orders:
            sums = np.zeros((groups, 8), np.float32)
            for row in order:
                sums[row % groups] += shares[row]
            bits.add(sums.sum(0).tobytes())
        given = {"shares": shares, "K": groups, "orders": np.array(orders)}
        yield Call(different, given, len(bits))


def gpu_micro(in_halves: Function, same_dx: Any, same_dgamma: Any) -> Cases:
    """The gradients of a batch in two halves, and which of them keep every bit."""

    def norm(x: Any, weight: Any) -> Any:
        return F.layer_norm(x, weight.shape, weight)

    def computed(x: Any, weight: Any, dy: Any) -> Any:
        return in_halves(norm, x, weight, dy)

    for shape in (2, 3), (64, 20):
        x, dy = (torch.from_numpy(v.astype(np.float32)) for v in draw(*shape, count=2))
        leaves = x.requires_grad_(), torch.ones(shape[1], requires_grad=True)
        dx, dw = torch.autograd.grad(norm(*leaves), leaves, dy)
        half = len(x) // 2
        last = torch.autograd.grad(norm(x[half:], leaves[1]), leaves[1], dy[half:])[0]
        slips = {
            "The gradients are added, not averaged.": (dx, dw / 2),
            "That is dγ of the last half.": (dx, last),
        }
        given = {"x": x.detach(), "weight": leaves[1].detach(), "dy": dy}
        yield Call(computed, given, (dx, dw), slips, close=1e-5)
    yield Value("same_dx", same_dx, True, {"Each row stands on its own.": False})
    other = {"It is another sum of the same numbers.": True}
    yield Value("same_dgamma", same_dgamma, False, other)


def gpu_programs(rows: Any) -> Cases:
    """From where on two programs per multiprocessor add less than 5%."""
    right = 2 * PROCESSORS * 16 / 6 / 0.05
    slips = {"It is two programs with two sums each, written and read.": right / 2}
    yield Value("rows", rows, right, slips)


def gpu_output(units: Any, error: Any) -> Cases:
    """What a backward pass from the output moves, and how far off x̂ can be in it."""
    yield Value("units", units, 3, {"dy is read, too.": 2, "y takes the place of x.": 4})
    step = float(np.spacing(np.float16(1)))
    slips = {
        "The division by γ is missing.": step / 2,
        "Rounding is off by half a step at most.": step / 1e-4,
        "Above 1 the steps are twice as long as below.": step / 4 / 1e-4,
    }
    yield Value("error", error, step / 2 / 1e-4, slips, close=0.03)


def gpu_flight(kibibytes: Any) -> Cases:
    """What is under way with two, three and four stages."""
    want = {stages: 32 * (stages - 1) for stages in (2, 3, 4)}
    slips = {
        "One stage is being computed, the others are under way.": {s: 32 * s for s in want},
        "x and dy are both under way.": {s: 16 * (s - 1) for s in want},
    }
    yield Value("kibibytes", kibibytes, want, slips)


# --- measurements ---------------------------------------------------------------------------------


def gpu_predict(t4: Any, h200: Any) -> Cases:
    """Microseconds for one layer norm of BERT base."""
    size = 2 * 16384 * 768 * BYTES
    for name, value, bandwidth in ("t4", t4, 0.32e6), ("h200", h200, 4.8e6):
        slips = {"It is read and written.": size / bandwidth / 2}
        yield Value(name, value, size / bandwidth, slips, close=0.06)


def gpu_cache_size(bandwidth: Function, cache: Function) -> Cases:
    """What a copy moves in a second, and the cache that a drop of this tells of."""
    for size, seconds in (2**16, 1e-5), (2**26, 0.02):
        slips = {
            "A copy reads and writes.": size / seconds / 1e9,
            "GB/s are asked for.": 2 * size / seconds,
        }
        given = {"size": size, "seconds": seconds}
        yield Call(bandwidth, given, 2 * size / seconds / 1e9, slips, close=1e-9)
    for size in 2**14, 2**20:
        slips = {"Source and target are both in the cache.": size}
        yield Call(cache, {"size": size}, 2 * size, slips)


def gpu_suspicious(megabytes: Any, microseconds: Any) -> Cases:
    """How large a tensor is, and how long memory takes at least to read one and write one."""
    size = 4096 * 4096 * BYTES / 1e6
    slips = {"An entry has two bytes.": 2 * size}
    yield Value("megabytes", megabytes, size, slips, close=0.05)
    slips = {
        "One tensor is read, one is written.": size / 4.8,
        "This is the report’s.": size / 3.95,
    }
    yield Value("microseconds", microseconds, size / 2.4, slips, close=0.05)


def gpu_one_turn(fractions: Any) -> Cases:
    """The fraction of the copy in each of four turns."""
    kind = {"operation": "rms_norm", "columns": 4096}
    race = recorded("h100-race")
    (copy,) = race.where(contender="copy", **kind)
    (ours,) = race.where(contender="prototype", passed="backward", **kind)
    ratios = np.divide(copy["turns_ms"], ours["turns_ms"])
    slips = {"Backward moves three tensors, a copy two.": ratios}
    yield Value("fractions", fractions, 1.5 * ratios, slips)


def gpu_break_even(ours: Any, torchs: Any) -> Cases:
    """Megabytes of a tensor from which the kernel takes longer than its host."""
    costs = {r["call"]: r["us"] for r in recorded("h100-host").rows}
    for name, value, call in ("ours", ours, "lnlib both"), ("torchs", torchs, "torch both"):
        right = 2.974 * costs[call] / 5  # MB per µs, five tensors
        slips = {"Five tensors are moved.": 5 * right}
        yield Value(name, value, right, slips, close=0.02)


# --- processes ------------------------------------------------------------------------------------


class _Asked(BaseException):
    """A sum over all processes that is not known yet."""


def _together(
    function: Callable[..., Any], parts: list[tuple[Any, ...]]
) -> tuple[list[Any], list[int]]:
    """Run a function as on many processes; return what each returns and how much was summed."""
    sums: list[Any] = []
    while True:
        asked: list[Any] = []
        returned = []
        for part in parts:
            known = iter(sums)

            def total(own: Any, known: Any = known, asked: list[Any] = asked) -> Any:
                for found in known:
                    return found.clone()
                asked.append(own)
                raise _Asked

            try:
                returned.append(function(*part, total))
            except _Asked:
                continue
        if not asked:
            return returned, [found.numel() for found in sums]
        sums.append(sum(asked))


def dist_rms(forward: Function, backward: Function) -> Cases:
    """RMSNorm of columns that lie on many processes, with one number a row each way."""
    sent: list[int] = []

    def normalize(x: Any, eps: float) -> Any:
        parts = [(part, x.shape[1], eps) for part in x.chunk(2, 1)]
        found, sent[:] = _together(forward, parts)
        return torch.cat([x_hat for x_hat, _ in found], 1), found[0][1]

    def differentiate(g: Any, x_hat: Any, q: Any) -> Any:
        pieces = zip(g.chunk(2, 1), x_hat.chunk(2, 1), strict=True)
        found, sent[:] = _together(backward, [(a, b, q, g.shape[1]) for a, b in pieces])
        return torch.cat(found, 1)

    for eps in EPSILONS:
        for shape in (1, 4), (5, 8):
            x, g = map(torch.from_numpy, draw(*shape, count=2))
            x_hat, cache = reference.rms_norm_forward(x.numpy(), shape[1:], eps=eps)
            yield Call(normalize, {"x": x, "eps": eps}, (x_hat, cache.stats.rstd))
            yield Holds(sum(sent) == shape[0], "Forward, one number a row is enough.")
            halves = torch.stack(g.chunk(2, 1)).numpy(), np.stack(np.split(x_hat, 2, 1))
            along = np.concatenate(halves[1] * (halves[0] * halves[1]).mean(2, keepdims=True), 1)
            slips = {"Each process sums its own part only.": cache.stats.rstd * (g.numpy() - along)}
            given = {
                "g": g,
                "x_hat": torch.from_numpy(x_hat),
                "q": torch.from_numpy(cache.stats.rstd),
            }
            yield Call(
                differentiate, given, reference.rms_norm_backward(g.numpy(), cache)[0], slips
            )
            yield Holds(sum(sent) == shape[0], "Backward, one number a row is enough.")


def dist_group(without_exchange: Function) -> Cases:
    """Whether no group of channels is cut."""
    for groups, channels, processes in (2, 8, 2), (2, 8, 4), (6, 12, 4), (4, 8, 2):
        given = {"groups": groups, "channels": channels, "processes": processes}
        slips = {"A cut may run through a group all the same.": groups >= processes}
        yield Call(without_exchange, given, groups % processes == 0, slips)


def dist_latency(rows: Any) -> Cases:
    """From how many rows on summing twice wins, with eight processes."""
    limit = 3 * 5e-6 / (4 / 50e9)  # of 2N + 1 − 4N/P
    slips = {"A number has four bytes.": 4 * limit / 1.5, "An all-reduce sends a P-th.": limit / 2}
    yield Value("rows", rows, limit / 1.5, slips)


def dist_forgotten(ten_steps: Function) -> Cases:
    """γ on each of two processes after ten steps."""

    def learned(gain: Any, tokens: Any, target: Any, rate: float) -> Any:
        halves = zip(tokens.chunk(2), target.chunk(2), strict=True)
        return tuple(_together(ten_steps, [(gain, *half, rate) for half in halves])[0])

    def descend(gain: Array, tokens: Array, target: Array, rate: float) -> Array:
        x_hat = normalized(tokens, (1,), 1e-5)
        for _ in range(10):
            gain = gain - rate * ((gain * x_hat - target) * x_hat).sum(0)
        return gain

    for shape in (2, 3), (8, 4):
        (tokens, target), gain = draw(*shape, count=2), np.ones(shape[1])
        alone, averaged = (descend(gain, tokens, target, rate) for rate in (0.05, 0.025))
        halves = zip(np.split(tokens, 2), np.split(target, 2), strict=True)
        slips = {
            "The gradient of γ is not summed.": tuple(
                descend(gain, *half, 0.05) for half in halves
            ),
            "The gradients are added, not averaged.": (averaged, averaged),
        }
        arrays = {"gain": gain, "tokens": tokens, "target": target}
        given = {name: torch.from_numpy(array) for name, array in arrays.items()}
        yield Call(learned, {**given, "rate": 0.05}, (alone, alone), slips)


# --- kernels for the processor --------------------------------------------------------------------


def cpu_rms(rms_rows: Function) -> Cases:
    """The loop of RMSNorm, which fills y."""

    def filled(x: Array, weight: Array, eps: float) -> Any:
        rms_rows(x, weight, eps, y := np.full_like(x, np.nan))
        return None if np.isnan(y).all() else y

    for eps in EPSILONS:
        for shape in (1, 3), (4, 50):
            x, weight = next(draw(*shape)), next(draw(shape[1]))
            want = _rms(x, eps) * weight
            square = (x**2).mean(1, keepdims=True)
            slips = {
                "γ is missing.": _rms(x, eps),
                "The mean is subtracted.": normalized(x, (1,), eps) * weight,
                "The square root is missing.": x * weight / (square + eps),
                "ε is outside the root.": x * weight / (np.sqrt(square) + eps),
            }
            yield Call(filled, {"x": x, "weight": weight, "eps": eps}, want, slips)


def cpu_residual(add_norm: Function) -> Cases:
    """The loop of addition and layer norm, which fills s and y."""

    def filled(x: Array, z: Array, weight: Array, bias: Array, eps: float) -> Any:
        s, y = np.full((2, *x.shape), np.nan, x.dtype)
        add_norm(x, z, weight, bias, eps, s, y)
        return None if np.isnan((s, y)).any() else (s, y)

    for eps in EPSILONS:
        for shape in (1, 3), (4, 50):
            x, z = draw(*shape, count=2)
            weight, bias = draw(shape[1], count=2)
            want = (x + z, normalized(x + z, (1,), eps) * weight + bias)
            slips = {
                "The norm is that of x alone.": (x + z, normalized(x, (1,), eps) * weight + bias)
            }
            given = {"x": x, "z": z, "weight": weight, "bias": bias, "eps": eps}
            yield Call(filled, given, want, slips)


def cpu_half(in_blocks: Function) -> Cases:
    """Layer norm of float16 in float32, block by block."""
    for eps in EPSILONS:
        for shape in (3, 4), (50, 64):
            x = torch.from_numpy(30 + next(draw(*shape))).half()
            weight, bias = (torch.from_numpy(v).float() for v in draw(shape[1], count=2))
            given = {"x": x, "weight": weight, "bias": bias, "eps": eps}
            wide = F.layer_norm(x.float(), shape[1:], weight, bias, eps)
            yield Call(in_blocks, {**given, "block": 2}, wide.half(), close=1e-3)
            whole = in_blocks(*given.values(), shape[0])
            same = torch.equal(in_blocks(*given.values(), 2), whole)
            yield Holds(same, "Another block size changes the result.")


def cpu_rows(longest: Function, short: Any, long: Any, separate: Any) -> Cases:
    """The longest row that a cache keeps, and the units that memory moves."""
    for cache in 2**15, 2**20:
        slips = {
            "A number has four bytes.": cache,
            "Until then only x has been read.": cache / 8,
        }
        yield Call(longest, {"cache": cache}, cache / 4, slips)
    yield Value("short", short, 2, {"The second time x is in the cache.": 3})
    for name, value in ("long", long), ("separate", separate):
        yield Value(name, value, 3, {"The second time x is not in the cache.": 2})


# --- which norm is this? --------------------------------------------------------------------------


def which_hand(subtracts_mean: Any, has_shift: Any, eps: Any) -> Cases:
    """What three calls tell about a black box."""
    yield Value("subtracts_mean", subtracts_mean, False)
    yield Value("has_shift", has_shift, False)
    yield Value("eps", eps, 0.01, {"ε is under the root.": 0.1})


def which_write(OnePlus: Any) -> Cases:
    """A module of RMSNorm with gain 1 + w, statistics in float32 and the cast at the end."""
    layer = OnePlus(64)
    layer(torch.ones(1, 64))
    found = identify(layer, (8, 64))
    yield Holds(found.kind == "rms", "This is no RMSNorm.")
    right = found.eps_place == "inside" and abs((found.eps or 0) / 1e-6 - 1) < 0.01
    yield Holds(right, "ε is not 1e-6 under the root.")
    yield Holds(found.gain == "1 + weight", "The gain is not 1 + w.")
    yield Holds(found.statistics_dtype == "float32", "The statistics are not in float32.")
    yield Holds(found.casts == "last", "The cast does not come at the end.")


def which_width(n: Any) -> Cases:
    """From which width on float32 does not see n − 1."""
    yield Value(
        "n", n, 2**23, {"The factor is a root: its distance from 1 is 1/(2 n).": 2**24}, 0.1
    )


def which_deceive(trap: Function, x: Any) -> Cases:
    """A function that passes for a layer norm of 16 entries, and an input that shows it is none."""
    apart = (trap(x) - F.layer_norm(x, (16,))).abs().max().item()
    yield Holds(apart > 1e-3, "On this x it is a layer norm.")
    found = identify(trap, (8, 16))
    yield Holds(found.kind == "layer" and not found.faults, "identify is not deceived.")


def _rms(x: Array, eps: float) -> Array:
    return reference.rms_norm(x, x.shape[-1:], eps=eps)
