"""The loops for the processor: values, bits, threads, what they leave to others, planted bugs."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import assert_close, normal
from torch.utils.data import DataLoader

from lnlib import formula, functional
from lnlib.kernels import cpu
from lnlib.layout import batch_layout, group_layout, instance_layout, layer_layout

pytestmark = pytest.mark.skipif(not cpu.INSTALLED, reason="needs Numba")

UNIT = {d: torch.finfo(d).eps / 2 for d in cpu.FORMATS}
LAYOUTS = {
    "layer": lambda shape: layer_layout(shape, shape[1:]),
    "layer, last axis": lambda shape: layer_layout(shape, shape[-1:]),
    "group": lambda shape: group_layout(shape, 2),
    "instance": instance_layout,
    "batch": batch_layout,
}
SHAPES = [(3, 4, 5), (1, 4, 9), (40, 6), (33, 2, 3), (2, 4, 3, 7), (5, 2, 1, 40)]
CASES = [
    (name, shape)
    for name in LAYOUTS
    for shape in SHAPES
    if not (name == "instance" and np.prod(shape[2:]) == 1)
]
with_each_dtype = pytest.mark.parametrize("dtype", UNIT, ids=str)
with_eps = pytest.mark.parametrize("eps", [1e-5, 0.3])


def data(name, shape, dtype=torch.float64, shift=1.0, scale=2.0):
    """Layout, input, weight, bias and cotangent."""
    layout = LAYOUTS[name](shape)
    per = tuple(size for size in layout.parameter if name.startswith("layer") or size != 1) or (1,)
    x = normal(*shape) * scale + shift
    tensors = x, normal(*per, seed=1), normal(*per, seed=2), normal(*shape, seed=3)
    return layout, *(t.to(dtype) for t in tensors)


def computed(normalize, layout, x, weight, bias, dy, eps=1e-5, dtype=None):
    """Output, statistics and gradients, with everything in a dtype."""
    leaves = [t.to(dtype or t.dtype).clone().requires_grad_() for t in (x, weight, bias)]
    y, mean, var = normalize(leaves[0], layout, *leaves[1:], eps)
    gradients = torch.autograd.grad(y, leaves, dy.to(y.dtype))
    return y.detach(), mean.flatten(), var.flatten(), *gradients


def agree(name, shape, dtype, eps=1e-5, **where):
    """The loops find what the formula finds in float64."""
    arguments = data(name, shape, dtype, **where)
    want = computed(formula.normalize, *arguments, eps, torch.float64)
    for got, w in zip(computed(cpu.normalize, *arguments, eps), want, strict=True):
        assert_close(got.double(), w, max(16 * UNIT[dtype], 1e-14))


# --- values -------------------------------------------------------------------------------------


@with_eps
@with_each_dtype
@pytest.mark.parametrize(("name", "shape"), CASES)
def test_outputs_statistics_and_gradients_are_those_of_the_formula(name, shape, dtype, eps):
    agree(name, shape, dtype, eps)


@pytest.fixture
def small_pieces(monkeypatch):
    """Share out and convert few entries at a time; what is known of larger ones is forgotten."""
    monkeypatch.setattr(cpu, "PIECE", 64)
    monkeypatch.setattr(cpu, "BLOCK", 512)
    with ExitStack() as stack:
        for known in (cpu.bounds_of, cpu.grid_of):
            known.cache_clear()
            stack.callback(known.cache_clear)
        yield


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_many_pieces_and_blocks_make_one_whole(name, dtype):
    agree(name, (48, 6, 8), dtype)


@pytest.mark.parametrize("name", LAYOUTS)
def test_long_rows_are_added_up_in_parts(name):
    agree(name, (2, 4, 5000), torch.float32)


@with_eps
@with_each_dtype
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("length", [300, 512, 4000])
def test_groups_are_read_ahead(name, length, dtype, eps):
    agree(name, (3, 4, length), dtype, eps)


def test_rows_of_all_sizes_are_read_ahead():
    x = normal(9, 2100) * torch.tensor([1, 1e-35, 1e37] * 3)[:, None]
    want = functional.layer_norm(x, (2100,), eps=0.0)
    with functional.only(cpu):
        y = functional.layer_norm(x.float(), (2100,), eps=0.0)
    assert_close(y.double(), want, 16 * UNIT[torch.float32])


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("size", [1e-35, 1e-25, 1e25, 1e37])
def test_rows_whose_squares_leave_float32_are_normalized(size, center):
    x = (normal(3, 50) * size).float().requires_grad_()
    norm = functional.layer_norm if center else functional.rms_norm
    with functional.only(cpu):
        y = norm(x, (50,), eps=0.0)
        (dx,) = torch.autograd.grad(y, x, normal(3, 50, seed=1).float())
    twin = x.detach().double().requires_grad_()
    with functional.only(formula):
        want = norm(twin, (50,), eps=0.0)
        (slope,) = torch.autograd.grad(want, twin, normal(3, 50, seed=1))
    assert_close(y.double(), want, 16 * UNIT[torch.float32])
    assert_close(dx.double() * size, slope * size, 16 * UNIT[torch.float32])


def test_rows_below_the_normal_numbers_of_float32_are_normalized():
    x = (normal(3, 50) * 1e-40).float()
    with functional.only(cpu):
        y = functional.layer_norm(x, (50,), eps=0.0)
    want = functional.layer_norm(x.double(), (50,), eps=0.0)
    assert_close(y.double(), want, 16 * UNIT[torch.float32])


@pytest.mark.parametrize("size", [1e-250, 1e250])
@pytest.mark.parametrize("norm", [functional.layer_norm, functional.rms_norm])
def test_rows_whose_squares_leave_float64_are_normalized(norm, size):
    x, weight, found = normal(3, 50), normal(50, seed=2).requires_grad_(), []
    with functional.only(cpu):
        for leaf in (x.clone().requires_grad_(), (x * size).requires_grad_()):
            y = norm(leaf, (50,), weight, eps=0.0)
            dx, dweight = torch.autograd.grad(y, (leaf, weight), normal(3, 50, seed=1))
            found.append(torch.cat([y.detach(), dx * (leaf / x).detach(), dweight[None]]))
    assert_close(*found)


def test_a_large_mean_costs_no_digits():
    """torch loses four."""
    x, norm = (normal(8, 1000) * 0.1 + 1000).float(), partial(functional.layer_norm, eps=0.0)
    with functional.only(cpu):
        y = norm(x, (1000,)).double()
    assert_close(y, norm(x.double(), (1000,)), 16 * UNIT[torch.float32])


@with_each_dtype
@pytest.mark.parametrize("columns", [3, 48, 1000])
def test_a_constant_row_becomes_the_bias(dtype, columns):
    bias = normal(columns).to(dtype)
    with functional.only(cpu):
        y = functional.layer_norm(
            torch.full((2, columns), 0.1, dtype=dtype), (columns,), None, bias
        )
    assert torch.equal(y, bias.expand(2, columns))


def test_a_nan_stays_in_its_row():
    x = normal(4, 6).float()
    clean = functional.layer_norm(x, (6,))
    x[1, 2] = torch.nan
    with functional.only(cpu):
        y = functional.layer_norm(x, (6,))
    assert y[1].isnan().all()
    assert torch.equal(y[[0, 2, 3]], clean[[0, 2, 3]])


# --- bits, threads, processes -------------------------------------------------------------------


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(params=[True, False], ids=["torch's threads", "a pool"])
def team(request, monkeypatch):
    """Whose threads share the work."""
    if request.param and not cpu._loops().TEAM:
        pytest.skip("torch does without OpenMP here")
    monkeypatch.setattr(cpu._loops(), "TEAM", request.param)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_bits_do_not_depend_on_the_threads(name, threads, team):
    arguments = data(name, (64, 32, 40), torch.float32)
    found = []
    for number in (1, 2, 3):
        threads(number)
        found.append(computed(cpu.normalize, *arguments))
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch may do without OpenMP")
def test_on_linux_the_threads_are_those_of_torch():
    assert cpu._loops().TEAM


def printed(code, **environment):
    """What a new Python prints that runs some code."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | environment,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.parametrize("limit", ["1", "2"])
def test_fewer_threads_than_asked_for_do_all(limit):
    code = (
        "import torch; from lnlib import functional as f; torch.set_num_threads(3);"
        "x = torch.randn(512, 512); y = f.layer_norm(x, (512,)); torch.set_num_threads(1);"
        "print(torch.equal(y, f.layer_norm(x, (512,))))"
    )
    assert printed(code, OMP_THREAD_LIMIT=limit) == "True"


def test_what_fails_in_a_thread_of_the_pool_fails_in_the_call():
    def loop(first, last, bounds):
        if last == len(bounds) - 1:
            raise MemoryError("the second share")

    with pytest.raises(MemoryError, match="the second share"):
        cpu._in_pool(loop, 2, np.arange(3))


@with_each_dtype
@pytest.mark.parametrize("columns", [257, 700, 2100])
def test_the_bits_of_a_row_do_not_depend_on_its_neighbours(columns, dtype):
    layout, x, weight, bias, dy = data("layer, last axis", (300, columns), dtype)
    y, _, _, dx, *_ = computed(cpu.normalize, layout, x, weight, bias, dy)
    for rows in ([7], [7, 0, 1], [299, 7]):
        part = layer_layout((len(rows), columns), (columns,))
        y_, _, _, dx_, *_ = computed(cpu.normalize, part, x[rows], weight, bias, dy[rows])
        assert torch.equal(y_, y[rows])
        assert torch.equal(dx_, dx[rows])


def test_several_threads_may_call_at_once(threads, team):
    threads(2)
    arguments = data("layer, last axis", (512, 512), torch.float32)
    want = computed(cpu.normalize, *arguments)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: computed(cpu.normalize, *arguments), range(12)):
            assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))


@pytest.mark.parametrize("team", ["loops.TEAM", "False"])
def test_a_call_while_python_exits_is_computed(team):
    code = (
        "import atexit, torch; from lnlib import functional as f; from lnlib.kernels import loops;"
        f"loops.TEAM = {team}; torch.set_num_threads(2);"
        "x = torch.randn(512, 512); y = f.layer_norm(x, (512,));"
        "atexit.register(lambda: print(torch.equal(f.layer_norm(x, (512,)), y)))"
    )
    assert printed(code) == "True"


def test_a_second_process_finds_the_loops_compiled(tmp_path):
    code = (
        "import torch; from lnlib import functional as f; torch.set_num_threads(2);"
        "f.layer_norm(torch.ones(512, 512), (512,)); from lnlib.kernels import loops as l;"
        "loop = l.forward_together if l.TEAM else l.forward;"
        "print(sum(loop.stats.cache_hits.values()))"
    )
    assert [printed(code, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2)] == ["0", "1"]


def _in_a_child(connection, x):
    torch.use_deterministic_algorithms(False)  # or torch fills memory, by threads that are not here
    connection.send(functional.layer_norm(x, x.shape[-1:]).numpy().sum())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own(threads):
    threads(2)
    x = normal(512, 512).float()
    want = functional.layer_norm(x, (512,)).numpy().sum()
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_in_a_child, args=(there, x))
    child.start()
    assert here.poll(60), "the child hangs"
    assert here.recv() == want
    child.join()


class Normalized(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return functional.layer_norm(normal(8, 16, seed=index).float(), (16,))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_of_a_data_loader_normalize():
    dataset = Normalized()
    for got, want in zip(DataLoader(dataset, None, num_workers=2), dataset, strict=False):
        assert torch.equal(got, want)


def test_inference_mode():
    x = normal(3, 8).float()
    with torch.inference_mode(), functional.only(cpu):
        y = functional.layer_norm(x * 1, (8,), torch.ones(8))
    assert y.is_inference()
    assert torch.equal(y.clone(), functional.layer_norm(x, (8,)))


# --- who computes -------------------------------------------------------------------------------


def test_the_loops_take_what_lies_entry_by_entry():
    x = normal(4, 6)
    assert cpu.takes(x)
    assert cpu.takes(torch.nn.Parameter(x))
    for other in (x.T, x[:, ::2], x.to(torch.complex64), x.to("meta"), x[:0], x.to_sparse(), "x"):
        assert not cpu.takes(other)
    with torch.autograd.forward_ad.dual_level():
        assert not cpu.takes(x)


def frozen(name, learned, dtype, length=7):
    """What asks for a gradient gets the same bits as if all asked, and nothing else gets one."""
    wanted = [bool(learned >> k & 1) for k in range(3)]
    layout, *tensors, dy = data(name, (5, 4, length), dtype)
    whole = computed(cpu.normalize, layout, *tensors, dy)[3:]
    leaves = [t.clone().requires_grad_(w) for t, w in zip(tensors, wanted, strict=True)]
    cpu.normalize(leaves[0], layout, *leaves[1:], 1e-5)[0].backward(dy)
    assert [leaf.grad is not None for leaf in leaves] == wanted
    for leaf, want in zip(leaves, whole, strict=True):
        assert leaf.grad is None or torch.equal(leaf.grad, want)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("learned", range(1, 8))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("length", [7, 700, 2100])
def test_only_what_asks_for_a_gradient_gets_one(name, learned, dtype, length):
    frozen(name, learned, dtype, length)


def test_without_a_gradient_of_the_output_none_is_handed_on():
    class Nothing(torch.autograd.Function):
        forward = staticmethod(lambda ctx, y: y.clone())
        backward = staticmethod(lambda ctx, dy: None)

    x = normal(5, 6).requires_grad_()
    with functional.only(cpu):
        y = functional.layer_norm(x, (6,))
    (Nothing.apply(y).sum() + x.sum()).backward()
    assert torch.equal(x.grad, torch.ones(5, 6, dtype=x.dtype))


def test_frozen_parameters_get_no_room(monkeypatch):
    rooms = []
    monkeypatch.setattr(cpu, "_share", lambda *arguments: rooms.append(arguments[-1].size))
    x = normal(300, 40, dtype=torch.float32).requires_grad_()
    weight = torch.ones(40)
    with functional.only(cpu):
        for each in (weight, weight.clone().requires_grad_()):
            y = functional.layer_norm(x, (40,), each)
            rooms.clear()
            y.sum().backward()
            assert (rooms[0] > 0) == each.requires_grad


def test_a_norm_keeps_its_input_and_little_else():
    def kept(norm):
        sizes = []

        def pack(t):
            sizes.append(t.nbytes)
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            norm(x, (1024,), weight, bias)
        return sum(sizes)

    x = normal(256, 1024, dtype=torch.float32).requires_grad_()
    weight, bias = (torch.ones(1024, requires_grad=True) for _ in range(2))
    with functional.only(cpu):
        assert kept(functional.layer_norm) < 1.1 * kept(torch.nn.functional.layer_norm)


def test_importing_lnlib_does_not_import_numba():
    assert printed("import sys, lnlib.functional; print('numba' in sys.modules)") == "False"


def test_without_numba_the_formula_computes():
    code = (
        "import sys; sys.modules['numba'] = None; import torch; from lnlib import functional as f;"
        "print(f.cpu.INSTALLED, f.layer_norm(torch.tensor([[0., 2.]]), (2,), eps=0.0).tolist())"
    )
    assert printed(code) == "False [[-1.0, 1.0]]"


# --- planted bugs -------------------------------------------------------------------------------

MUTANTS = {
    "divisor n - 1": ("else 0.0, square / count", "else 0.0, square / (count - 1)"),
    "remainder of the mean forgotten": ("rest = total / count if center", "rest = 0.0 if center"),
    "half of eps": ("var + eps", "var + eps / 2"),
    "half of its root": ("math.sqrt(eps)", "math.sqrt(eps / 2)"),
    "never summed twice": ("var > power * 2.0**-20 or not center", "True"),
    "no power of two": ("not 1e-290 <", "False and 1e-290 <"),
    "mean held fixed": ("total = total if center else 0.0", "total = 0.0"),
    "mean removed in RMSNorm": ("total = total if center else 0.0", "total = total"),
    "the same, in steps": ("total / length if center else 0.0", "total / length"),
    "first step's sum": ("start in range(0, length, PART)", "start in range(PART, length, PART)"),
    "last step's sum": (
        "moments(x[0, g, k, step])\n                    total, square = total + t, square + q",
        "moments(x[0, g, k, step])\n                    total, square = t, q",
    ),
    "last channel's sum": (
        "moments(x[b, g, k])\n                total, square = total + t, square + q",
        "moments(x[b, g, k])\n                total, square = t, q",
    ),
    "written with the next one's": ("done = max(g - 1, begin)", "done = min(g, end - 1)"),
    "last one not written": ("range(begin, end + 1)", "range(begin, end)"),
    "gamma forgotten": ("v = dy[i] * weight[i]", "v = dy[i]"),
    "gamma of the first group": ("p = g % len(weight)\n    total", "p = 0\n    total"),
    "last part's sum": ("plain, weighted = plain + t, weighted + c", "plain, weighted = t, c"),
    "scale forgotten": ("r = g % len(weight), rstd * scale", "r = g % len(weight), rstd"),
    "the same, of rows": ("r = rstd * scale", "r = rstd"),
    "last row's gradient": ("dweight[i] += v * x_hat", "dweight[i] = v * x_hat"),
    "frozen input": ("dweight[p, k, i] += v * standardize", "dweight[p, k, i] = v * standardize"),
    "gradient of the next row": (
        "done, ahead = max(g - 1, begin), min(g, end - 1)",
        "done, ahead = max(g - 1, begin), max(g - 1, begin)",
    ),
    "last step of dy": (
        "total, product = total + t, product + c\n        if g",
        "total, product = t, c\n        if g",
    ),
    "last part of a short row": (
        "total, product = total + t, product + c\n        else",
        "total, product = t, c\n        else",
    ),
    "written with other sums": (
        "(*near, real(total), real(product)), gain",
        "(*near, real(total), real(total)), gain",
    ),
    "a row out of format": ("if g > begin and not fit:", "if False:"),
    "gamma's gradient for beta's": ("dbias += parts[piece, 1]", "dbias += parts[piece, 0]"),
    "dweight forgotten": ("sums[own, 0], sums[own, 1]", "sums[own, 0] * 0, sums[own, 1]"),
    "out of format": ("x.itemsize == 8 or (", "x.itemsize > 0 or ("),
}


def all_is_well():
    short, long = (("layer, last axis", (71, columns)) for columns in (5, 6))  # not ahead, ahead
    for name, shape in (short, long, ("group", (3, 4, 5)), ("batch", (3, 4, 5))):
        agree(name, shape, torch.float64, 0.3)
        agree(name, shape, torch.float32, 0.3)
        agree(name, shape, torch.float64, shift=1e6, scale=1e-3)
        agree(name, shape, torch.float32, shift=1e4, scale=0.01)
        agree(name, shape, torch.float32, 0.0, shift=0.0, scale=1e-35)
        agree(name, shape, torch.float64, 0.0, shift=0.0, scale=1e250)
    test_rows_whose_squares_leave_float32_are_normalized(1e-35, True)
    test_rows_below_the_normal_numbers_of_float32_are_normalized()
    test_rows_whose_squares_leave_float64_are_normalized(functional.layer_norm, 1e250)
    for learned in (1, 6):
        frozen("layer, last axis", learned, torch.float64)
    x, weight = normal(5, 6).requires_grad_(), normal(6, seed=2).requires_grad_()
    for asked in ([x], [x, weight]):
        found = []
        for way in (cpu, formula):
            with functional.only(way):
                y = functional.rms_norm(x, (6,), weight.requires_grad_(len(asked) > 1), eps=0.3)
            found += [torch.autograd.grad(y, asked, normal(5, 6, seed=1))]
        for ours, want in zip(*found, strict=True):
            assert_close(ours, want)


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Run the loops from the module's text, changed, in plain Python."""
    source = Path(cpu.__file__).with_name("loops.py").read_text(encoding="utf-8")

    def load(old, new):
        assert old in source, old
        names = {"__name__": "planted"}
        text = source.replace(old, new).replace("from numba import njit", "njit = plainly")
        sizes = {"PART = 2**7": "PART = 4", "AHEAD = 2**11, 2**15": "AHEAD = 6, 40"}
        for size, few in sizes.items():
            assert size in text
            text = text.replace(size, few)
        names["plainly"] = lambda **options: lambda function: function
        exec(compile(text, "planted", "exec"), names)
        names["prefetch"] = lambda x, distance: None  # an instruction without a result
        monkeypatch.setattr(cpu, "_loops", lambda: type("loops", (), names))

    return load


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # wrong numbers are what is to be caught
@pytest.mark.parametrize("bug", MUTANTS)
def test_a_planted_bug_is_caught(planted, bug):
    planted(*MUTANTS[bug])
    with pytest.raises(AssertionError):
        all_is_well()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_without_a_bug_all_is_well(planted):
    planted("njit", "njit")
    all_is_well()
