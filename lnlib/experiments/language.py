"""Train the small language model, once or in a sweep, on a text that comes with the package."""

import math
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import product
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from lnlib.experiments.ensembles import batch_generator
from lnlib.experiments.sweeps import Recording, Row, Sweep, choose
from lnlib.experiments.transformer import (
    CONTEXT,
    NORMS,
    LanguageModel,
    Placement,
    Start,
    begin,
)
from lnlib.randomness import moved


@dataclass(frozen=True)
class Text:
    """Bytes of dtype int64, in three parts that share no file."""

    training: Tensor
    validation: Tensor
    test: Tensor


@cache
def source_code() -> Text:
    """Return the source code of this project as it once was, in ASCII, eight parts to one to one.

    It was copied once and stays as it is, whatever becomes of the code, so that recordings can be
    repeated. Every tenth file is for validation, every tenth for the test.

    Example:
        >>> len(source_code().training)
        434034
    """
    texts = (files("lnlib.experiments") / "text.txt").read_bytes().split(b"\f")
    parts: tuple[list[bytes], ...] = ([], [], [])
    for i, text in enumerate(texts):
        parts[max(0, i % 10 - 7)].append(text)
    joined = (bytearray(b"".join(part)) for part in parts)
    return Text(*(torch.frombuffer(part, dtype=torch.uint8).long() for part in joined))


def windows(text: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return random pieces of the text, of shape (count, 65): the context and the byte after."""
    starts = torch.randint(len(text) - CONTEXT, (count, 1), generator=generator)
    return text[starts + torch.arange(CONTEXT + 1)]


def fit(
    model: LanguageModel,
    *,
    learning_rate: float,
    branch_rate: float = 1.0,
    steps: int = 200,
    warmup: int = 0,
    batch_size: int = 16,
    seed: int = 0,
    description: str = "",
) -> list[float]:
    """Train with Adam, without clipping; return the training loss of every step.

    Training ends early once the loss is not a number.

    Args:
        model: changed in place.
        learning_rate: reached after the warm-up, then constant.
        branch_rate: the learning rate of the branches' weights, in parts of the other one.
        steps: batches.
        warmup: steps over which the learning rate rises linearly from zero.
        batch_size: windows in a batch.
        seed: of the batches.
        description: shown beside the progress bar; none without.
    """
    generator = batch_generator(seed)
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in model.named_parameters() if (".branch." in name) == inside]}
        | {"part": branch_rate if inside else 1.0}
        for inside in (False, True)
    ]
    optimizer = torch.optim.Adam(groups, lr=learning_rate, betas=(0.9, 0.99), fused=True)
    losses: list[float] = []
    for step in tqdm(range(steps), description, leave=False) if description else range(steps):
        for group in optimizer.param_groups:
            group["lr"] = group["part"] * learning_rate * min(1.0, (step + 1) / (warmup + 1))
        loss = model.loss(windows(source_code().training, batch_size, generator))
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


@torch.no_grad()
def evaluate(model: LanguageModel, text: Tensor, count: int = 256) -> float | None:
    """Return the loss on the same random windows every time; None if it is not a number."""
    model.eval()
    loss = model.loss(_held_out(text, count)).item()
    model.train()
    return loss if math.isfinite(loss) else None


@torch.no_grad()
def evaluate_as_trained(
    model: LanguageModel, text: Tensor, count: int = 256, batch_size: int = 16
) -> float | None:
    """Return the loss as in training: a batch norm takes the statistics of each batch itself.

    Arguments and windows as of `evaluate`; the model is left as it is.
    """
    model = deepcopy(model).train()
    batches = _held_out(text, count).split(batch_size)
    loss = sum(model.loss(batch).item() for batch in batches) / len(batches)
    return loss if math.isfinite(loss) else None


def _held_out(text: Tensor, count: int) -> Tensor:
    return windows(text, count, torch.Generator().manual_seed(moved()))


def build(
    *,
    seed: int = 0,
    norm: str = "LN",
    placement: Placement = "pre",
    depth: int = 8,
    start: Start = "plain",
    qk_norm: bool = False,
) -> LanguageModel:
    """Return a new model.

    Args:
        seed: of its weights; at the same depth all arms share them.
        norm: a name in `NORMS`.
        placement: see `Residual`.
        depth: L, blocks.
        start: see `begin`.
        qk_norm: whether queries and keys have a norm.
    """
    torch.manual_seed(moved(seed))
    model = LanguageModel(depth, NORMS[norm], placement, qk_norm=qk_norm)
    begin(model, start)
    return model


def run(**point: Any) -> Row:
    """Train one model from scratch and return its losses, in nats per byte.

    Args:
        point: the arguments of `trained`.

    Returns:
        "validation" and "test"; None where the loss is not a number.
    """
    return _losses(trained(**point))


def run_both_ways(**point: Any) -> Row:
    """Train one model and evaluate it in both modes of its norms.

    Args:
        point: the arguments of `trained`.

    Returns:
        What `run` returns, and as "own" the loss in the test with the statistics of each batch.
    """
    model = trained(**point)
    return {**_losses(model), "own": _rounded(evaluate_as_trained(model, source_code().test))}


def trained(
    *,
    learning_rate: float,
    seed: int,
    warmup: int = 0,
    branch_rate: float = 1.0,
    steps: int = 200,
    **arm: Any,
) -> LanguageModel:
    """Return a model that was trained from scratch.

    Args:
        learning_rate: see `fit`, as for `warmup`, `branch_rate` and `steps`.
        seed: of weights and batches.
        warmup: steps over which the learning rate rises.
        branch_rate: the learning rate of the branches, in parts of the other one.
        steps: batches.
        arm: the model, see `build`.
    """
    model = build(seed=seed, **arm)
    rates: dict[str, Any] = {
        "learning_rate": learning_rate,
        "branch_rate": branch_rate,
        "warmup": warmup,
    }
    fit(model, steps=steps, seed=seed, **rates)
    return model


def _losses(model: LanguageModel) -> Row:
    text = source_code()
    losses = evaluate(model, text.validation), evaluate(model, text.test)
    return dict(zip(("validation", "test"), map(_rounded, losses), strict=True))


def _rounded(loss: float | None) -> float | None:
    return loss and round(loss, 4)


RATES = (0.002, 0.004, 0.008, 0.016, 0.032)
LOW = (0.0005, 0.001, 0.002, 0.004)  # where Post-LN is at its best
ARM: Row = {
    "norm": "LN", "placement": "pre", "depth": 8, "start": "plain", "warmup": 0,
    "qk_norm": False, "branch_rate": 1.0, "steps": 200,
}  # fmt: skip


def own_rate(sweep: Recording, **arm: Any) -> list[float | None]:
    """Return an arm's test losses at the learning rate that validation chose, seed by seed.

    Args:
        sweep: runs of `run`.
        arm: in what it differs from `ARM`.

    Raises:
        ValueError: if the sweep does not hold this arm.
    """
    rows = sweep.where(**ARM | arm)
    if not rows:
        raise ValueError(f"arm: expected one that the sweep holds, got {arm}; see `points`")
    return [row["test"] for row in choose(rows, [])[()]]


def _points(arms: Iterable[tuple[Row, Iterable[float], int]]) -> list[Row]:
    """Return the runs of all arms, each with its rates and its number of seeds, seed by seed."""
    found = [
        {**ARM, **arm, "learning_rate": rate, "seed": seed}
        for arm, rates, seeds in arms
        for rate, seed in product(rates, range(seeds))
    ]
    return sorted(found, key=lambda point: point["seed"])


def points() -> list[Row]:
    """Return the runs of pages 4a, 6a and 6e."""
    post = (*LOW, *RATES[2:])
    placements = ("sandwich", "peri", "output", "deepnorm")
    starts = ("1/√(2L)", "zero")
    return _points([
        *(({"norm": norm}, RATES, 16) for norm in ("LN", "RMS", "DyT")),
        *(({"norm": norm}, RATES, 8) for norm in ("DyT, α = 1", "Derf")),
        ({"placement": "post"}, post, 8),
        *(({"placement": placement}, RATES, 8) for placement in placements),
        ({"qk_norm": True}, RATES, 8),
        *(({"norm": n, "start": s}, RATES, 8) for n in ("LN", "none") for s in starts),
        ({"norm": "none"}, (*LOW[:2], *RATES), 8),
        ({"placement": "post", "warmup": 50}, post, 8),
        *(({"placement": p, "warmup": 50}, RATES, 8) for p in ("pre", "deepnorm")),
        *(({"placement": "post", "steps": 400, "warmup": w}, LOW, 8) for w in (0, 50)),
        *(({"placement": "post", "depth": d}, rates, 8) for d, rates in ((2, post), (16, LOW))),
        *(({"depth": d}, rates, 8) for d, rates in ((2, RATES), (16, RATES[:4]))),
        *(({"norm": "none", "start": "1/√(2L)", "depth": d}, RATES[:4], 8) for d in (2, 16)),
    ])  # fmt: skip


def deep_points() -> list[Row]:
    """Return the runs of page 6d: how the branches of a deep model start, and how fast they go."""
    small = ("1/√(2L)", "zero")
    return _points([
        *(({"depth": 24, "start": start}, RATES[:3], 8) for start in ("plain", "zero")),
        ({"depth": 24, "start": "1/√(2L)"}, RATES[:4], 8),
        ({"depth": 24, "start": "λ = 0.1"}, RATES[1:4], 8),
        ({"depth": 24, "start": "λ = 1e-5"}, RATES[1:], 8),
        *(({"depth": 24, "start": s, "branch_rate": 0.25}, RATES[1:], 8) for s in small),
    ])  # fmt: skip


def power_points() -> list[Row]:
    """Return the runs of page 6b: from layer norm over batch norm to PowerNorm, step by step."""
    norms = ("LN", "BN, no mean", "PN, warm", "PN", "PN, scaled")
    return _points([
        *(({"norm": norm}, RATES[:4], 8) for norm in norms),
        ({"norm": "BN"}, RATES, 8),
        ({"norm": "PN, scaled", "warmup": 50}, RATES, 8),
    ])  # fmt: skip


SWEEPS: dict[str, Sweep] = {
    "deep": (run, deep_points),
    "power": (run_both_ways, power_points),
    "transformer": (run, points),
}
