"""The recurrent nets of the experiments, and their sequences."""

import pytest
import torch

from lnlib.experiments import digits, recurrent


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_gradient_through_time_ignores_the_scale_of_normed_weights(cell):
    def arrived(norm, gain):
        torch.manual_seed(0)
        reader = recurrent.Reader(cell, norm, 2, 1, gain=gain).double()
        x = torch.randn(1, 30, 2, dtype=torch.float64)
        start = torch.randn(1, 32, dtype=torch.float64, requires_grad=True)
        h, c = start, torch.zeros(1, 32, dtype=torch.float64)
        for step in x.unbind(1):
            h, c = reader.cell(step, (h, c)) if cell == "LSTM" else (reader.cell(step, h), c)
        dy = torch.ones_like(h)
        return torch.autograd.grad(h, start, dy)[0].norm().item()

    assert arrived("LN", 80.0) == pytest.approx(arrived("LN", 8.0), rel=0.01)
    assert arrived("none", 8.0) > 1e3 * arrived("none", 1.0)


def test_sequences_hold_the_digits():
    data = recurrent.pixels(16)
    assert data.training[0].shape == (1000, 16, 4)
    assert torch.equal(data.training[0].flatten(1), digits().training[0])
