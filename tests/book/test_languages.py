"""Languages: all say the same, and one more is a folder and an entry."""

import os
import subprocess
import sys

import pytest
from books import write_book_with_french
from bs4 import BeautifulSoup

from book.tools.languages import FIRST, LANGUAGES, OTHERS


def keys(entry):
    """What an entry of `languages.yml` says, without how."""
    return {
        k: keys(v) if isinstance(v, dict) else None for k, v in entry.items() if k != "settings"
    }


@pytest.mark.parametrize("language", OTHERS)
def test_every_language_says_the_same(language):
    assert keys(LANGUAGES[language]) == keys(LANGUAGES[FIRST])


def test_a_third_language_is_a_folder_and_an_entry(tmp_path):
    folder = write_book_with_french(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "book.tools.build"]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    site = folder / "_build" / "site"
    editions = {*LANGUAGES, "fr"}
    for edition in editions:
        text = (site / edition / "page.html").read_text(encoding="utf-8")
        page = BeautifulSoup(text, "html.parser")
        assert page.html["lang"] == edition
        switches = {a["hreflang"]: a["href"] for a in page.select("a.language-switch")}
        assert switches == {e: f"../{e}/page.html" for e in editions - {edition}}
    entrance = BeautifulSoup((site / "index.html").read_text(encoding="utf-8"), "html.parser")
    assert {a["hreflang"]: a.get_text() for a in entrance.find_all("a")} == {
        **{edition: words["name"] for edition, words in LANGUAGES.items()},
        "fr": "Français",
    }
