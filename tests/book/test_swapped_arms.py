"""Every cell that compares runs, recorded or its own, can fail: with two arms swapped, it does."""

import ast

import matplotlib as mpl
import pytest

from book.tools import notebooks
from book.tools.replications import first_edition
from lnlib import experiments
from lnlib.experiments import Recording, recorded

mpl.use("Agg")
PAGES = first_edition()
SWAPS = [  # page, the cells to run, columns of the runs, two arms
    ("2a_batchgroesse", "protocol vectors", "norm", ("LN", "BN")),
    ("2a_batchgroesse", "protocol vectors", "batch", (2, 64)),
    ("2a_batchgroesse", "protocol vectors examples", "norm", ("LN", "BN")),
    ("2a_batchgroesse", "protocol vectors images", "norm", ("LN", "BN")),
    ("2a_batchgroesse", "protocol vectors group", "group", (2, 4)),
    ("2a_batchgroesse", "protocol vectors group-batch", "group", (2, 16)),
    ("2a_batchgroesse", "protocol vectors gap", "batch", (4, 64)),
    ("2a_batchgroesse", "protocol vectors gap", "source", ("image", "apart")),
    ("3b_gpu_rueckwaerts", "came flight failed", "design", ("fwd", "fwd_turns")),
    ("4a_transformer", "arms live map chosen", "placement", ("post", "deepnorm")),
    ("4a_transformer", "arms live map chosen", "placement", ("output", "sandwich")),
    ("4a_transformer", "live map warmup", "warmup", (0, 50)),
    ("4a_transformer", "live map tolerance", "placement", ("deepnorm", "peri")),
    ("4a_transformer", "live map need need-figure", "depth", (2, 16)),
    ("4a_transformer", "live map need", "norm", ("none", "LN")),
    ("4b_rekurrente_netze", "gain length", "norm", ("none", "LN")),
    ("4b_rekurrente_netze", "gain", "norm", ("none", "LN")),
    ("4b_rekurrente_netze", "gain constant", "length constant", ((64, False), (64, True))),
    ("4c_generative_modelle", "vae", "norm", ("BN", "none")),
    ("4c_generative_modelle", "gan", "batch", ("separate", "joint")),
    ("4c_generative_modelle", "gan", "constant", (False, True)),
    (
        "4c_generative_modelle",
        "conditioning",
        "label kind norm start",
        (("none", "shift", True, "plain"), ("blocks", "factor", True, "plain")),
    ),
    ("4c_generative_modelle", "conditioning", "kind norm", (("factor", False), ("factor", True))),
    (
        "4c_generative_modelle",
        "conditioning",
        "label kind norm start",
        (("blocks", "shift", False, "plain"), ("blocks", "factor", False, "plain")),
    ),
    (
        "4c_generative_modelle",
        "vision",
        "norm placement start",
        (("BN", "pre", "plain"), ("LN", "pre", "plain")),
    ),
    (
        "4c_generative_modelle",
        "vision",
        "norm placement start steps",
        (("BN", "pre", "plain", 150), ("none", "pre", "plain", 150)),
    ),
    ("4d_reinforcement_learning", "online", "norm", ("LN", "none")),
    ("4d_reinforcement_learning", "online", "every", (1, 20)),
    ("4d_reinforcement_learning", "online true", "norm", ("LN", "none")),
    ("4d_reinforcement_learning", "online true", "every", (1, 200)),
    ("4d_reinforcement_learning", "online true games", "norm", ("LN", "none")),
    ("4d_reinforcement_learning", "tasks", "norm", ("LN", "none")),
    ("5a_optimierung", "arms shift", "norm", ("LN", "none")),
    ("5a_optimierung", "arms rates", "norm", ("LN", "DetachNorm")),
    ("5a_optimierung", "arms rates divergence", "norm", ("LN", "none")),
    ("5a_optimierung", "arms rates divergence", "norm", ("BN", "LN")),
    ("5a_optimierung", "arms shift smooth", "norm", ("BN", "LN")),
    ("5a_optimierung", "arms speed", "norm", ("BN", "none")),
    (
        "5a_optimierung",
        "arms collapse deep",
        "norm order gain",
        (("LN", "residual", 1), ("LN", "relu-norm", 1)),
    ),
    (
        "5a_optimierung",
        "arms collapse deep",
        "norm order gain depth",
        (("BN", "norm-relu", 1, 20), ("LN", "relu-norm", 1, 20)),
    ),
    ("5b_regularisierung", "sizes", "norm", ("LN", "none")),
    ("5b_regularisierung", "sizes", "norm", ("BN", "none")),
    ("5c_invarianzen", "init-runs", "norm", ("LN", "none")),
    ("5c_invarianzen", "init-runs", "gain", (0.1, 1.0)),
    ("6a_rmsnorm", "quality", "norm", ("RMS", "DyT")),
    ("6b_power_normalization", "live works", "norm", ("LN", "PN")),
    ("6b_power_normalization", "live works", "norm", ("BN, no mean", "PN, warm")),
    ("6b_power_normalization", "live works", "norm", ("PN", "PN, scaled")),
    ("6c_conditional_layer_norm", "task", "place", ("early", "late")),
    ("6c_conditional_layer_norm", "task", "norm", (True, False)),
    ("6c_conditional_layer_norm", "task task-kind", "kind", ("summand", "factor")),
    ("6d_layer_scale", "runs", "start", ("plain", "λ = 0.1")),
    ("6d_layer_scale", "runs", "start", ("zero", "1/√(2L)")),
    ("6e_ohne_normalisierung", "dyt", "norm start", (("none", "plain"), ("none", "zero"))),
    ("6e_ohne_normalisierung", "dyt", "norm", ("DyT", "DyT, α = 1")),
    ("6e_ohne_normalisierung", "dyt", "norm", ("Derf", "DyT, α = 1")),
    ("6e_ohne_normalisierung", "fade", "norm", ("LN", "linear")),
    ("loesungen", "sol-batch-accumulate sol-batch-ghost", "batch group", ((64, 2), (2, None))),
]
NORMS = "norm output-std eps-conventions eps-nan"  # what the cells of the fine print build on
LIVE = [  # page, the cells to run, what the last one gathers by arm, two arms
    ("0_zehn_minuten", "failing failing-plot", "accuracy", ("ohne Norm", "LN")),
    ("1c_feinheiten", f"{NORMS} order", "cosines", ("before", "after")),
    ("1c_feinheiten", f"{NORMS} training-nets training", "results", (False, True)),
    ("4a_transformer", "model arms gradient", "gradients", ("Post-LN", "ohne Norm")),
    ("4a_transformer", "model arms deepnorm", "deep", ("Post-LN", "DeepNorm")),
    ("4a_transformer", "qk", "found", (False, True)),
    ("4a_transformer", "model arms stream deepnorm signs", "moved", ("Post-LN", "DeepNorm")),
    ("4a_transformer", "model arms stream deepnorm signs", "moved", ("am Ausgang", "Peri-LN")),
    ("4b_rekurrente_netze", "gradient", "arrived", ("ohne Norm", "LN(Wh) + x")),
    ("4c_generative_modelle", "critic", "errors", ("LN", "BN")),
    ("4d_reinforcement_learning", "offline", "largest", ("none", "LN")),
    ("5a_optimierung", "pythagoras held", "ends", (False, True)),
    ("5a_optimierung", "arms collapse", "last", ("RMS", "LN")),
    ("5a_optimierung", "arms collapse", "last", ("norm-relu", "relu-norm")),
    ("5b_regularisierung", "noise decay rotation", "turns", (0.005, 0.02)),
    ("5c_invarianzen", "init-batch", "outcome", ("row", "batch")),
    ("5c_invarianzen", "init pieces", "errors", ("LN", "BN")),
    ("5c_invarianzen", "xor", "solved", ("ohne", "LN")),
    ("6b_power_normalization", "fluctuation-rows fluctuation", "factors", ("Text", "Bilder")),
    ("loesungen", "sol-invariances-memorize-code", "memorized", ("none", "LN")),
]


def run(page, cells):
    """Run the set-up cell and others, of a live cell only what reads the recording."""
    names = {"display": lambda *shown: None}
    for name in ("setup", *cells.split()):
        body = _statements(page, name)
        if name == "live":
            body = [node for node in body if _reads(node)]
        _execute(body, names, f"{page}, {name}")
    return names


def run_swapped(page, cells, gathered, arms):
    """Run cells, and swap two arms in what the last one gathers, before it reads that."""
    *before, last = cells.split()
    names, body = run(page, " ".join(before)), _statements(page, last)
    filled = 1 + max(i for i, node in enumerate(body) if gathered in _filled(node))
    _execute(body[:filled], names, f"{page}, {last}")
    results = names[gathered]
    names[gathered] = {key: results[_renamed(key, arms)] for key in results}
    assert any(names[gathered][key] is not results[key] for key in results)
    with pytest.raises(AssertionError):
        _execute(body[filled:], names, f"{page}, {last}")


def _statements(page, name):
    cell = next(cell for cell in PAGES[page].cells if cell.id == name)
    return notebooks.parse(cell.source).body


def _execute(statements, names, where):
    exec(compile(ast.Module(statements, []), where, "exec"), names)


def _filled(statement):
    """Return the names that a statement assigns, or whose entries it assigns."""
    targets = (
        node.value if isinstance(node, ast.Subscript) else node
        for node in ast.walk(statement)
        if isinstance(node, ast.Name | ast.Subscript) and isinstance(node.ctx, ast.Store)
    )
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _renamed(key, arms):
    """Return a key with one arm for the other; 1.0 is not the arm True."""
    if isinstance(key, tuple):
        return tuple(_renamed(part, arms) for part in key)
    same = [type(key) is type(arm) and key == arm for arm in arms]
    return arms[same.index(False)] if any(same) else key


def _reads(statement):
    """Say whether a statement gives a name to the recording, or to what it holds."""
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    named = isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    return named and "sweep" in names


def swap(columns, arms):
    """Return a change of a recording that exchanges what stands in some columns of two arms."""
    names = columns.split()
    values = [dict(zip(names, arm if len(names) > 1 else [arm], strict=True)) for arm in arms]

    def other(row):
        found = {name: row.get(name) for name in names}
        return row | values[1 - values.index(found)] if found in values else row

    return lambda recording: Recording(recording.provenance, [other(row) for row in recording.rows])


@pytest.mark.parametrize(("page", "cells"), sorted({case[:2] for case in SWAPS}))
def test_the_cells_hold_as_they_are(page, cells):
    run(page, cells)


@pytest.mark.parametrize(("page", "cells", "columns", "arms"), SWAPS)
def test_swapped_arms_are_noticed(page, cells, columns, arms, monkeypatch):
    change = swap(columns, arms)
    monkeypatch.setattr(experiments, "recorded", lambda name: change(recorded(name)))
    with pytest.raises(AssertionError):
        run(page, cells)


@pytest.mark.parametrize(("page", "cells", "gathered", "arms"), LIVE)
def test_swapped_results_are_noticed(page, cells, gathered, arms):
    run_swapped(page, cells, gathered, arms)
