"""Paired comparisons: mean, standard error and interval, and effects of crossed factors."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lnlib.experiments import effects, paired

SCORES = st.lists(st.floats(-100, 100), min_size=2, max_size=20)


@given(SCORES, st.integers(0, 2**32 - 1))
def test_mean_error_and_interval_are_those_of_the_paired_t_test(other, seed):
    arm = np.array(other) + np.random.default_rng(seed).normal(1, 2, len(other))
    found, test = paired(arm, other), stats.ttest_rel(arm, other)
    assert found.n == len(other)
    assert found.mean / found.error == pytest.approx(test.statistic)
    assert found.interval() == pytest.approx(test.confidence_interval())


def test_better_and_equivalent_are_decided_by_standard_errors():
    lead = paired([1.0, 1.2, 1.4], [0, 0, 0])  # 1.2 ± 0.115
    assert lead.exceeds(0.8)
    assert not lead.exceeds(0.9)
    assert lead.exceeds(0.9, errors=2)
    assert lead.within(1.5)
    assert not lead.within(1.4)
    assert not (-lead).exceeds()
    assert f"{100 * lead:.0f}" == "120 ± 12 (n = 3)"


def test_pairing_takes_out_what_the_arms_share():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 10, 16)
    arm, other = shared + rng.normal(1, 0.2, 16), shared + rng.normal(0, 0.2, 16)
    assert paired(arm, other).exceeds(0.5)
    assert not paired(arm, rng.permutation(other)).exceeds(0.5)


@pytest.mark.parametrize("lost", [None, float("nan"), float("inf")])
def test_a_run_that_diverged_counts_as_what_is_said(lost):
    assert paired([1, 2], [lost, 1], diverged=0).differences.tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"other: 1 of 2 runs diverged; pass diverged="):
        paired([1, 2], [lost, 1])


def test_arms_of_different_length_do_not_pair():
    with pytest.raises(ValueError, match=r"each of the 3 seeds of arm, got 2; pass the runs"):
        paired([1, 2, 3], [1, 2])


def test_one_pair_has_no_error():
    with pytest.raises(ValueError, match=r"two or more finite numbers, got .*; run more seeds"):
        paired([1], [0])


FACTORS = {"a": ("no", "yes"), "b": (0, 1), "c": (False, True)}
EFFECTS = {("a",): 3.0, ("b",): -1.0, ("a", "b"): 0.5, ("a", "b", "c"): 4.0}


def crossed(seeds=4):
    """Scores made of known effects: contrasts of centered levels, times their sizes."""
    for seed, *levels in product(range(seeds), *FACTORS.values()):
        at = dict(zip(FACTORS, levels, strict=True))
        centered = {name: FACTORS[name].index(level) - 0.5 for name, level in at.items()}
        parts = (size * np.prod([centered[n] for n in names]) for names, size in EFFECTS.items())
        yield {**at, "seed": seed, "score": 7.0 * seed + sum(parts)}


def test_effects_are_those_the_scores_were_made_of():
    found = effects(crossed(), FACTORS, "score")
    assert list(found) == [
        *(("a",), ("b",), ("c",)),
        *(("a", "b"), ("a", "c"), ("b", "c")),
        ("a", "b", "c"),
    ]
    for names, effect in found.items():
        np.testing.assert_allclose(effect.differences, EFFECTS.get(names, 0), atol=1e-12)


def test_the_order_of_rows_does_not_matter():
    rows = list(crossed())
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    for names, effect in effects(rows, FACTORS, "score").items():
        other = effects(shuffled, FACTORS, "score")[names]
        np.testing.assert_array_equal(effect.differences, other.differences)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1:], "1 of these missing, 0 others"),
        (lambda rows: [*rows, rows[0]], "got 33 rows for 32 combinations"),
        (lambda rows: [{**rows[0], "a": "perhaps"}, *rows[1:]], "1 of these missing, 1 others"),
    ],
)
def test_an_incomplete_crossing_is_refused(change, message):
    with pytest.raises(ValueError, match=rf"{message}.*; run what is missing"):
        effects(change(list(crossed())), FACTORS, "score")


def test_a_diverged_run_of_a_crossing_counts_as_what_is_said():
    rows = list(crossed())
    rows[0]["score"] = None
    with pytest.raises(ValueError, match="1 of 32 runs diverged"):
        effects(rows, FACTORS, "score")
    assert effects(rows, FACTORS, "score", diverged=0.0)[("a",)].n == 4
