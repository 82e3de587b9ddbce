"""Without a GPU, Triton's kernels run in its interpreter, on the CPU."""

import importlib.util
import os
import re
from functools import partial

import torch

pytest_plugins = ["pytester"]
collect_ignore = []
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports triton
if "PYTEST_XDIST_WORKER" in os.environ:  # the workers, and what they start, share the processors
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
if importlib.util.find_spec("triton") is None:  # it exists for Linux only
    collect_ignore += [
        "lnlib/kernels/gpu.py",
        "lnlib/kernels/machine_code.py",
        "lnlib/kernels/traffic.py",
    ]
if importlib.util.find_spec("numba") is None:
    collect_ignore += ["lnlib/kernels/loops.py", "lnlib/kernels/team.py"]
IMPORTS = re.compile(r"^(import|from) ", re.MULTILINE)


def pytest_itemcollected(item):
    """Let nbval pass over what libraries say on standard error when a page imports them."""
    if (cell := getattr(item, "cell", None)) and IMPORTS.search(cell.source):
        passed_over = (*item.parent.skip_compare, "stderr")
        item.compare_outputs = partial(item.compare_outputs, skip_compare=passed_over)
