"""The axes of each method are those of its definition, entry by entry."""

from collections import defaultdict

import numpy as np
import pytest

from lnlib import layout

SHAPE = (2, 6, 3, 2)
METHODS = {
    "layer": (layout.layer_layout(SHAPE, (6, 3, 2)), lambda n, c, h, w: n),
    "layer over the last axis": (layout.layer_layout(SHAPE, (2,)), lambda n, c, h, w: (n, c, h)),
    "group": (layout.group_layout(SHAPE, 2), lambda n, c, h, w: (n, c // 3)),
    "instance": (layout.instance_layout(SHAPE), lambda n, c, h, w: (n, c)),
    "batch": (layout.batch_layout(SHAPE), lambda n, c, h, w: c),
}


@pytest.mark.parametrize("method", METHODS)
def test_entries_of_one_group_share_one_mean(method):
    found, group_of = METHODS[method]
    x = np.arange(np.prod(SHAPE), dtype=float).reshape(SHAPE)
    groups = defaultdict(list)
    for index in np.ndindex(SHAPE):
        groups[group_of(*index)].append(x[index])
    want = [np.mean(groups[group_of(*index)]) for index in np.ndindex(SHAPE)]
    mean = np.broadcast_to(x.reshape(found.view).mean(found.axes, keepdims=True), found.view)
    np.testing.assert_allclose(mean.ravel(), want)
    assert {len(group) for group in groups.values()} == {found.group_size}


@pytest.mark.parametrize("method", METHODS)
def test_parameters_broadcast_against_the_input(method):
    found, _ = METHODS[method]
    assert np.broadcast_shapes(found.parameter, SHAPE) == SHAPE
