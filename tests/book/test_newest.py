"""The check with the newest versions: what counts as a failure, and what an issue says of it."""

import pytest
import yaml
from nbformat.v4 import new_code_cell, new_notebook, new_output

from book import ROOT
from book.tools import newest

WARN = "import sys; print('{}', file=sys.stderr)"
CELLS = {
    "setup": WARN.format("a library speaks"),
    "fine": "import lnlib; assert lnlib.__file__",
    "wrong": "assert 1 == 2, 'one | two'",
    "new-warning": WARN.format("in red"),
    "old-warning": WARN.format("as ever"),
    "outdated": WARN.format("FutureWarning: of torch"),
    "after": "wrong = 3",
}


@pytest.fixture(scope="module")
def complaints():
    cells = [new_code_cell(source, id=name) for name, source in CELLS.items()]
    old = next(cell for cell in cells if cell.id == "old-warning")
    old.outputs = [new_output("stream", name="stderr", text="as ever\n")]
    return newest.complaints(new_notebook(cells=cells))


def test_errors_and_new_warnings_count(complaints):
    assert complaints == {"wrong": r"AssertionError: one \| two", "new-warning": "in red"}


def test_a_crash_counts():
    crash = new_code_cell("import os; os._exit(1)", id="crash")
    assert "died" in newest.complaints(new_notebook(cells=[crash]))[""]


def test_the_report_names_versions_notebooks_and_cells(complaints):
    text = newest.report({"1b_numerik": complaints}, 37)
    assert text.startswith("1 of 37 notebooks fail with Python 3.")
    assert ", torch 2." in text
    assert "\n| 1b_numerik | new-warning | in red |\n" in text
    assert "|" not in newest.report({}, 37)


def test_an_issue_holds_the_report():
    path = ROOT / ".github" / "workflows" / "newest.yml"
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    *_, run, issue = workflow["jobs"]["notebooks"]["steps"]
    assert run["run"] == "make test-newest"
    assert issue["if"] == "failure()"
    assert workflow["permissions"]["issues"] == "write"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "_build/newest.md" in makefile
    assert "_build/newest.md" in issue["run"]
