"""The GPU benchmark, on the CPU: it checks before it times, and counts bytes right."""

import sys
import time
from types import ModuleType, SimpleNamespace

import pytest
import torch
from matplotlib import pyplot as plt
from torch.nn import functional as F

from lnlib.kernels import bench, peers
from lnlib.pages import speed
from lnlib.provenance import installed

CPU = torch.device("cpu")
SMALL = bench.Shape(8, 32, "sweep")


def clock(run):
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def few(operation):
    """Contenders that need no compiler."""
    right = peers.of_torch(operation)

    def wrong(x, w, b, eps):
        return right(x, w, b, eps) * 1.05

    def broken(x, w, b, eps):
        raise RuntimeError("no kernel for this shape")

    return {"torch": right, "lnlib": peers.of_lnlib(operation), "w": wrong, "x": broken}


@pytest.mark.parametrize("operation", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_times_what_is_right_and_names_what_is_not(operation, dtype):
    results = list(bench.measure(few(operation), operation, SMALL, dtype, CPU, clock))
    assert len(results) == 4 * len(bench.TENSORS)
    for r in results:
        assert (r.ms is not None) == (r.contender in ("torch", "lnlib")), r
        assert (r.failure == "") == (r.ms is not None)
    assert all("rounding" in r.failure for r in results if r.contender == "w")
    assert all("no kernel" in r.failure for r in results if r.contender == "x")


@pytest.mark.parametrize("operation", ["layer_norm", "rms_norm"])
def test_calls_peers_as_they_are_called(operation, monkeypatch):
    """Stand-ins with the signatures of Apex and Transformer Engine, made of torch's own."""
    apex = SimpleNamespace(
        fused_layer_norm_affine=lambda x, w, b, shape, eps: F.layer_norm(x, shape, w, b, eps),
        fused_rms_norm_affine=lambda x, w, shape, eps: F.rms_norm(x, shape, w, eps),
    )
    modules = {
        "apex": ModuleType("apex"),
        "apex.normalization": SimpleNamespace(fused_layer_norm=apex),
        "transformer_engine": SimpleNamespace(pytorch=torch.nn),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for peer in (peers.of_apex, peers.of_transformer_engine):
        error = bench.deviation(peer(operation), operation, SMALL, torch.float64, CPU)
        assert error < 1e-3


def test_names_the_versions_of_what_is_installed():
    assert installed("torch", *peers.PEERS).keys() >= {"torch"}


def test_counts_bytes():
    row = bench.Result(
        contender="lnlib", operation="layer_norm", passed="backward", dtype="bfloat16",
        rows=1000, columns=1000, why="sweep", copy_ms=2.0, ms=6.0,
    )  # fmt: skip
    assert row.bandwidth == pytest.approx(3 * 2 * 1e6 / 6e-3 / 1e9)
    assert row.of_copy == pytest.approx(0.5)  # three tensors in the time of six


@pytest.mark.parametrize(
    ("rows", "columns", "passed", "bounds"),
    [
        (65536, 4096, "forward", (0.999, 0.999)),
        (2**20, 256, "forward", (0.988, 0.988)),
        (2**14, 2**14, "forward", (1.0, 1.0)),
        (4096, 2**16, "forward", (0.667, 1.0)),
        (2**16, 4096, "backward", (0.994, 0.994)),
        (2**12, 2**16, "backward", (0.596, 0.596)),
        (64, 4096, "backward", (0.272, 0.272)),  # sums weigh more than tensors
    ],
)
def test_predicts_what_the_bytes_allow(rows, columns, passed, bounds):
    shape = bench.Shape(rows, columns, "")
    assert bench.predicted(shape, passed) == pytest.approx(bounds, abs=0.002)


def test_every_shape_of_the_sweep_moves_the_same_bytes():
    sweep = bench.sweep()
    assert {s.rows * s.columns for s in sweep} == {bench.ELEMENTS["cuda"]}
    assert {s.columns for s in sweep} == {2**k for k in range(8, 17)}


def test_draws_and_reads_a_recording(tmp_path):
    results = list(bench.measure(few("layer_norm"), "layer_norm", SMALL, torch.float32, CPU, clock))
    figure = speed.draw(results, "layer_norm", "float32")
    assert [len(axes.lines) - 1 for axes in figure.axes] == [2, 2]
    plt.close(figure)
    path = tmp_path / "recording.json"
    bench.write(path, {"device": "cpu"}, results)
    assert bench.load(path) == ({"device": "cpu"}, results)


def test_the_command_measures_and_the_drawing_follows(tmp_path, monkeypatch, capsys):
    path = tmp_path / "cpu.json"
    monkeypatch.setattr(peers, "contenders", few)
    monkeypatch.setattr(bench, "shapes", lambda device: bench.sweep(2**16, (256, 1024)))
    monkeypatch.setattr(bench, "cold_clock", lambda device: clock)
    monkeypatch.setattr("sys.argv", ["bench", "--json", str(path)])
    with bench.functorch.patch(donated_buffer=True):  # which main sets, for the whole process
        bench.main()
    assert "torch" in capsys.readouterr().out
    about, results = bench.load(path)
    assert {r.columns for r in results} == {256, 1024}
    assert {"date", "device", "versions"} <= about.keys()
    monkeypatch.setattr("sys.argv", ["speed", str(path)])
    speed.main()
    assert {p.stem for p in tmp_path.glob("*.svg")} == {"layer_norm", "rms_norm"}


def test_a_cpu_is_measured_in_float32_and_without_long_rows_of_models():
    assert bench.usual_dtype(CPU) == torch.float32
    assert {s.why for s in bench.shapes(CPU)} == {"sweep"}
    assert bench.cold_clock(CPU)(lambda: torch.ones(2**16).sum()) > 0
