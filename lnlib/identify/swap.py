"""Swap the norms of a torch model for ours, each with the convention it had, and checked first."""

import copy
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from lnlib import functional, modules
from lnlib.identify.detect import identify
from lnlib.identify.report import Report

ROWS = 8
SPREADS = (1.0, 30.0, 1e-3)  # of the rows on which a swap is checked


class Norm(nn.Module):
    """Layer norm or RMSNorm of any convention, with the parameters of the module it stands for.

    Args:
        original: the module, whose parameters are shared, under their names.
        report: what `identify` found about it.
        weight: name of its gain.
        bias: name of its shift, or None.
    """

    def __init__(
        self, original: nn.Module, report: Report, weight: str | None, bias: str | None
    ) -> None:
        super().__init__()
        for name, parameter in original.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.centered = bool(report.centered)
        self.eps = report.eps or 0.0
        self.plus_one = report.gain == "1 + weight"
        self.cast_first = report.casts == "before weight"
        self.names = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` normalized over the last axis."""
        gain, shift = (None if name is None else getattr(self, name) for name in self.names)
        if gain is not None and self.plus_one:
            wide = torch.promote_types(x.dtype, torch.float32)
            gain = 1 + (gain if self.cast_first else gain.to(wide))
        inside = (None, None) if self.cast_first else (gain, shift)
        shape = x.shape[-1:]
        if self.centered:
            y = functional.layer_norm(x, shape, *inside, self.eps)
        else:
            y = functional.rms_norm(x, shape, inside[0], self.eps)
            y = y if inside[1] is None else y + inside[1]
        if not self.cast_first:
            return y
        y = y if gain is None else gain * y
        return y if shift is None else y + shift

    def extra_repr(self) -> str:
        """Return the convention."""
        kind = "layer" if self.centered else "rms"
        gain = "1 + weight" if self.plus_one else "weight"
        cast = "before weight" if self.cast_first else "last"
        return f"{kind}, eps={self.eps}, gain={gain!r}, cast={cast!r}"


@dataclass(frozen=True)
class Row:
    """What became of one norm."""

    name: str
    """As in `model.named_modules()`."""
    was: str
    """Name of its class."""
    became: str | None
    """Name of the class that it was, or would be, swapped for; None if it was left."""
    why: str
    """What it is, and if it was left, why."""


@dataclass(frozen=True, eq=False)
class Replacement:
    """The table of what was swapped, what was left and why."""

    rows: tuple[Row, ...]
    _swaps: list[tuple[nn.Module, str, nn.Module]] = field(default_factory=list, repr=False)

    def undo(self) -> None:
        """Put every module back that was swapped; parameters were shared all along."""
        while self._swaps:
            parent, name, module = self._swaps.pop()
            setattr(parent, name, module)

    def __str__(self) -> str:
        """Return the table, a norm a line."""
        if not self.rows:
            return "no norms found"
        widths = [max(len(getattr(r, f)) for r in self.rows) for f in ("name", "was")]
        return "\n".join(
            f"{r.name:<{widths[0]}}  {r.was:<{widths[1]}}  {r.became or 'left':<10} {r.why}"
            for r in self.rows
        )

    __repr__ = __str__


def replace(model: nn.Module, *, dry_run: bool = False) -> Replacement:
    """Swap the layer norms and RMSNorms of a model for ours, so that the fused kernels run.

    Each norm is identified. It is swapped if it is a layer norm or RMSNorm over its last axes whose
    properties are all known, and if ours returns the same output and gradients, up to rounding,
    on random rows. Parameters and names in `state_dict` stay.

    Args:
        model: any module; its norms may be torch's, another library's or written by hand.
        dry_run: only report.

    Returns:
        A table with a row for each norm, whose `undo` puts everything back.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.BatchNorm1d(4))
        >>> for row in replace(model).rows:
        ...     print(row.name, row.was, "->", row.became)
        1 LayerNorm -> LayerNorm
        2 BatchNorm1d -> None

    Source: `lnlib.functional` says which kernel runs.
    """
    rows, swaps = [], []
    made: dict[int, tuple[nn.Module | None, str]] = {}
    for name, module in [*model.named_modules(remove_duplicate=False)]:
        shape = _shape(module)
        if shape is None or isinstance(module, (modules.LayerNorm, modules.RMSNorm, Norm)):
            continue
        if id(module) not in made:
            made[id(module)] = _ours(module, shape)
        ours, why = made[id(module)]
        if not name and ours is not None:
            ours, why = None, f"{why}: is the model itself"
        was = type(module).__name__
        rows.append(Row(name, was, None if ours is None else type(ours).__name__, why))
        if ours is not None and not dry_run:
            parent, _, child = name.rpartition(".")
            swaps.append((model.get_submodule(parent), child, module))
            setattr(swaps[-1][0], child, ours)
    return Replacement(tuple(rows), swaps)


def _shape(module: nn.Module) -> tuple[int, ...] | None:
    """Return the sizes of the last axes that a module may normalize; None if it is no norm."""
    if next(module.children(), None) is not None:
        return None
    shapes = {tuple(p.shape) for p in module.parameters(recurse=False)}
    named = "norm" in type(module).__name__.lower()
    if not shapes and named:
        shape = getattr(module, "normalized_shape", getattr(module, "num_features", None))
        return (shape,) if isinstance(shape, int) else None if shape is None else tuple(shape)
    if len(shapes) == 1 and (named or len(next(iter(shapes))) == 1):
        return next(iter(shapes))
    return None


def _ours(module: nn.Module, shape: tuple[int, ...]) -> tuple[nn.Module | None, str]:
    """Return our module for another one, or None, and what was found."""
    kinds = nn.modules.batchnorm._NormBase
    if isinstance(module, (kinds, nn.GroupNorm)):
        return None, "there is no fused kernel for this kind of norm"
    report = identify(module, (ROWS, *shape))
    found = report.headline()
    if report.faults:
        return None, f"{found}: {report.faults[0]}"
    over = tuple(range(1, 1 + len(shape)))
    if report.kind not in ("layer", "rms") or report.axes != over:
        return None, f"{found}: not over the last axes"
    for name in ("divisor", "eps", "statistics_dtype"):
        if getattr(report, name) is None:
            return None, f"{found}: {name} cannot be told"
    if (report.divisor, report.eps_place) != ("n", "inside"):
        return None, f"{found}: our kernels divide by n, with ε under the root"
    if report.statistics_dtype != "float32":
        return None, f"{found}: statistics in {report.statistics_dtype}"
    ours = _like_torch(module, report) or _by_convention(module, report, shape)
    if ours is None:
        return None, f"{found}: its parameters are not those of a norm over one axis"
    ours.train(module.training)
    if (difference := _difference(module, ours, shape)) is not None:
        return None, f"{found}: {difference}"
    return ours, found


def _like_torch(module: nn.Module, report: Report) -> nn.Module | None:
    """Return a drop-in for a module of torch's own, with its parameters."""
    ours: Any
    if type(module) is nn.LayerNorm:
        affine = {"elementwise_affine": module.elementwise_affine, "bias": module.bias is not None}
        ours = modules.LayerNorm(module.normalized_shape, module.eps, **affine, device="meta")
    elif type(module) is nn.RMSNorm:
        affine = {"elementwise_affine": module.elementwise_affine}
        ours = modules.RMSNorm(module.normalized_shape, module.eps, **affine, device="meta")
    else:
        return None
    for name, parameter in module.named_parameters():
        ours.register_parameter(name, parameter)
    return cast(nn.Module, ours)


def _by_convention(module: nn.Module, report: Report, shape: tuple[int, ...]) -> nn.Module | None:
    """Return a module for a norm of another library, or written by hand."""
    held = [name for name, _ in module.named_parameters()]
    used = [name for name in report.stored_as if name is not None]
    if len(shape) != 1 or sorted(held) != sorted(used) or [*module.buffers()]:
        return None
    if held and report.casts is None:
        return None
    return Norm(module, report, *report.stored_as)


def _difference(theirs: nn.Module, ours: nn.Module, shape: tuple[int, ...]) -> str | None:
    """Compare outputs and gradients on random rows, in the dtype of the parameters and in half."""
    first = next(theirs.parameters(), torch.zeros(()))
    for dtype in {first.dtype, torch.bfloat16}:
        pair = [_copied(each, dtype) for each in (theirs, ours)]
        generator = torch.Generator().manual_seed(2)
        for spread in SPREADS:
            x = spread * torch.randn((ROWS, *shape), generator=generator)
            x = x.to(first.device, dtype)
            got = [_run(each, x) for each in pair]
            for want, found in zip(*got, strict=True):
                if want.dtype != found.dtype:
                    return f"returns {want.dtype}, ours {found.dtype}"
                size = max(want.abs().max().item(), torch.finfo(dtype).tiny)
                error = (want.double() - found.double()).abs().max().item() / size
                if not error < 32 * torch.finfo(dtype).eps:
                    return f"ours differs by {error:.1g} in {str(dtype).removeprefix('torch.')}"
    return None


def _copied(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a copy with its own random parameters, the same for both of a pair."""
    twin = copy.deepcopy(module).to(dtype)
    generator = torch.Generator().manual_seed(0)
    for _, parameter in sorted(twin.named_parameters()):
        value = torch.rand(parameter.shape, generator=generator) + 0.5
        parameter.data = value.to(parameter.device, dtype)
        parameter.requires_grad_()
    return twin


@torch.inference_mode(False)
@torch.enable_grad()
def _run(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the output, and the gradients for a random cotangent."""
    leaf = x.clone().requires_grad_()
    y = module(leaf)
    generator = torch.Generator().manual_seed(1)
    dy = torch.randn(y.shape, generator=generator).to(y)
    inputs = [leaf, *(parameter for _, parameter in sorted(module.named_parameters()))]
    return [y.detach(), *torch.autograd.grad((y * dy).sum(), inputs)]
