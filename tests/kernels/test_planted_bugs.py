"""Bugs planted in the kernels, one by one: each is caught, the right code passes."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from kernel_cases import DEVICE, SMALL, assert_close, data, expected, random, run

from lnlib import kernels
from lnlib.kernels import gpu, launch, operators

SOURCE = Path(gpu.__file__).read_text(encoding="utf-8")
VARIANCE = "tl.rsqrt(mean_of(tl.sum(x * x, 1, keep_dims=True), N) + EPS)"
LOAD_GRADIENT = "tl.load(DS + own, mask=mask, other=0.0).to(dx.dtype)"
MERGE = "squares += delta * delta * count * start / (start + count)"
TURNS = "tl.range(program * BLOCK_M, M, programs * BLOCK_M, num_stages=STAGES)"
ADD_W = "        if DW:\n            dw += dy * x_hat\n"
MUTANTS = {
    "no mask": ("x = tl.where(mask, x - mean, 0.0)", "x = x - mean"),
    "mean not corrected": ("x = tl.where(mask, x - remainder, 0.0)", "remainder = remainder * 0"),
    "divisor N - 1": (VARIANCE, VARIANCE.replace("N)", "N - 1)")),
    "eps outside": (VARIANCE, "1 / (tl.sqrt(mean_of(tl.sum(x * x, 1, keep_dims=True), N)) + EPS)"),
    "half of eps": (VARIANCE, VARIANCE.replace("EPS", "EPS / 2")),
    "dweight of the last rows": (ADD_W, ADD_W.replace("+=", "=")),
    "the first turn only": (TURNS, TURNS.replace(" M,", " programs * BLOCK_M,")),
    "every other turn": (TURNS, TURNS.replace("programs * BLOCK_M,", "2 * programs * BLOCK_M,")),
    "gamma outside": ("g = dy if W is None else dy * w\n", "g = dy\n            rstd = rstd * w\n"),
    "mean held fixed": ("(g - x_hat * dot - shift) * rstd", "(g - x_hat * dot) * rstd"),
    "gradient of the sum forgotten": (LOAD_GRADIENT, "0.0"),
    "first parts only": ("range(0, G, BLOCK_M)", "range(0, 1, BLOCK_M)"),
    "the bias's parts for the weight": (
        "which.to(tl.int64) * G * N",
        "(1 - which).to(tl.int64) * G * N",
    ),
    "statistics in the input's dtype": (VARIANCE, VARIANCE + ".to(X.dtype.element_ty).to(ACC)"),
    "blocks not merged": (MERGE, "squares += 0.0"),
    "mean over long rows forgotten": ("tl.store(MEANS + one, dot)", "pass"),
    "rows of another group": ("rows % GROUP * INNER", "rows % GROUP * STRIDE"),
    "entries of a pair exchanged": ("tl.interleave(first, second)", "tl.interleave(second, first)"),
    "the first strip only": ("strips += (tl.load(X + at,", "strips += (tl.load(X + at % HALF,"),
    "sums of one strip": ("(dw[i] + dy * x_hat if DW else dw[i],)", "(dw[0] + dy * x_hat,)"),
    "gain without its offset": (".to(ACC) + OFFSET", ".to(ACC)"),
    "first block of long rows": ("range(0, N, BLOCK_N)", "range(0, BLOCK_N, BLOCK_N)"),
}
CASES = [  # the quick ones first
    (3, 30, torch.float64, 2.0),
    (2, 50, torch.float16, 2000.0),  # their sum is beyond float16
    (2, 50, torch.float32, 1e4),
    (2, 300, torch.float64, 2.0),  # in blocks, forward and backward
    (2, 300, torch.float16, 2.0),  # in pairs
    (3, 98, torch.float16, 2.0),  # in strips, backward
    (700, 30, torch.float64, 0.1),  # more rows than programs, more programs than fit a block
]


def all_is_well():
    """Run a short selection of the other tests."""
    x, weight, _, dy = data(3, 12)
    y, total = kernels.add_rms_norm(x, x.detach(), (12,), weight)
    (dx,) = torch.autograd.grad((y, total), x, (0 * dy, dy))
    torch.testing.assert_close(dx, dy, rtol=0, atol=1e-12)
    heads = random(2, 3, 5, 16)[:, :, :4, 8:]
    y = kernels.rms_norm(heads, (8,), 0 * weight[:8].detach(), weight_offset=1.0)
    torch.testing.assert_close(y, kernels.rms_norm(heads.contiguous(), (8,)))
    for rows, columns, dtype, shift in CASES:
        wider = torch.promote_types(dtype, torch.float32)
        arguments = data(rows, columns, dtype, wider, shift)
        got = run("layer_norm", *arguments, 0.3)
        assert_close(got, expected("layer_norm", *arguments, 0.3))


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
        monkeypatch.setattr(operators, "processors", lambda device: (2, launch.SHARED))
        for constant, value in SMALL.items():
            monkeypatch.setattr(launch, constant, value)

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
