"""Drop-ins for the norms of `torch.nn` that call `lnlib.functional`.

Constructor arguments, parameters, buffers, `repr` and `state_dict` are torch's own by inheritance:
a checkpoint loads in both directions, and `isinstance(module, torch.nn.LayerNorm)` holds. Only the
computation and the error messages are ours; what they refuse although torch accepts it, and why, is
said in `lnlib.functional`. Trace, export or compile them: `torch.jit.script`, which torch gives up,
does not know the type `int | Sequence[int]`.

Example:
    >>> import lnlib, torch
    >>> layer = lnlib.LayerNorm(3)
    >>> layer
    LayerNorm((3,), eps=1e-05, elementwise_affine=True, bias=True)
    >>> layer(torch.tensor([[1.0, 2.0, 3.0]])).detach().round(decimals=3)
    tensor([[-1.2250,  0.0000,  1.2250]])
"""

from collections.abc import Callable
from functools import wraps
from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.fx import Proxy

from lnlib import checks, functional
from lnlib.checks import NormalizedShape
from lnlib.formula import TENSORS

MakeNorm = Callable[[int], nn.Module]  # of a width: nn.LayerNorm, nn.Identity


class LayerNorm(nn.LayerNorm):
    """Layer normalization over trailing axes: `lnlib.functional.layer_norm` with parameters.

    Arguments as `torch.nn.LayerNorm`.

    Example:
        >>> sorted(LayerNorm(4).state_dict())
        ['bias', 'weight']

    Source: Ba, Kiros, Hinton (2016), https://arxiv.org/abs/1607.06450.
    """

    def __init__(
        self,
        normalized_shape: NormalizedShape,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        shape = checks.normalized_shape(normalized_shape)
        checks.eps(eps)
        super().__init__(list(shape), eps, elementwise_affine, bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` normalized, with its shape and dtype."""
        return functional.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.RMSNorm):
    """Root mean square normalization: `lnlib.functional.rms_norm` with a weight.

    Arguments as `torch.nn.RMSNorm`.

    Example:
        >>> RMSNorm(4)
        RMSNorm((4,), eps=None, elementwise_affine=True)

    Source: Zhang, Sennrich (2019), https://arxiv.org/abs/1910.07467.
    """

    def __init__(
        self,
        normalized_shape: NormalizedShape,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        shape = checks.normalized_shape(normalized_shape)
        if eps is not None:
            checks.eps(eps)
        super().__init__(list(shape), eps, elementwise_affine, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` normalized, with its shape and dtype."""
        return functional.rms_norm(x, self.normalized_shape, self.weight, self.eps)


class GroupNorm(nn.GroupNorm):
    """Group normalization: `lnlib.functional.group_norm` with parameters per channel.

    Arguments as `torch.nn.GroupNorm`.

    Example:
        >>> GroupNorm(2, 4)
        GroupNorm(2, 4, eps=1e-05, affine=True, bias=True)

    Source: Wu, He (2018), https://arxiv.org/abs/1803.08494.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        checks.groups(num_channels, num_groups)
        checks.eps(eps)
        super().__init__(num_groups, num_channels, eps, affine, device, dtype, **_optional(bias))

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` normalized, with its shape and dtype."""
        _check_channels(self, self.num_channels, input)
        return functional.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


def _checked(construct: Callable[..., None]) -> Callable[..., None]:
    """Let torch's constructor reject a number of features, an ε, a momentum that it lets pass."""

    @wraps(construct)
    def checked(self: Any, num_features: int, *args: Any, **kwargs: Any) -> None:
        checks.size("num_features", num_features, least=0)
        construct(self, num_features, *args, **kwargs)
        checks.eps(self.eps)
        if self.momentum is not None:
            checks.momentum(self.momentum, None)

    return checked


class _Channels(nn.Module):
    """Shape check of the norms with channels on axis 1."""

    _ndims: tuple[int, ...]

    def _check_input_dim(self, input: Tensor) -> None:
        if isinstance(input, Proxy):
            return
        checks.kind(TENSORS, "input", input)
        checks.ndim(tuple(input.shape), self._ndims, type(self).__name__)


class _InstanceNorm(_Channels, nn.modules.instancenorm._InstanceNorm):
    """Instance normalization: `lnlib.functional.instance_norm` with parameters per channel.

    Without a batch axis, the input is one example.

    Source: Ulyanov, Vedaldi, Lempitsky (2016), https://arxiv.org/abs/1607.08022.
    """

    __init__ = _checked(nn.modules.instancenorm._InstanceNorm.__init__)

    def _apply_instance_norm(self, input: Tensor) -> Tensor:
        return functional.instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )


class InstanceNorm1d(_InstanceNorm, nn.InstanceNorm1d):
    """Instance normalization of `(batch, channels, length)`."""

    _ndims = (2, 3)


class InstanceNorm2d(_InstanceNorm, nn.InstanceNorm2d):
    """Instance normalization of `(batch, channels, height, width)`."""

    _ndims = (3, 4)


class InstanceNorm3d(_InstanceNorm, nn.InstanceNorm3d):
    """Instance normalization of `(batch, channels, depth, height, width)`."""

    _ndims = (4, 5)


class _BatchNorm(_Channels, nn.modules.batchnorm._BatchNorm):
    """Batch normalization: `lnlib.functional.batch_norm` with parameters and running statistics.

    Source: Ioffe, Szegedy (2015), https://arxiv.org/abs/1502.03167.
    """

    __init__ = _checked(nn.modules.batchnorm._BatchNorm.__init__)

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` normalized; in training, update the running statistics."""
        self._check_input_dim(input)
        _check_channels(self, self.num_features, input)
        running = self.track_running_stats or not self.training
        return functional.batch_norm(
            input,
            self.running_mean if running else None,
            self.running_var if running else None,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            self.momentum,
            self.eps,
            num_batches_tracked=self.num_batches_tracked,
        )


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """Batch normalization of `(batch, channels)` or `(batch, channels, length)`."""

    _ndims = (2, 3)


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """Batch normalization of `(batch, channels, height, width)`."""

    _ndims = (4,)


class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """Batch normalization of `(batch, channels, depth, height, width)`."""

    _ndims = (5,)


def _optional(bias: bool) -> dict[str, bool]:
    """Pass `bias` on only where it says something: older torch does not know it."""
    return {} if bias else {"bias": False}


def _check_channels(module: nn.Module, channels: int, input: Tensor) -> None:
    """Blame the input if it has other channels than the module has parameters and buffers."""
    if isinstance(input, Proxy):  # of a symbolic trace, without a shape yet
        return
    checks.kind(TENSORS, "input", input)
    if next(chain(module.parameters(), module.buffers()), None) is not None and input.ndim > 1:
        checks.made_for(type(module).__name__, channels, tuple(input.shape))
