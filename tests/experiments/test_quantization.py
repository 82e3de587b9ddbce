"""Products rounded to few bits: what is exact, and what each scale is shared by."""

import numpy as np
import pytest

from lnlib.experiments.quantization import product_error, rounded

RNG = np.random.default_rng(0)
X, WEIGHT = RNG.normal(size=(32, 16)), RNG.normal(size=(8, 16))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_values_are_whole_steps_and_the_largest_stays(bits):
    found = rounded(X, bits=bits)
    step = np.abs(X).max() / (2 ** (bits - 1) - 1)
    assert np.abs(found / step - np.round(found / step)).max() < 1e-9
    assert np.abs(found).max() == pytest.approx(np.abs(X).max())
    assert np.abs(found - X).max() <= step / 2 + 1e-12


def test_each_row_has_its_own_step():
    assert (rounded(X, axis=1)[3] == rounded(X[3:4])).all()


def test_no_bits_are_refused():
    with pytest.raises(ValueError, match="bits must be at least 2"):
        rounded(X, bits=1)


def test_many_bits_leave_no_error_wherever_the_gain_is():
    gain = np.exp(RNG.normal(size=16))
    for kept in (0, 0.5, 1):
        assert product_error(X, WEIGHT, gain, kept, (1, 1), bits=30) < 1e-7


def test_a_common_gain_may_stand_anywhere():
    errors = [product_error(X, WEIGHT, np.full(16, 5.0), kept) for kept in (0, 0.5, 1)]
    assert np.ptp(errors) < 1e-12


def test_an_outlier_hurts_most_where_it_is_left():
    x, weight = RNG.normal(size=(256, 128)), RNG.normal(size=(64, 128))
    gain = np.ones(128)
    plain = product_error(x, weight, gain, 1)
    gain[3] = 30
    for kept in (0, 1):
        assert product_error(x, weight, gain, kept) > 2 * plain
    assert product_error(x, weight, gain, 0.5) < 0.5 * product_error(x, weight, gain, 1)
