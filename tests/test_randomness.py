"""The offset of all seeds: what it moves, and what it refuses."""

import ast

import pytest
import torch

from book.tools import notebooks
from lnlib.experiments import Ensemble, digits
from lnlib.experiments.ensembles import batch_generator
from lnlib.randomness import VARIABLE, moved

SEEDED = {"manual_seed", "default_rng"}


def test_seeds_are_counted_from_the_offset(monkeypatch):
    monkeypatch.setenv(VARIABLE, "12345")
    assert [moved(), moved(2)] == [12345, 12347]


@pytest.mark.parametrize("value", ["abc", "", "-1", "1.5", "²", "2147483648"])
def test_another_value_is_refused(value, monkeypatch):
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ValueError, match=r"LNLIB_SEED: expected a whole .* LNLIB_SEED=12345"):
        moved()


def test_the_offset_moves_splits_starts_and_order(monkeypatch):
    def drawn():
        (start,) = Ensemble(
            lambda: torch.nn.Linear(64, 10, bias=False), (0.1,), 1
        ).parameters.values()
        order = torch.randint(1000, (9,), generator=batch_generator(0))
        return digits().training[1], start, order

    monkeypatch.setenv(VARIABLE, "0")
    own = drawn()
    monkeypatch.setenv(VARIABLE, "7")
    other = drawn()
    assert not any(torch.equal(a, b) for a, b in zip(own, other, strict=True))
    monkeypatch.setenv(VARIABLE, "0")
    assert all(torch.equal(a, b) for a, b in zip(own, drawn(), strict=True))


@pytest.mark.parametrize("path", notebooks.pages(), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_seed_of_a_page_is_counted_from_the_offset(path):
    for cell in notebooks.read(path).cells:
        if cell.cell_type == "code":
            for call in ast.walk(notebooks.parse(cell.source)):
                if isinstance(call, ast.Call) and getattr(call.func, "attr", None) in SEEDED:
                    (seed,) = call.args
                    names = {n.id for n in ast.walk(seed) if isinstance(n, ast.Name)}
                    assert "SEED" in names, ast.unparse(call)
