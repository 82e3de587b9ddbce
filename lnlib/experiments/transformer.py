"""A small language model over bytes, with the norm of one's choice at the place of one's choice.

Written to be read: attention, MLP, block, model, training. The text is the source code of
Python's standard library, which is there wherever Python is.
"""

import math
import sysconfig
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lnlib.experiments.ensembles import batch_generator
from lnlib.experiments.sweeps import Sweep
from lnlib.modules import MakeNorm
from lnlib.randomness import moved
from lnlib.variants import DynamicTanh, LayerScale, QueryKeyNorm, deepnorm_constants

Placement = Literal["post", "pre", "sandwich", "peri", "output", "deepnorm", "zero"]
BYTES = 128  # ASCII
CONTEXT = 64


NORMS: dict[str, MakeNorm] = {
    "LN": nn.LayerNorm,
    "RMS": lambda width: nn.RMSNorm(width, eps=1e-5),
    "DyT": DynamicTanh,
    "none": nn.Identity,
}


class Attention(nn.Module):
    """Causal self-attention over x of shape (N, T, width); a norm may stand before q · k."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.qk_norm = QueryKeyNorm(width // heads) if qk_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """Mix each position with those before it."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.qk_norm:
            q, k = self.qk_norm(q, k)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two layers with a GELU between them, at every position by itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return out(GELU(up(x)))."""
        return self.out(F.gelu(self.up(x)))


class Residual(nn.Module):
    """One branch beside the stream x, with its norms where the placement says.

    ========== ===================== ===========================
    placement  formula               source
    ========== ===================== ===========================
    post       N(x + f(x))           Vaswani et al. (2017), BERT
    pre        x + f(N(x))           GPT-2, T5, LLaMA
    output     x + N(f(x))           OLMo 2
    sandwich   x + N'(f(N(x)))       CogView
    peri       x + N'(f(N(x)))       Gemma 2; here the embedding, too
    deepnorm   N(α x + f(x))         DeepNet, α = (2 · depth)^¼
    zero       x + f(x)              Fixup: no norm, f is 0 at first
    ========== ===================== ===========================
    """

    def __init__(
        self, branch: nn.Module, width: int, norm: MakeNorm, placement: Placement, depth: int
    ) -> None:
        super().__init__()
        inner = placement in ("pre", "sandwich", "peri")
        outer = placement not in ("pre", "zero")
        self.branch, self.placement = branch, placement
        self.norm_in = norm(width) if inner else nn.Identity()
        self.norm_out = norm(width) if outer else nn.Identity()
        self.alpha = deepnorm_constants(depth)[0] if placement == "deepnorm" else 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Return the stream after the branch."""
        if self.placement in ("post", "deepnorm"):
            return self.norm_out(self.alpha * x + self.branch(x))
        return x + self.norm_out(self.branch(self.norm_in(x)))


class LanguageModel(nn.Module):
    """Bytes in, scores of the next byte out.

    Args:
        depth: blocks, each of one attention and one MLP.
        norm: makes a norm of a width: `torch.nn.LayerNorm`, or one of `NORMS`.
        placement: where the norms stand, see `Residual`.
        width: H, entries of a position.
        heads: of the attention.
        qk_norm: RMSNorm of queries and keys.

    Raises:
        ValueError: if the placement is unknown.

    Example:
        >>> scores = LanguageModel(2)(torch.zeros(3, 5, dtype=torch.long))
        >>> scores.shape  # texts, positions, bytes
        torch.Size([3, 5, 128])

    Source: Vaswani et al. (2017), https://arxiv.org/abs/1706.03762.
    """

    def __init__(
        self,
        depth: int,
        norm: MakeNorm = nn.LayerNorm,
        placement: Placement = "pre",
        *,
        width: int = 32,
        heads: int = 2,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        if placement not in get_args(Placement):
            raise ValueError(f"placement: expected one of {get_args(Placement)}, got {placement!r}")
        self.bytes, self.positions = nn.Embedding(BYTES, width), nn.Embedding(CONTEXT, width)
        self.norm_in = norm(width) if placement == "peri" else nn.Identity()
        self.blocks = nn.ModuleList(
            Residual(branch, width, norm, placement, depth)
            for _ in range(depth)
            for branch in (Attention(width, heads, qk_norm), MLP(width))
        )
        final = placement not in ("post", "deepnorm", "zero")
        self.norm_out = norm(width) if final else nn.Identity()
        self.scores = nn.Linear(width, BYTES, bias=False)
        self._initialize(depth, width, placement)

    def _initialize(self, depth: int, width: int, placement: Placement) -> None:
        """Xavier's start; DeepNorm shrinks v, the outputs and the MLP by β = (8 · depth)^-¼.

        "zero" starts the outputs of the branches at zero.
        """
        for embedding in (self.bytes, self.positions):
            nn.init.normal_(embedding.weight, std=0.5**0.5)
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
                if placement == "deepnorm" and name != "scores":
                    shrunk = layer.weight[2 * width :] if name.endswith("qkv") else layer.weight
                    shrunk.data *= deepnorm_constants(depth)[1]
                if placement == "zero" and name.endswith("out"):
                    nn.init.zeros_(layer.weight)

    def stream(self, text: Tensor) -> Iterator[Tensor]:
        """Yield the residual stream at the start and after every branch."""
        positions = torch.arange(text.shape[1], device=text.device)
        x = self.norm_in(self.bytes(text) + self.positions(positions))
        yield x
        for block in self.blocks:
            x = block(x)
            yield x

    def forward(self, text: Tensor) -> Tensor:
        """Return scores of shape (N, T, 128) for text of shape (N, T) and dtype int64."""
        *_, x = self.stream(text)
        return self.scores(self.norm_out(x))

    def loss(self, text: Tensor) -> Tensor:
        """Return the cross entropy, in nats per byte, of all bytes but the first."""
        return F.cross_entropy(self(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())

    @torch.no_grad()
    def sample(self, prompt: str, length: int, generator: torch.Generator) -> str:
        """Return the prompt and as many further bytes, drawn one after the other."""
        text = torch.tensor([list(prompt.encode())])
        for _ in range(length):
            scores = self(text[:, -CONTEXT:])[:, -1]
            drawn = torch.multinomial(scores.softmax(-1), 1, generator=generator)
            text = torch.cat([text, drawn], 1)
        return bytes(text[0].tolist()).decode()


class _ShiftedRMSNorm(nn.RMSNorm):
    """RMSNorm with the bias of the layer norm that it replaces."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__(norm.normalized_shape, norm.eps)
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.bias


def to_rms_norm(model: LanguageModel) -> LanguageModel:
    """Return the same function with RMSNorms: whatever writes to the stream is centered.

    Exact for placement "pre", where the mean of the stream is read by layer norms alone.

    Args:
        model: with layer norms at "pre"; it is left as it is.

    Raises:
        ValueError: if the norms stand elsewhere or are of another kind.

    Source: Jiang et al. (2023), https://arxiv.org/abs/2305.14858.
    """
    blocks: Any = model.blocks
    norms = [block.norm_in for block in blocks] + [model.norm_out]
    if not all(isinstance(norm, nn.LayerNorm) for norm in norms) or any(
        block.placement != "pre" for block in blocks
    ):
        raise ValueError("model: expected layer norms at placement 'pre'; build it so")
    found: Any = deepcopy(model)
    written = [found.bytes.weight.T, found.positions.weight.T]
    written += [p for block in found.blocks for p in block.branch.out.parameters()]
    with torch.no_grad():
        for values in written:
            values -= values.mean(0)  # the first axis is the stream's
    for block in found.blocks:
        block.norm_in = _ShiftedRMSNorm(block.norm_in)
    found.norm_out = _ShiftedRMSNorm(found.norm_out)
    return found


@dataclass(frozen=True)
class Text:
    """Bytes of dtype int64, in three parts that share no file."""

    training: Tensor
    validation: Tensor
    test: Tensor


@cache
def source_code() -> Text:
    """Return the ASCII files at the top of Python's standard library, eight to one to one.

    Example:
        >>> len(source_code().training) > 1_000_000
        True
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    contents = [path.read_bytes() for path in sorted(folder.glob("*.py"))]
    texts = [text for text in contents if text.isascii()]
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
        steps: batches.
        warmup: steps over which the learning rate rises linearly from zero.
        batch_size: windows in a batch.
        seed: of the batches.
        description: shown beside the progress bar; none without.
    """
    generator = batch_generator(seed)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.99), fused=True
    )
    losses: list[float] = []
    for step in tqdm(range(steps), description, leave=False) if description else range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * min(1.0, (step + 1) / (warmup + 1))
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
    loss = model.loss(windows(text, count, torch.Generator().manual_seed(moved()))).item()
    return loss if math.isfinite(loss) else None


def run(
    *,
    norm: str,
    placement: Placement,
    depth: int,
    warmup: int,
    learning_rate: float,
    seed: int,
    qk_norm: bool = False,
) -> dict[str, Any]:
    """Train one model from scratch and return its losses on validation and test data."""
    torch.manual_seed(moved(seed))
    model = LanguageModel(depth, NORMS[norm], placement, qk_norm=qk_norm)
    fit(model, learning_rate=learning_rate, warmup=warmup, seed=seed)
    return _losses(model)


def _losses(model: LanguageModel) -> dict[str, Any]:
    text = source_code()
    losses = evaluate(model, text.validation), evaluate(model, text.test)
    return {k: v and round(v, 4) for k, v in zip(("validation", "test"), losses, strict=True)}


RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
DEEP_STARTS = ("plain", "1/√(2L)", "λ = 0.1", "λ = 1e-5", "zero")


def run_deep(
    *, start: str, learning_rate: float, seed: int, depth: int = 24, steps: int = 200
) -> dict[str, Any]:
    """Train one deep Pre-LN model whose branches start as said; return its losses.

    Args:
        start: one of `DEEP_STARTS`. "λ = …" scales every branch by a `LayerScale`; "1/√(2L)" and
            "zero" scale the weights that write to the stream, once, before the training.
        learning_rate: its peak.
        seed: of weights and batches.
        depth: L, blocks.
        steps: how many.

    Raises:
        ValueError: if the start is unknown.
    """
    if start not in DEEP_STARTS:
        raise ValueError(f"start: expected one of {DEEP_STARTS}, got {start!r}")
    torch.manual_seed(moved(seed))
    model = LanguageModel(depth)
    for block in model.blocks:
        branch: Any = block.branch
        if start.startswith("λ"):
            initial = float(start.split()[-1])
            block.branch = nn.Sequential(branch, LayerScale(branch.out.out_features, initial))
        elif start != "plain":
            branch.out.weight.data *= 0 if start == "zero" else (2 * depth) ** -0.5
    fit(model, learning_rate=learning_rate, seed=seed, steps=steps)
    return _losses(model)


def deep_points(seeds: int = 5) -> list[dict[str, Any]]:
    """Return the arguments of all runs of `run_deep` that the book shows."""
    arms = product(DEEP_STARTS, RATES, range(seeds))
    return [dict(zip(("start", "learning_rate", "seed"), arm, strict=True)) for arm in arms]


def points(seeds: int = 5) -> list[dict[str, Any]]:
    """Return the arguments of all runs that the book shows."""
    with_norm = [("LN", placement) for placement in get_args(Placement) if placement != "zero"]
    without = [("none", "pre"), ("none", "zero")]
    placements = [(n, p, 8, w, False) for (n, p), w in product(with_norm + without, (0, 50))]
    deep = [("LN", "post"), ("LN", "pre"), ("none", "zero")]
    depths = [(n, p, d, 0, False) for n, p in deep for d in (2, 16)]
    kinds = [(n, "pre", 8, 0, False) for n in ("RMS", "DyT")] + [("LN", "pre", 8, 0, True)]
    names = ("norm", "placement", "depth", "warmup", "qk_norm", "learning_rate", "seed")
    return [
        dict(zip(names, (*arm, rate, seed), strict=True))
        for arm in (*placements, *depths, *kinds)
        for rate in RATES
        for seed in range(seeds)
    ]


SWEEPS: dict[str, Sweep] = {"deep": (run_deep, deep_points), "transformer": (run, points)}
