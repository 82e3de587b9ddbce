"""What holds for every input: invariances, identities of the Jacobian, methods that coincide.

Inputs are integers times a power of two, so that shifting and scaling them rounds nothing; then
only the computation under test rounds. A tolerance is `ROUNDINGS` times the dtype's eps times the
size of the terms that enter the compared value.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lnlib import reference

ROUNDINGS = 32

examples = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)


class Method(NamedTuple):
    """A method on `(batch, channels, positions)`, as a function of the input and eps alone."""

    name: str
    groups: Callable[[np.ndarray], np.ndarray]
    """One row for each mean."""
    arguments: Callable[[np.ndarray], tuple[Any, ...]]
    options: dict[str, Any]

    def forward(self, x, eps):
        function = getattr(reference, f"{self.name}_forward")
        return function(x, *self.arguments(x), eps=eps, **self.options)

    def __call__(self, x, eps):
        """The normalized values, one row for each mean."""
        return self.groups(self.forward(x, eps)[0])

    def gradient(self, x, eps, g):
        """Jacobian times g, one row for each mean."""
        backward = getattr(reference, f"{self.name}_backward")
        return self.groups(backward(g, self.forward(x, eps)[1])[0])


def by_example(x):
    return x.reshape(len(x), -1)


LAYER = Method("layer_norm", by_example, lambda x: (x.shape[1:],), {})
OUTSIDE = LAYER._replace(options={"eps_mode": "outside"})
RMS = Method("rms_norm", by_example, lambda x: (x.shape[1:],), {})
GROUP = Method("group_norm", lambda x: x.reshape(2 * len(x), -1), lambda x: (2,), {})
INSTANCE = Method("instance_norm", lambda x: x.reshape(-1, x.shape[2]), lambda x: (), {})
BATCH = Method(
    "batch_norm",
    lambda x: x.swapaxes(0, 1).reshape(x.shape[1], -1),
    lambda x: (None, None),
    {"training": True},
)
CENTRED = [LAYER, OUTSIDE, GROUP, INSTANCE, BATCH]
ALL = [*CENTRED, RMS]


def name_of(method):
    return "-".join([method.name, *map(str, method.options.values())])


of_centred = pytest.mark.parametrize("method", CENTRED, ids=name_of)
of_all = pytest.mark.parametrize("method", ALL, ids=name_of)

dtypes = st.sampled_from([np.float64, np.float32])
shapes = st.tuples(st.integers(1, 3), st.sampled_from([2, 4]), st.integers(2, 5))
positive_eps = st.sampled_from([1e-5, 0.3, 4.0])
EXPONENTS = st.integers(-12, 12)


@st.composite
def inputs(draw, arrays=1, exponents=EXPONENTS):
    """Arrays of one shape and dtype."""
    dtype, shape = draw(dtypes), draw(shapes)
    found = []
    for _ in range(arrays):
        integers = draw(hnp.arrays(np.int64, shape, elements=st.integers(-1000, 1000)))
        found.append(np.ldexp(integers.astype(dtype), draw(exponents)))
    return found[0] if arrays == 1 else found


def statistics(method, x, eps):
    """Centred values (RMS: the values), variance and r, in float64, one row for each mean."""
    c = method.groups(x).astype(np.float64)
    if method is not RMS:
        c = c - c.mean(1, keepdims=True)
    var = np.square(c).mean(1, keepdims=True)
    return c, var, 1 / (np.sqrt(var) + eps) if method is OUTSIDE else 1 / np.sqrt(var + eps)


def assert_close(got, want, terms):
    """Rows agree up to the rounding of their `terms`."""
    got, want = np.asarray(got), np.asarray(want)
    dtype = np.result_type(got.dtype)
    bound = ROUNDINGS * np.finfo(dtype).eps * np.abs(terms)
    error = np.abs(got.astype(np.float64) - want)
    assert np.all(error <= bound), f"{np.max(error - bound)} above the bound"


def largest(x):
    """Of each row, at least 1."""
    return np.abs(x).max(1, keepdims=True, initial=1)


# --- invariances ----------------------------------------------------------------------------------


@of_centred
@examples
@given(inputs(exponents=st.just(0)), positive_eps, st.integers(-(2**20), 2**20))
def test_shift_changes_nothing(method, x, eps, shift):
    y = method(x, eps)
    assert_close(method(x + x.dtype.type(shift), eps), y, largest(y))


@of_all
@examples
@given(inputs(), positive_eps, st.integers(-8, 8), st.sampled_from([-1, 1]))
def test_scale_is_that_of_eps(method, x, eps, exponent, sign):
    """f(a x; a² eps) = ±f(x; eps) with the sign of a; a power of two rounds nothing."""
    a = 2.0**exponent
    scaled_eps = eps * a if method is OUTSIDE else eps * a * a
    y = method(sign * x.dtype.type(a) * x, scaled_eps)
    np.testing.assert_array_equal(y, sign * method(x, eps))


@of_all
@examples
@given(inputs(), st.floats(0.01, 100))
def test_positive_scale_changes_nothing_without_eps(method, x, a):
    """Rounding a x moves a value by up to half an ulp: by eps max|x| r after normalization."""
    _, var, _ = statistics(method, x, 1)
    assume(np.all(var > 0))
    condition = largest(method.groups(x) / np.sqrt(var))
    y = method(x, 0.0)
    assert_close(method(x.dtype.type(a) * x, 0.0), y, condition * largest(y))


@of_all
@examples
@given(inputs(), positive_eps, st.randoms(use_true_random=False))
def test_permuted_values_are_normalized_alike(method, x, eps, random):
    """Along the positions, which every method averages over."""
    order = random.sample(range(x.shape[2]), x.shape[2])
    y = method(x, eps)
    want = method.groups(method.forward(x, eps)[0][:, :, order])
    assert_close(method(x[:, :, order], eps), want, largest(y))


@pytest.mark.parametrize("method", [m for m in ALL if m is not BATCH], ids=name_of)
@examples
@given(inputs(), positive_eps)
def test_examples_do_not_see_each_other(method, x, eps):
    alone = np.concatenate([method.forward(example[None], eps)[0] for example in x])
    y = method(x, eps)
    assert_close(method.groups(alone), y, largest(y))


# --- the normalized values ------------------------------------------------------------------------


@of_all
@examples
@given(inputs(), positive_eps)
def test_moments_of_the_normalized_values(method, x, eps):
    """Mean 0 and mean square σ² r² < 1."""
    y = method(x, eps)
    _, var, r = statistics(method, x, eps)
    if method is not RMS:
        assert_close(y.mean(1, keepdims=True), np.zeros_like(r), largest(y))
    assert_close(np.square(y).mean(1, keepdims=True), var * r * r, largest(y) ** 2)


@of_all
@examples
@given(inputs(), positive_eps)
def test_normalized_values_are_bounded(method, x, eps):
    """By √(m − 1) for m centred values, by √m without centring."""
    y = method(x, eps)
    bound = np.sqrt(y.shape[1] - (method is not RMS))
    assert np.all(np.abs(y) <= bound * (1 + ROUNDINGS * np.finfo(x.dtype).eps))


@of_all
@examples
@given(inputs(), st.sampled_from([0.0, 1e-5, 0.3, 4.0]))
def test_a_second_pass_only_divides_by_the_scale_left(method, x, eps):
    """f(f(x)) = r' f(x), with r' = 1 for eps = 0: there, and only there, f is idempotent."""
    _, var, r = statistics(method, x, max(eps, 1e-300))
    assume(eps > 0 or np.all(var > 0))
    left = np.sqrt(var) * r
    again = 1 / (left + eps) if method is OUTSIDE else 1 / np.sqrt(left**2 + eps)
    once = method.forward(x, eps)[0]
    terms = largest(method.groups(once)) * np.maximum(again, 1)
    assert_close(method(once, eps), method.groups(once) * again, terms)


# --- the Jacobian ---------------------------------------------------------------------------------


def damping(method, var, r, eps):
    """Eigenvalue of the Jacobian at x_hat; it vanishes with eps."""
    return eps * r**2 if method is OUTSIDE else eps * r**3


def gradient_terms(method, g, y, r):
    """Size of the terms that make up a value of dx: r (1 + x̂²) |g|, summed over a row."""
    return r * largest(y) ** 2 * np.abs(method.groups(g)).sum(1, keepdims=True)


@of_centred
@examples
@given(inputs(2), positive_eps)
def test_gradient_sums_to_zero(method, pair, eps):
    x, g = pair
    dx, (_, _, r) = method.gradient(x, eps, g), statistics(method, x, eps)
    terms = gradient_terms(method, g, method(x, eps), r)
    assert_close(dx.sum(1, keepdims=True), np.zeros_like(r), terms)


@of_all
@examples
@given(inputs(2), positive_eps)
def test_gradient_along_the_normalized_values_is_damped_by_eps(method, pair, eps):
    """⟨dx, x̂⟩ = ε r³ ⟨g, x̂⟩ with ε inside the root, ε r² ⟨g, x̂⟩ outside."""
    x, g = pair
    c, var, r = statistics(method, x, eps)
    dx, x_hat = method.gradient(x, eps, g), c * r
    want = damping(method, var, r, eps) * (method.groups(g) * x_hat).sum(1, keepdims=True)
    terms = gradient_terms(method, g, x_hat, r) * largest(x_hat)
    got = (dx * x_hat).sum(1, keepdims=True).astype(x.dtype)
    assert_close(got, want, terms)


@of_all
@examples
@given(inputs(2), positive_eps)
def test_gradient_is_bounded_by_r(method, pair, eps):
    """‖dx‖ ≤ r ‖g‖: the eigenvalues of the Jacobian are 0, r and one between them."""
    x, g = pair
    _, _, r = statistics(method, x, eps)
    size = np.linalg.norm(method.gradient(x, eps, g).astype(np.float64), axis=1, keepdims=True)
    bound = r * np.linalg.norm(method.groups(g).astype(np.float64), axis=1, keepdims=True)
    terms = gradient_terms(method, g, method(x, eps), r)
    assert np.all(size <= bound + ROUNDINGS * np.finfo(x.dtype).eps * terms)


@of_all
@examples
@given(inputs(3), positive_eps)
def test_jacobian_is_symmetric(method, triple, eps):
    """⟨J g, h⟩ = ⟨g, J h⟩."""
    x, g, h = triple
    _, _, r = statistics(method, x, eps)
    left = (method.gradient(x, eps, g) * method.groups(h)).sum(1, keepdims=True)
    right = (method.groups(g) * method.gradient(x, eps, h)).sum(1, keepdims=True)
    size_of_h = np.abs(method.groups(h)).sum(1, keepdims=True)
    terms = gradient_terms(method, g, method(x, eps), r) * size_of_h
    assert_close(left, right, terms)


# --- methods that coincide ------------------------------------------------------------------------


def assert_same(got, want):
    assert got.dtype == want.dtype
    assert_close(got, want, np.abs(want).max(initial=1))


@examples
@given(inputs(2), positive_eps)
def test_group_norm_with_a_group_for_each_channel_is_instance_norm(pair, eps):
    x, parameters = pair
    weight, bias = parameters[0, :, :2].T
    want = reference.instance_norm(x, weight=weight, bias=bias, eps=eps)
    np.testing.assert_array_equal(reference.group_norm(x, x.shape[1], weight, bias, eps), want)


@examples
@given(inputs(2), positive_eps)
def test_group_norm_with_one_group_is_layer_norm_over_channels_and_positions(pair, eps):
    """With parameters for each channel, that layer norm would repeat at each position."""
    x, parameters = pair
    weight, bias = parameters[0, :, :2].T
    repeated = [np.broadcast_to(p[:, None], x.shape[1:]) for p in (weight, bias)]
    want = reference.layer_norm(x, x.shape[1:], *repeated, eps)
    np.testing.assert_array_equal(reference.group_norm(x, 1, weight, bias, eps), want)


@examples
@given(inputs(), positive_eps)
def test_layer_norm_is_batch_norm_of_the_transpose(x, eps):
    rows = by_example(x)
    y = reference.batch_norm(rows.T, None, None, training=True, eps=eps).T
    assert_same(y, reference.layer_norm(rows, rows.shape[1], eps=eps))


@examples
@given(inputs(), positive_eps)
def test_instance_norm_is_batch_norm_of_one_example_at_a_time(x, eps):
    each = [reference.batch_norm(e[None], None, None, training=True, eps=eps) for e in x]
    assert_same(np.concatenate(each), reference.instance_norm(x, eps=eps))


@examples
@given(inputs(), positive_eps)
def test_layer_norm_is_rms_norm_of_centred_values(x, eps):
    rows = by_example(x).astype(np.float64)
    centred = rows - rows.mean(1, keepdims=True)
    centred -= centred.mean(1, keepdims=True)
    y = reference.rms_norm(centred, rows.shape[1], eps=eps)
    assert_same(y, reference.layer_norm(rows, rows.shape[1], eps=eps))
