"""Hypothesis looks for a norm that is taken for another one."""

import numpy as np
import pytest
from conventions import Convention, numpy_norm
from hypothesis import given, settings
from hypothesis import strategies as st

from lnlib import identify

NORMS = st.sampled_from(["layer", "rms", "group", "instance", "batch"])


@st.composite
def conventions(draw):
    kind = draw(NORMS)
    sizes = st.integers(3, 9)
    if kind in ("layer", "rms"):
        shape = tuple(draw(st.lists(sizes, min_size=1, max_size=3)))
        first = draw(st.integers(min(1, len(shape) - 1), len(shape) - 1))
        axes, groups = tuple(range(first, len(shape))), None
    else:
        groups = draw(st.integers(2, 3)) if kind == "group" else None
        channels = (groups or 1) * draw(st.integers(2, 4))
        shape = (draw(st.integers(2, 5)), channels, draw(sizes), draw(sizes))
        axes = {"group": (1, 2, 3), "instance": (2, 3), "batch": (0, 2, 3)}[kind]
    exponent = draw(st.floats(-12, -0.5))
    eps = float(f"{10**exponent:.1e}")
    place = draw(st.sampled_from(["inside", "outside", "max"]))
    ddof = draw(st.sampled_from([0, 1]))
    return Convention(shape, axes, kind, groups, kind != "rms", ddof, eps, place, None)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(conventions(), st.integers(0, 2**32 - 1), st.booleans())
def test_no_norm_is_taken_for_another(c, seed, affine):
    rng = np.random.default_rng(seed)
    parameter = tuple(n if a in c.axes else 1 for a, n in enumerate(c.shape))
    if c.kind not in ("layer", "rms"):
        parameter = tuple(n if a == 1 else 1 for a, n in enumerate(c.shape))
    weight = rng.normal(size=parameter) if affine else np.ones(parameter)
    bias = rng.normal(size=parameter) if affine else np.zeros(parameter)
    plain = numpy_norm(c)
    report = identify(lambda x: plain(x) * weight + bias, c.shape)
    assert (report.kind, report.axes, report.num_groups) == (c.kind, c.axes, c.num_groups), report
    assert (report.centered, report.eps_place) == (c.centered, c.place)
    assert not report.faults
    if report.divisor is None:  # only a free gain hides it
        assert affine
        return
    assert report.divisor == ("n", "n-1")[c.ddof] or affine
    if report.divisor == ("n", "n-1")[c.ddof]:
        assert report.eps == pytest.approx(c.eps, rel=1e-6)
        np.testing.assert_allclose(report.weight, weight.squeeze(), rtol=1e-6)
        np.testing.assert_allclose(report.bias, bias.squeeze(), atol=1e-9)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(3, 40), st.sampled_from([1.0, 1.5, 3.0, 4.0]))
def test_the_root_mean_square_is_told_from_other_means(seed, n, p):
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.5, 2, n)

    def by_another_mean(x):
        return weight * x / (np.abs(x) ** p).mean(-1, keepdims=True) ** (1 / p)

    assert identify(by_another_mean, (4, n)).kind == "unknown"
