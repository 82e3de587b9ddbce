"""Compare `lnlib.distributed` with a single process; run it under torchrun."""

import os
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from lnlib import functional
from lnlib.distributed import METHODS, Sent, batch_norm, layer_norm, own

Function = Callable[[Tensor], Tensor]


def main() -> None:
    """Compare and report."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", timeout=timedelta(seconds=60)
    )
    x, dy = torch.randn(
        2, 64, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).to(device)
    cases: dict[str, tuple[Function, Function, int]] = {
        "layer_norm, features spread": (lambda x: functional.layer_norm(x, (1000,)), layer_norm, 1),
        "batch_norm, examples spread": (METHODS["BN, alone"], batch_norm, 0),
    }
    for name, (whole, spread, dim) in cases.items():
        reference = x.clone().requires_grad_()
        y = whole(reference)
        (dx,) = torch.autograd.grad(y, reference, dy)
        part = own(x, dim).clone().requires_grad_()
        with Sent() as sent:
            y_part = spread(part)
            (dx_part,) = torch.autograd.grad(y_part, part, own(dy, dim))
        torch.testing.assert_close(y_part, own(y, dim), rtol=0, atol=1e-12)
        torch.testing.assert_close(dx_part, own(dx, dim), rtol=0, atol=1e-12)
        if dist.get_rank() == 0:
            print(f"{name}: as in one process; sent by each {sent.numbers:.0f} numbers")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
