r"""Remove the layer norms from a trained language model: let each fade into a linear map.

Layer norm divides each row by its own standard deviation. A norm that has faded divides all rows
by the same number, so nothing of it is left that the next matrix cannot take over.

Source: Heimersheim (2024), https://arxiv.org/abs/2409.13710.
"""

from copy import deepcopy
from functools import lru_cache

import torch
from torch import Tensor, nn

from lnlib.experiments import language
from lnlib.experiments.sweeps import Row, Sweep
from lnlib.experiments.transformer import LanguageModel

DEPTH = 8
RATE = 0.008  # the one that the sweep "transformer" chooses for layer norm at this depth
SHARES = (0.0, 0.1, 0.5, 0.9, 0.99, 1.0)


class FadingNorm(nn.Module):
    r"""Layer norm at share 0, a linear map at share 1.

    y = γ ⊙ (x − μ) / √((1 − s) σ² + s v + ε) + β with the share s. The typical variance v is the
    mean σ² of the rows that come by until it is fixed. It is the same as layer norm with a larger
    ε, s v / (1 − s), times a factor that keeps the typical row at its length.

    Args:
        norm: a layer norm over the last axis; γ and β stay its own.

    Example:
        >>> fading = FadingNorm(nn.LayerNorm(4))
        >>> x = torch.randn(8, 4)
        >>> torch.allclose(fading(x), fading(2 * x), atol=1e-3)
        True
        >>> fading.share = 1.0
        >>> torch.allclose(2 * fading(x), fading(2 * x))
        True
    """

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.share = 0.0
        self.typical: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return x normalized as far as it has not faded; the first call sets v."""
        var, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
        if self.typical is None:
            self.typical = var.mean().detach()
        mixed = (1 - self.share) * var + self.share * self.typical
        return self.weight * (x - mean) * torch.rsqrt(mixed + self.eps) + self.bias


def with_fading_norms(model: LanguageModel) -> LanguageModel:
    """Return a copy of the model whose layer norms can fade; until then, the same function.

    What counts as a typical variance is measured on the training text.

    Raises:
        ValueError: if the model has no layer norm.
    """
    found = deepcopy(model)
    for module in [*found.modules()]:
        for name, child in module.named_children():
            if isinstance(child, nn.LayerNorm):
                setattr(module, name, FadingNorm(child))
    if not _norms(found):
        raise ValueError("model: expected layer norms to fade; build it with norm=nn.LayerNorm")
    language.evaluate(found, language.source_code().training)
    return found


def fade(model: LanguageModel, share: float) -> None:
    """Set the share of all fading norms, from 0, layer norm, to 1, a linear map.

    Raises:
        ValueError: if the share is not in [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], got {share}; pass 1 for a linear map")
    for norm in _norms(model):
        norm.share = share


def _norms(model: LanguageModel) -> list[FadingNorm]:
    return [module for module in model.modules() if isinstance(module, FadingNorm)]


@lru_cache(maxsize=1)
def trained(seed: int, depth: int = DEPTH) -> LanguageModel:
    """Return a model with layer norms, trained as in the sweep "transformer"."""
    return language.trained(learning_rate=RATE, seed=seed, depth=depth)


def run(*, norm: str, learning_rate: float, seed: int, steps: int = 60) -> Row:
    """Train a finished model further, with its layer norms or with linear maps in their place.

    Args:
        norm: "LN" or "linear".
        learning_rate: of the further training, constant.
        seed: of the finished model and of the batches that follow.
        steps: batches of the further training.

    Returns:
        "faded": test losses before further training, one for each of `SHARES`, the last of them
        that of the linear maps; "validation" and "test": losses after it. All in nats per byte.
    """
    text, model = language.source_code(), with_fading_norms(trained(seed))
    fade(model, 1.0 if norm == "linear" else 0.0)
    language.fit(model, learning_rate=learning_rate, steps=steps, seed=100 + seed)
    losses = language.evaluate(model, text.validation), language.evaluate(model, text.test)
    after = zip(("validation", "test"), map(_rounded, losses), strict=True)
    return {"faded": losses_while_fading(seed), **dict(after)}


@lru_cache(maxsize=1)
def losses_while_fading(seed: int) -> list[float | None]:
    """Return the test losses of a finished model, one for each of `SHARES`."""
    model = with_fading_norms(trained(seed))
    losses = []
    for share in SHARES:
        fade(model, share)
        losses.append(_rounded(language.evaluate(model, language.source_code().test)))
    return losses


def _rounded(loss: float | None) -> float | None:
    return None if loss is None else round(loss, 4)


def points() -> list[Row]:
    """Return the runs of page 6e."""
    return [
        {"norm": norm, "learning_rate": rate, "seed": seed}
        for seed in range(16)
        for norm in ("LN", "linear")
        for rate in (0.002, 0.004, 0.008)
    ]


SWEEPS: dict[str, Sweep] = {"fading": (run, points)}
