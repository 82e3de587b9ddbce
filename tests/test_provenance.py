"""What recordings name."""

import torch

from lnlib import provenance


def test_names_date_versions_and_device():
    found = provenance.environment() | provenance.hardware(torch.device("cpu"))
    assert all(found.values())
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()


def test_names_the_distribution_of_a_module():
    assert provenance.installed("yaml", "no_such_module").keys() == {"PyYAML"}
