"""How to cite a page of the book: BibTeX, from `CITATION.cff`."""

import re

import yaml

from book import ROOT
from book.tools.languages import LANGUAGES

CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
SPECIAL = re.compile(r"[&%$#_]")
WHOLE = "index"  # the page that stands for the book


def bibtex(edition: str, page: str, title: str, url: str) -> str:
    """Return an entry for a page, or for the book.

    Args:
        edition: a key of `LANGUAGES`.
        page: its file stem.
        title: its title.
        url: its address; empty while it has none.
    """
    book = {"title": f"{{{CITATION['title']}}}"}
    part = {"title": f"{{{title}}}", "booktitle": CITATION["title"]}
    fields = {
        "author": " and ".join(f"{{{author['name']}}}" for author in CITATION["authors"]),
        **(book if page == WHOLE else part),
        "year": str(CITATION["date-released"])[:4],
        "version": CITATION["version"],
        "langid": LANGUAGES[edition]["citation"]["langid"],
    }
    lines = [f"  {name} = {{{escaped(text)}}}," for name, text in fields.items()]
    lines += [f"  url = {{{url}}},"] if url else []
    kind = "book" if page == WHOLE else "incollection"
    key = "lnlib" if page == WHOLE else f"lnlib:{page}"
    return "\n".join([f"@{kind}{{{key}:{edition},", *lines, "}"])


def escaped(text: str) -> str:
    r"""Return a text as TeX reads it.

    >>> escaped("BN & LN: 100 %")
    'BN \\& LN: 100 \\%'
    """
    return SPECIAL.sub(r"\\\g<0>", text)
