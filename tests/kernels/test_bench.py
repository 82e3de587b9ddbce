"""The benchmark, on the CPU: it checks before it times, counts bytes right, and loses nothing."""

import json
import re
import signal
import subprocess
import sys
from dataclasses import asdict
from types import ModuleType, SimpleNamespace

import pytest
import torch
from matplotlib import pyplot as plt
from torch.nn import functional as F

from book import ROOT
from lnlib.experiments import recorded
from lnlib.experiments.sweeps import RECORDINGS
from lnlib.kernels import bench, clock, conditions, gate, measure, peers, problems, results
from lnlib.kernels.problems import Problem, Shape
from lnlib.kernels.results import Result
from lnlib.pages import speed
from lnlib.provenance import installed

CPU = torch.device("cpu")
PASSES = ("forward", "backward")
SMALL = [Problem(o, Shape(8, n, "sweep"), torch.float32) for n in (32, 64) for o in problems.PLAIN]


def few(operation):
    """Contenders that need no compiler."""
    right = peers.of_torch(operation)

    def wrong(*arguments):
        return right(*arguments) * 1.05

    def broken(*arguments):
        raise RuntimeError("no kernel for this shape")

    def late(*arguments):
        if not arguments[0].requires_grad:
            broken()
        return right(*arguments)

    ours = peers.of_lnlib(operation)
    return {"torch": right, "lnlib": ours, "wrong": wrong, "broken": broken, "late": late}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A short benchmark, and the file it writes."""
    monkeypatch.setattr(peers, "contenders", few)
    monkeypatch.setattr(problems, "problems", lambda device: SMALL)
    monkeypatch.setattr(problems, "interpreting", lambda: False)
    monkeypatch.setattr(clock, "ROUNDS", (1, 2))
    return tmp_path / "small.json"


def command(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["bench", *map(str, arguments)])
    bench.main()


@pytest.mark.parametrize("problem", SMALL)
def test_times_what_is_right_and_says_what_the_others_lack(problem):
    found = measure.measure(few(problem.operation), problem, CPU, seconds=0)
    assert len(found) == 5 * 3
    timed = {(r.contender, r.passed) for r in found if r.ms is not None}
    right = {(name, passed) for name in ("torch", "lnlib") for passed in results.TENSORS}
    assert timed == right | {("late", "backward"), ("late", "both")}
    assert all(("rounding" in r.failure) == (r.contender == "wrong") for r in found)
    assert all("no kernel" in r.failure for r in found if r.contender == "broken")
    assert [r.passed for r in found if r.contender == "late" and r.failure] == ["forward"]
    assert all(
        r.ms <= r.low_ms <= r.high_ms and r.copy_ms > 0 and r.add_ms > 0 for r in found if r.ms
    )


def test_a_compiled_pass_back_runs_many_times():
    """The compiler gives away the buffers that it saved, unless told that they are needed again."""
    norms = {"torch.compile": torch.compile(peers.of_torch("rms_norm"), backend="aot_eager")}
    found = measure.measure(norms, SMALL[1], CPU, seconds=0)
    assert [r.failure for r in found] == ["", "", ""]


@pytest.mark.parametrize("operation", problems.PLAIN)
def test_calls_peers_as_they_are_called(operation, monkeypatch):
    """Stand-ins with the signatures of the others, made of torch's own."""

    def fused_add(x, r, w, eps):
        return F.rms_norm(x + r, w.shape, w, eps), x + r

    def rmsnorm(x, weight, bias=None, residual=None, eps=1e-6, prenorm=False):
        return (
            fused_add(x, residual, weight, eps)
            if prenorm
            else F.rms_norm(x, weight.shape, weight, eps)
        )

    def layernorm_fwd(x, weight, bias, eps, return_rstd, return_mean):
        assert x.ndim == 2
        y, mean, rstd = torch.native_layer_norm(x, weight.shape, weight, bias, eps)
        assert return_rstd == return_mean
        return (y, rstd[:, 0], mean[:, 0]) if return_mean else y

    def layernorm_bwd(x, weight, dout, rstd, mean):
        assert dout.ndim == 2
        some = torch.ops.aten.native_layer_norm_backward
        statistics = mean[:, None], rstd[:, None]
        return some(
            dout, x, weight.shape, *statistics, weight, torch.zeros_like(weight), [True] * 3
        )

    apex = SimpleNamespace(
        fused_layer_norm_affine=lambda x, w, b, shape, eps: F.layer_norm(x, shape, w, b, eps),
        fused_rms_norm_affine=lambda x, w, shape, eps: F.rms_norm(x, shape, w, eps),
    )
    liger = SimpleNamespace(
        LigerLayerNormFunction=SimpleNamespace(
            apply=lambda x, w, b, eps: F.layer_norm(x, w.shape, w, b, eps)
        ),
        LigerRMSNormFunction=SimpleNamespace(
            apply=lambda x, w, eps, offset, mode, in_place: F.rms_norm(x, w.shape, w, eps)
        ),
        LigerFusedAddRMSNormFunction=SimpleNamespace(apply=fused_add),
    )
    modules = {
        "apex": ModuleType("apex"),
        "apex.normalization": SimpleNamespace(fused_layer_norm=apex),
        "liger_kernel": SimpleNamespace(ops=liger),
        "quack": SimpleNamespace(rmsnorm=rmsnorm),
        "quack.rmsnorm": SimpleNamespace(layernorm_fwd=layernorm_fwd, layernorm_bwd=layernorm_bwd),
        "transformer_engine": SimpleNamespace(pytorch=torch.nn),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    known = problems.data(Problem(operation, Shape(24, 64, "", heads=4), torch.float32), CPU)
    for module in modules.keys() & peers.PEERS.keys():
        _, of = peers.PEERS[module]
        assert gate.deviation(of(operation), operation, known) < 1
    added = problems.data(Problem("add_rms_norm", Shape(24, 64, ""), torch.float32), CPU)
    for of in (peers.of_liger, peers.of_quack):
        assert gate.deviation(of("add_rms_norm"), "add_rms_norm", added) < 1
        assert of("add_layer_norm") is None


ON_CPU = [
    (module, operation)
    for module, operations in {
        "jax": (*problems.PLAIN, *problems.GROUPED),
        "onnxruntime": problems.PLAIN,
    }.items()
    for operation in operations
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the libraries' own
@pytest.mark.parametrize(("module", "operation"), ON_CPU)
def test_calls_what_is_installed_for_a_cpu(module, operation):
    pytest.importorskip(module)
    name, of = peers.PEERS[module]
    shape = Shape(96, 128, "", channels=64 if operation in problems.GROUPED else 0)
    known = problems.data(Problem(operation, shape, torch.float32), CPU)
    back = name not in peers.FORWARD_ONLY
    assert gate.deviation(of(operation), operation, known, back=back) < 1
    assert of("add_rms_norm") is None


def test_a_library_without_gradients_is_timed_forward(monkeypatch):
    monkeypatch.setattr(measure, "FORWARD_ONLY", ("wrapped",))

    def without_gradients(x, w, b, eps):
        return F.layer_norm(x.detach(), w.shape, w.detach(), b.detach(), eps)

    found = measure.measure({"wrapped": without_gradients}, SMALL[0], CPU, seconds=0)
    assert [(r.passed, r.failure, r.ms is None) for r in found] == [("forward", "", False)]


def test_a_library_that_cannot_be_imported_says_so(monkeypatch):
    def broken(operation):
        raise ImportError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(peers, "PEERS", {"math": ("Apex", broken)})
    norm = peers.contenders("rms_norm")["Apex"]
    found = measure.measure({"Apex": norm}, SMALL[1], CPU, seconds=0)
    assert {"libcudart" in r.failure for r in found} == {True}


def test_counts_bytes():
    about = {"dtype": "bfloat16", "rows": 1000, "columns": 1000, "why": "sweep", "copy_ms": 2.0}
    row = Result("lnlib", "layer_norm", "backward", ms=6.0, **about)
    assert row.bandwidth == pytest.approx(3 * 2 * 1e6 / 6e-3 / 1e9)
    assert row.of_copy == pytest.approx(0.5)  # three tensors in the time of six
    added = Result("lnlib", "add_rms_norm", "forward", ms=8.0, **about)
    assert added.of_copy == pytest.approx(0.5)  # two read, two written


@pytest.mark.parametrize(
    ("rows", "columns", "passed", "bounds"),
    [
        (65536, 4096, "forward", (0.999, 0.999)),
        (2**20, 256, "forward", (0.988, 0.988)),
        (2**14, 2**14, "forward", (1.0, 1.0)),
        (2**11, 2**17, "forward", (0.667, 1.0)),
        (2**16, 4096, "backward", (0.994, 0.994)),
        (2**14, 2**14, "backward", (0.593, 0.979)),
        (2**12, 2**16, "backward", (0.598, 0.598)),
        (64, 4096, "backward", (0.272, 0.272)),  # sums weigh more than tensors
    ],
)
def test_predicts_what_the_bytes_allow(rows, columns, passed, bounds):
    assert results.predicted(Shape(rows, columns, ""), passed) == pytest.approx(bounds, abs=0.002)


def test_compares_the_host_with_that_of_torch(small, monkeypatch, capsys):
    """Pass by pass, where both were timed; on a CPU there is no host beside the device."""

    def rows(**known):
        return [
            Result(name, "rms_norm", passed, "float16", 8, 64, "sweep", 1.0, host_us=us)
            for name, times in known.items()
            for passed, us in zip(results.TENSORS, times, strict=True)
        ]

    found = rows(torch=(10, None, 80), Liger=(90, 90, 90), lnlib=(25, 40, 120))
    assert results.host(found) == "host, lnlib/torch: forward 2.50, both 1.50"
    assert results.host(rows(torch=(10, 20, 30))) == results.host(rows(lnlib=(1, 2, 3))) == ""
    command(monkeypatch, "--json", small)
    assert "host" not in capsys.readouterr().out
    monkeypatch.setattr(bench, "measure", lambda norms, problem, device: found)
    command(monkeypatch, "--json", small)
    assert capsys.readouterr().out.count("host, lnlib/torch: forward 2.50") == len(SMALL)


def test_every_shape_of_the_sweep_moves_the_same_bytes():
    sweep = problems.sweep()
    assert {s.rows * s.columns for s in sweep} == {problems.ELEMENTS["cuda"]}
    assert {s.columns for s in sweep} == {2**k for k in range(6, 17)}


def test_a_cpu_is_measured_in_float32_on_rows_a_small_input_and_images(monkeypatch):
    monkeypatch.setattr(problems, "interpreting", lambda: False)
    found = problems.problems(CPU)
    kinds = {(p.operation, p.dtype, p.shape.why) for p in found}
    rows = {(o, torch.float32, why) for o in problems.PLAIN for why in ("sweep", "small")}
    assert kinds == rows | {("group_norm", torch.float32, "images")}
    (images,) = (p.shape for p in found if p.shape.channels)
    assert images.rows * images.columns == problems.ELEMENTS["cpu"]
    assert images.side == 32


def test_a_gpu_is_measured_in_all_that_people_run(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (15 << 30, 16 << 30))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    found = problems.problems(torch.device("cuda"))
    assert len(found) == len({*found})
    assert {p.shape.why for p in found} == {
        "sweep",
        "residual",
        "queries",
        "decoding",
        "unaligned",
        *problems.MODELS,
    }
    assert {p.operation for p in found} == {*problems.PLAIN, *problems.ADDED}
    assert {p.dtype for p in found} == {torch.bfloat16, torch.float32}
    assert {str(p.about) for p in found} == {str(p.about) for p in {*found}}


def test_the_command_measures_and_the_drawing_follows(small, monkeypatch, capsys):
    command(monkeypatch, "--json", small)
    assert "torch" in capsys.readouterr().out
    about, found = results.load(small)
    assert {r.columns for r in found} == {32, 64}
    assert {"date", "device", "versions", "revision", "protocol", "states"} <= about.keys()
    assert len(about["states"]) == len(SMALL)
    figure = speed.draw(found, "layer_norm", "float32")
    assert all(axes.lines for axes in figure.axes)
    plt.close(figure)
    monkeypatch.setattr("sys.argv", ["speed", str(small)])
    speed.main()
    assert {p.stem for p in small.parent.glob("*.svg")} == {"layer_norm", "rms_norm"}


def test_the_file_is_whole_after_every_problem(small, monkeypatch):
    counts = []

    def contenders(operation):
        counts.append(len(results.load(small)[1]) if small.exists() else 0)
        return {"torch": peers.of_torch(operation)}

    monkeypatch.setattr(peers, "contenders", contenders)
    command(monkeypatch, "--json", small)
    assert counts == [0, 3, 6, 9]
    assert not small.with_suffix(".unfinished").exists()


def test_stops_in_time_and_goes_on_later(small, monkeypatch):
    def contenders(operation):
        def out_of_time(*arguments):
            signal.raise_signal(signal.SIGALRM)

        return {"torch": out_of_time if operation == "rms_norm" else peers.of_torch(operation)}

    monkeypatch.setattr(peers, "contenders", contenders)
    command(monkeypatch, "--json", small, "--budget", 1000)
    assert {(r.operation, r.columns) for r in results.load(small)[1]} == {("layer_norm", 32)}
    monkeypatch.setattr(peers, "contenders", lambda operation: {"torch": peers.of_torch(operation)})
    command(monkeypatch, "--json", small, "--go-on")
    found = results.load(small)[1]
    assert len(found) == len({(r.operation, r.columns, r.passed) for r in found}) == 12


def test_begins_anew_without_who_has_lost_the_gpu(small, monkeypatch):
    def measured(norms, problem, device):
        if "wrong" in norms and problem.shape.columns == 64:
            raise clock.DeviceLost("wrong", RuntimeError("illegal address"))
        return measure.measure(norms, problem, device, seconds=0)

    again = []
    monkeypatch.setattr(bench, "measure", measured)
    monkeypatch.setattr("os.execv", lambda path, arguments: again.extend(arguments))
    command(monkeypatch, "--json", small, "--budget", 60, "--without", "broken")
    about, found = results.load(small)
    assert {r.columns for r in found} == {32}
    assert "illegal address" in about["lost"]["wrong"]
    assert again[1:6] == ["-m", "lnlib.kernels.bench", "--json", str(small), "--go-on"]
    assert again[6:10] == ["--without", "broken", "--without", "wrong"]
    assert 1 <= float(again[again.index("--budget") + 1]) <= 60
    command(monkeypatch, *again[3:])
    assert {r.columns for r in results.load(small)[1]} == {32, 64}


def test_no_number_is_no_time(small):
    def undefined(*arguments):
        return peers.of_torch("rms_norm")(*arguments) * torch.nan

    found = measure.measure({"nan": undefined}, SMALL[1], CPU, seconds=0)
    assert {(r.ms, r.error) for r in found} == {(None, None)}
    results.write(small, {}, map(asdict, found))
    assert "NaN" not in small.read_text().replace("nan times", "")


def test_reads_the_recordings_of_the_book():
    about, found = results.load(RECORDINGS / "h100.json")
    assert "H100" in about["device"]
    kind = ("lnlib", "layer_norm", "backward", 512)
    (wanted,) = [r for r in found if (r.contender, r.operation, r.passed, r.columns) == kind]
    assert wanted.of_copy == pytest.approx(0.19, abs=0.005)
    search = recorded("h100-search")
    assert {row["design"] for row in search.rows} == search.provenance["designs"].keys()
    assert recorded("h100-race").where(contender="QuACK")
    assert json.dumps(recorded("h100-host").rows)


def test_the_readme_says_what_was_recorded():
    """The table of times as multiples of torch's, and the sentence on group norm below it."""
    _, found = results.load(RECORDINGS / "cpu.json")
    ms = {(r.contender, r.operation, r.passed, r.rows, r.columns): r.ms for r in found}

    def multiple(*kind):
        return f"{ms['lnlib', *kind] / ms['torch', *kind]:.2f}"

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (\d+) × (\d+) \| (.*) \|$", text, re.MULTILINE)
    assert len(table) == 5
    for rows, columns, said in table:
        shape = int(rows), int(columns)
        wanted = [multiple(o, p, *shape) for o in problems.PLAIN for p in PASSES]
        assert said.split(" | ") == wanted, shape
    pattern = r"Group norm [^.]* (\d\.\d\d) times [^.]* (\d\.\d\d) times backward"
    (said,) = re.findall(pattern, " ".join(text.split()))
    (images,) = {(r.rows, r.columns) for r in found if r.why == "images"}
    assert [*said] == [multiple("group_norm", p, *images) for p in PASSES]


def test_names_the_versions_of_what_is_installed():
    assert installed("torch", *peers.PEERS).keys() >= {"torch"}


@pytest.mark.parametrize("chosen", [None, "cutile"])
def test_says_which_liger_was_measured(chosen, monkeypatch):
    monkeypatch.delenv("LIGER_KERNEL_IMPL", raising=False)
    if chosen:
        monkeypatch.setenv("LIGER_KERNEL_IMPL", chosen)
    assert conditions.provenance(CPU)["LIGER_KERNEL_IMPL"] == chosen


def test_names_the_card_its_state_and_the_code(monkeypatch):
    card = SimpleNamespace(
        major=9, minor=0, multi_processor_count=132, L2_cache_size=50 << 20, total_memory=80 << 30,
        uuid="1-2", shared_memory_per_block_optin=232448,
    )  # fmt: skip
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)

    def nvidia_smi(command, **options):
        fields = next(c for c in command if c.startswith("--query-gpu=")).split("=")[1]
        return SimpleNamespace(stdout=", ".join(f"<{f}>" for f in fields.split(",")) + "\n")

    monkeypatch.setattr(subprocess, "run", nvidia_smi)
    gpu = torch.device("cuda")
    found = conditions.card(gpu) | conditions.state(gpu)
    assert (found["processors"], found["capability"]) == (132, "9.0")
    assert found["clocks.sm"] == "<clocks.sm>"
    assert {"driver_version", "power.limit", "clocks_event_reasons.active"} <= found.keys()

    def older(command, **options):
        if any("event_reasons" in part for part in command):
            raise subprocess.CalledProcessError(2, command)
        return nvidia_smi(command, **options)

    monkeypatch.setattr(subprocess, "run", older)
    assert "clocks_throttle_reasons.active" in conditions.state(gpu)

    def missing(*arguments, **options):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    assert conditions.state(gpu) == {}
    assert conditions.card(gpu)["processors"] == 132
    assert conditions.revision().startswith("sha256 ")


def test_needs_torch_alone():
    missing = dict.fromkeys(["triton", "numba", "tqdm", "matplotlib", "IPython", "scipy", "pytest"])
    code = f"import sys; sys.modules.update({missing}); import lnlib.kernels.bench"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
