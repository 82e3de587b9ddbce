"""Wrong arguments: the message names the argument, what it got, what it expected, and the fix."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import lnlib
from lnlib import functional, reference

NAN, INF = float("nan"), float("inf")


class Library(NamedTuple):
    """The functions, and the arrays they take."""

    norms: Any
    array: Callable[..., Any]


def tensor(*shape, dtype="float32"):
    return torch.ones(shape, dtype=getattr(torch, dtype))


NUMPY = Library(reference, lambda *shape, dtype="float32": np.ones(shape, dtype))
TORCH = Library(functional, tensor)


class Wrong(NamedTuple):
    """A call, its error, and what the message must hold: argument, received, expected, fix."""

    name: str
    error: type[Exception]
    call: Callable[..., Any]
    message: tuple[str, ...]

    def __str__(self) -> str:
        return self.name.replace(" ", "-")

    def check(self, *arguments):
        with pytest.raises(self.error) as caught:
            self.call(*arguments)
        assert caught.type is self.error
        message = str(caught.value)
        assert [part for part in self.message if part not in message] == [], message
        _, _, fix = message.partition("; ")
        assert fix, f"no fix named: {message}"


def each(name, error, values, call, *message):
    """One wrong call for each value; `{}` in the message stands for it."""
    return [
        Wrong(
            f"{name} {value!r}",
            error,
            lambda n, a, value=value: call(n, a, value),
            tuple(part.format(value) for part in message),
        )
        for value in values
    ]


METHODS: dict[str, Callable[..., Any]] = {
    "layer_norm": lambda n, x, **more: n.layer_norm(x, x.shape[-1:], **more),
    "rms_norm": lambda n, x, **more: n.rms_norm(x, x.shape[-1:], **more),
    "group_norm": lambda n, x, **more: n.group_norm(x, 2, **more),
    "instance_norm": lambda n, x, **more: n.instance_norm(x, **more),
    "batch_norm": lambda n, x, **more: n.batch_norm(
        x, **{"running_mean": None, "running_var": None, "training": True, **more}
    ),
}
CHANNELS = [name for name in METHODS if name not in ("layer_norm", "rms_norm")]


SHARED: list[Wrong] = [
    # input
    *(
        wrong
        for method, call in METHODS.items()
        for wrong in each(
            f"{method} of",
            TypeError,
            ("int64", "bool", "complex64"),
            lambda n, a, dtype, call=call: call(n, a(2, 4, 3, dtype=dtype)),
            "input must be real floating point",
            "got",
            "{}",
            "convert it first",
        )
    ),
    *each(
        "too few axes for",
        ValueError,
        CHANNELS,
        lambda n, a, method: METHODS[method](n, a(4)),
        "input must have (batch, channels, ...)",
        "got shape (4,)",
        "add the missing axes",
    ),
    *each(
        "fewer axes than normalized_shape",
        ValueError,
        [(2, 4), (1, 1, 4)],
        lambda n, a, shape: n.layer_norm(a(4), shape),
        "input must have at least",
        "got shape (4,)",
        "add the missing axes",
    ),
    # normalized_shape
    *each(
        "layer_norm over",
        ValueError,
        [(3,), (2, 3), (4, 3), (3, 4, 4), 2],
        lambda n, a, shape: n.layer_norm(a(2, 3, 4), shape),
        "normalized_shape",
        "must equal the trailing sizes of the input",
        "got input of shape (2, 3, 4)",
        "pass normalized_shape=",
    ),
    Wrong(
        "the fix is the right shape",
        ValueError,
        lambda n, a: n.rms_norm(a(2, 3, 4), (2, 3)),
        ("normalized_shape (2, 3)", "pass normalized_shape=(3, 4)"),
    ),
    *each(
        "normalized_shape is",
        ValueError,
        [(), []],
        lambda n, a, shape: n.layer_norm(a(2, 3), shape),
        "normalized_shape must name at least one trailing axis",
        "got an empty sequence",
        "pass input.shape[-1:]",
    ),
    *each(
        "normalized_shape is",
        ValueError,
        [-1, (-1,), (3, -1)],
        lambda n, a, shape: n.rms_norm(a(2, 3), shape),
        "normalized_shape holds sizes and must be >= 0",
        "-1",
        "pass input.shape[-1:]",
    ),
    *each(
        "normalized_shape is",
        TypeError,
        [3.0, "3", None, (3.0,), {3}],
        lambda n, a, shape: n.layer_norm(a(2, 3), shape),
        "normalized_shape must be an int or a sequence of ints",
        "got {!r}",
        "pass input.shape[-1:]",
    ),
    # parameters and running statistics
    *(
        wrong
        for method, call in METHODS.items()
        for name in ("weight", "bias")
        if (method, name) != ("rms_norm", "bias")
        for wrong in each(
            f"{method} {name} of shape",
            ValueError,
            [(3,), (1,), (4, 1), ()],
            lambda n, a, shape, call=call, name=name: call(n, a(2, 4, 4), **{name: a(*shape)}),
            f"{name} must have shape (4,)",
            "got {}",
            "reshape or re-create it",
        )
    ),
    *(
        wrong
        for method in ("instance_norm", "batch_norm")
        for name in ("running_mean", "running_var")
        for wrong in each(
            f"{method} {name} of shape",
            ValueError,
            [(3,), (1, 4)],
            lambda n, a, shape, method=method, name=name: METHODS[method](
                n, a(2, 4, 4), **{"running_mean": a(4), "running_var": a(4), name: a(*shape)}
            ),
            f"{name} must have shape (4,)",
            "got {}",
            "reshape or re-create it",
        )
    ),
    *(
        Wrong(
            f"{method} without {missing}",
            ValueError,
            lambda n, a, method=method, given=given: METHODS[method](
                n, a(2, 4, 4), **{given: a(4)}
            ),
            (f"{missing} is None", "pass both or neither"),
        )
        for method in ("instance_norm", "batch_norm")
        for missing, given in [("running_mean", "running_var"), ("running_var", "running_mean")]
    ),
    *(
        Wrong(
            f"{method} without running statistics",
            ValueError,
            lambda n, a, method=method, switch=switch: METHODS[method](
                n, a(2, 4, 4), **{switch: False}
            ),
            (
                "running_mean and running_var are needed",
                f"when {switch}=False",
                "got None",
                f"or set {switch}=True",
            ),
        )
        for method, switch in [("batch_norm", "training"), ("instance_norm", "use_input_stats")]
    ),
    # num_groups
    *each(
        "num_groups is",
        ValueError,
        [3, 5, 8],
        lambda n, a, groups: n.group_norm(a(2, 4), groups),
        "the number of channels (4) must be divisible by num_groups ({})",
        "choose a divisor of 4",
    ),
    *each(
        "num_groups is",
        ValueError,
        [0, -1],
        lambda n, a, groups: n.group_norm(a(2, 4), groups),
        "num_groups must be >= 1",
        "got {}",
    ),
    *each(
        "num_groups is",
        TypeError,
        [2.0, "2", None, True],
        lambda n, a, groups: n.group_norm(a(2, 4), groups),
        "num_groups must be an int",
        "got {!r}",
    ),
    # eps
    *(
        wrong
        for method, call in METHODS.items()
        for wrong in [
            *each(
                f"{method} eps is",
                ValueError,
                [-1e-5, -INF, INF, NAN],
                lambda n, a, eps, call=call: call(n, a(2, 4, 4), eps=eps),
                "eps must be finite and >= 0",
                "got {}",
                "pass a value such as 1e-5",
            ),
            *each(
                f"{method} eps is",
                TypeError,
                ["1e-5", True, 1e-5j, (1e-5,)],
                lambda n, a, eps, call=call: call(n, a(2, 4, 4), eps=eps),
                "eps must be a real number",
                "got {!r}",
                "pass a float such as 1e-5",
            ),
        ]
    ),
    *each(
        "in evaluation eps is",
        ValueError,
        [-1e-5, NAN],
        lambda n, a, eps: n.batch_norm(a(2, 4), a(4), a(4), eps=eps),
        "eps must be finite and >= 0",
        "got {}",
    ),
    # one value per channel
    *each(
        "batch_norm in training of",
        ValueError,
        [(1, 4), (1, 4, 1), (1, 4, 1, 1)],
        lambda n, a, shape: METHODS["batch_norm"](n, a(*shape)),
        "batch_norm needs more than one value per channel",
        "got input of shape {};",
        "training=False",
    ),
    *each(
        "instance_norm of",
        ValueError,
        [(2, 4), (2, 4, 1), (1, 4, 1, 1)],
        lambda n, a, shape: n.instance_norm(a(*shape)),
        "instance_norm needs more than one value per channel",
        "got input of shape {};",
        "use_input_stats=False",
    ),
    # momentum
    *(
        wrong
        for method in ("instance_norm", "batch_norm")
        for wrong in [
            *each(
                f"{method} momentum is",
                ValueError,
                [-0.1, 1.1, NAN, INF],
                lambda n, a, momentum, method=method: METHODS[method](
                    n, a(2, 4, 4), running_mean=a(4), running_var=a(4), momentum=momentum
                ),
                "momentum",
                "must be in [0, 1]",
                "got {}",
                "1 - momentum",
            ),
            *each(
                f"{method} momentum is",
                TypeError,
                ["0.1", True, 0.1j],
                lambda n, a, momentum, method=method: METHODS[method](
                    n, a(2, 4, 4), running_mean=a(4), running_var=a(4), momentum=momentum
                ),
                "momentum must be a real number",
                "got {!r}",
                "pass one such as 0.1",
            ),
            *each(
                f"{method} without a counter, momentum is",
                ValueError,
                [None],
                lambda n, a, momentum, method=method: METHODS[method](
                    n, a(2, 4, 4), running_mean=a(4), running_var=a(4), momentum=momentum
                ),
                "momentum=None",
                "a momentum such as 0.1",
            ),
        ]
    ),
]


@pytest.mark.parametrize("library", [NUMPY, TORCH], ids=["reference", "functional"])
@pytest.mark.parametrize("wrong", SHARED, ids=str)
def test_both_libraries_explain(wrong, library):
    wrong.check(*library)


@pytest.mark.parametrize("name", ["input", "weight", "bias"])
@pytest.mark.parametrize(
    ("library", "other"), [(NUMPY, torch.ones), (TORCH, np.ones), (TORCH, np.ndarray.tolist)]
)
def test_the_other_library_s_arrays_are_named(library, other, name):
    norms, array = library
    value = other(np.ones((2, 4))) if other is np.ndarray.tolist else other(4)
    arguments = {"input": array(2, 4), "normalized_shape": 4} | {name: value}
    Wrong(
        "kind",
        TypeError,
        lambda n, a: norms.layer_norm(**arguments),
        (f"{name} must be of type", f"got {type(value).__name__}", "lnlib.reference takes arrays"),
    ).check(norms, array)


@pytest.mark.parametrize("library", [NUMPY, TORCH], ids=["reference", "functional"])
@pytest.mark.parametrize("options", [{"momentum": 2}, {"eps": -1}, {"momentum": None}], ids=str)
def test_a_rejected_batch_changes_no_running_statistic(library, options):
    norms, array = library
    mean, var = array(4), array(4)
    with pytest.raises(ValueError, match=r"momentum|eps"):
        norms.batch_norm(array(2, 4) + array(4), mean, var, training=True, **options)
    assert mean.tolist() == var.tolist() == [1] * 4


FORWARD = SimpleNamespace(**{name: getattr(reference, f"{name}_forward") for name in METHODS})


def backward(method, shape):
    _, cache = METHODS[method](FORWARD, np.ones((2, 4, 4)))
    return getattr(reference, f"{method}_backward")(np.ones(shape), cache)


ONLY_REFERENCE = [
    *(
        wrong
        for method in METHODS
        for wrong in each(
            f"{method} with a gradient of shape",
            ValueError,
            [(4,), (2, 4, 1), (4, 2, 4)],
            lambda n, a, shape, method=method: backward(method, shape),
            "dy must have shape (2, 4, 4)",
            "got {}",
        )
    ),
    *each(
        "eps_mode is",
        ValueError,
        ["between", None, "Inside"],
        lambda n, a, mode: n.layer_norm(a(2, 4), 4, eps_mode=mode),
        'eps_mode must be "inside" or "outside"',
        "got {!r}",
    ),
]


@pytest.mark.parametrize("wrong", ONLY_REFERENCE, ids=str)
def test_reference_explains(wrong):
    wrong.check(*NUMPY)


MODULES = [
    *each(
        "LayerNorm",
        ValueError,
        [(), []],
        lambda n, a, shape: n.LayerNorm(shape),
        "normalized_shape must name at least one trailing axis",
        "got an empty sequence",
    ),
    *each(
        "LayerNorm",
        TypeError,
        [4.0, "4", None],
        lambda n, a, shape: n.LayerNorm(shape),
        "normalized_shape must be an int or a sequence of ints",
        "got {!r}",
    ),
    *each(
        "RMSNorm",
        ValueError,
        [-1, (4, -1)],
        lambda n, a, shape: n.RMSNorm(shape),
        "normalized_shape holds sizes and must be >= 0",
        "-1",
    ),
    *(
        wrong
        for name, arguments in (
            *(("LayerNorm", (4,)), ("RMSNorm", (4,)), ("GroupNorm", (2, 4))),
            *((f"{kind}Norm{n}d", (4,)) for kind in ("Batch", "Instance") for n in (1, 2, 3)),
        )
        for wrong in each(
            f"{name} eps is",
            ValueError,
            [-1e-5, NAN],
            lambda n, a, eps, name=name, arguments=arguments: getattr(n, name)(*arguments, eps=eps),
            "eps must be finite and >= 0",
            "got {}",
        )
    ),
    *each(
        "GroupNorm num_groups is",
        ValueError,
        [3, 8],
        lambda n, a, groups: n.GroupNorm(groups, 4),
        "the number of channels (4) must be divisible by num_groups ({})",
        "choose a divisor of 4",
    ),
    *each(
        "GroupNorm num_groups is",
        ValueError,
        [0, -1],
        lambda n, a, groups: n.GroupNorm(groups, 4),
        "num_groups must be >= 1",
        "got {}",
    ),
    *each(
        "LayerNorm(4) of",
        ValueError,
        [(2, 3), (4, 2)],
        lambda n, a, shape: n.LayerNorm(4)(a(*shape)),
        "normalized_shape (4,) must equal the trailing sizes of the input",
        "got input of shape {}",
    ),
    *each(
        "GroupNorm(2, 4) of",
        ValueError,
        [(2, 6), (2, 2, 4)],
        lambda n, a, shape: n.GroupNorm(2, 4)(a(*shape)),
        "GroupNorm was made for 4 channels",
        "got input of shape {}",
    ),
    *(
        wrong
        for name, shapes, axes in [
            ("BatchNorm1d", [(3,), (2, 3, 4, 4)], "2 or 3"),
            ("BatchNorm2d", [(2, 3), (2, 3, 4), (2, 3, 4, 4, 4)], "4"),
            ("BatchNorm3d", [(2, 3, 4, 4)], "5"),
            ("InstanceNorm1d", [(3,), (2, 3, 4, 4)], "2 or 3"),
            ("InstanceNorm2d", [(3, 4), (2, 3, 4, 4, 4)], "3 or 4"),
            ("InstanceNorm3d", [(3, 4, 4)], "4 or 5"),
        ]
        for wrong in each(
            f"{name} of",
            ValueError,
            shapes,
            lambda n, a, shape, name=name: getattr(n, name)(3)(a(*shape)),
            f"{name} needs input with {axes} axes",
            "got shape {}",
            "(1d, 2d, 3d)",
        )
    ),
    *each(
        "BatchNorm1d(3) of",
        ValueError,
        [(2, 4), (5, 4, 3)],
        lambda n, a, shape: n.BatchNorm1d(3)(a(*shape)),
        "BatchNorm1d was made for 3 channels",
        "got input of shape {}",
    ),
    *each(
        "BatchNorm1d(3) in training of",
        ValueError,
        [(1, 3), (1, 3, 1)],
        lambda n, a, shape: n.BatchNorm1d(3)(a(*shape)),
        "batch_norm needs more than one value per channel",
        "got input of shape {};",
    ),
    *each(
        "InstanceNorm1d(3) of",
        ValueError,
        [(2, 3, 1)],
        lambda n, a, shape: n.InstanceNorm1d(3)(a(*shape)),
        "instance_norm needs more than one value per channel",
        "got input of shape {};",
    ),
    *(
        wrong
        for name in ("BatchNorm1d", "InstanceNorm2d")
        for wrong in each(
            f"{name} momentum is",
            ValueError,
            [-0.1, 1.1],
            lambda n, a, momentum, name=name: getattr(n, name)(3, momentum=momentum),
            "momentum",
            "must be in [0, 1]",
            "got {}",
        )
    ),
    *each(
        "LayerNorm of",
        TypeError,
        ["int64", "bool", "complex64"],
        lambda n, a, dtype: n.LayerNorm(3)(a(2, 3, dtype=dtype)),
        "input must be real floating point",
        "got torch.{}",
    ),
]


@pytest.mark.parametrize("wrong", MODULES, ids=str)
def test_modules_explain(wrong):
    wrong.check(lnlib, tensor)
