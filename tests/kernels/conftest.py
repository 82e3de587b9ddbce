"""Every test of the kernels may see what memory held before it was written."""

import pytest
import torch

from lnlib.kernels import launch, operators


@pytest.fixture(autouse=True)
def poisoned():
    """Memory that nobody has written holds NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def chosen_anew(monkeypatch):
    """Each test chooses its launches anew; parts are added up in fewer, larger programs."""
    monkeypatch.setattr(launch, "COLUMNS", 512)
    forget()
    yield
    forget()


def forget():
    for kept in ("_forward_kernel", "_backward_kernels", "_finish_kernel"):
        getattr(operators, kept).cache_clear()
