"""What a reader installs: the wheel alone runs a notebook, and NumPy alone runs the reference."""

import importlib.util
import os
import shutil
import subprocess
import sys

import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

import notebooks
from build import ROOT

PAGES = notebooks.pages()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel's content and nothing else."""
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, ROOT]
    subprocess.run([*pip, *map(str, build)], check=True)
    (wheel,) = wheels.glob("lnlib-*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)],
        check=True,
    )
    return target


def test_wheel_holds_the_package_whole_and_nothing_else(installed):
    ignored = {"__pycache__"}
    source, wheel = (
        {p.relative_to(root) for p in root.rglob("*") if p.is_file() and not ignored & {*p.parts}}
        for root in (ROOT / "lnlib", installed / "lnlib")
    )
    assert source == wheel
    others = {p.name for p in installed.iterdir()} - {"lnlib"}
    assert all(name.endswith(".dist-info") for name in others)


def test_first_notebook_runs_with_the_wheel_alone(installed, tmp_path):
    copy = shutil.copy(PAGES[0], tmp_path)
    notebook = notebooks.read(copy)
    notebook.cells.append(new_code_cell("import lnlib\n\nlnlib.__file__"))
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    client = NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    assert str(installed) in notebook.cells[-1].outputs[0].data["text/plain"]


def test_reference_needs_no_torch(installed, tmp_path):
    code = "import sys; sys.modules['torch'] = None; import lnlib.reference; print(lnlib.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(installed))


@pytest.fixture
def shell():
    shell = InteractiveShell()
    shell.history_manager.enabled = False
    yield shell
    shell.history_manager.end_session()


@pytest.fixture
def installs(shell, monkeypatch):
    """What the set-up cell asks pip for, where lnlib is missing."""
    asked = []
    shell.register_magic_function(asked.append, "line", "pip")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return asked


def set_up(url):
    notebook = notebooks.read(PAGES[0])
    notebooks.fill_address(notebook, url, "v1.0")
    return next(c.source for c in notebook.cells if c["id"] == "setup")


def test_set_up_installs_from_the_published_address(shell, installs):
    shell.run_cell(set_up("https://example.org/book")).raise_error()
    assert installs == ['install --quiet "lnlib[book] @ git+https://example.org/book@v1.0"']


def test_set_up_explains_itself_without_an_address(shell, installs, capsys):
    result = shell.run_cell(set_up(""))
    assert isinstance(result.error_in_exec, ModuleNotFoundError)
    assert "no published address yet" in str(result.error_in_exec)
    assert installs == []
