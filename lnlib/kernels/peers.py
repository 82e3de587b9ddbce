"""Who else computes a norm, and how each is called, with the same arguments.

`layer_norm`, `rms_norm` and `group_norm` (in `GROUPS` groups) take input, weight, bias and ε and
return the output; `add_layer_norm` and `add_rms_norm` take a residual after the input and return
the output and the sum.
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.dlpack import from_dlpack

from lnlib import functional, kernels

Call = Callable[..., Any]
OPERATIONS = ("layer_norm", "rms_norm", "add_layer_norm", "add_rms_norm", "group_norm")
GROUPS = 32


def of_torch(operation: str) -> Call:
    """Return torch's own operator."""
    calls: dict[str, Call] = {
        "layer_norm": lambda x, w, b, eps: F.layer_norm(x, w.shape, w, b, eps),
        "rms_norm": lambda x, w, b, eps: F.rms_norm(x, w.shape, w, eps),
        "add_layer_norm": lambda x, r, w, b, eps: (F.layer_norm(x + r, w.shape, w, b, eps), x + r),
        "add_rms_norm": lambda x, r, w, b, eps: (F.rms_norm(x + r, w.shape, w, eps), x + r),
        "group_norm": lambda x, w, b, eps: F.group_norm(x, GROUPS, w, b, eps),
    }
    return calls[operation]


def of_lnlib(operation: str) -> Call:
    """Return ours, which is a kernel on a GPU."""
    calls: dict[str, Call] = {
        "layer_norm": lambda x, w, b, eps: functional.layer_norm(x, w.shape, w, b, eps),
        "rms_norm": lambda x, w, b, eps: functional.rms_norm(x, w.shape, w, eps),
        "add_layer_norm": lambda x, r, w, b, eps: kernels.add_layer_norm(x, r, w.shape, w, b, eps),
        "add_rms_norm": lambda x, r, w, b, eps: kernels.add_rms_norm(x, r, w.shape, w, eps),
        "group_norm": lambda x, w, b, eps: functional.group_norm(x, GROUPS, w, b, eps),
    }
    return calls[operation]


def of_liger(operation: str) -> Call | None:
    """Return the operator of Liger-Kernel 0.8, `liger_kernel.ops`.

    These are its Triton kernels unless `LIGER_KERNEL_IMPL` says otherwise.
    """
    from liger_kernel import ops

    calls: dict[str, Call] = {
        "layer_norm": lambda x, w, b, eps: ops.LigerLayerNormFunction.apply(x, w, b, eps),
        "rms_norm": lambda x, w, b, eps: ops.LigerRMSNormFunction.apply(
            x, w, eps, 0.0, "llama", False
        ),
        "add_rms_norm": lambda x, r, w, b, eps: ops.LigerFusedAddRMSNormFunction.apply(
            x, r, w, eps
        ),
    }
    return calls.get(operation)


class _QuackLayerNorm(torch.autograd.Function):
    """QuACK's layer norm, which it leaves to the caller to differentiate; parameters in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor, eps: float) -> Any:
        from quack.rmsnorm import layernorm_fwd

        flat, gain, keep = x.reshape(-1, x.shape[-1]), w.float(), any(ctx.needs_input_grad)
        made = layernorm_fwd(flat, gain, b.float(), eps, return_rstd=keep, return_mean=keep)
        y, *statistics = made if keep else (made,)
        ctx.save_for_backward(flat, gain, *statistics)
        ctx.dtype = w.dtype
        return y.reshape(x.shape)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        from quack.rmsnorm import layernorm_bwd

        x, w, rstd, mean = ctx.saved_tensors
        dx, dw, db = layernorm_bwd(x, w, dy.reshape(x.shape).contiguous(), rstd, mean)
        return dx.view(dy.shape), dw.to(ctx.dtype), db.to(ctx.dtype), None


def of_quack(operation: str) -> Call | None:
    """Return the operator of QuACK 0.6, `quack.rmsnorm`."""
    from quack import rmsnorm

    calls: dict[str, Call] = {
        "layer_norm": _QuackLayerNorm.apply,
        "rms_norm": lambda x, w, b, eps: rmsnorm(x, w, eps=eps),
        "add_rms_norm": lambda x, r, w, b, eps: rmsnorm(x, w, residual=r, eps=eps, prenorm=True),
    }
    return calls.get(operation)


def of_apex(operation: str) -> Call | None:
    """Return the operator of Apex, `apex.normalization.fused_layer_norm`."""
    from apex.normalization import fused_layer_norm as apex

    calls: dict[str, Call] = {
        "layer_norm": lambda x, w, b, eps: apex.fused_layer_norm_affine(x, w, b, w.shape, eps),
        "rms_norm": lambda x, w, b, eps: apex.fused_rms_norm_affine(x, w, w.shape, eps),
    }
    return calls.get(operation)


def of_transformer_engine(operation: str) -> Call | None:
    """Return the module of Transformer Engine, called with our parameters."""
    from transformer_engine import pytorch

    @cache
    def module(kind: Any, columns: int, eps: float) -> Any:
        return kind(columns, eps=eps)

    def layer_norm(x: Tensor, w: Tensor, b: Tensor, eps: float) -> Any:
        norm = module(pytorch.LayerNorm, len(w), eps)
        return functional_call(norm, {"weight": w, "bias": b}, (x,))

    def rms_norm(x: Tensor, w: Tensor, b: Tensor, eps: float) -> Any:
        return functional_call(module(pytorch.RMSNorm, len(w), eps), {"weight": w}, (x,))

    return {"layer_norm": layer_norm, "rms_norm": rms_norm}.get(operation)


def of_jax(operation: str) -> Call | None:
    """Return the formula, compiled by JAX; tensors are shared with it, not copied."""
    import jax

    def standardize(x: Any, eps: float) -> Any:
        c = x - x.mean(-1, keepdims=True)
        return c * jax.lax.rsqrt((c * c).mean(-1, keepdims=True) + eps)

    formulas: dict[str, Call] = {
        "layer_norm": lambda x, w, b, eps: standardize(x, eps) * w + b,
        "rms_norm": lambda x, w, b, eps: (
            x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + eps) * w
        ),
        "group_norm": lambda x, w, b, eps: (
            standardize(x.reshape(len(x), GROUPS, -1), eps).reshape(x.shape) * w[:, None, None]
            + b[:, None, None]
        ),
    }
    if not (formula := formulas.get(operation)):
        return None
    plain = jax.jit(formula)
    kept = jax.jit(lambda *arrays: jax.vjp(formula, *arrays))
    back = jax.jit(lambda pullback, dy: pullback(dy)[:3])

    class Jax(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> Any:
            *tensors, eps = arguments
            arrays = [jax.dlpack.from_dlpack(t.detach()) for t in tensors]
            if any(ctx.needs_input_grad):
                y, ctx.pullback = kept(*arrays, eps)
            else:
                y = plain(*arrays, eps)
            return from_dlpack(y.block_until_ready())

        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
            gradients = back(ctx.pullback, jax.dlpack.from_dlpack(dy))
            return *(from_dlpack(g.block_until_ready()) for g in gradients), None

    return Jax.apply


def of_onnx_runtime(operation: str) -> Call | None:
    """Return a session of ONNX Runtime with one node, which has no gradients."""
    from lnlib.parity import onnx

    nodes = {"layer_norm": "LayerNormalization", "rms_norm": "RMSNormalization"}
    if not (node := nodes.get(operation)):
        return None
    inputs: dict[str, tuple[str, ...]] = {"x": ("M", "N"), "weight": ("N",)}
    if operation == "layer_norm":
        inputs["bias"] = ("N",)

    @cache
    def session(eps: float, threads: int) -> Any:
        model = onnx.model(node, inputs, {"y": ("M", "N")}, opset=23, epsilon=eps)
        return onnx.session(model, threads)

    def norm(x: Tensor, w: Tensor, b: Tensor, eps: float) -> Tensor:
        given = dict(zip(inputs, (t.detach().numpy() for t in (x, w, b)), strict=False))
        (y,) = session(eps, torch.get_num_threads()).run(None, given)
        return torch.from_numpy(y)

    return norm


PEERS = {
    "liger_kernel": ("Liger", of_liger),
    "quack": ("QuACK", of_quack),
    "apex": ("Apex", of_apex),
    "transformer_engine": ("Transformer Engine", of_transformer_engine),
    "jax": ("JAX", of_jax),
    "onnxruntime": ("ONNX Runtime", of_onnx_runtime),
}
ON_CPU = ("jax", "onnxruntime")  # on a GPU, JAX would take the memory of all others
FORWARD_ONLY = ("ONNX Runtime",)


def contenders(operation: str) -> dict[str, Call]:
    """Return what is installed here and computes one of `OPERATIONS`.

    A library that cannot be imported raises its error when it is called.
    """
    eager = of_torch(operation)
    found: dict[str, Call | None] = {
        "torch": eager,
        "torch.compile": torch.compile(eager, dynamic=False),
        "lnlib": of_lnlib(operation),
    }
    for module, (name, of) in PEERS.items():
        if find_spec(module) and not (module in ON_CPU and torch.cuda.is_available()):
            try:
                found[name] = of(operation)
            except Exception as failure:  # another project's, and part of the result
                found[name] = _raising(failure)
    return {name: norm for name, norm in found.items() if norm}


def _raising(failure: Exception) -> Call:
    def norm(*arguments: Any) -> Any:
        raise failure

    return norm
