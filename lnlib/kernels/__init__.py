"""Layer norm and RMSNorm, each in one kernel that reads and writes every tensor once.

In the order in which one learns them, for the processor: `loops` (in Numba), `team` (several
threads for them), `cpu` (all five norms through them). For GPUs: `launch` (which kernel, which
tile), `gpu` (the kernels, in Triton), `operators` (torch calls and differentiates them), `traffic`
(the bytes they ask for), `machine_code` (what a compiler makes of them). Beside others: `bench`,
with `problems` (what is measured), `peers` (who else is), `gate` (who is right), `clock` and
`measure` (how long it takes), `results` and `conditions` (what is written down), `search` (faster
launches), `visit` (all of it, in a given time).

The functions here are those for GPUs. They need the extra `kernels`. With `TRITON_INTERPRET=1` in
the environment before Triton is imported, they run on CPU tensors, slowly; the tests do that.
"""

import math
import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lnlib import checks, formula
from lnlib.checks import NormalizedShape
from lnlib.kernels import operators

DEVICES = ("cuda",) if find_spec("triton") else ()  # of which kernels are here


def takes(*tensors: Any) -> bool:
    """Say whether this module can compute and differentiate the norm of tensors.

    It can where there is a kernel for their device, in reverse mode.
    """
    for x in tensors:
        if not isinstance(x, Tensor) or x.device.type not in DEVICES:
            return False
    return forward_ad._current_level < 0 and not torch._C._are_functorch_transforms_active()


def layer_norm(
    input: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    weight_offset: float = 0.0,
) -> Tensor:
    r"""Normalize each example over its trailing axes, in one kernel.

    $$y = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}\odot\gamma + \beta$$

    Moves $2eMN$ bytes forward and $3eMN$ backward, $e$ being the size of an entry; of long rows
    (`launch`) some are read again. Computes only the gradients that are asked for. Output and input
    gradient of an example are the same bits in every batch, parameter gradients on every run.

    Args:
        input: of shape `(*, *normalized_shape)` and dtype float16, bfloat16, float32 or float64,
            on a GPU. Examples may lie apart, as in a slice, the heads of a tensor of queries, keys
            and values among them; of what is laid out otherwise a copy is made.
        normalized_shape: the sizes of the trailing axes.
        weight: γ, of shape `normalized_shape` and any floating dtype; None for ones.
        bias: β, likewise; None for zeros.
        eps: ε, a variance, at least 0.
        weight_offset: what is added to γ: 1 where a model stores the gain as its difference to 1,
            as Gemma does.

    Returns:
        y, of the input's shape and dtype.

    Raises:
        ValueError: a shape does not fit, eps is negative, there is an offset but no weight, or the
            input is on the processor.
        TypeError: the input is not floating-point.

    Example:
        >>> x = torch.tensor([[0.0, 2.0]], device="cuda")  # doctest: +SKIP
        >>> layer_norm(x, (2,), eps=0.0)  # doctest: +SKIP
        tensor([[-1.,  1.]], device='cuda:0')

    Source: Ba, Kiros, Hinton (2016), https://arxiv.org/abs/1607.06450.
    """
    y, _ = _normalize(input, None, normalized_shape, weight, bias, eps, weight_offset, center=True)
    return y


def rms_norm(
    input: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    eps: float | None = None,
    *,
    weight_offset: float = 0.0,
) -> Tensor:
    r"""Divide each example by the root mean square of its trailing axes, in one kernel.

    $$y = \frac{x}{\sqrt{\langle x^2\rangle + \varepsilon}}\odot\gamma$$

    Arguments, result and errors: `layer_norm`; without `eps`, the machine precision of float32
    (float64 for float64), as `torch.nn.functional.rms_norm`.

    Source: Zhang, Sennrich (2019), https://arxiv.org/abs/1910.07467.
    """
    y, _ = _normalize(input, None, normalized_shape, weight, None, eps, weight_offset, center=False)
    return y


def add_layer_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    weight_offset: float = 0.0,
) -> tuple[Tensor, Tensor]:
    r"""Add a residual and normalize the sum: `(layer_norm(s), s)` with `s = input + residual`.

    Moves $4eMN$ bytes where addition and norm apart move $5eMN$. The sum is rounded to the
    residual's dtype before it is normalized, as it would be apart. Arguments and errors:
    `layer_norm`; `residual` has the input's shape, and its dtype, or float32 beside 16 bits.
    """
    return _normalize(
        input, residual, normalized_shape, weight, bias, eps, weight_offset, center=True
    )


def add_rms_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: NormalizedShape,
    weight: Tensor | None = None,
    eps: float | None = None,
    *,
    weight_offset: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Add a residual and normalize the sum: `(rms_norm(s), s)` with `s = input + residual`.

    Arguments and errors: `rms_norm` and `add_layer_norm`.
    """
    return _normalize(
        input, residual, normalized_shape, weight, None, eps, weight_offset, center=False
    )


def _normalize(
    input: Tensor, residual: Tensor | None, normalized_shape: NormalizedShape,
    weight: Tensor | None, bias: Tensor | None, eps: float | None, weight_offset: float,
    *, center: bool,
) -> tuple[Tensor, Any]:  # fmt: skip
    if not formula.plainly_right(input, normalized_shape, weight, bias):
        checks.rows(formula.TENSORS, input, normalized_shape, weight=weight, bias=bias)
        normalized_shape = checks.normalized_shape(normalized_shape)
    if eps is None:
        eps = torch.finfo(formula.statistics_dtype(input)).eps
    elif type(eps) is not float or not 0 <= eps < math.inf:
        checks.eps(eps)
    if residual is not None:
        _check_residual(input, residual)
    if type(weight_offset) is not float:
        checks.number("weight_offset", weight_offset)
    device = input.device.type
    if device == "cpu" and device not in DEVICES and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(
            f"input.device is {input.device}, but these kernels run on GPUs; call "
            "lnlib.functional, which computes on every device"
        )
    if weight_offset and weight is None:
        raise ValueError(
            f"weight_offset is {weight_offset}, but weight is None; pass the weight it is added to"
        )
    columns = math.prod(cast("Sequence[int]", normalized_shape))
    return operators.normalize(
        input, residual, weight, bias, columns, float(eps), center, float(weight_offset)
    )


def _check_residual(input: Tensor, residual: Tensor) -> None:
    """Reject a residual of another shape, or of a dtype that the sum may not have."""
    checks.kind(formula.TENSORS, "residual", residual)
    dtypes = (input.dtype, formula.statistics_dtype(input))
    if residual.shape != input.shape or residual.dtype not in dtypes:
        raise ValueError(
            f"residual has shape {tuple(residual.shape)} and dtype {residual.dtype}, expected "
            f"{tuple(input.shape)} as input and {' or '.join(map(str, dict.fromkeys(dtypes)))}; "
            "convert it with residual.to(input.dtype)"
        )
