"""A small language model over bytes, with the norm of one's choice at the place of one's choice.

Written to be read: attention, MLP, block, model. `lnlib.experiments.language` trains it.
"""

from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lnlib.modules import MakeNorm
from lnlib.variants import (
    DynamicErf,
    DynamicTanh,
    LayerScale,
    PowerNorm,
    QueryKeyNorm,
    deepnorm_constants,
)

Placement = Literal["post", "pre", "sandwich", "peri", "output", "deepnorm"]
Start = Literal["plain", "1/√(2L)", "zero", "λ = 0.1", "λ = 1e-5"]
BYTES = 128  # ASCII
CONTEXT = 64


class BatchNorm(nn.BatchNorm1d):
    """Batch norm of the last axis, over all examples and positions.

    Args:
        width: H.
        centered: whether the mean is subtracted. Without, the batch and its negative, whose mean is
            zero, are normed together.

    Example:
        >>> BatchNorm(2, centered=False)(torch.tensor([[3.0, 1.0], [3.0, -1.0]])).detach().round()
        tensor([[ 1.,  1.],
                [ 1., -1.]])
    """

    def __init__(self, width: int, *, centered: bool = True) -> None:
        super().__init__(width)
        self.centered = centered

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` of shape (..., H) normalized, with its shape."""
        rows = input.flatten(0, -2)
        both = rows if self.centered else torch.cat([rows, -rows])
        return super().forward(both)[: len(rows)].view_as(input)


def scaled_power_norm(width: int) -> nn.Module:
    """Return PowerNorm with an RMSNorm without gain in front, as in the authors' module."""
    scaling = nn.RMSNorm(width, 1e-5, elementwise_affine=False)
    return nn.Sequential(scaling, PowerNorm(width, warmup_steps=50))


NORMS: dict[str, MakeNorm] = {
    "LN": nn.LayerNorm,
    "RMS": partial(nn.RMSNorm, eps=1e-5),
    "DyT": DynamicTanh,
    "DyT, α = 1": partial(DynamicTanh, alpha=1.0),
    "Derf": DynamicErf,
    "BN": BatchNorm,
    "BN, no mean": partial(BatchNorm, centered=False),
    "PN": partial(PowerNorm, warmup_steps=50),
    "PN, warm": PowerNorm,
    "PN, scaled": scaled_power_norm,
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
    ========== ===================== ===========================
    """

    def __init__(
        self, branch: nn.Module, width: int, norm: MakeNorm, placement: Placement, depth: int
    ) -> None:
        super().__init__()
        inner = placement in ("pre", "sandwich", "peri")
        outer = placement != "pre"
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
        final = placement not in ("post", "deepnorm")
        self.norm_out = norm(width) if final else nn.Identity()
        self.scores = nn.Linear(width, BYTES, bias=False)
        self._initialize(depth, width, placement)

    def _initialize(self, depth: int, width: int, placement: Placement) -> None:
        """Xavier's start; DeepNorm shrinks v, the outputs and the MLP by β = (8 · depth)^-¼."""
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


def begin(model: LanguageModel, start: Start) -> None:
    """Let the branches of a new model begin as said.

    Args:
        model: changed in place.
        start: "plain" leaves Xavier's start. "1/√(2L)", as GPT-2 has it for L blocks, and "zero"
            scale the weights that write to the stream, once. "λ = …" scales every branch by a
            learned `LayerScale`.

    Raises:
        ValueError: if the start is unknown.

    Example:
        >>> model = LanguageModel(2)
        >>> begin(model, "zero")
        >>> first, *_, last = model.stream(torch.zeros(3, 5, dtype=torch.long))
        >>> torch.equal(first, last)
        True

    Source: Radford et al. (2019), GPT-2; Touvron et al. (2021), https://arxiv.org/abs/2103.17239.
    """
    if start not in get_args(Start):
        raise ValueError(f"start: expected one of {get_args(Start)}, got {start!r}")
    blocks: Any = model.blocks
    for block in blocks if start != "plain" else ():
        width = block.branch.out.out_features
        if start.startswith("λ"):
            initial = float(start.split()[-1])
            block.branch = nn.Sequential(block.branch, LayerScale(width, initial))
        else:
            block.branch.out.weight.data *= 0 if start == "zero" else len(blocks) ** -0.5


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
