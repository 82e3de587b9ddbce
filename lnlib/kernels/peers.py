"""Who else computes a norm, and how each is called, with the same four arguments."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from lnlib import functional

Call = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""From input, weight, bias and ε to the output."""


def of_torch(operation: str) -> Call:
    """Return torch's own operator."""
    return _call(F, operation)


def of_lnlib(operation: str) -> Call:
    """Return ours, which is a kernel on a GPU."""
    return _call(functional, operation)


def _call(library: Any, operation: str) -> Call:
    if operation == "layer_norm":
        return lambda x, w, b, eps: library.layer_norm(x, w.shape, w, b, eps)
    return lambda x, w, b, eps: library.rms_norm(x, w.shape, w, eps)


def of_liger(operation: str) -> Call:
    """Return the operator of Liger-Kernel 0.8, `liger_kernel.ops`."""

    def norm(x: Tensor, w: Tensor, b: Tensor, eps: float) -> Any:
        from liger_kernel.ops.layer_norm import LigerLayerNormFunction
        from liger_kernel.ops.rms_norm import LigerRMSNormFunction

        if operation == "layer_norm":
            return LigerLayerNormFunction.apply(x, w, b, eps)
        return LigerRMSNormFunction.apply(x, w, eps, 0.0, "llama", False)

    return norm


def of_quack(operation: str) -> Call:
    """Return the RMSNorm of QuACK 0.6, `quack.rmsnorm`."""

    def norm(x: Tensor, w: Tensor, b: Tensor, eps: float) -> Any:
        from quack import rmsnorm

        if operation == "layer_norm":
            raise NotImplementedError("QuACK differentiates no layer norm")
        return rmsnorm(x, w, eps=eps)

    return norm


def of_apex(operation: str) -> Call:
    """Return the operator of Apex, `apex.normalization.fused_layer_norm`."""

    def norm(x: Tensor, w: Tensor, b: Tensor, eps: float) -> Any:
        from apex.normalization import fused_layer_norm as apex

        if operation == "layer_norm":
            return apex.fused_layer_norm_affine(x, w, b, w.shape, eps)
        return apex.fused_rms_norm_affine(x, w, w.shape, eps)

    return norm


def of_transformer_engine(operation: str) -> Call:
    """Return the module of Transformer Engine, called with our parameters."""

    @cache
    def module(columns: int, eps: float) -> Any:
        from transformer_engine import pytorch

        kind = pytorch.LayerNorm if operation == "layer_norm" else pytorch.RMSNorm
        return kind(columns, eps=eps)

    def norm(x: Tensor, w: Tensor, b: Tensor, eps: float) -> Any:
        parameters = {"weight": w, "bias": b} if operation == "layer_norm" else {"weight": w}
        return functional_call(module(len(w), eps), parameters, (x,))

    return norm


PEERS = {
    "liger_kernel": ("Liger", of_liger),
    "quack": ("QuACK", of_quack),
    "apex": ("Apex", of_apex),
    "transformer_engine": ("Transformer Engine", of_transformer_engine),
}


def contenders(operation: str) -> dict[str, Call]:
    """Return what is installed here and computes `layer_norm` or `rms_norm`."""
    eager = of_torch(operation)
    ours = {
        "torch": eager,
        "torch.compile": torch.compile(eager, dynamic=False),
        "lnlib": of_lnlib(operation),
    }
    return ours | {n: of(operation) for module, (n, of) in PEERS.items() if find_spec(module)}
