"""What fails, is random, or changes what it holds is reported, and never raises from inside."""

import json
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import lnlib
from lnlib import identify

KEYS = [
    "kind", "axes", "num_groups", "centered", "divisor", "eps", "eps_place", "weight", "bias",
    "gain", "statistics_dtype", "faults",
]  # fmt: skip


class Fails:
    """Raises on the call of a number."""

    def __init__(self, at):
        self.at, self.calls = at, 0

    def __call__(self, x):
        self.calls += 1
        if self.calls >= self.at:
            raise RuntimeError("out of order")
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)


class Counts:
    """Returns something else at each call."""

    calls = 0

    def __call__(self, x):
        self.calls += 1
        return x * self.calls


BAD = {
    "raises": (nn.LayerNorm(8), "cannot be called: RuntimeError: Given normalized_shape=[8]"),
    "fails later": (Fails(20), "fails on some inputs: RuntimeError: out of order"),
    "another shape": (lambda x: x[:4], "returned shape [4, 16] for an input of shape [8, 16]"),
    "nothing": (lambda x: None, "cannot be called"),
    "text": (lambda x: "norm", "cannot be called"),
    "another dtype": (lambda x: x.half(), "returns float16 for an input of float32"),
    "dropout": (nn.Sequential(nn.LayerNorm(16), nn.Dropout(0.1)), "is random"),
    "noise": (lambda x: x + np.random.default_rng().normal(size=x.shape), "is random"),
    "state": (Counts(), "changes what it holds"),
    "constant": (lambda x: 0 * x + 1, "the output is constant"),
    "one value": (nn.LayerNorm(1), "the output is constant"),
    "not finite": (lambda x: x / 0, "not finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_identified_is_reported(name):
    f, sentence = BAD[name]
    report = identify(f, (8, 1) if name == "one value" else (8, 16))
    assert any(sentence in fault for fault in report.faults), report
    assert report.calls < 300
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    assert list(report.to_dict()) == KEYS


def test_arguments_are_checked():
    with pytest.raises(TypeError, match=r"f must be callable.*got 3; pass a module"):
        identify(3, (8, 16))
    with pytest.raises(TypeError, match=r"shape must be a sequence of ints, got '8,16'"):
        identify(nn.LayerNorm(16), "8,16")
    with pytest.raises(ValueError, match=r"sizes >= 1, got \(8, 0\)"):
        identify(nn.LayerNorm(16), (8, 0))
    with pytest.raises(ValueError, match="at least one axis"):
        identify(nn.LayerNorm(16), ())


def test_the_module_and_the_generators_stay_as_they_were():
    norm = nn.BatchNorm1d(16)
    kept = {k: v.clone() for k, v in norm.state_dict().items()}
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 (the global generator is what is tested)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    report = identify(norm, (8, 16))
    assert any("running_mean, running_var" in fault for fault in report.faults)
    identify(nn.Dropout(), (8, 16))
    assert all(torch.equal(v, kept[k]) for k, v in norm.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert norm.training
    assert next(iter(norm.parameters())).grad is None


def test_training_and_evaluation_of_batch_norm():
    norm = nn.BatchNorm2d(6)
    for _ in range(3):
        norm(torch.randn(4, 6, 5, 5) * 2 + 1)
    training, evaluation = identify(norm, (2, 6, 5, 5)), identify(norm.eval(), (2, 6, 5, 5))
    for report in (training, evaluation):
        assert (report.kind, report.axes, report.eps) == ("batch", (0, 2, 3), pytest.approx(1e-5))
    assert training.faults
    assert not evaluation.faults


def test_a_function_that_warns_does_not_warn_through():
    def noisy(x):
        warnings.warn("beware", stacklevel=1)
        return x / np.sqrt((x * x).mean(-1, keepdims=True))

    assert identify(noisy, (8, 16)).kind == "rms"


def test_the_report_reads_well():
    report = identify(nn.GroupNorm(3, 6), (2, 6, 5, 5))
    assert str(report) == repr(report)
    assert report.headline() == (
        "group norm over axes [1, 2, 3], 3 groups, ε = 1e-05 under the root"
    )
    assert all(finding.probe or finding.certainty == "open" for finding in report.findings)
    with pytest.raises(AttributeError):
        report.kind = "layer"


def test_two_values_are_said_to_hide_the_deviation():
    assert "mean absolute and largest deviation are one" in str(identify(nn.LayerNorm(2), (8, 2)))


def test_a_free_gain_without_eps_hides_the_divisor():
    weight = torch.rand(16, generator=torch.Generator().manual_seed(0)) + 0.5
    report = identify(lambda x: weight * x * torch.rsqrt((x * x).mean(-1, keepdim=True)), (8, 16))
    assert (report.kind, report.divisor) == ("rms", None)
    assert "n and n − 1 look the same" in str(report)


def run(*arguments):
    command = [sys.executable, "-m", "lnlib.identify", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def hand_written(tmp_path, monkeypatch):
    code = "def norm(x):\n    return x / ((x * x).mean(-1, keepdims=True) + 1e-6) ** 0.5\n"
    (tmp_path / "by_hand.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{lnlib.__path__[0]}/..")


@pytest.mark.usefixtures("hand_written")
def test_the_command_line_prints_a_table_or_json():
    done = run("by_hand:norm", "--shape", "8,16")
    assert done.stdout.startswith("RMS norm over axes [1], ε = 1e-06 under the root\n"), done
    report = json.loads(run("by_hand:norm", "--shape", "8,16", "--json").stdout)
    assert list(report) == KEYS
    assert report["eps"] == pytest.approx(1e-6)


@pytest.mark.usefixtures("hand_written")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["by_hand", "--shape", "8"], "must be module:name, got 'by_hand'"),
        (["by_hand:nrm", "--shape", "8"], "cannot be imported.*no attribute 'nrm'"),
        (["by_hand:norm", "--shape", "8x16"], "must be sizes with commas, got '8x16'"),
    ],
)
def test_the_command_line_says_what_is_wrong(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert re.search(message, done.stderr), done.stderr
