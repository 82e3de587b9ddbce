"""The table of today's models: complete, unique, with a source, and the same in every edition."""

import re
from dataclasses import fields, replace
from typing import get_args, get_type_hints

import pytest

from book import BOOK
from book.tools import notebooks
from book.tools.languages import LANGUAGES
from lnlib.pages.models import MODELS, REVISIONS, Model

SOURCE = re.compile(
    r"https://github\.com/[\w-]+/[\w.-]+/blob/([0-9a-f]{40}|v\d+\.\d+\.\d+)/[\w./-]+\.(py|md)"
)


def faults(model):
    """Name the fields that are empty or of no kind that the table knows."""
    hints = get_type_hints(Model)
    kinds = {name: {*get_args(hint)} for name, hint in hints.items() if get_args(hint)}
    kinds["cast"] = {None, *get_args(get_args(hints["cast"])[0])}
    for field in fields(model):
        value = getattr(model, field.name)
        known = value in kinds[field.name] if field.name in kinds else value is not None
        if not known or value == "":
            yield field.name
    if not (2018 <= model.year <= 2030 and 1e-12 <= model.eps <= 1e-5):
        yield "year or eps"
    if not SOURCE.fullmatch(model.source):
        yield "source"


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_a_model_is_complete_and_has_a_source(model):
    assert [*faults(model)] == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"name": ""}, "name"),
        ({"place": "before"}, "place"),
        ({"gain": None}, "gain"),
        ({"eps": 0.1}, "year or eps"),
        ({"path": "a file.py"}, "source"),
    ],
)
def test_a_fault_is_noticed(change, fault):
    assert fault in [*faults(replace(MODELS[0], **change))]


def test_models_are_unique_and_in_the_order_of_their_years():
    assert len({m.name for m in MODELS}) == len(MODELS) > 20
    assert [m.year for m in MODELS] == sorted(m.year for m in MODELS)
    assert {m.repository for m in MODELS} == {*REVISIONS}


@pytest.mark.parametrize("edition", LANGUAGES)
def test_every_edition_has_a_row_for_each_model(edition):
    page = notebooks.read(BOOK / edition / "4a_transformer.ipynb")
    (cell,) = (c for c in page.cells if c.id == "models")
    _, _, *rows = cell.outputs[0].data["text/markdown"].splitlines()
    for model, row in zip(MODELS, rows, strict=True):
        columns = [column.strip() for column in row.strip("|").split("|")]
        assert columns[0] == f"{model.name} ({model.year})"
        assert columns[-1].endswith(f"]({model.source})")
        assert len(columns) == 8
        assert all(columns)
