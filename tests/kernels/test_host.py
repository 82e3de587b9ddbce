"""What a call costs the host, counted without a GPU: a stub takes the place of the driver."""

import sys

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="there is no Triton for this system")
from lnlib import functional, kernels
from lnlib.kernels import gpu, operators


class Stub:
    """A kernel, compiled at its first launch, which notes its launches and does nothing."""

    def __init__(self, kernel):
        self.arg_names = kernel.arg_names
        self.by_triton, self.kept = [], []

    def __getitem__(self, grid):
        def launch(*arguments, num_warps):
            self.by_triton.append((grid, arguments))
            return Compiled(self)

        return launch


class Compiled:
    def __init__(self, stub):
        self.stub = stub

    def __getitem__(self, grid):
        return lambda *arguments: self.stub.kept.append((grid, arguments))


@pytest.fixture
def stubs(monkeypatch):
    made = {}
    look_up = operators.kernel_named

    def stub(name):
        return made.setdefault(name, Stub(look_up(name)))

    monkeypatch.setattr(operators, "kernel_named", stub)
    monkeypatch.setattr(kernels, "DEVICES", ("cpu",))
    monkeypatch.setattr(Tensor, "data_ptr", lambda self: 0)  # all begin where a GPU's do
    return made


def operations(run):
    """How many functions, of Python and of C, a call makes Python call."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    ("norm", "forward", "both"),
    [
        (kernels.layer_norm, 62, 208),
        (kernels.rms_norm, 62, 200),
        (functional.layer_norm, 77, 222),
        (functional.rms_norm, 75, 216),
    ],
)
def test_a_call_costs_few_operations(stubs, norm, forward, both):
    x, weight, bias = (torch.ones(size, requires_grad=True) for size in ((8, 64), 64, 64))
    dy = torch.ones(8, 64)
    parameters = (weight, bias) if norm.__name__ == "layer_norm" else (weight,)

    def infer():
        with torch.no_grad():
            norm(x, (64,), *parameters)

    def train():
        y = norm(x, (64,), *parameters)
        torch.autograd.grad(y, (x, *parameters), dy)

    for run, limit in ((infer, forward), (train, both)):
        run()
        assert operations(run) <= limit, operations(run)


def test_a_kernel_is_compiled_once_for_all_numbers_of_rows(stubs):
    weight = torch.ones(64)
    for rows in (1, 2, 16, 17, 1000):
        kernels.rms_norm(torch.ones(rows, 64), (64,), weight)
    stub = stubs["forward_kernel"]
    assert (len(stub.by_triton), len(stub.kept)) == (1, 4)
    (_, first), (_, second) = stub.by_triton[0], stub.kept[0]
    assert len(first) == len(second) == len(stub.arg_names)


def test_triton_does_not_compile_a_kernel_for_one_number_of_rows():
    """A kernel that is kept runs for every number, whatever the first one was."""
    found = [kernel for name, kernel in vars(gpu).items() if name.endswith("_kernel")]
    assert len(found) == 8
    for kernel in found:
        numbers = {"M", "GROUP", "G"} & {*kernel.arg_names}
        options = getattr(kernel, "kwargs", None) or vars(kernel)  # interpreted, or compiled
        assert numbers
        assert numbers <= {*(options["do_not_specialize"] or ())}, kernel


def test_what_triton_compiles_apart_is_kept_apart(stubs):
    x, weight = torch.ones(4, 64), torch.ones(64)
    wide, heads = torch.ones(4, 128)[:, :64], torch.ones(4, 3, 128)[:, :2, :64]
    calls = [
        lambda: kernels.rms_norm(x, (64,)),
        lambda: kernels.rms_norm(x, (64,), weight),
        lambda: kernels.rms_norm(x, (64,), weight.double()),
        lambda: kernels.rms_norm(x.half(), (64,), weight),
        lambda: kernels.rms_norm(x, (64,), weight, 0.3),
        lambda: kernels.rms_norm(x, (64,), weight, weight_offset=1.0),
        lambda: kernels.rms_norm(wide, (64,), weight),
        lambda: kernels.rms_norm(heads, (64,), weight),
        lambda: kernels.layer_norm(x, (64,), weight),
        lambda: kernels.layer_norm(x, (64,), weight, weight),
        lambda: kernels.add_rms_norm(x, x, (64,), weight),
        lambda: kernels.add_rms_norm(x.half(), x, (64,), weight),
        lambda: kernels.rms_norm(x.clone().requires_grad_(), (64,), weight),
    ]
    for call in calls * 2:
        call()
    stub = stubs["forward_kernel"]
    assert (len(stub.by_triton), len(stub.kept)) == (len(calls), len(calls))


def test_a_tensor_that_begins_anywhere_goes_through_triton(stubs, monkeypatch):
    monkeypatch.setattr(Tensor, "data_ptr", lambda self: 8)
    for _ in range(3):
        kernels.rms_norm(torch.ones(4, 64), (64,))
    assert (len(stubs["forward_kernel"].by_triton), stubs["forward_kernel"].kept) == (3, [])
