"""The drawings that move compute and show what lnlib computes, and what the pages say."""

import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from book import BOOK
from book.tools import drawings, notebooks
from book.tools.languages import LANGUAGES
from book.tools.reading import text_outputs
from book.tools.scripts import run
from lnlib import reference
from lnlib.experiments import choose, paired, recorded
from lnlib.experiments.language import ARM, own_rate
from lnlib.reference.variants import weight_norm_forward

SCRIPT = Path(__file__).with_name("drawings.mjs")
EDITIONS = tuple(LANGUAGES)
NORMS = ("LN", "RMS", "outside", "GN")
SAME = {  # of which layer's output, in the order of `CHANGES` in layers.mjs; page 5c has the first
    "LN": "110 1010 10",
    "RMS": "100 1010 11",
    "BN": "101 1100 00",
    "WN": "101 0000 10",
    "none": "000 0000 11",
}
CHANGES = (
    "weights", "rowsShifted", "oneRow",
    "inputs", "inputsShifted", "oneExample", "oneFeature",
    "mates", "turned",
)  # fmt: skip


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def computed(kind, cases):
    """What the scripts of the site compute."""
    return json.loads(run(SCRIPT, text=json.dumps({"kind": kind, "cases": cases})))


def expected(norm, x, weight, bias, dy, eps):
    """Output and gradients of a norm, by lnlib."""
    if norm == "RMS":
        y, cache = reference.rms_norm_forward(x, (4,), weight, eps)
        return y, *reference.rms_norm_backward(dy, cache), None
    if norm == "GN":
        y, cache = reference.group_norm_forward(x[None], 2, weight, bias, eps)
        dx, *rest = reference.group_norm_backward(dy[None], cache)
        return y[0], dx[0], *rest
    mode = "outside" if norm == "outside" else "inside"
    y, cache = reference.layer_norm_forward(x, (4,), weight, bias, eps, eps_mode=mode)
    return y, *reference.layer_norm_backward(dy, cache)


def test_one_vector_by_hand_is_what_lnlib_computes(rng):
    cases, wanted = [], []
    for norm, eps in product(NORMS, (0, 1e-5, 0.3, 25)):
        x, weight, bias, dy = rng.normal(2, 3, (4, 4))
        bias *= norm != "RMS"
        arrays = {"x": x, "weight": weight, "bias": bias, "dy": dy}
        cases.append({k: a.tolist() for k, a in arrays.items()} | {"norm": norm, "eps": eps})
        wanted.append(expected(norm, **arrays, eps=eps))
    for case, found, arrays in zip(cases, computed("norm", cases), wanted, strict=True):
        for name, array in zip(("y", "dx", "dweight", "dbias"), arrays, strict=True):
            if array is not None:
                np.testing.assert_allclose(
                    found[name], array, atol=1e-12, err_msg=f"{name} {case['norm']}"
                )


def test_layers_are_what_lnlib_computes(rng):
    X, W = rng.normal(size=(4, 6)), rng.normal(size=(8, 6))
    layers = {
        "LN": lambda z, eps: reference.layer_norm(z, (8,), eps=eps),
        "RMS": lambda z, eps: reference.rms_norm(z, (8,), eps=eps),
        "BN": lambda z, eps: reference.batch_norm(z, None, None, training=True, eps=eps),
        "WN": lambda z, eps: X @ weight_norm_forward(W, np.ones(8))[0].T,
        "none": lambda z, eps: z,
    }
    cases = [
        {"layer": layer, "X": X.tolist(), "W": W.tolist(), "eps": eps}
        for layer, eps in product(layers, (0, 1e-5, 0.3))
    ]
    for case, found in zip(cases, computed("layer", cases), strict=True):
        wanted = layers[case["layer"]](X @ W.T, case["eps"])
        np.testing.assert_allclose(found, wanted, atol=1e-12, err_msg=case["layer"])


def test_changes_are_noticed_as_the_page_says():
    shown = drawings.data("changes", {})
    cases = [
        {"layer": layer, "change": change, "c": 3, **shown}
        for layer, change in product(SAME, CHANGES)
    ]
    found = np.array(computed("change", cases)).reshape(len(SAME), len(CHANGES))
    for row, marks in zip(found, SAME.values(), strict=True):
        same = [mark == "1" for mark in marks.replace(" ", "")]
        assert (row < 1e-10).tolist() == same
        assert row[np.logical_not(same)].min() > 0.01


def test_every_arm_is_at_the_rate_that_validation_chose():
    words = LANGUAGES["en"]["drawings"]["rates"]
    shown = drawings.data("rates", words)["arms"]
    chosen = choose(recorded("transformer").rows, [*ARM]).values()
    for arm, runs in zip(shown, chosen, strict=True):
        assert arm["losses"][arm["own"]] == [run["test"] for run in runs]


@pytest.mark.parametrize("edition", EDITIONS)
def test_arms_are_compared_as_the_page_does(edition):
    words = LANGUAGES[edition]["drawings"]["rates"]
    shown, sweep = drawings.data("rates", words), recorded("transformer")
    arms = {arm["name"]: arm for arm in shown["arms"]}
    differ = {
        words["places"]["post"]: {"placement": "post"},
        words["norms"]["RMS"]: {"norm": "RMS"},
        f"{words['norms']['none']}, {words['starts']['1/√(2L)']}": {
            "norm": "none",
            "start": "1/√(2L)",
        },
        f"{words['places']['post']}, {words['warmup']}": {"placement": "post", "warmup": 50},
        f"{words['places']['pre']}, {words['depth'].format(16)}": {"depth": 16},
    }
    plain = arms[words["places"]["pre"]]
    cases = [{"arm": arms[name], "other": plain} for name in differ]
    for found, arm in zip(computed("pair", cases), differ.values(), strict=True):
        losses, others = own_rate(sweep, **arm), own_rate(sweep)
        wanted = paired(losses, others[: len(losses)])
        np.testing.assert_allclose(found["differences"], wanted.differences, atol=1e-12)
        assert found["error"] == pytest.approx(wanted.error)
        assert found["n"] == wanted.n
    assert sum(len(losses) for arm in arms.values() for losses in arm["losses"]) == len(sweep.rows)
    assert [shown["arms"][i]["name"] for i in shown["first"]] == [next(iter(differ)), plain["name"]]


def test_a_run_that_diverged_leaves_no_difference():
    arm, other = {"losses": [[2.5, None]], "own": 0}, {"losses": [[2.4, 2.6]], "own": 0}
    assert computed("pair", [{"arm": arm, "other": other}]) == [None]


def test_launches_are_those_that_the_page_counts():
    page = notebooks.read(BOOK / "en" / "3b_gpu_rueckwaerts.ipynb")
    (cell,) = (cell for cell in page.cells if cell.id == "flight")
    ranges = re.findall(r"(\d+) to +(\d+) KiB: +(\d+) .* ([\d.]+)", text_outputs(cell))
    shown = drawings.data("launches", {})
    assert len(shown) == sum(int(count) for *_, count, _ in ranges) > 300
    for low, high, count, median in ranges:
        found = [r["ofCopy"] for r in shown if int(low) <= r["underWay"] < int(high)]
        assert len(found) == int(count)
        assert f"{np.median(found):.2f}" == median
