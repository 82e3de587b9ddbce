"""Every cell that compares recorded runs can fail: with two arms swapped, it does."""

import ast

import matplotlib as mpl
import pytest

from book.tools import notebooks
from book.tools.replications import first_edition
from lnlib import experiments
from lnlib.experiments import Recording, recorded

mpl.use("Agg")
PAGES = first_edition()
SWAPS = [  # page, the cells to run, a column of the runs, two arms
    ("2a_batchgroesse", "vectors", "norm", ("LN", "BN")),
    ("2a_batchgroesse", "vectors", "batch", (2, 64)),
    ("2a_batchgroesse", "vectors examples", "norm", ("LN", "BN")),
    ("2a_batchgroesse", "vectors images", "norm", ("LN", "BN")),
    ("2a_batchgroesse", "vectors heap", "heap", (2, 4)),
    ("2a_batchgroesse", "vectors heap-batch", "heap", (2, 16)),
    ("2a_batchgroesse", "vectors gap", "batch", (4, 64)),
    ("4a_transformer", "arms live map chosen", "placement", ("post", "deepnorm")),
    ("4a_transformer", "arms live map chosen", "placement", ("output", "sandwich")),
    ("4a_transformer", "live map warmup", "warmup", (0, 50)),
    ("4a_transformer", "live map tolerance", "placement", ("deepnorm", "peri")),
    ("4a_transformer", "live map need need-figure", "depth", (2, 16)),
    ("4c_generative_modelle", "gan", "norm", ("BN", "LN")),
    ("4c_generative_modelle", "live conditioning", "arm", ("time", "input")),
    ("4c_generative_modelle", "live conditioning", "arm", ("zero", "input")),
    ("4d_reinforcement_learning", "online", "target", (True, False)),
    ("5a_optimierung", "rates", "norm", ("LN", "DetachNorm")),
    ("5a_optimierung", "rates divergence", "norm", ("LN", "none")),
    ("5a_optimierung", "rates speed", "norm", ("LN", "none")),
    ("5b_regularisierung", "sizes", "norm", ("LN", "none")),
    ("5b_regularisierung", "sizes", "norm", ("BN", "none")),
    ("5c_invarianzen", "init-runs", "norm", ("LN", "none")),
    ("5c_invarianzen", "init-runs", "gain", (0.01, 0.1)),
    ("6a_rmsnorm", "quality", "norm", ("RMS", "DyT")),
    ("6b_power_normalization", "live works", "norm", ("LN", "PN")),
    ("6b_power_normalization", "live works", "norm", ("BN, no mean", "PN, warm")),
    ("6b_power_normalization", "live works", "norm", ("PN", "PN, scaled")),
    ("6c_conditional_layer_norm", "task", "place", ("early", "late")),
    ("6c_conditional_layer_norm", "task", "norm", (True, False)),
    ("6c_conditional_layer_norm", "task task-kind", "kind", ("summand", "factor")),
    ("6d_layer_scale", "runs", "start", ("plain", "λ = 0.1")),
    ("6d_layer_scale", "runs", "start", ("zero", "1/√(2L)")),
    ("6e_ohne_normalisierung", "dyt", "norm", ("DyT", "DyT, α = 1")),
    ("6e_ohne_normalisierung", "dyt", "norm", ("Derf", "DyT, α = 1")),
    ("6e_ohne_normalisierung", "fade", "norm", ("LN", "linear")),
]


def run(page, cells):
    """Run the set-up cell and others, of a live cell only what reads the recording."""
    names = {"display": lambda *shown: None}
    for name in ("setup", *cells.split()):
        cell = next(cell for cell in PAGES[page].cells if cell.id == name)
        tree = notebooks.parse(cell.source)
        if name == "live":
            tree.body = [node for node in tree.body if _reads(node)]
        exec(compile(tree, f"{page}, {name}", "exec"), names)


def _reads(statement):
    """Say whether a statement gives a name to the recording, or to what it holds."""
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    named = isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    return named and "sweep" in names


def swap(column, arms):
    other = dict(zip(arms, reversed(arms), strict=True))

    def change(recording):
        rows = [
            {**row, column: other.get(row.get(column), row.get(column))} if column in row else row
            for row in recording.rows
        ]
        return Recording(recording.provenance, rows)

    return change


@pytest.mark.parametrize(("page", "cells"), sorted({case[:2] for case in SWAPS}))
def test_the_cells_hold_as_they_are(page, cells):
    run(page, cells)


@pytest.mark.parametrize(("page", "cells", "column", "arms"), SWAPS)
def test_swapped_arms_are_noticed(page, cells, column, arms, monkeypatch):
    change = swap(column, arms)
    monkeypatch.setattr(experiments, "recorded", lambda name: change(recorded(name)))
    with pytest.raises(AssertionError):
        run(page, cells)
