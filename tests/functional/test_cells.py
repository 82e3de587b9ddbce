"""The recurrent cells: torch's own without a norm, the authors' formula with one."""

import pytest
import torch
from torch import nn

from lnlib.recurrent import GRUCell, LSTMCell


@pytest.mark.parametrize(("ours", "theirs"), [(LSTMCell, nn.LSTMCell), (GRUCell, nn.GRUCell)])
def test_cell_without_norm_is_torchs(ours, theirs):
    a, b = ours(3, 5, lambda width: nn.Identity()).double(), theirs(3, 5).double()
    assert a.load_state_dict(b.state_dict()).missing_keys == []
    x, h, c = (torch.randn(7, n, dtype=torch.float64, requires_grad=True) for n in (3, 5, 5))
    state = (h, c) if ours is LSTMCell else h
    first = [out[0] if isinstance(out, tuple) else out for out in (a(x, state), b(x, state))]
    torch.testing.assert_close(*first, rtol=0, atol=1e-12)
    dy = torch.randn_like(first[0])
    gradients = [torch.autograd.grad(y, (x, h), dy) for y in first]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


def test_normed_lstm_is_the_authors_formula():
    cell = LSTMCell(3, 5).double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter)
    x, h, c = (torch.randn(7, n, dtype=torch.float64) for n in (3, 5, 5))

    def norm(v, module):
        centred = v - v.mean(-1, keepdim=True)
        rstd = (centred.square().mean(-1, keepdim=True) + 1e-5) ** -0.5
        return module.weight * centred * rstd + module.bias

    sums = norm(x @ cell.weight_ih.T, cell.norm_ih) + norm(h @ cell.weight_hh.T, cell.norm_hh)
    i, f, g, o = (sums + cell.bias_ih + cell.bias_hh).chunk(4, -1)
    after = f.sigmoid() * c + i.sigmoid() * g.tanh()
    expected = o.sigmoid() * norm(after, cell.norm_c).tanh(), after
    torch.testing.assert_close(cell(x, (h, c)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [LSTMCell, GRUCell])
def test_cell_refuses_an_empty_state(kind):
    with pytest.raises(ValueError, match="hidden_size must be positive, got 0"):
        kind(3, 0)


@pytest.mark.parametrize("kind", [LSTMCell, GRUCell])
def test_cell_blames_what_has_another_width(kind):
    def step(inputs, hidden):
        h = torch.ones(2, hidden)
        return kind(3, 5)(torch.ones(2, inputs), (h, h) if kind is LSTMCell else h)

    step(3, 5)
    with pytest.raises(ValueError, match=r"Cell was made for 3 entries .* shape \(2, 4\); move"):
        step(4, 5)
    with pytest.raises(ValueError, match=r"h must have shape \(2, 5\), got \(2, 4\); reshape"):
        step(3, 4)
