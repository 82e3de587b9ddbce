"""Normalization when a batch, or the features of each example, are spread over processes.

A norm needs communication exactly where a mean crosses processes. Layer norm with whole rows needs
none: data and sequence parallelism leave each token where it is. `layer_norm` is for rows whose
features are spread (tensor parallelism), `batch_norm` for batches that are. Both run on whatever
`torch.distributed` runs on: gloo on CPUs, NCCL on GPUs.

`launch` starts the processes of one machine. `torchrun` starts them on several; this compares the
functions of this package with a single process there:

    torchrun --standalone --nproc-per-node 2 -m lnlib.distributed
"""

from lnlib.distributed.norms import batch_norm, layer_norm, merge
from lnlib.distributed.parts import METHODS, normalize_in_parts, own
from lnlib.distributed.processes import launch
from lnlib.distributed.sent import Sent

__all__ = [
    "METHODS", "Sent", "batch_norm", "launch", "layer_norm", "merge", "normalize_in_parts", "own",
]  # fmt: skip
