"""Without a GPU, Triton's kernels run in its interpreter, on the CPU."""

import importlib.util
import os

import torch

collect_ignore = []
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports triton
if importlib.util.find_spec("triton") is None:  # it exists for Linux only
    collect_ignore += ["lnlib/kernels.py", "lnlib/machine_code.py", "lnlib/traffic.py"]
