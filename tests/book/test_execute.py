"""What a page says of its execution: when and with what its outputs were computed."""

import copy
import subprocess

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from book._ext import colophon
from book.tools import execute, notebooks
from lnlib.provenance import environment


@pytest.fixture
def executed():
    cell = new_code_cell("1", id="one", outputs=[new_output("stream", text="1\n")])
    return new_notebook(cells=[cell])


def test_an_execution_is_noted_and_stays(executed):
    execute.note(executed, executed)
    notebooks.clean(executed)
    noted = executed.metadata[notebooks.EXECUTION]
    assert environment().items() <= noted.items()
    assert {"numpy", "capability"} <= noted.keys()


@pytest.mark.parametrize(("printed", "kept"), [("1\n", True), ("2\n", False)])
def test_outputs_that_come_out_the_same_keep_their_date(executed, printed, kept):
    executed.metadata[notebooks.EXECUTION] = {"date": "2020-01-01"}
    before = copy.deepcopy(executed)
    executed.cells[0].outputs[0].text = printed
    execute.note(executed, before)
    assert (executed.metadata[notebooks.EXECUTION]["date"] == "2020-01-01") == kept


def commit(folder, text):
    """Commit a notebook's text under a new id; return its short name."""
    (folder / "page.ipynb").write_text(text, encoding="utf-8")
    identity = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "add", "page.ipynb"], cwd=folder, check=True)
    subprocess.run(["git", *identity, "commit", "-qm", "m"], cwd=folder, check=True)
    return colophon.git(folder, "log", "-1", "--format=%h").strip()


def test_git_knows_which_commit_changed_the_outputs(executed, tmp_path):
    path = tmp_path / "page.ipynb"
    notebooks.write(executed, path)
    assert colophon.computed(path) is None
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    first = notebooks.text(executed)
    commits = [commit(tmp_path, t) for t in (first, first.replace('"1\\n"', '"2\\n"'))]
    commit(tmp_path, path.read_text(encoding="utf-8").replace('"one"', '"two"'))
    assert colophon.computed(path)[0] == commits[1]
    path.write_text(first, encoding="utf-8")
    assert colophon.computed(path) is None
