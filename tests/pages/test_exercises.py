"""The checks of the exercises: solutions are right, mistakes are not and are called by their name.

What is right is compared by nbval: the page of solutions calls each check.
"""

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from book.tools import notebooks
from book.tools.languages import LANGUAGES
from book.tools.reading import text_outputs
from lnlib.pages import exercises
from lnlib.pages.exercises import CHECKS, cases, words

CALL = re.compile(r'\bcheck\(\s*"(ex-[\w-]+)"')
EXERCISE = re.compile(r"^::::\{exercise\}.*\n:label: (\S+)", re.MULTILINE)


@pytest.fixture(scope="module", params=LANGUAGES)
def edition(request):
    """A language, and the pages written in it."""
    pages = (path for path in notebooks.pages() if path.parent.name == request.param)
    return request.param, {path.stem: notebooks.read(path) for path in pages}


def test_every_check_has_a_cell_to_start_from_that_asks_for_what_it_takes(edition):
    language, pages = edition
    found = []
    for page in pages.values():
        for above, cell in zip(page.cells, page.cells[1:], strict=False):
            if "start" in cell.metadata.get("tags", ()):
                label = cell.id.removesuffix("-start")
                assert above.source.endswith("\n::::")
                assert EXERCISE.findall(above.source)[-1] == label
                names = [*inspect.signature(CHECKS[label]).parameters]
                call = f'check("{label}", {", ".join(names)}, language="{language}")'
                assert cell.source.endswith(f"\n{call}")
                still = words.translate("Still to do", language)
                said = re.fullmatch(rf"{still}: (.+)\.\n", text_outputs(cell))
                assert said, label
                assert {*said[1].split(", ")} <= {*names}
                found.append(label)
    assert sorted(found) == sorted(CHECKS)


def test_every_solution_is_right(edition):
    language, pages = edition
    right = words.translate("Right", language)
    called = []
    for cell in pages["loesungen"].cells:
        if cell.cell_type == "code" and (labels := CALL.findall(cell.source)):
            said = text_outputs(cell)
            assert len(re.findall(rf"^{right}\.", said, re.MULTILINE)) >= len(labels), cell.id
            assert words.translate("Not yet", language) not in said
            called += labels
    assert sorted(called) == sorted(CHECKS)


# --- mistakes -------------------------------------------------------------------------------------


def mean(v, *axes):
    return v.mean(axes or -1, keepdims=True)


def spread(v, *axes, eps=0.0):
    return ((v - mean(v, *axes)) ** 2).mean(axes or -1, keepdims=True) + eps


def root(v):
    return v**0.5


def normed(v, *axes, eps=1e-5):
    return (v - mean(v, *axes)) / root(spread(v, *axes, eps=eps))


def into(function):
    """Write what a function returns into its last argument, as a loop does."""

    def loop(*arguments):
        arguments[-1][...] = function(*arguments[:-1])

    return loop


def in_halves(merge):
    """Differentiate both halves of the rows; merge their gradients of γ."""

    def differentiate(norm, x, weight, dy):
        parts = []
        for rows, above in zip(x.chunk(2), dy.chunk(2), strict=True):
            leaves = rows.clone().requires_grad_(), weight.clone().requires_grad_()
            parts.append(torch.autograd.grad(norm(*leaves), leaves, above))
        (dx, dw), (other_dx, other_dw) = parts
        return torch.cat([dx, other_dx]), merge(dw, other_dw)

    return differentiate


def descending(exchange):
    """Descend with what an exchange makes of the gradient on one process."""

    def ten_steps(gain, tokens, target, rate, total):
        x_hat = F.layer_norm(tokens, tokens.shape[1:])
        for _ in range(10):
            gain = gain - rate * exchange(((gain * x_hat - target) * x_hat).sum(0), total)
        return gain

    return ten_steps


def shrinking(*names):
    """Shrink what is named in a net."""

    def shrink(net, factor):
        for name in names:
            net.get_parameter(name).mul_(factor)

    return shrink


class Plain(nn.RMSNorm):
    def __init__(self, n):
        super().__init__(n, 1e-6)


def random_task(count, generator):
    labels = torch.randint(2, (count,), generator=generator)
    return torch.randn(count, 64, generator=generator), labels


WRONG = [  # answers, and what is said about them
    ("ex-ten-hand", [np.array([-1, -1, -1, 3]) / 2, 2], "This divides by H − 1."),
    ("ex-ten-hand", [np.array([-1, -1, -1, 3]) / 3**0.5, 4], "This is its square."),
    ("ex-ten-undo", [25, 10], "γ is σ here, not σ²."),
    ("ex-principle-fiber", [[-5, 1, 3, 9]], "μ and σ are swapped."),
    ("ex-principle-means", [dict.fromkeys(("LN (C)", "LN (T, C)", "BN", "IN", "GN"), (12, 1))], ""),
    ("ex-back-two", [1], "This is r; with two entries every gradient points along x̂."),
    ("ex-back-two", [1e-3], "is too large."),
    (
        "ex-back-radial",
        [lambda x, g, eps: (eps * g * normed(x, eps=eps)).sum()],
        "r has the power of three.",
    ),
    (
        "ex-back-radial",
        [lambda x, g, eps: (eps * spread(x, eps=eps) ** -1.5 * g * x).sum()],
        "Of each row it is c that counts, not x.",
    ),
    (
        "ex-back-outside",
        [lambda x, dy, eps: (dy - mean(dy)) / (root(spread(x)) + eps)],
        "expected",
    ),
    ("ex-back-partial", [lambda x, g, k, eps: g], "expected"),
    (
        "ex-back-half",
        [lambda x, r, eps: (x - mean(x)) / root(spread(x))],
        "The mean square is 1 − ε r², not 1.",
    ),
    ("ex-merge-split", [7, 0], "merged: how large is the error beside the variance?"),
    ("ex-smallest-nan", [4096, 2048], "is too small."),
    ("ex-safe-eps", [1e-5], "A square that vanishes is more than u beside this ε."),
    ("ex-safe-eps", [1e-8], "This ε is 0 in float16."),
    ("ex-safe-eps", [1e-3], "A smaller ε is enough."),
    ("ex-shift-worst", [np.arange(8)], "After the shift κ² is below 0.9 H."),
    ("ex-eps-design", [1e-2, 1e-2], "This would be right outside."),
    (
        "ex-nan",
        [lambda x, eps: (x - mean(x)) / (root(spread(x)) + eps)],
        "On a constant vector the gradient is not finite.",
    ),
    ("ex-collapse", [0.01, 0.01], "RMSNorm subtracts no mean."),
    ("ex-collapse", [0.97, 0.97], "What all have in common after ReLU is a mean."),
    ("ex-diff-leak", [lambda known, seen: known.mean(0)], "expected"),
    ("ex-diff-equal", [np.arange(8.0).reshape(1, 2, 2, 2)], "The channels differ in their mean."),
    (
        "ex-diff-switchable",
        [lambda x, w, eps: sum(
            a * normed(x, *axes, eps=eps) for a, axes in zip(w, [(0, 2), (1, 2), (2,)], strict=True)
        )],
        "This mixes the outputs, not the means and the variances.",
    ),
    ("ex-batch-momentum", [0.99], "This is the weight of the old value."),
    ("ex-batch-fold", [lambda W, b, gain, shift: (W * gain, b)], "W β is missing."),
    (
        "ex-batch-ghost",
        [lambda x, group, eps: torch.cat(
            [(p - p.mean(0)) / (p.var(0) + eps) ** 0.5 for p in x.split(group)]
        )],
        "This divides by n − 1.",
    ),
    (
        "ex-batch-ghost",
        [lambda x, group, eps: normed(x, 0, eps=eps)],
        "All examples share one mean.",
    ),
    ("ex-impl-port", [1e-3, 0.3146], "The two are apart by the root of this."),
    ("ex-impl-unbiased", [lambda w, eps, H: (w * root(1 - 1 / H), eps)], "ε changes, too."),
    (
        "ex-impl-channels",
        [lambda x, eps: F.group_norm(x, 1, eps=eps)],
        "All positions share one mean, as in GroupNorm(1, C).",
    ),
    (
        "ex-impl-shift",
        [lambda x, weight, bias, eps: normed(x, eps=eps) * weight + bias],
        "Another order: this one loses no digits at mean 10⁴.",
    ),
    ("ex-impl-saved", [2, 2 / 768], "is too large."),
    ("ex-impl-saved", [1, 1 / 1024], "x̂ = (x − μ) r needs both."),
    ("ex-gpu-spill", [255, 0], "That is the most the compiler gives to one thread."),
    ("ex-gpu-cache", [379e3], "An entry has two bytes."),
    ("ex-gpu-rms", [4], "The mean is stored in two parts."),
    ("ex-gpu-little", [4, 16, 1.5], "64 warps fit, but registers do not."),
    ("ex-gpu-lock", [lambda shares, K, orders: len(orders)], "expected"),
    ("ex-gpu-micro", [in_halves(lambda a, b: (a + b) / 2), True, False],
     "The gradients are added, not averaged."),
    ("ex-gpu-micro", [in_halves(lambda a, b: b), True, False], "That is dγ of the last half."),
    ("ex-gpu-micro", [in_halves(torch.add), True, True], "It is another sum of the same numbers."),
    ("ex-gpu-output", [3, 9.77], "Rounding is off by half a step at most."),
    ("ex-gpu-output", [4, 4.88], "y takes the place of x."),
    ("ex-gpu-programs", [7040], "It is two programs with two sums each, written and read."),
    (
        "ex-gpu-flight",
        [{2: 64, 3: 96, 4: 128}],
        "One stage is being computed, the others are under way.",
    ),
    ("ex-gpu-predict", [79, 5], "It is read and written."),
    ("ex-gpu-cache-size", [lambda size, seconds: size / seconds / 1e9, lambda size: 2 * size],
     "A copy reads and writes."),
    ("ex-gpu-cache-size", [lambda size, seconds: 2 * size / seconds / 1e9, lambda size: size],
     "Source and target are both in the cache."),
    ("ex-gpu-suspicious", [67.1, 28], "An entry has two bytes."),
    ("ex-gpu-suspicious", [33.6, 8.5], "This is the report’s."),
    ("ex-gpu-one-turn", [[0.74, 0.65, 0.64, 0.65]], "Backward moves three tensors, a copy two."),
    ("ex-gpu-break-even", [3265, 665], "Five tensors are moved."),
    (
        "ex-dist-rms",
        [lambda x, H, eps, total: (x / root(mean(x**2) + eps), mean(x)), lambda *_: 0],
        "expected",
    ),
    (
        "ex-dist-rms",
        [
            lambda x, H, eps, total: (
                (q := root(mean(total(x**2)) * x.shape[1] / H + eps) ** -1) * x, q
            ),
            lambda *_: 0,
        ],
        "Forward, one number a row is enough.",
    ),
    ("ex-dist-group", [lambda G, C, P: G >= P], "A cut may run through a group all the same."),
    ("ex-dist-latency", [500_000], "A number has four bytes."),
    ("ex-dist-forgotten", [descending(lambda own, total: own)], "The gradient of γ is not summed."),
    (
        "ex-dist-forgotten",
        [descending(lambda own, total: total(own) / 2)],
        "The gradients are added, not averaged.",
    ),
    (
        "ex-cpu-rms",
        [into(lambda x, weight, eps: normed(x, eps=eps) * weight)],
        "The mean is subtracted.",
    ),
    (
        "ex-cpu-residual",
        [lambda x, z, weight, bias, eps, s, y: (
            np.add(x, z, s), np.copyto(y, normed(x, eps=eps) * weight + bias)
        )],
        "The norm is that of x alone.",
    ),
    (
        "ex-cpu-half",
        [lambda x, weight, bias, eps, block: normed(x, eps=eps) * weight + bias],
        "expected",
    ),
    ("ex-cpu-rows", [lambda cache: cache / 8, 2, 3, 3], "Until then only x has been read."),
    ("ex-cpu-rows", [lambda cache: cache / 4, 2, 2, 3], "The second time x is not in the cache."),
    ("ex-which-hand", [False, False, 0.1], "ε is under the root."),
    ("ex-which-hand", [True, False, 0.01], "is not right."),
    ("ex-which-write", [nn.LayerNorm], "This is no RMSNorm."),
    ("ex-which-write", [Plain], "The gain is not 1 + w."),
    ("ex-which-width", [2**24], "The factor is a root: its distance from 1 is 1/(2 n)."),
    (
        "ex-which-deceive",
        [lambda x: F.layer_norm(x, (16,)), torch.ones(1, 16)],
        "On this x it is a layer norm.",
    ),
    ("ex-which-deceive", [lambda x: x, torch.ones(1, 16)], "identify is not deceived."),
    ("ex-transformer-path", [0.707], "A block has two branches."),
    (
        "ex-transformer-sharp",
        [lambda d, T: 1 / (1 + T * np.exp(-2 * d**0.5))],
        "There are T − 1 others.",
    ),
    ("ex-transformer-only-pre", [lambda beta: not beta.any()], "β need not be 0 for that."),
    ("ex-transformer-only-pre", [lambda beta: True], "expected"),
    ("ex-recurrent-gamma", [lambda gamma, tau: gamma / tau, 3.27],
     "The state is γ x̂ + x, not x alone."),
    ("ex-recurrent-gamma", [lambda gamma, tau: gamma / np.hypot(gamma, tau), 0.29],
     "That is one step."),
    (
        "ex-generative-pixel",
        [lambda x: F.rms_norm(x, x.shape[1:], eps=1e-8)],
        "All positions share one mean square.",
    ),
    (
        "ex-reinforcement-reach",
        [lambda critic: torch.zeros(4)],
        "The largest value is less than 99% of the bound.",
    ),
    ("ex-reinforcement-copies", [26.8, 299], "That is after 31 copies."),
    (
        "ex-optimization-half",
        [lambda length, rate, g: length**4 / (rate * g) ** 2],
        "‖W‖² does not grow evenly: the longer W is, the shorter the steps.",
    ),
    ("ex-optimization-hurt", [random_task], "Without a norm the net is right in less than 80%."),
    ("ex-regularization-noise", [100], "The noise falls with the root of B."),
    (
        "ex-regularization-angle",
        [lambda rate, penalty, g: ((rate * penalty) ** 0.5, (rate * g**2 / penalty) ** 0.25)],
        "Decay takes 2ηλ of ‖W‖², not ηλ.",
    ),
    (
        "ex-regularization-angle",
        [lambda rate, penalty, g: (g * (2 * rate * penalty) ** 0.5, 1)],
        "expected",
    ),
    (
        "ex-regularization-gamma",
        [shrinking("1.weight", "1.bias")],
        "The bias of the linear layer has to shrink, too.",
    ),
    ("ex-regularization-gamma", [shrinking("1.weight", "3.bias")], "expected"),
    ("ex-regularization-gamma", [shrinking("3.weight", "3.bias")],
     "γ has not shrunk by this factor."),
    (
        "ex-invariances-memorize",
        [{"none": 0, "LN": 2, "groups": 32, "ReLU": 64}],
        "The mean is linear.",
    ),
    (
        "ex-invariances-memorize",
        [{"none": 0, "LN": 1, "groups": 4, "ReLU": 64}],
        "A group has four entries.",
    ),
    ("ex-invariances-shift", [lambda W: np.ones(len(W))], "LN(W x) notices this b."),
    (
        "ex-invariances-ghost",
        [lambda x, y, weight, pieces: ((normed(x @ weight.T, 0) - y) ** 2).mean()],
        "All pieces share one mean.",
    ),
    ("ex-variants-who", [lambda make: "LN"], "is not recognized."),
    (
        "ex-variants-count",
        [{"LN": 8192, "RMSNorm": 4096, "ScaleNorm": 1, "AdaNorm": 0, "DyT": 8193,
          "adaLN-Zero": 3 * 4096 * 1024}],
        "The linear layer has a bias.",
    ),
    ("ex-variants-adanorm", [lambda C, k: C * k], "The sign."),
    (
        "ex-rms-norm-backward",
        [lambda x, dy, gain, eps: gain * dy / root(mean(x**2) + eps)],
        "The part along x̂ is still there.",
    ),
    (
        "ex-rms-norm-partial",
        [lambda k: (2 / k) ** 0.5],
        "The root halves the error of the mean square.",
    ),
    (
        "ex-rms-norm-compressed",
        [lambda x, eps: x / root(mean(x**2) + eps)],
        "That is RMSNorm of H − 1 entries.",
    ),
    (
        "ex-power-strength",
        [lambda x, p: (x - mean(x)) / spread(x) ** p],
        "σ to the power of p, not the variance.",
    ),
    ("ex-power-backward", [lambda x, dy, eps: dy], "expected"),
    (
        "ex-conditional-fold",
        [lambda V, b, gain, shift: (V * gain, b + V @ shift)],
        "The factor is 1 + γ(c).",
    ),
    ("ex-conditional-cost", [0.5], "It is their share of the whole block."),
    ("ex-layer-scale-step", [0.1, 0.1], "λ enters twice."),
    (
        "ex-layer-scale-depth",
        [lambda L: (2 * L) ** -0.5, lambda L: 1 / L],
        "Each block has two branches.",
    ),
    ("ex-without-half", [lambda s, H: s * H / 3], "H is under a root."),
    (
        "ex-without-ngpt",
        [lambda alpha: 90 * alpha],
        "It is the chord that is divided, not the arc.",
    ),
    ("ex-without-share", [{5: (0.5, 0.5), 60: (0.5, 0.5)}], "kept[5][1] = 0.5:"),
    ("ex-without-share", [{5: (1, 0.3), 60: (0.5, 0.4)}],
     "its error is more than 6% larger than another’s."),
    ("ex-related-config", [36 * 2 * (4096 + 128)], "One more norm follows the last block."),
    (
        "ex-related-eps",
        [{"BERT": 0, "GPT-2": 52.6, "Gemma 3": 10}, 0.022],
        "The row is shortened by the root of this.",
    ),
    ("ex-related-slope", [lambda W: W / np.linalg.norm(W), lambda eps: np.arange(8)],
     "That is the root of the sum of all squares."),
    ("ex-related-slope", [lambda W: W / np.linalg.norm(W, 2), lambda eps: np.arange(8)],
     "The slope is below 99% of 1/√ε."),
    ("ex-related-slope", [lambda W: W / np.linalg.norm(W, 2), lambda eps: np.ones(8)],
     "All entries of the row are equal."),
]  # fmt: skip


def judge(label, answers, language="en"):
    return cases.verdict(CHECKS[label], tuple(answers), language)


@pytest.mark.parametrize(("label", "answers", "said"), WRONG, ids=[label for label, *_ in WRONG])
def test_a_mistake_is_called_by_its_name(label, answers, said):
    found = judge(label, answers)
    assert found.startswith("Not yet.")
    assert said in found
    for language in LANGUAGES:
        assert words.translate(said, language) in judge(label, answers, language)


def test_a_kernel_without_the_gate_is_not_right_yet():
    triton = pytest.importorskip("triton")
    tl = pytest.importorskip("triton.language")

    @triton.jit
    def without_gate(X, Z, W, Y, eps: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr):
        at = tl.arange(0, BLOCK)
        row = tl.program_id(0) * N
        x = tl.load(X + row + at, mask=at < N, other=0.0)
        w = tl.load(W + at, mask=at < N, other=0.0)
        tl.store(Y + row + at, x * tl.rsqrt(tl.sum(x * x) / N + eps) * w, mask=at < N)

    assert "The gate is missing." in judge("ex-gpu-gate", [without_gate])


def test_the_largest_program_spills():
    pytest.importorskip("triton")
    assert "That is a row that fits." in judge("ex-gpu-spill", [64, 0])


def test_every_check_has_a_mistake():
    assert {label for label, *_ in WRONG} | {"ex-gpu-gate"} == {*CHECKS}


# --- the verdict ----------------------------------------------------------------------------------


def read(code):
    """Run what a reader writes."""
    names = {"__name__": "__main__", "torch": torch}
    exec(compile(code, "a cell", "exec"), names)
    return names["f"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(L):\n    raise NotImplementedError", "Still to do: independent, equal."),
        ("def f(L):\n    L / 2", "On L = 12: nothing is returned."),
        ("def f(L):\n    y = 1 / 0\n    return y", "ZeroDivisionError in line 2: division by zero"),
        ("def f(L):\n    return torch.ones(2) @ torch.ones(3)", "RuntimeError in line 2: "),
        ("def f():\n    return 1", "TypeError: f() takes 0 positional arguments but 1 was given"),
        ("def f(L):\n    return [L, L]", "  expected shape ()\n  received shape (2,)"),
        ("def f(L):\n    return L, 'L'", "  expected 0.2041\n  received (12, 'L')"),
        ("f = lambda L: 1 / L", "  expected 0.2041\n  received 0.0833"),
    ],
)
def test_what_is_wrong_with_a_function_is_said(code, said):
    f = read(code)
    assert said in judge("ex-layer-scale-depth", [f, f])


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([None, ...], "Still to do: inside, outside."),
        ([3e-4, None], "Still to do: outside."),
        ([3.01e-4, 0.01], "Right."),
        ([4e-4, 0.01], "Not yet. inside = 0.0004 is too large."),
        (["3e-4", 0.01], "Not yet. inside = '3e-4' is not what is asked for."),
        ([[3e-4], 0.01], "Not yet. inside: shape (1,)"),
    ],
)
def test_what_is_wrong_with_a_value_is_said_without_the_right_one(answers, said):
    assert judge("ex-eps-design", answers) == said


def test_answers_cannot_change_what_they_are_compared_with():
    def in_place(x, eps):
        x -= x.mean(1, keepdim=True)
        x /= (x.square().mean(1, keepdim=True) + eps).sqrt()
        return x

    assert judge("ex-impl-channels", [in_place]).startswith("Right. Tried: image (1, 2, 1, 2), ")


def test_an_error_of_a_check_is_no_verdict(monkeypatch):
    def broken(answer):
        yield cases.Holds(answer.missing, "")

    with pytest.raises(AttributeError):
        cases.verdict(broken, (1,), "en")


def sentences():
    """What the checks say beside what was received."""
    folder = Path(exercises.__file__).parent
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        texts = {
            ast.get_docstring(n, clean=False) for n in ast.walk(tree) if isinstance(n, documented)
        }
        for node in ast.walk(tree) if path.stem != "words" else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                sentence = re.fullmatch(r".*\w.* .*[.?]", node.value) or node.value.endswith(
                    " right."
                )
                if sentence and node.value not in texts:
                    yield node.value
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say":
                yield from (a.value for a in node.args if isinstance(a, ast.Constant))


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_every_sentence_is_in_every_language(language):
    assert {*sentences()} == {*words.NAMES[language]}
