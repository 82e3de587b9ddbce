"""What recordings name: found without what only figures and kernels need."""

import subprocess
import sys

import pytest
import torch

from lnlib import provenance


@pytest.mark.parametrize("missing", ["matplotlib", "IPython", "triton"])
def test_needs_neither_figures_nor_kernels(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; import lnlib.provenance"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_date_versions_and_device():
    found = provenance.environment() | provenance.hardware(torch.device("cpu"))
    assert all(found.values())
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()


def test_names_the_distribution_of_a_module():
    assert provenance.installed("yaml", "no_such_module").keys() == {"PyYAML"}
