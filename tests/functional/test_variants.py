"""The variants: each against its formula written another way, its gradient, and bad input."""

import math
import re

import numpy as np
import pytest
import torch
from oracles import assert_close
from torch import nn
from torch.autograd import gradcheck
from torch.nn import functional as F

from lnlib import variants
from lnlib.reference import variants as reference

H = 6
TRUE_GRADIENTS = {
    "ScaleNorm": lambda: variants.ScaleNorm(H),
    "PartialRMSNorm": lambda: variants.PartialRMSNorm(H, 0.5, eps=0.3),
    "DynamicTanh": lambda: variants.DynamicTanh(H),
    "DynamicErf": lambda: variants.DynamicErf(H),
    "LayerScale": lambda: variants.LayerScale(H, 0.1),
    "SwitchableNorm": lambda: variants.SwitchableNorm(3, eps=0.3),
}


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def shaken(module):
    """Return the module in float64 with random parameters."""
    for parameter in module.double().parameters():
        nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize("name", TRUE_GRADIENTS)
def test_gradient_is_that_of_the_function(name):
    module = shaken(TRUE_GRADIENTS[name]())
    x = draw(2, 3, H)
    names, values = zip(*module.named_parameters(), strict=True)

    def call(x, *values):
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(module, parameters, (x,))

    assert gradcheck(call, (x, *values))


ORACLES = {  # the module, and the reference's arguments after x
    "scale_norm": (lambda: variants.ScaleNorm(H, 0.3), lambda m: (m.weight.item(), 0.3)),
    "partial_rms_norm": (
        lambda: variants.PartialRMSNorm(H, 0.5, eps=0.3),
        lambda m: (m.weight, 3, 0.3),
    ),
    "detach_norm": (lambda: variants.DetachNorm(H, eps=0.3), lambda m: (m.weight, m.bias, 0.3)),
    "ada_norm": (
        lambda: variants.AdaNorm(H, 2.0, 0.25, eps=0.3),
        lambda m: (m.scale, m.slope, m.eps),
    ),
    "dynamic_tanh": (
        lambda: variants.DynamicTanh(H),
        lambda m: (m.alpha.item(), m.weight, m.bias),
    ),
    "dynamic_erf": (
        lambda: variants.DynamicErf(H),
        lambda m: (m.alpha.item(), m.shift.item(), m.weight, m.bias),
    ),
    "layer_scale": (lambda: variants.LayerScale(H, 0.1), lambda m: (m.weight,)),
}
ORDER = ("alpha", "shift", "weight", "bias")  # of the reference's gradients


def array(value):
    return value.detach().numpy() if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("name", ORACLES)
def test_module_is_the_closed_formula_forward_and_backward(name):
    """All rows are drawn at their own scale, so that ε matters in some and not in others."""
    make, arguments = ORACLES[name]
    module, dy = shaken(make()), draw(4, 3, H).detach()
    x = (draw(4, 3, H) * torch.logspace(-2, 2, 4)[:, None, None]).detach().requires_grad_()
    y = module(x)
    y.backward(dy)
    expected, cache = getattr(reference, f"{name}_forward")(
        array(x), *map(array, arguments(module))
    )
    found = getattr(reference, f"{name}_backward")(dy.numpy(), cache)
    found = found if isinstance(found, tuple) else (found,)
    parameters = dict(module.named_parameters())
    gradients = [x.grad, *(parameters[key].grad for key in ORDER if key in parameters)]
    assert len(found) == len(gradients)
    for a, b in zip((y, *gradients), (expected, *found), strict=True):
        torch.testing.assert_close(array(a), np.asarray(b), rtol=1e-12, atol=1e-12)


def test_conditional_norm_is_the_closed_formula_forward_and_backward():
    layer = shaken(variants.ConditionalLayerNorm(H, 3, eps=0.3))
    x, c, dy = draw(2, 5, H), draw(2, 3), draw(2, 5, H).detach()
    modulation = layer.condition(c)
    modulation.retain_grad()
    layer.condition.forward = lambda _: modulation
    y = layer(x, c)
    y.backward(dy)
    gain, shift = (array(part) for part in modulation.chunk(2, 1))
    expected, cache = reference.conditional_layer_norm_forward(array(x), gain, shift, 0.3)
    dx, d_gain, d_shift = reference.conditional_layer_norm_backward(dy.numpy(), cache)
    assert_close(y.detach(), torch.from_numpy(expected))
    assert_close(x.grad, torch.from_numpy(dx))
    assert_close(modulation.grad, torch.from_numpy(np.concatenate([d_gain, d_shift], 1)))


def test_weight_norm_is_torchs_parametrization():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(5, 3).double())
    parts, d_weight = layer.parametrizations.weight, draw(3, 5).detach()
    layer.weight.backward(d_weight)
    weight, cache = reference.weight_norm_forward(
        array(parts.original1), array(parts.original0)[:, 0]
    )
    d_direction, d_length = reference.weight_norm_backward(d_weight.numpy(), cache)
    assert_close(layer.weight.detach(), torch.from_numpy(weight))
    assert_close(parts.original1.grad, torch.from_numpy(d_direction))
    assert_close(parts.original0.grad[:, 0], torch.from_numpy(d_length))


def test_query_key_norm_bounds_every_score():
    norm, (q, k) = variants.QueryKeyNorm(H).double(), 100 * draw(2, 7, H)
    q_hat, k_hat = norm(q, k)
    assert_close(q_hat, F.rms_norm(q, (H,), eps=1e-5))
    assert_close(k_hat, F.rms_norm(k, (H,), eps=1e-5))
    assert (q_hat @ k_hat.T / H**0.5).abs().max() <= H**0.5


def test_scale_norm_is_rms_norm_with_one_gain():
    module, x = shaken(variants.ScaleNorm(H)), draw(5, H)
    gain = (module.weight / H**0.5).expand(H)
    assert_close(module(x), F.rms_norm(x, (H,), gain, eps=0))


def test_partial_rms_norm_is_rms_norm_of_the_whole():
    module, x = shaken(variants.PartialRMSNorm(H, 1.0, eps=0.3)), draw(5, H)
    assert_close(module(x), F.rms_norm(x, (H,), module.weight, 0.3))


@pytest.mark.parametrize(("part", "count"), [(0.5, 3), (0.01, 1), (0.34, 2)])
def test_partial_rms_norm_reads_the_first_part_alone(part, count):
    module, x = variants.PartialRMSNorm(H, part, eps=0.0).double(), draw(5, H)
    assert_close(module(x)[:, :count].square().mean(1), torch.ones(5, dtype=torch.float64))


def test_partial_rms_norm_has_its_closed_gradient():
    """Of dx_i = q (g_i − [i ≤ k] x̂_i Σ_j g_j x̂_j / k), with all entries j."""
    module, x, dy = shaken(variants.PartialRMSNorm(H, 0.5, eps=0.3)), draw(5, H), draw(5, H)
    (dx,) = torch.autograd.grad(module(x), x, dy)
    q = (x[:, :3].square().mean(1, keepdim=True) + 0.3).rsqrt()
    g, x_hat = dy * module.weight, q * x
    inside = torch.arange(H) < 3
    assert_close(dx, q * (g - inside * x_hat * (g * x_hat).sum(1, keepdim=True) / 3))


def test_detach_norm_is_layer_norm_with_the_gradient_of_constants():
    module, x, dy = shaken(variants.DetachNorm(H, eps=0.3)), draw(5, H), draw(5, H)
    y = module(x)
    assert_close(y, F.layer_norm(x, (H,), module.weight, module.bias, 0.3))
    (dx,) = torch.autograd.grad(y, x, dy)
    rstd = (x.var(1, correction=0, keepdim=True) + 0.3).rsqrt()
    assert_close(dx, rstd * module.weight * dy)


def test_ada_norm_passes_the_gradient_by_its_factor():
    module, x, dy = variants.AdaNorm(H, scale=2.0, slope=0.25, eps=0.3), draw(5, H), draw(5, H)
    x_hat = F.layer_norm(x, (H,), eps=0.3)
    factor = 2 * (1 - 0.25 * x_hat)
    y = module(x)
    assert_close(y, factor * x_hat)
    (dx,) = torch.autograd.grad(y, x, dy)
    (expected,) = torch.autograd.grad(x_hat, x, (factor * dy).detach())
    assert_close(dx, expected)


@pytest.mark.parametrize("kind", [variants.DynamicTanh, variants.DynamicErf])
def test_squashing_is_its_formula_entry_by_entry(kind):
    module, x = shaken(kind(H)), draw(5, H)
    alpha, weight, bias = (getattr(module, n).detach().numpy() for n in ("alpha", "weight", "bias"))
    shift = module.shift.item() if kind is variants.DynamicErf else 0.0
    squash = np.vectorize(math.erf if kind is variants.DynamicErf else math.tanh)
    expected = weight * squash(alpha * x.detach().numpy() + shift) + bias
    assert_close(module(x).detach(), torch.from_numpy(expected))


def test_layer_scale_folds_into_the_branch_but_not_into_the_norm():
    scale, out, x = shaken(variants.LayerScale(H, 0.1)), nn.Linear(H, H).double(), draw(5, H)
    folded = F.linear(x, scale.weight[:, None] * out.weight, scale.weight * out.bias)
    assert_close(scale(out(x)), folded)
    assert (scale(out(x)) - out(scale.weight * x)).abs().max() > 0.01


def test_conditional_norm_starts_as_layer_norm():
    layer, x = variants.ConditionalLayerNorm(H, 3, gate=True).double(), draw(2, 5, H)
    y, gate = layer(x, draw(2, 3))
    assert_close(y, F.layer_norm(x, (H,)))
    assert gate.shape == (2, 1, H)
    assert not gate.any()


def test_conditional_norm_of_labels_is_a_table_of_gains_and_biases():
    layer, x = shaken(variants.ConditionalLayerNorm(H, 4, eps=0.3)), draw(3, 5, H)
    labels = torch.tensor([2, 0, 2])
    gains, biases = (layer.condition.weight + layer.condition.bias[:, None]).T.chunk(2, 1)
    found = layer(x, F.one_hot(labels, 4).double())
    for example, label in enumerate(labels):
        expected = F.layer_norm(x[example], (H,), 1 + gains[label], biases[label], 0.3)
        assert_close(found[example], expected)


def test_conditional_norm_takes_examples_without_tokens():
    layer, x, c = shaken(variants.ConditionalLayerNorm(H, 3)), draw(4, H), draw(4, 3)
    assert_close(layer(x, c), layer(x[:, None], c).squeeze(1))


@pytest.mark.parametrize("k", range(3))
def test_switchable_norm_ends_at_the_norms_it_mixes(k):
    norms = [nn.InstanceNorm2d(3), nn.GroupNorm(1, 3), nn.BatchNorm2d(3)]
    module, x = variants.SwitchableNorm(3).double(), draw(2, 3, 4, 4)
    for logits in (module.mean_logits, module.var_logits):
        logits.data[k] = 100.0
    assert_close(module(x), norms[k].double()(x))


def test_switchable_norm_keeps_the_batchs_statistics():
    module, x = variants.SwitchableNorm(3, momentum=1.0).double(), draw(2, 3, 4)
    for logits in (module.mean_logits, module.var_logits):
        logits.data[2] = 100.0
    assert_close(module(x), module.eval()(x))


class TestPowerNorm:
    def published(self, batches, upstream, warmup, decays=(0.8, 0.7), eps=0.3):
        """The authors' recurrences, number by number in NumPy."""
        forward, backward = decays
        running, product, steps = np.ones(H), np.zeros(H), 0
        outputs, gradients = [], []
        for x, g in zip(batches, upstream, strict=True):
            steps += 1
            power = (x * x).mean(0)
            used = power if steps <= warmup else running
            z = x / np.sqrt(used + eps)
            if steps < warmup:
                running = running * (steps - 1) / steps + power / steps
            running = forward * running + (1 - forward) * power
            corrected = g - (1 - backward) * product * z
            product = product + (corrected * z).mean(0)
            outputs.append(z)
            gradients.append(corrected / np.sqrt(power + eps))
        return outputs, gradients, running, product

    @pytest.mark.parametrize("warmup", [0, 2, 9])
    def test_follows_the_authors_recurrences(self, warmup):
        rng = np.random.default_rng(0)
        batches, upstream = rng.normal(size=(2, 5, 7, H))
        module = variants.PowerNorm(
            H, 0.3, alpha_fwd=0.8, alpha_bkw=0.7, warmup_steps=warmup
        ).double()
        outputs, gradients, running, product = self.published(batches, upstream, warmup)
        for x, g, y, dx in zip(batches, upstream, outputs, gradients, strict=True):
            leaf = torch.from_numpy(x).requires_grad_()
            found = module(leaf)
            assert_close(found.detach(), torch.from_numpy(y))
            found.backward(torch.from_numpy(g))
            assert_close(leaf.grad, torch.from_numpy(dx))
        assert_close(module.running_power, torch.from_numpy(running))
        assert_close(module.running_product, torch.from_numpy(product))

    def test_inference_uses_the_running_power_and_changes_nothing(self):
        module, x = variants.PowerNorm(H, 0.3).double(), draw(7, H)
        module(x)
        before = {name: value.clone() for name, value in module.state_dict().items()}
        assert_close(module.eval()(x), x / (module.running_power + 0.3).sqrt())
        for name, value in module.state_dict().items():
            assert torch.equal(value, before[name])

    def test_gains_learn_as_of_any_norm(self):
        module, x, dy = shaken(variants.PowerNorm(H, 0.3)), draw(7, H), draw(7, H)
        module(x).backward(dy)
        z = x / (x.square().mean(0) + 0.3).sqrt()
        assert_close(module.weight.grad, (dy * z).sum(0).detach())
        assert_close(module.bias.grad, dy.sum(0).detach())

    def test_every_backward_pass_adds_to_the_running_sum(self):
        module, x, dy = variants.PowerNorm(H).double(), draw(7, H), draw(7, H)
        y = module(x)
        first, second = (torch.autograd.grad(y, x, dy, retain_graph=True)[0] for _ in range(2))
        assert (first - second).abs().max() > 0.001

    def test_couples_the_examples_of_a_batch(self):
        module, x = variants.PowerNorm(H).double(), draw(7, H)
        changed = x.detach().clone()
        changed[6] *= 9
        assert (module(x)[0] - module(changed)[0]).abs().max() > 0.01


def test_deepnorm_constants():
    """α⁴ = 2 · depth and β⁻⁴ = 8 · depth."""
    for depth in (1, 6, 100):
        alpha, beta = variants.deepnorm_constants(depth)
        assert alpha**4 == pytest.approx(2 * depth)
        assert beta**-4 == pytest.approx(8 * depth)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: variants.ScaleNorm(0), "width must be positive, got 0"),
        (lambda: variants.PartialRMSNorm(4, 0.0), r"part must be in \(0, 1\], got 0"),
        (lambda: variants.PartialRMSNorm(4, 1.5), r"part must be in \(0, 1\], got 1.5"),
        (lambda: variants.ConditionalLayerNorm(4, 0), "condition_width must be positive, got 0"),
        (lambda: variants.PowerNorm(4, alpha_fwd=1.1), r"alpha_fwd must be in \[0, 1\], got 1.1"),
        (lambda: variants.PowerNorm(4, alpha_bkw=-1.0), r"alpha_bkw must be in \[0, 1\], got -1"),
        (lambda: variants.SwitchableNorm(3, eps=-1.0), "eps must be finite and >= 0, got -1"),
        (lambda: variants.SwitchableNorm(3, momentum=3.0), "momentum is the weight .* got 3"),
        (lambda: variants.DetachNorm(3, eps=-1.0), "eps must be finite and >= 0, got -1"),
        (lambda: variants.deepnorm_constants(0), "depth must be positive, got 0"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_width_is_a_whole_number():
    with pytest.raises(TypeError, match=r"width must be an int, got 4\.5; pass the number"):
        variants.ScaleNorm(4.5)


def test_detach_norm_names_a_wrong_shape():
    with pytest.raises(ValueError, match="normalized_shape"):
        variants.DetachNorm(5)(torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("module", "shape", "axes"),
    [
        (variants.ScaleNorm(4), (), 1),
        (variants.PowerNorm(4), (4,), 2),
        (variants.SwitchableNorm(4), (2, 4), 3),
    ],
)
def test_missing_axes_are_named(module, shape, axes):
    with pytest.raises(ValueError, match=rf"at least {axes} axes, got shape .*; add the missing"):
        module(torch.ones(shape))


@pytest.mark.parametrize("module", [variants.AdaNorm(4), variants.DetachNorm(4)])
def test_only_real_tensors_are_taken(module):
    with pytest.raises(TypeError, match="input must be of type Tensor, got ndarray; lnlib"):
        module(np.ones((2, 4)))
    with pytest.raises(TypeError, match=r"must be real floating point, got torch\.int64; convert"):
        module(torch.ones(2, 4, dtype=torch.int64))


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (3,)])
def test_a_conditional_norm_takes_one_condition_for_each_example(shape):
    message = re.escape(f"condition must have shape (2, 3), got {shape}; reshape")
    with pytest.raises(ValueError, match=message):
        variants.ConditionalLayerNorm(4, 3)(torch.ones(2, 5, 4), torch.ones(shape))


SHOWN = {
    "ScaleNorm(4, eps=1e-05)": (variants.ScaleNorm(4), (2, 3)),
    "PartialRMSNorm(8, count=4, eps=0.3)": (variants.PartialRMSNorm(8, 0.5, eps=0.3), (2, 9)),
    "AdaNorm(4, scale=1.0, slope=0.1, eps=1e-05)": (variants.AdaNorm(4), (5,)),
    "DynamicTanh(4)": (variants.DynamicTanh(4), (4, 1)),
    "DynamicErf(4)": (variants.DynamicErf(4), (4, 1)),
    "LayerScale(4)": (variants.LayerScale(4, 0.1), (2, 1)),
    "PowerNorm(4, eps=1e-05, alpha_fwd=0.9, alpha_bkw=0.9, warmup_steps=10000)": (
        variants.PowerNorm(4),
        (2, 3),
    ),
    "SwitchableNorm(4, eps=1e-05, momentum=0.1)": (variants.SwitchableNorm(4), (2, 3, 4)),
}


@pytest.mark.parametrize("text", SHOWN)
def test_shows_its_arguments_and_refuses_another_width(text):
    module, shape = SHOWN[text]
    assert repr(module) == text
    name, width = type(module).__name__, module.width
    with pytest.raises(ValueError, match=rf"{name} was made for {width} .*got input of shape"):
        module(torch.ones(shape))


def test_a_conditional_norm_shows_its_width():
    module = variants.ConditionalLayerNorm(4, 3, gate=True)
    assert repr(module).startswith("ConditionalLayerNorm(\n  4, gate=True, eps=1e-05\n")
    with pytest.raises(ValueError, match="ConditionalLayerNorm was made for 4 entries"):
        module(torch.ones(2, 3), torch.ones(2, 3))
