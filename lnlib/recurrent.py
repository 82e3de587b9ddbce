"""LSTM and GRU cells with a norm where the authors of layer normalization put it.

With `torch.nn.Identity` for the norm, the cells are torch's own, parameters included.
"""

import torch
from torch import Tensor, nn

from lnlib import checks
from lnlib.formula import TENSORS
from lnlib.modules import MakeNorm


class _Cell(nn.Module):
    """What both cells share: torch's names, shapes and initial values."""

    def __init__(self, input_size: int, hidden_size: int, gates: int) -> None:
        super().__init__()
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            checks.size(name, size)
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = gates * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(rows))
        self.bias_hh = nn.Parameter(torch.empty(rows))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"

    def _check(self, input: Tensor, **state: Tensor) -> None:
        checks.real_input(TENSORS, input, 1)
        checks.made_for(type(self).__name__, self.input_size, tuple(input.shape), axis=-1)
        for name, value in state.items():
            checks.shape(name, tuple(value.shape), (*input.shape[:-1], self.hidden_size))


class LSTMCell(_Cell):
    """Take one step of a long short-term memory whose sums are normalized.

    a = N(W_ih x) + b_ih + N(W_hh h) + b_hh, split into i, f, g, o;
    c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(N(c')).

    Args:
        input_size: entries of x.
        hidden_size: H, entries of h and c.
        norm: makes a norm of a width; over all four gates at once for the sums.

    Raises:
        ValueError: if a size is not positive.

    Example:
        >>> cell = LSTMCell(3, 5)
        >>> h, c = cell(torch.randn(2, 3), (torch.zeros(2, 5), torch.zeros(2, 5)))
        >>> h.shape
        torch.Size([2, 5])

    Source: Ba, Kiros, Hinton (2016), supplementary material, https://arxiv.org/abs/1607.06450.
    """

    def __init__(self, input_size: int, hidden_size: int, norm: MakeNorm = nn.LayerNorm) -> None:
        super().__init__(input_size, hidden_size, 4)
        self.norm_ih, self.norm_hh = norm(4 * hidden_size), norm(4 * hidden_size)
        self.norm_c = norm(hidden_size)

    def forward(self, input: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return h' and c', of shape (N, H), for x of shape (N, input_size)."""
        h, c = state
        self._check(input, h=h, c=c)
        sums = self.norm_ih(input @ self.weight_ih.T) + self.bias_ih
        sums = sums + self.norm_hh(h @ self.weight_hh.T) + self.bias_hh
        i, f, g, o = sums.chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * self.norm_c(c).tanh(), c


class GRUCell(_Cell):
    """Take one step of a gated recurrent unit whose sums are normalized.

    r, z = σ(N(W_ih x) + b_ih + N(W_hh h) + b_hh) for the gates together,
    n = tanh(N(W_in x) + b_in + r (N(W_hn h) + b_hn)), h' = (1 − z) n + z h.

    Args:
        input_size: entries of x.
        hidden_size: H, entries of h.
        norm: makes a norm of a width; over both gates at once, and over the candidate.

    Raises:
        ValueError: if a size is not positive.

    Example:
        >>> GRUCell(3, 5)(torch.randn(2, 3), torch.zeros(2, 5)).shape
        torch.Size([2, 5])

    Source: Ba, Kiros, Hinton (2016), supplementary material, https://arxiv.org/abs/1607.06450.
    """

    def __init__(self, input_size: int, hidden_size: int, norm: MakeNorm = nn.LayerNorm) -> None:
        super().__init__(input_size, hidden_size, 3)
        self.norm_ih, self.norm_hh = norm(2 * hidden_size), norm(2 * hidden_size)
        self.norm_in, self.norm_hn = norm(hidden_size), norm(hidden_size)

    def forward(self, input: Tensor, h: Tensor) -> Tensor:
        """Return h', of shape (N, H), for x of shape (N, input_size)."""
        self._check(input, h=h)
        both = [2 * self.hidden_size, self.hidden_size]
        ih, in_ = (input @ self.weight_ih.T).split(both, -1)
        hh, hn = (h @ self.weight_hh.T).split(both, -1)
        bias_ih, bias_in = self.bias_ih.split(both)
        bias_hh, bias_hn = self.bias_hh.split(both)
        gates = self.norm_ih(ih) + bias_ih + self.norm_hh(hh) + bias_hh
        r, z = gates.sigmoid().chunk(2, -1)
        n = (self.norm_in(in_) + bias_in + r * (self.norm_hn(hn) + bias_hn)).tanh()
        return (1 - z) * n + z * h
