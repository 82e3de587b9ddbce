"""Wrong arguments: the message names the argument, what it got, what it expected, and the fix.

A row of a table is a call as text, its error, and the parts that the message must hold. In a call,
`n` is the library and `a` makes an array of a shape. What rows share has a name above their table.
"""

import inspect
from math import inf, nan

import numpy as np
import pytest
import torch

import lnlib
import lnlib.reference.variants
import lnlib.variants
from lnlib import functional, kernels, reference


def array(*shape, dtype="float32"):
    return np.ones(shape, dtype)


def tensor(*shape, dtype="float32"):
    return torch.ones(shape, dtype=getattr(torch, dtype))


REFERENCE = {"n": reference, "a": array}
FUNCTIONAL = {"n": functional, "a": tensor}
MODULES = {"n": lnlib, "a": tensor}

both = pytest.mark.parametrize("names", [REFERENCE, FUNCTIONAL], ids=["reference", "functional"])


def each_row(*tables):
    rows = [row for table in tables for row in table]
    return pytest.mark.parametrize("row", rows, ids=[row[0] for row in rows])


def of_each(arguments, *calls):
    """Put the argument of each row in for `{}` in each call."""
    return [(call.format(argument), *held) for call in calls for argument, *held in arguments]


def check(names, call, error, *parts):
    with pytest.raises(error) as caught:
        eval(call, {"np": np, "torch": torch, "nan": nan, "inf": inf, **names})
    assert caught.type is error
    message = str(caught.value)
    assert [part for part in parts if part not in message] == [], message
    assert message.partition("; ")[2], f"no fix named: {message}"


# --- the functions of both libraries ------------------------------------------------------------

# axes of the input
FLAT = ValueError, "input must have (batch, channels, ...), got shape (4,)", "add the missing axes"
FEWER = ValueError, "got shape (4,)", "add the missing axes"
AXES = [
    ("n.group_norm(a(4), 2)", *FLAT),
    ("n.instance_norm(a(4))", *FLAT),
    ("n.batch_norm(a(4), None, None, training=True)", *FLAT),
    ("n.layer_norm(a(4), (2, 4))", *FEWER, "input must have at least 2 axes"),
    ("n.layer_norm(a(4), (1, 1, 4))", *FEWER, "input must have at least 3 axes"),
]

# normalized_shape is the end of the input's shape
END = ValueError, "must equal the trailing sizes of the input", "got input of shape (2, 3, 4)"
TRAILING = [
    ("2", *END, "normalized_shape (2,) must", "pass normalized_shape=(4,)"),
    ("(3,)", *END, "normalized_shape (3,) must", "pass normalized_shape=(4,)"),
    ("(2, 3)", *END, "normalized_shape (2, 3) must", "pass normalized_shape=(3, 4)"),
    ("(4, 3)", *END, "normalized_shape (4, 3) must", "pass normalized_shape=(3, 4)"),
    ("(3, 4, 4)", *END, "normalized_shape (3, 4, 4) must", "pass normalized_shape=(2, 3, 4)"),
]
WITH_TRAILING = of_each(TRAILING, "n.layer_norm(a(2, 3, 4), {})", "n.rms_norm(a(2, 3, 4), {})")

# normalized_shape holds sizes
EMPTY = ValueError, "normalized_shape must name at least one trailing axis", "pass input.shape[-1:]"
NEGATIVE = ValueError, "normalized_shape holds sizes and must be >= 0", "pass input.shape[-1:]"
INTS = TypeError, "normalized_shape must be an int or a sequence of ints", "pass input.shape[-1:]"
SIZES = [
    ("()", *EMPTY, "got an empty sequence"),
    ("[]", *EMPTY, "got an empty sequence"),
    ("-1", *NEGATIVE, "got (-1,)"),
    ("(-1,)", *NEGATIVE, "got (-1,)"),
    ("(3, -1)", *NEGATIVE, "got (3, -1)"),
    ("3.0", *INTS, "got 3.0"),
    ("'3'", *INTS, "got '3'"),
    ("None", *INTS, "got None"),
    ("(3.0,)", *INTS, "got (3.0,)"),
    ("{3}", *INTS, "got {3}"),
]
WITH_SIZES = of_each(SIZES, "n.layer_norm(a(2, 3), {})", "n.rms_norm(a(2, 3), {})")

# running statistics: both or neither, and both where they are used
PAIR = ValueError, "pass both or neither"
NEEDED = "running_mean and running_var are needed when"
TRAINING = ValueError, f"{NEEDED} training=False, got None", "or set training=True"
USED = ValueError, f"{NEEDED} use_input_stats=False, got None", "or set use_input_stats=True"
RUNNING = [
    ("n.instance_norm(a(2, 4, 4), None, a(4))", *PAIR, "running_mean is None"),
    ("n.instance_norm(a(2, 4, 4), a(4), None)", *PAIR, "running_var is None"),
    ("n.batch_norm(a(2, 4, 4), None, a(4), training=True)", *PAIR, "running_mean is None"),
    ("n.batch_norm(a(2, 4, 4), a(4), None, training=True)", *PAIR, "running_var is None"),
    ("n.batch_norm(a(2, 4, 4), None, None, training=False)", *TRAINING),
    ("n.instance_norm(a(2, 4, 4), use_input_stats=False)", *USED),
]

# num_groups divides the channels
DIVISOR = ValueError, "choose a divisor of 4"
POSITIVE = ValueError, "num_groups must be >= 1", "1 normalizes all channels"
INT = TypeError, "num_groups must be an int", "pass a divisor of 4"
GROUPS = [
    ("3", *DIVISOR, "the number of channels (4) must be divisible by num_groups (3)"),
    ("5", *DIVISOR, "the number of channels (4) must be divisible by num_groups (5)"),
    ("8", *DIVISOR, "the number of channels (4) must be divisible by num_groups (8)"),
    ("0", *POSITIVE, "got 0"),
    ("-1", *POSITIVE, "got -1"),
    ("2.0", *INT, "got 2.0"),
    ("'2'", *INT, "got '2'"),
    ("None", *INT, "got None"),
    ("True", *INT, "got True"),
]
WITH_GROUPS = of_each(GROUPS, "n.group_norm(a(2, 4), {})")

# statistics are of more than one value
BATCH = ValueError, "batch_norm needs more than one value per channel", "training=False"
SAMPLE = ValueError, "instance_norm needs more than one value per channel", "use_input_stats=False"
ONE_IN_BATCH = [
    ("a(1, 4)", *BATCH, "got input of shape (1, 4);"),
    ("a(1, 4, 1)", *BATCH, "got input of shape (1, 4, 1);"),
    ("a(1, 4, 1, 1)", *BATCH, "got input of shape (1, 4, 1, 1);"),
]
ONE_VALUE = [
    *of_each(ONE_IN_BATCH, "n.batch_norm({}, None, None, training=True)"),
    ("n.instance_norm(a(2, 4))", *SAMPLE, "got input of shape (2, 4);"),
    ("n.instance_norm(a(2, 4, 1))", *SAMPLE, "got input of shape (2, 4, 1);"),
    ("n.instance_norm(a(1, 4, 1, 1))", *SAMPLE, "got input of shape (1, 4, 1, 1);"),
]

# dtype of the input
FLOAT = TypeError, "input must be real floating point, got", "convert it first"
DTYPE = [
    ("int64", *FLOAT, "int64"),
    ("bool", *FLOAT, "bool"),
    ("complex64", *FLOAT, "complex64"),
]
WITH_DTYPE = of_each(
    DTYPE,
    "n.layer_norm(a(2, 4, 3, dtype='{}'), 3)",
    "n.rms_norm(a(2, 4, 3, dtype='{}'), 3)",
    "n.group_norm(a(2, 4, 3, dtype='{}'), 2)",
    "n.instance_norm(a(2, 4, 3, dtype='{}'))",
    "n.batch_norm(a(2, 4, 3, dtype='{}'), None, None, training=True)",
)

# eps
FINITE = ValueError, "eps must be finite and >= 0", "pass a value such as 1e-5"
NUMBER = TypeError, "eps must be a real number", "pass a float such as 1e-5"
EPS = [
    ("eps=-1e-05", *FINITE, "got -1e-05"),
    ("eps=-inf", *FINITE, "got -inf"),
    ("eps=inf", *FINITE, "got inf"),
    ("eps=nan", *FINITE, "got nan"),
    ("eps='1e-5'", *NUMBER, "got '1e-5'"),
    ("eps=True", *NUMBER, "got True"),
    ("eps=1e-05j", *NUMBER, "got 1e-05j"),
    ("eps=(1e-05,)", *NUMBER, "got (1e-05,)"),
]
WITH_EPS = of_each(
    EPS,
    "n.layer_norm(a(2, 4, 4), 4, {})",
    "n.rms_norm(a(2, 4, 4), 4, {})",
    "n.group_norm(a(2, 4, 4), 2, {})",
    "n.instance_norm(a(2, 4, 4), {})",
    "n.batch_norm(a(2, 4, 4), None, None, training=True, {})",
    "n.batch_norm(a(2, 4), a(4), a(4), {})",
)

# momentum: the weight of the new statistics
WEIGHT = ValueError, "momentum is the weight of the new", "must be in [0, 1]", "mean 1 - momentum"
REAL = TypeError, "momentum must be a real number", "pass one such as 0.1"
MOMENTUM = [
    ("momentum=-0.1", *WEIGHT, "got -0.1"),
    ("momentum=1.1", *WEIGHT, "got 1.1"),
    ("momentum=nan", *WEIGHT, "got nan"),
    ("momentum=inf", *WEIGHT, "got inf"),
    ("momentum='0.1'", *REAL, "got '0.1'"),
    ("momentum=True", *REAL, "got True"),
    ("momentum=0.1j", *REAL, "got 0.1j"),
]
COUNTER = ("momentum=None", ValueError, "momentum=None averages", "or a momentum such as 0.1")
WITH_MOMENTUM = of_each(
    [*MOMENTUM, COUNTER],
    "n.instance_norm(a(2, 4, 4), a(4), a(4), {})",
    "n.batch_norm(a(2, 4, 4), a(4), a(4), training=True, {})",
)


# types of what else is given
def _float(name):
    return TypeError, f"{name} must be real floating point", "convert it first"


def _bool(name):
    return TypeError, f"{name} must be a bool, got 'no'", "pass True or False"


TRACKED = TypeError, "num_batches_tracked must be of type", "lnlib.reference takes arrays"
RUNNING_PAIR = "a(4, dtype='int64'), a(4, dtype='int64')"
TYPES = [
    *of_each(
        [
            ("a(4, dtype='int64')", *_float("weight")),
            ("a(4, dtype='complex64')", *_float("weight")),
        ],
        "n.layer_norm(a(2, 4), 4, {})",
        "n.rms_norm(a(2, 4), 4, {})",
        "n.group_norm(a(2, 4), 2, {})",
        "n.batch_norm(a(2, 4), None, None, {}, training=True)",
    ),
    ("n.layer_norm(a(2, 4), 4, bias=a(4, dtype='bool'))", *_float("bias")),
    (f"n.batch_norm(a(2, 4), {RUNNING_PAIR}, training=True)", *_float("running_mean")),
    (f"n.instance_norm(a(2, 4, 4), {RUNNING_PAIR})", *_float("running_mean")),
    ("n.batch_norm(a(2, 4), a(4), a(4), training='no')", *_bool("training")),
    ("n.batch_norm(a(2, 4), a(4), a(4), training=True, unbiased='no')", *_bool("unbiased")),
    ("n.instance_norm(a(2, 4, 4), use_input_stats='no')", *_bool("use_input_stats")),
    *of_each(
        [("3", *TRACKED, "got int"), ("'x'", *TRACKED, "got str")],
        "n.batch_norm(a(2, 4), a(4), a(4), training=True, num_batches_tracked={})",
        "n.batch_norm(a(2, 4), a(4), a(4), training=True, momentum=None, num_batches_tracked={})",
    ),
]


@both
@each_row(
    *(AXES, WITH_TRAILING, WITH_SIZES, RUNNING, WITH_GROUPS, ONE_VALUE),
    *(WITH_DTYPE, WITH_EPS, WITH_MOMENTUM, TYPES),
)
def test_both_libraries_explain(names, row):
    check(names, *row)


@both
@pytest.mark.parametrize("shape", [(3,), (1,), (4, 1), (1, 4), ()], ids=str)
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("weight", "n.layer_norm(a(2, 4, 4), 4, weight=a{})"),
        ("bias", "n.layer_norm(a(2, 4, 4), 4, bias=a{})"),
        ("weight", "n.rms_norm(a(2, 4, 4), 4, weight=a{})"),
        ("weight", "n.group_norm(a(2, 4, 4), 2, weight=a{})"),
        ("bias", "n.group_norm(a(2, 4, 4), 2, bias=a{})"),
        ("weight", "n.instance_norm(a(2, 4, 4), weight=a{})"),
        ("bias", "n.instance_norm(a(2, 4, 4), bias=a{})"),
        ("running_mean", "n.instance_norm(a(2, 4, 4), a{}, a(4))"),
        ("running_var", "n.instance_norm(a(2, 4, 4), a(4), a{})"),
        ("weight", "n.batch_norm(a(2, 4, 4), None, None, weight=a{}, training=True)"),
        ("bias", "n.batch_norm(a(2, 4, 4), None, None, bias=a{}, training=True)"),
        ("running_mean", "n.batch_norm(a(2, 4, 4), a{}, a(4), training=True)"),
        ("running_var", "n.batch_norm(a(2, 4, 4), a(4), a{}, training=True)"),
    ],
)
def test_shape_of_parameters(names, name, call, shape):
    parts = f"{name} must have shape (4,), got {shape}", "reshape or re-create it"
    check(names, call.format(shape), ValueError, *parts)


@both
@pytest.mark.parametrize("argument", ["momentum=2", "momentum=None", "eps=-1"])
def test_a_rejected_batch_changes_no_running_statistic(names, argument):
    running = {"mean": names["a"](4), "var": names["a"](4)}
    call = f"n.batch_norm(a(2, 4) + a(4), mean, var, training=True, {argument})"
    check({**names, **running}, call, ValueError, argument.partition("=")[0])
    assert running["mean"].tolist() == running["var"].tolist() == [1] * 4


# --- one library's functions --------------------------------------------------------------------

# arrays of another library
KIND = TypeError, "lnlib.reference takes arrays"
TENSORS = [
    ("n.layer_norm(torch.ones(4), 4)", *KIND, "input must be of type", "got Tensor"),
    ("n.layer_norm(a(2, 4), 4, torch.ones(4))", *KIND, "weight must be of type", "got Tensor"),
    ("n.layer_norm(a(2, 4), 4, bias=torch.ones(4))", *KIND, "bias must be of type", "got Tensor"),
]
ARRAYS = [
    ("n.layer_norm(np.ones(4), 4)", *KIND, "input must be of type", "got ndarray"),
    ("n.layer_norm(a(2, 4), 4, np.ones(4))", *KIND, "weight must be of type", "got ndarray"),
    ("n.layer_norm(a(2, 4), 4, bias=np.ones(4))", *KIND, "bias must be of type", "got ndarray"),
    ("n.layer_norm([[1.0] * 4] * 2, 4)", *KIND, "input must be of type", "got list"),
    ("n.layer_norm(a(2, 4), 4, [[1.0] * 4] * 2)", *KIND, "weight must be of type", "got list"),
    ("n.layer_norm(a(2, 4), 4, bias=[[1.0] * 4] * 2)", *KIND, "bias must be of type", "got list"),
]

# gradients
DY = ValueError, "dy must have shape (2, 4, 4)"
GRADIENT = [
    ("(4,)", *DY, "got (4,)"),
    ("(2, 4, 1)", *DY, "got (2, 4, 1)"),
    ("(4, 2, 4)", *DY, "got (4, 2, 4)"),
]
WITH_GRADIENT = of_each(
    GRADIENT,
    "n.layer_norm_backward(a{}, n.layer_norm_forward(a(2, 4, 4), 4)[1])",
    "n.rms_norm_backward(a{}, n.rms_norm_forward(a(2, 4, 4), 4)[1])",
    "n.group_norm_backward(a{}, n.group_norm_forward(a(2, 4, 4), 2)[1])",
    "n.instance_norm_backward(a{}, n.instance_norm_forward(a(2, 4, 4))[1])",
    "n.batch_norm_backward(a{}, n.batch_norm_forward(a(2, 4, 4), None, None, training=True)[1])",
)

# eps inside or outside the root
MODE = ValueError, 'eps_mode must be "inside" or "outside"'
EPS_MODE = [
    ("n.layer_norm(a(2, 4), 4, eps_mode='between')", *MODE, "got 'between'"),
    ("n.layer_norm(a(2, 4), 4, eps_mode='Inside')", *MODE, "got 'Inside'"),
    ("n.layer_norm(a(2, 4), 4, eps_mode=None)", *MODE, "got None"),
]


# what a backward function is given
DY_TYPE = TypeError, "dy must be of type ndarray, got str", "takes arrays"
CACHE = TypeError, "cache must be what the method's forward function kept", "second of the two"
BACKWARD = [
    *of_each(
        [(m, *CACHE, "got str") for m in ("layer", "rms", "group", "instance", "batch")],
        "n.{}_norm_backward(a(2, 4), 'x')",
    ),
    ("n.layer_norm_backward(a(2, 4), (1, 2, 3, 4, 5, 6, 7))", *CACHE, "got tuple"),
    ("n.layer_norm_backward('x', n.layer_norm_forward(a(2, 4), 4)[1])", *DY_TYPE),
]

# the variants: each argument in turn is no array, or no number
VARIANTS = {
    "scale_norm": ("a(2, 4)", "1.0"),
    "partial_rms_norm": ("a(2, 4)", "a(4)", "2"),
    "detach_norm": ("a(2, 4)", "a(4)", "a(4)"),
    "ada_norm": ("a(2, 4)", "1.0", "0.1"),
    "dynamic_tanh": ("a(2, 4)", "0.5", "a(4)", "a(4)"),
    "dynamic_erf": ("a(2, 4)", "0.5", "0.0", "a(4)", "a(4)"),
    "layer_scale": ("a(2, 4)", "a(4)"),
    "conditional_layer_norm": ("a(2, 3, 4)", "a(2, 4)", "a(2, 4)"),
    "weight_norm": ("a(2, 4)", "a(2)"),
}
VARIANT_TYPES = [
    (f"n.variants.{name}_forward({', '.join([*given[:i], repr('x'), *given[i + 1 :]])})",
     TypeError, f"{argument} must be")
    for name, given in VARIANTS.items()
    for i, argument in enumerate(
        list(inspect.signature(getattr(reference.variants, f"{name}_forward")).parameters)[
            : len(given)
        ]
    )
] + [
    row
    for name, given in VARIANTS.items()
    for row in (
        (f"n.variants.{name}_backward(a(2, 4), 'x')", *CACHE),
        (f"n.variants.{name}_backward('x', n.variants.{name}_forward({', '.join(given)})[1])",
         *DY_TYPE),
    )
]  # fmt: skip


@each_row(TENSORS, WITH_GRADIENT, EPS_MODE, BACKWARD, VARIANT_TYPES)
def test_reference_explains(row):
    check(REFERENCE, *row)


@each_row(ARRAYS)
def test_functional_explains(row):
    check(FUNCTIONAL, *row)


# --- modules ------------------------------------------------------------------------------------

# making one
MAKE_WITH_SIZES = of_each(SIZES, "n.LayerNorm({})", "n.RMSNorm({})")
MAKE_WITH_GROUPS = of_each(GROUPS, "n.GroupNorm({}, 4)")
MAKE_WITH_EPS = [
    *of_each(EPS, "n.LayerNorm(4, {})", "n.RMSNorm(4, {})", "n.GroupNorm(2, 4, {})"),
    *of_each(EPS, "n.BatchNorm1d(4, {})", "n.BatchNorm2d(4, {})", "n.BatchNorm3d(4, {})"),
    *of_each(EPS, "n.InstanceNorm1d(4, {})", "n.InstanceNorm2d(4, {})", "n.InstanceNorm3d(4, {})"),
]
MAKE_WITH_MOMENTUM = of_each(MOMENTUM, "n.BatchNorm1d(3, {})", "n.InstanceNorm2d(3, {})")

# calling one with another dtype or size, or one value per channel
LAYER = ValueError, "normalized_shape (4,) must equal the trailing sizes of the input"
GROUP_CHANNELS = ValueError, "GroupNorm was made for 4 channels"
BATCH_CHANNELS = ValueError, "BatchNorm1d was made for 3 channels"
NO_TENSOR = TypeError, "input must be of type Tensor", "lnlib.reference takes arrays"
CALL = [
    ("n.GroupNorm(2, 4)([[1.0] * 4])", *NO_TENSOR, "got list"),
    ("n.BatchNorm1d(4)([[1.0] * 4])", *NO_TENSOR, "got list"),
    ("n.InstanceNorm1d(3)(np.ones((2, 3, 4)))", *NO_TENSOR, "got ndarray"),
    ("n.LayerNorm(3)(a(2, 3, dtype='int64'))", *FLOAT, "got torch.int64"),
    ("n.LayerNorm(3)(a(2, 3, dtype='bool'))", *FLOAT, "got torch.bool"),
    ("n.LayerNorm(3)(a(2, 3, dtype='complex64'))", *FLOAT, "got torch.complex64"),
    ("n.LayerNorm(4)(a(2, 3))", *LAYER, "got input of shape (2, 3)"),
    ("n.LayerNorm(4)(a(4, 2))", *LAYER, "got input of shape (4, 2)"),
    ("n.GroupNorm(2, 4)(a(2, 6))", *GROUP_CHANNELS, "got input of shape (2, 6)"),
    ("n.GroupNorm(2, 4)(a(2, 2, 4))", *GROUP_CHANNELS, "got input of shape (2, 2, 4)"),
    ("n.BatchNorm1d(3)(a(2, 4))", *BATCH_CHANNELS, "got input of shape (2, 4)"),
    ("n.BatchNorm1d(3)(a(5, 4, 3))", *BATCH_CHANNELS, "got input of shape (5, 4, 3)"),
    ("n.BatchNorm1d(3)(a(1, 3))", *BATCH, "got input of shape (1, 3);"),
    ("n.BatchNorm1d(3)(a(1, 3, 1))", *BATCH, "got input of shape (1, 3, 1);"),
    ("n.InstanceNorm1d(3)(a(2, 3, 1))", *SAMPLE, "got input of shape (2, 3, 1);"),
]

# calling one with another number of axes
BATCH_1D = ValueError, "BatchNorm1d needs input with 2 or 3 axes", "(1d, 2d, 3d)"
BATCH_2D = ValueError, "BatchNorm2d needs input with 4 axes", "(1d, 2d, 3d)"
BATCH_3D = ValueError, "BatchNorm3d needs input with 5 axes", "(1d, 2d, 3d)"
INSTANCE_1D = ValueError, "InstanceNorm1d needs input with 2 or 3 axes", "(1d, 2d, 3d)"
INSTANCE_2D = ValueError, "InstanceNorm2d needs input with 3 or 4 axes", "(1d, 2d, 3d)"
INSTANCE_3D = ValueError, "InstanceNorm3d needs input with 4 or 5 axes", "(1d, 2d, 3d)"
CALL_AXES = [
    ("n.BatchNorm1d(3)(a(3))", *BATCH_1D, "got shape (3,)"),
    ("n.BatchNorm1d(3)(a(2, 3, 4, 4))", *BATCH_1D, "got shape (2, 3, 4, 4)"),
    ("n.BatchNorm2d(3)(a(2, 3))", *BATCH_2D, "got shape (2, 3)"),
    ("n.BatchNorm2d(3)(a(2, 3, 4))", *BATCH_2D, "got shape (2, 3, 4)"),
    ("n.BatchNorm2d(3)(a(2, 3, 4, 4, 4))", *BATCH_2D, "got shape (2, 3, 4, 4, 4)"),
    ("n.BatchNorm3d(3)(a(2, 3, 4, 4))", *BATCH_3D, "got shape (2, 3, 4, 4)"),
    ("n.InstanceNorm1d(3)(a(3))", *INSTANCE_1D, "got shape (3,)"),
    ("n.InstanceNorm1d(3)(a(2, 3, 4, 4))", *INSTANCE_1D, "got shape (2, 3, 4, 4)"),
    ("n.InstanceNorm2d(3)(a(3, 4))", *INSTANCE_2D, "got shape (3, 4)"),
    ("n.InstanceNorm2d(3)(a(2, 3, 4, 4, 4))", *INSTANCE_2D, "got shape (2, 3, 4, 4, 4)"),
    ("n.InstanceNorm3d(3)(a(3, 4, 4))", *INSTANCE_3D, "got shape (3, 4, 4)"),
]


# making or calling one with another type
FEATURES = TypeError, "num_features must be an int, got 'x'", "pass the number of entries"
REAL_NUMBER = "must be a real number, got 'x'"
MORE = "pass one such as 1.0"
MAKE_WITH_TYPES = [
    ("n.BatchNorm1d('x')", *FEATURES),
    ("n.InstanceNorm2d('x')", *FEATURES),
    ("n.GroupNorm(2, 'x')", TypeError, "num_channels must be an int, got 'x'"),
    *(
        (f"n.variants.{call}", TypeError, f"{name} {REAL_NUMBER}", MORE)
        for call, name in {
            "DynamicTanh(4, 'x')": "alpha",
            "DynamicErf(4, 'x')": "alpha",
            "LayerScale(4, 'x')": "initial",
            "PartialRMSNorm(4, 'x')": "part",
            "PowerNorm(4, alpha_fwd='x')": "alpha_fwd",
            "PowerNorm(4, alpha_bkw='x')": "alpha_bkw",
            "AdaNorm(4, 'x')": "scale",
            "AdaNorm(4, slope='x')": "slope",
        }.items()
    ),
    ("n.variants.PowerNorm(4, warmup_steps='x')", TypeError, "warmup_steps must be an int"),
    ("n.variants.PowerNorm(4, warmup_steps=-1)", ValueError, "warmup_steps must be >= 0, got -1"),
    ("n.variants.deepnorm_constants('x')", TypeError, "depth must be an int", "blocks"),
    ("n.variants.QueryKeyNorm(4)('x', a(4))", TypeError, "query must be of type Tensor, got str"),
    ("n.variants.QueryKeyNorm(4)(a(4), 'x')", TypeError, "key must be of type Tensor, got str"),
    ("n.variants.ConditionalLayerNorm(4, 3)(a(2, 4), 'x')", TypeError, "condition must be of type"),
]


@each_row(
    MAKE_WITH_TYPES,
    MAKE_WITH_SIZES,
    MAKE_WITH_GROUPS,
    MAKE_WITH_EPS,
    MAKE_WITH_MOMENTUM,
    CALL,
    CALL_AXES,
)
def test_modules_explain(row):
    check(MODULES, *row)


# --- kernels for GPUs ---------------------------------------------------------------------------

RESIDUAL = TypeError, "residual must be of type Tensor", "lnlib.reference takes arrays"
KERNELS = [
    ("n.add_layer_norm(a(2, 4), 'abc', 4)", *RESIDUAL, "got str"),
    ("n.add_rms_norm(a(2, 4), np.ones((2, 4)), 4)", *RESIDUAL, "got ndarray"),
    (
        "n.layer_norm(a(2, 4), 4, a(4), weight_offset='x')",
        TypeError,
        "weight_offset must be a real",
    ),
    ("n.layer_norm(a(2, 4), 4)", ValueError, "input.device is cpu", "call lnlib.functional"),
]


@each_row(KERNELS)
def test_kernels_explain(row, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    check({"n": kernels, "a": tensor}, *row)
