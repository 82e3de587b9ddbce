"""Bugs planted in the kernels, one by one: each is caught, the right code passes."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from kernel_cases import DEVICE, SMALL, UNIT, assert_close, data, expected, run

from lnlib import kernels
from lnlib.kernels import gpu, launch

SOURCE = Path(gpu.__file__).read_text(encoding="utf-8")
VARIANCE = "tl.rsqrt(tl.sum(x * x, 1) / N + eps)"
WIDER = "tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32"
LOAD_GRADIENT = "tl.load(DS + at, mask=mask, other=0.0).to(ACC)"
MERGE = "squares += delta * delta * count * start / (start + count)"
OWN = "program, programs = tl.program_id(1), tl.num_programs(1)"
MUTANTS = {
    "no mask": ("x = tl.where(mask, x - high[:, None], 0.0)", "x = x - high[:, None]"),
    "mean not corrected": ("x = tl.where(mask, x - low[:, None], 0.0)", "low = low * 0"),
    "divisor N - 1": (VARIANCE, VARIANCE.replace("N", "(N - 1)")),
    "eps outside": (VARIANCE, "1 / (tl.sqrt(tl.sum(x * x, 1) / N) + eps)"),
    "half of eps": (VARIANCE, VARIANCE.replace("eps", "eps / 2")),
    "dweight of the last rows": ("dw += tl.sum(dy * x_hat, 0)", "dw = tl.sum(dy * x_hat, 0)"),
    "gamma outside": ("g = dy * w\n", "g = dy\n            rstd = rstd * w\n"),
    "mean held fixed": ("dx -= (tl.sum(g, 1) / N)[:, None]", "dx -= 0.0"),
    "gradient of the sum forgotten": (LOAD_GRADIENT, "0.0"),
    "first parts only": ("range(0, G, BLOCK_G)", "range(0, BLOCK_G // 32, BLOCK_G)"),
    "statistics in the input's dtype": (WIDER, "X.dtype.element_ty"),
    "blocks not merged": (MERGE, "squares += 0.0"),
    "mean over long rows forgotten": ("tl.store(SUMS + row, tl.sum(dot) / N)", "pass"),
    "all long rows by every program": (OWN, "program, programs = tl.program_id(1) * 0, 1"),
    "first block of long rows": ("range(0, N, BLOCK_N)", "range(0, BLOCK_N, BLOCK_N)"),
}
CASES = [  # the quick ones first
    (3, 50, torch.float64, 2.0),
    (2, 50, torch.float16, 2000.0),  # their sum is beyond float16
    (2, 50, torch.float32, 1e4),
    (2, 300, torch.float64, 2.0),  # in blocks, forward and backward
    (800, 50, torch.float64, 0.1),  # more rows than programs, more programs than BLOCK_G
]


def all_is_well():
    """Run a short selection of the other tests."""
    x, weight, _, dy = data(3, 12)
    _, total = kernels.add_rms_norm(x, x.detach(), (12,), weight)
    (dx,) = torch.autograd.grad(total, x, dy)
    torch.testing.assert_close(dx, dy, rtol=0, atol=1e-12)
    for rows, columns, dtype, shift in CASES:
        arguments = data(rows, columns, dtype, shift=shift)
        tolerance = 1e-12 if dtype == torch.float64 else 16 * UNIT[dtype]
        want = expected("layer_norm", *arguments, 0.3)
        assert_close(run("layer_norm", *arguments, 0.3), want, tolerance)


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Run the kernels from the module's text, changed, with small blocks."""

    def load(name, old, new):
        path = tmp_path / f"{name}.py"
        assert old in SOURCE, old
        path.write_text(SOURCE.replace(old, new), encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setitem(sys.modules, gpu.__name__, module)
        for constant, columns in SMALL.items():
            monkeypatch.setattr(launch, constant, columns)

    return load


@pytest.mark.skipif(DEVICE == "cuda", reason="the interpreter is enough to see these")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # wrong numbers are what is to be caught
@pytest.mark.parametrize("bug", MUTANTS)
def test_a_planted_bug_is_caught(planted, bug):
    planted(f"bug_{list(MUTANTS).index(bug)}", *MUTANTS[bug])
    with pytest.raises(AssertionError):
        all_is_well()


@pytest.mark.skipif(DEVICE == "cuda", reason="the interpreter is enough to see these")
def test_without_a_bug_all_is_well(planted):
    planted("no_bug", "BLOCK_N", "BLOCK_N")
    all_is_well()
