"""Relatives of layer normalization: other statistics, other gains, other gradients, or none.

Each class is the formula of its paper. All normalize over the last axis, of width H, except
`PowerNorm` (over all others, for each channel of the last) and `SwitchableNorm` (channels on axis
1). ε stands inside the root.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lnlib import checks
from lnlib.formula import TENSORS
from lnlib.modules import LayerNorm


class _Sized(nn.Module):
    """A module made for a number of entries on one axis, which it checks and shows."""

    _axis, _ndim = -1, 1  # of the input: where the entries are, and how many axes it has at least
    _shown: tuple[str, ...] = ("eps",)

    def __init__(self, width: int, name: str = "width") -> None:
        super().__init__()
        checks.size(name, width)
        self.width = width

    def _check(self, x: Tensor) -> None:
        checks.real_input(TENSORS, x, self._ndim)
        checks.made_for(type(self).__name__, self.width, tuple(x.shape), self._axis)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return ", ".join([str(self.width), *(f"{n}={getattr(self, n)}" for n in self._shown)])


class ScaleNorm(_Sized):
    """Bring every vector to one learned length: g x / ‖x‖.

    It is RMSNorm whose gains are all g / √H.

    Args:
        width: H; the initial length is √H.
        eps: the smallest length divided by.

    Example:
        >>> ScaleNorm(4)(torch.tensor([3.0, 0.0, 4.0, 0.0])).norm().item()
        2.0

    Source: Nguyen, Salazar (2019), https://arxiv.org/abs/1910.05895.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__(width)
        checks.eps(eps)
        self.weight, self.eps = nn.Parameter(torch.tensor(width**0.5)), eps

    def forward(self, x: Tensor) -> Tensor:
        """Return g x / max(‖x‖, ε)."""
        self._check(x)
        return self.weight * F.normalize(x, dim=-1, eps=self.eps)


class QueryKeyNorm(nn.Module):
    """RMSNorm of queries and of keys, which bounds the scores of attention: |q · k| / √d ≤ √d.

    The bound holds for gains of 1; in general it is √d times the largest γ_q γ_k.

    Args:
        width: d, of one head.
        eps: ε.

    Example:
        >>> q, k = QueryKeyNorm(4)(torch.full((4,), 1e3), torch.full((4,), -1e3))
        >>> (q @ k / 2).item()
        -2.0

    Source: Henry et al. (2020), https://arxiv.org/abs/2010.04245, there with one learned factor.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        checks.size("width", width)
        checks.eps(eps)
        self.query, self.key = nn.RMSNorm(width, eps), nn.RMSNorm(width, eps)

    def forward(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Return both normed, of shapes (..., d)."""
        for name, given in (("query", query), ("key", key)):
            checks.floating(TENSORS, name, given)
        return self.query(query), self.key(key)


class PartialRMSNorm(_Sized):
    """RMSNorm whose statistic comes from the first part of the vector: γ x / √(⟨x²⟩_k + ε).

    Args:
        width: H.
        part: k / H, in (0, 1].
        eps: ε.

    Raises:
        ValueError: if no entry or more than all are asked for.

    Example:
        >>> PartialRMSNorm(4, part=0.5, eps=0)(torch.tensor([1.0, 1.0, 9.0, 9.0])).tolist()
        [1.0, 1.0, 9.0, 9.0]

    Source: Zhang, Sennrich (2019), section 4, https://arxiv.org/abs/1910.07467.
    """

    _shown = ("count", "eps")

    def __init__(self, width: int, part: float = 0.0625, eps: float = 1e-5) -> None:
        super().__init__(width)
        checks.eps(eps)
        checks.number("part", part)
        if not 0 < part <= 1:
            raise ValueError(
                f"part must be in (0, 1], got {part}; pass the share of entries to use"
            )
        self.count, self.eps = max(1, round(part * width)), eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return γ x / √(⟨x²⟩_k + ε)."""
        self._check(x)
        power = x[..., : self.count].square().mean(-1, keepdim=True)
        return self.weight * x * torch.rsqrt(power + self.eps)


class DetachNorm(LayerNorm):
    """Layer norm whose mean and variance count as constants in the backward pass: dx = r γ δ.

    The same forward pass, a wrong gradient on purpose: what it loses is what the true one gives.

    Arguments as `lnlib.LayerNorm`.

    Example:
        >>> x = torch.tensor([[1.0, 3.0]], requires_grad=True)
        >>> DetachNorm(2, eps=0)(x).sum().backward()
        >>> x.grad  # of layer norm: zero
        tensor([[1., 1.]])

    Source: Xu et al. (2019), section 3, https://arxiv.org/abs/1911.07013.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer norm of `input`."""
        checks.rows(TENSORS, input, self.normalized_shape)
        axes = tuple(range(-len(self.normalized_shape), 0))
        variance, mean = torch.var_mean(input.detach(), axes, correction=0, keepdim=True)
        x_hat = (input - mean) * torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            x_hat = x_hat * self.weight
        return x_hat if self.bias is None else x_hat + self.bias


class AdaNorm(_Sized):
    """Replace gain and bias by a function of the normalized entry itself: C (1 − k x̂) x̂.

    The factor C (1 − k x̂) counts as a constant in the backward pass.

    Args:
        width: H.
        scale: C.
        slope: k; the published value is 0.1.
        eps: ε.

    Example:
        >>> AdaNorm(2, eps=0)(torch.tensor([-1.0, 1.0])).tolist()
        [-1.100000023841858, 0.8999999761581421]

    Source: Xu et al. (2019), section 4, https://arxiv.org/abs/1911.07013.
    """

    _shown = ("scale", "slope", "eps")

    def __init__(
        self, width: int, scale: float = 1.0, slope: float = 0.1, eps: float = 1e-5
    ) -> None:
        super().__init__(width)
        checks.eps(eps)
        checks.number("scale", scale)
        checks.number("slope", slope)
        self.scale, self.slope, self.eps = scale, slope, eps

    def forward(self, x: Tensor) -> Tensor:
        """Return C (1 − k x̂) x̂."""
        self._check(x)
        x_hat = F.layer_norm(x, (self.width,), eps=self.eps)
        return self.scale * (1 - self.slope * x_hat.detach()) * x_hat


class DynamicTanh(_Sized):
    """Squash every entry by itself, in place of normalizing: γ tanh(α x) + β.

    Args:
        width: H.
        alpha: the initial α, one for the whole layer.

    Example:
        >>> DynamicTanh(3)(torch.tensor([0.0, -100.0, 100.0])).tolist()
        [0.0, -1.0, 1.0]

    Source: Zhu et al. (2025), https://arxiv.org/abs/2503.10622.
    """

    _shown = ()

    def __init__(self, width: int, alpha: float = 0.5) -> None:
        super().__init__(width)
        checks.number("alpha", alpha)
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return γ tanh(α x) + β."""
        self._check(x)
        return self.weight * torch.tanh(self.alpha * x) + self.bias


class DynamicErf(DynamicTanh):
    """Squash every entry by itself with the error function: γ erf(α x + s) + β.

    Args:
        width: H.
        alpha: the initial α; the shift s starts at 0. Both are one for the whole layer.

    Example:
        >>> DynamicErf(3)(torch.tensor([0.0, -100.0, 100.0])).tolist()
        [0.0, -1.0, 1.0]

    Source: Chen et al. (2025), https://arxiv.org/abs/2512.10938.
    """

    def __init__(self, width: int, alpha: float = 0.5) -> None:
        super().__init__(width, alpha)
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return γ erf(α x + s) + β."""
        self._check(x)
        return self.weight * torch.erf(self.alpha * x + self.shift) + self.bias


class LayerScale(_Sized):
    """Weigh the entries that a residual branch writes: λ ⊙ f.

    Args:
        width: H.
        initial: of every λ; published values fall with depth, from 0.1 to 1e-6.

    Example:
        >>> LayerScale(2, 0.1)(torch.tensor([1.0, 2.0])).tolist()
        [0.10000000149011612, 0.20000000298023224]

    Source: Touvron et al. (2021), https://arxiv.org/abs/2103.17239.
    """

    _shown = ()

    def __init__(self, width: int, initial: float) -> None:
        super().__init__(width)
        checks.number("initial", initial)
        self.weight = nn.Parameter(torch.full((width,), float(initial)))

    def forward(self, branch: Tensor) -> Tensor:
        """Return λ ⊙ f."""
        self._check(branch)
        return self.weight * branch


class ConditionalLayerNorm(_Sized):
    """Layer norm whose gain and bias come from a condition: (1 + γ(c)) ⊙ x̂ + β(c).

    γ and β are linear in c and start at zero, so the layer starts as plain layer norm.

    Args:
        width: H.
        condition_width: entries of c.
        gate: also return α(c), zero at first, for the branch behind it (adaLN-Zero).
        eps: ε.

    Example:
        >>> layer = ConditionalLayerNorm(4, 3)
        >>> layer(torch.randn(2, 5, 4), torch.randn(2, 3)).shape  # examples, tokens, entries
        torch.Size([2, 5, 4])

    Source: Kim, Song, Bengio (2017), https://arxiv.org/abs/1707.06065; with the gate Peebles, Xie
        (2023), https://arxiv.org/abs/2212.09748.
    """

    _ndim = 2
    _shown = ("gate", "eps")

    def __init__(
        self, width: int, condition_width: int, *, gate: bool = False, eps: float = 1e-5
    ) -> None:
        super().__init__(width)
        checks.size("condition_width", condition_width)
        checks.eps(eps)
        self.gate, self.eps = gate, eps
        self.condition = nn.Linear(condition_width, (3 if gate else 2) * width)
        nn.init.zeros_(self.condition.weight)
        nn.init.zeros_(self.condition.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Any:
        """Return x normed, and the gate if there is one.

        Args:
            x: of shape (N, ..., H).
            condition: of shape (N, condition_width), one for each example.
        """
        self._check(x)
        checks.floating(TENSORS, "condition", condition)
        checks.shape("condition", tuple(condition.shape), (len(x), self.condition.in_features))
        found = self.condition(condition)
        spread = found.view(len(x), *[1] * (x.ndim - 2), -1)
        gain, shift, *gate = spread.split(self.width, -1)
        y = (1 + gain) * F.layer_norm(x, (self.width,), eps=self.eps) + shift
        return (y, gate[0]) if gate else y


class _PowerFunction(torch.autograd.Function):
    """x / √(ψ² + ε) with the published approximate backward pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, used: Tensor, power: Tensor, product: Tensor, decay: float, eps: float
    ) -> Tensor:
        z = x * torch.rsqrt(used + eps)
        ctx.save_for_backward(z, torch.rsqrt(power + eps))
        ctx.product, ctx.decay = product, decay
        return z

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        z, r = ctx.saved_tensors
        corrected = upstream[0] - (1 - ctx.decay) * ctx.product * z
        ctx.product += (corrected * z).flatten(0, -2).mean(0)
        return r * corrected, None, None, None, None, None


class PowerNorm(_Sized):
    """Divide every channel by the running root of its mean square: γ x / √(ψ² + ε) + β.

    A relative of *batch* norm: ψ² is a mean over all examples and tokens, without subtracting one.
    During the warm-up it is the batch's own, afterwards a running mean. The backward pass does not
    go through ψ²; in place of ⟨g x̂⟩ it subtracts a running sum of its own, to which every backward
    pass adds. So two backward passes of one forward pass differ, and a Jacobian put together from
    several of them is none. The published module puts an RMSNorm without gain in front.

    Args:
        num_features: C, entries of the last axis.
        eps: ε.
        alpha_fwd: decay of ψ².
        alpha_bkw: 1 minus the weight of the running sum in the backward pass.
        warmup_steps: how many steps use the batch's own ψ².

    Example:
        >>> layer = PowerNorm(2)
        >>> layer(torch.tensor([[3.0, 1.0], [3.0, -1.0]])).detach().round(decimals=3)
        tensor([[ 1.,  1.],
                [ 1., -1.]])

    Source: Shen et al. (2020), https://arxiv.org/abs/2003.07845, and the authors' code.
    """

    _ndim = 2
    _shown = ("eps", "alpha_fwd", "alpha_bkw", "warmup_steps")

    running_power: Tensor
    running_product: Tensor
    steps: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        *,
        alpha_fwd: float = 0.9,
        alpha_bkw: float = 0.9,
        warmup_steps: int = 10_000,
    ) -> None:
        super().__init__(num_features, "num_features")
        checks.eps(eps)
        for name, decay in (("alpha_fwd", alpha_fwd), ("alpha_bkw", alpha_bkw)):
            checks.number(name, decay)
            if not 0 <= decay <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {decay}; pass a decay such as 0.9")
        checks.size("warmup_steps", warmup_steps, least=0, what="steps")
        self.eps, self.alpha_fwd, self.alpha_bkw = eps, alpha_fwd, alpha_bkw
        self.warmup_steps = warmup_steps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_power", torch.ones(num_features))
        self.register_buffer("running_product", torch.zeros(num_features))
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Return x of shape (..., C) divided, with its shape."""
        self._check(x)
        if not self.training:
            z = x * torch.rsqrt(self.running_power + self.eps)
            return self.weight * z + self.bias
        power = x.detach().square().flatten(0, -2).mean(0)
        self.steps += 1
        warm = self.steps <= self.warmup_steps
        used = power if warm else self.running_power.clone()
        if self.steps < self.warmup_steps:
            self.running_power.lerp_(power, 1 / self.steps.item())
        self.running_power.lerp_(power, 1 - self.alpha_fwd)
        arguments = (used, power, self.running_product, self.alpha_bkw, self.eps)
        z = _PowerFunction.apply(x, *arguments)  # type: ignore[no-untyped-call]
        return self.weight * z + self.bias


class SwitchableNorm(_Sized):
    """Mix the statistics of instance, layer and batch norm with learned weights.

    y = γ (x − Σ_k w_k μ_k) / √(Σ_k w'_k σ²_k + ε) + β, w and w' each a softmax over the three.

    Args:
        num_features: C, on axis 1.
        eps: ε.
        momentum: weight of the new value in the running statistics of the batch.

    Example:
        >>> SwitchableNorm(3)(torch.randn(2, 3, 4, 4)).shape
        torch.Size([2, 3, 4, 4])

    Source: Luo et al. (2019), https://arxiv.org/abs/1806.10779.
    """

    _axis, _ndim = 1, 3
    _shown = ("eps", "momentum")

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_features, "num_features")
        checks.eps(eps)
        checks.momentum(momentum, None)
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.mean_logits = nn.Parameter(torch.zeros(3))
        self.var_logits = nn.Parameter(torch.zeros(3))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Return x of shape (N, C, ...) normalized, with its shape."""
        self._check(x)
        flat = x.flatten(2)
        var_i, mean_i = torch.var_mean(flat, 2, correction=0)
        var_l, mean_l = torch.var_mean(flat, (1, 2), correction=0)
        if self.training:
            var_b, mean_b = torch.var_mean(flat, (0, 2), correction=0)
            self.running_mean.lerp_(mean_b.detach(), self.momentum)
            self.running_var.lerp_(var_b.detach(), self.momentum)
        else:
            var_b, mean_b = self.running_var, self.running_mean
        w, v = self.mean_logits.softmax(0), self.var_logits.softmax(0)
        mean = w[0] * mean_i + w[1] * mean_l[:, None] + w[2] * mean_b
        var = v[0] * var_i + v[1] * var_l[:, None] + v[2] * var_b
        x_hat = (flat - mean[..., None]) * torch.rsqrt(var + self.eps)[..., None]
        return (self.weight[:, None] * x_hat + self.bias[:, None]).view_as(x)


def deepnorm_constants(depth: int) -> tuple[float, float]:
    """Return α and β of DeepNorm for a decoder: N(α x + f(x)), weights of f shrunk by β.

    α = (2 · depth)^¼, β = (8 · depth)^-¼.

    Example:
        >>> deepnorm_constants(8)
        (2.0, 0.3535533905932738)

    Source: Wang et al. (2022), table 1, https://arxiv.org/abs/2203.00555.
    """
    checks.size("depth", depth, what="blocks")
    return (2 * depth) ** 0.25, (8 * depth) ** -0.25
