"""Norms of a model, swapped for ours."""

import pytest
import torch
from torch import nn

import lnlib
from lnlib import replace
from lnlib.identify.swap import Norm


class Llama(nn.Module):
    """RMSNorm that casts before the weight."""

    def __init__(self, n, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))
        self.eps = eps

    def forward(self, x):
        wide = x.float()
        y = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * y.to(x.dtype)


class Gemma(Llama):
    """RMSNorm with 1 + weight, which casts last."""

    def __init__(self, n, eps=1e-6):
        super().__init__(n, eps)
        nn.init.zeros_(self.weight)

    def forward(self, x):
        wide = x.float()
        y = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (y * (1 + self.weight.float())).to(x.dtype)


class Unbiased(nn.LayerNorm):
    """Layer norm over n − 1."""

    def forward(self, x):
        centered = x - x.mean(-1, keepdim=True)
        y = centered / torch.sqrt(x.var(-1, keepdim=True) + self.eps)
        return y * self.weight + self.bias


def model():
    torch.manual_seed(0)
    blocks = [nn.Linear(16, 16), nn.LayerNorm(16), Llama(16), Gemma(16), nn.RMSNorm(16)]
    return nn.Sequential(*blocks, Unbiased(16), nn.BatchNorm1d(16))


def test_what_is_known_is_swapped_and_the_rest_left_with_a_reason():
    net = model()
    rows = replace(net).rows
    assert [(row.name, row.was, row.became) for row in rows] == [
        ("1", "LayerNorm", "LayerNorm"),
        ("2", "Llama", "Norm"),
        ("3", "Gemma", "Norm"),
        ("4", "RMSNorm", "RMSNorm"),
        ("5", "Unbiased", None),
        ("6", "BatchNorm1d", None),
    ]
    assert "divide by n" in rows[4].why
    assert "no fused kernel" in rows[5].why
    assert type(net[1]) is lnlib.LayerNorm
    assert type(net[4]) is lnlib.RMSNorm
    assert repr(net[3]) == "Norm(rms, eps=1e-06, gain='1 + weight', cast='last')"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_gradients_and_names_stay(dtype):
    net = model().to(dtype)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(8, 16).to(dtype)
    dy = torch.randn(8, 16).to(dtype)

    def results():
        leaf = x.clone().requires_grad_()
        y = net[:5](leaf)
        return [y.detach(), *torch.autograd.grad(y, [leaf, *net[:5].parameters()], dy)]

    before, keys = results(), list(net.state_dict())
    held = [id(parameter) for parameter in net.parameters()]
    assert sum(row.became is not None for row in replace(net).rows) == 4
    assert list(net.state_dict()) == keys
    assert [id(parameter) for parameter in net.parameters()] == held
    for got, want in zip(results(), before, strict=True):
        tolerance = 64 * torch.finfo(dtype).eps * want.abs().max().item()
        torch.testing.assert_close(got, want, rtol=0, atol=tolerance)


def test_a_dry_run_only_reports_and_undo_puts_back():
    net = model()
    modules = list(net)
    assert str(replace(net, dry_run=True)) == str(replace(net, dry_run=True))
    assert list(net) == modules
    done = replace(net)
    assert list(net) != modules
    done.undo()
    assert list(net) == modules
    done.undo()
    assert list(net) == modules


def test_ours_are_not_swapped_again():
    net = model()
    replace(net)
    assert [row.name for row in replace(net).rows] == ["5", "6"]


def test_a_module_that_stands_in_two_places_is_swapped_in_both():
    norm = nn.LayerNorm(16)
    net = nn.Sequential(norm, nn.Linear(16, 16), norm)
    replace(net)
    assert net[0] is net[2]
    assert type(net[0]) is lnlib.LayerNorm


def test_the_model_itself_and_models_without_norms():
    rows = replace(nn.LayerNorm(16)).rows
    assert rows[0].became is None
    assert "is the model itself" in rows[0].why
    assert str(replace(nn.Linear(4, 4))) == "no norms found"


class WrongGradient(Llama):
    """RMSNorm whose statistics carry no gradient."""

    def forward(self, x):
        wide = x.float()
        mean = wide.square().mean(-1, keepdim=True).detach()
        return self.weight * (wide * torch.rsqrt(mean + self.eps)).to(x.dtype)


class Saturates(nn.LayerNorm):
    """Layer norm that differs on large rows alone."""

    def forward(self, x):
        return super().forward(x) * (1 + 0.01 * (x.abs().max() > 60))


@pytest.mark.parametrize("kind", [WrongGradient, Saturates])
def test_what_ours_would_not_reproduce_is_left(kind):
    net = nn.Sequential(kind(16), nn.Linear(16, 16))
    rows = replace(net).rows
    assert [row.became for row in rows] == [None]
    assert isinstance(net[0], kind)


def test_a_norm_of_ours_has_the_keys_of_the_other():
    gemma = Gemma(16)
    net = nn.Sequential(gemma)
    replace(net)
    assert isinstance(net[0], Norm)
    assert [*net.state_dict()] == ["0.weight"]


@pytest.mark.parametrize("name", ["Llama", "Gemma", "GPT2", "ViT"])
def test_models_of_transformers_compute_the_same(name):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
             "num_attention_heads": 4}  # fmt: skip
    options = {
        "Llama": sizes | {"vocab_size": 100},
        "Gemma": sizes | {"vocab_size": 100, "head_dim": 16, "num_key_value_heads": 2},
        "GPT2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 100,
                 "bos_token_id": 0, "eos_token_id": 0},
        "ViT": sizes | {"image_size": 32, "patch_size": 8},
    }[name]  # fmt: skip
    config = getattr(transformers, f"{name}Config")(**options)
    net = getattr(transformers, f"{name}Model")(config).eval()
    x = torch.randn(2, 3, 32, 32) if name == "ViT" else torch.arange(24).reshape(2, 12)
    with torch.no_grad():
        before, keys = net(x).last_hidden_state, list(net.state_dict())
        rows = replace(net).rows
        after = net(x).last_hidden_state
    assert len(rows) == 5
    assert all(row.became for row in rows)
    assert list(net.state_dict()) == keys
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
