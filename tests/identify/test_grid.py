"""Every convention in every combination is identified, and none is taken for another."""

from itertools import product

import numpy as np
import pytest
import torch
from conventions import EPS, PLACES, Convention, TorchNorm, numpy_norm

from lnlib import identify

FORMS = ("weight", "1 + weight", "none", "NumPy", "hidden")


def made(c, form):
    """The function that a convention and a form of its gain are identified as."""
    if form == "NumPy":
        return None, numpy_norm(c)
    module = TorchNorm(c)
    return module, (lambda x: module(x)) if form == "hidden" else module


def convention(place, ddof, eps, eps_place, form, **options):
    shape, axes, kind, num_groups = place
    gain = {"none": None, "NumPy": None, "hidden": "weight"}.get(form, form)
    centered = kind != "rms"
    return Convention(
        shape, axes, kind, num_groups, centered, ddof, eps, eps_place, gain, **options
    )


@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p[2]}-{p[0]}-{p[1]}")
@pytest.mark.parametrize("form", FORMS)
def test_every_combination_is_identified(place, form):
    for k, (ddof, eps_place) in enumerate(product((0, 1), ("inside", "outside", "max"))):
        c = convention(place, ddof, EPS[(k + FORMS.index(form)) % len(EPS)], eps_place, form)
        module, f = made(c, form)
        report = identify(f, c.shape)
        got = report.to_dict()
        assert got["kind"] == c.kind, c
        assert got["axes"] == list(c.axes), c
        assert got["num_groups"] == c.num_groups, c
        assert got["centered"] == c.centered, c
        assert got["divisor"] == ("n", "n-1")[ddof], c
        assert got["eps"] == pytest.approx(c.eps, rel=1e-4), c
        assert got["eps_place"] == eps_place, c
        assert got["gain"] == (form if form in FORMS[:2] else None), c
        assert got["faults"] == [], c
        assert report.calls < 300
        if module is None or not c.gain:
            np.testing.assert_allclose(got["weight"], np.ones_like(got["weight"]), rtol=1e-5)
            continue
        weight = module.weight.detach().squeeze()
        np.testing.assert_allclose(got["weight"], weight, rtol=1e-4, atol=1e-5)
        if c.kind != "rms":
            np.testing.assert_allclose(got["bias"], module.bias.detach().squeeze(), atol=1e-4)


@pytest.mark.parametrize("eps", EPS)
@pytest.mark.parametrize("eps_place", ["inside", "outside", "max"])
def test_every_eps_at_every_place_is_measured(eps, eps_place):
    c = convention(PLACES[0], 0, eps, eps_place, "weight")
    report = identify(TorchNorm(c), c.shape)
    assert (report.eps, report.eps_place) == (pytest.approx(eps, rel=1e-4), eps_place)
    low, high = report.eps_interval
    assert low <= eps * (1 + 1e-6)
    assert high >= eps * (1 - 1e-6)
    assert high - low < 1e-3 * eps


@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p[2]}-{p[0]}-{p[1]}")
@pytest.mark.parametrize("form", ["weight", "1 + weight"])
@pytest.mark.parametrize("upcast", [True, False])
def test_statistics_and_cast_are_told_from_half_precision(place, form, upcast):
    for cast, eps in product(("last", "before weight"), (1e-5, 0.3)):
        c = convention(place, 0, eps, "inside", form, upcast=upcast, cast=cast)
        report = identify(TorchNorm(c), c.shape)
        assert report.statistics_dtype == ("float32" if upcast else "float16"), c
        assert report.casts == (cast if upcast else None), c
        assert report.kind == c.kind, c


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p[2]}-{p[0]}-{p[1]}")
def test_what_always_computes_in_half_precision_is_seen_through(place, dtype):
    c = convention(place, 0, 0.3, "inside", "none", upcast=False)
    norm = TorchNorm(c)
    report = identify(lambda x: norm(x.to(dtype)).to(x.dtype), c.shape)
    assert (report.kind, report.axes) == (c.kind, c.axes)
    assert report.statistics_dtype == str(dtype).removeprefix("torch.")
    assert report.eps == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize("place", [p for p in PLACES if p[2] != "group"], ids=lambda p: f"{p[2]}")
def test_only_the_statistics_in_half_precision_are_seen_through(place):
    shape, axes, kind, _ = place

    def norm(x):
        half = x.half()
        mean = half.mean(axes, keepdim=True) if kind != "rms" else torch.zeros(())
        variance = (half - mean).square().mean(axes, keepdim=True)
        return (x - mean.float()) / torch.sqrt(variance.float() + 0.3)

    report = identify(norm, shape)
    assert (report.kind, report.axes, report.statistics_dtype) == (kind, axes, "float16")
