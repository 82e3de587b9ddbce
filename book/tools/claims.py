"""The claims that the book examines, as `claims.yml` and the pages write them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from book import BOOK
from book.tools.languages import LANGUAGES
from book.tools.reading import one_line

PATH = BOOK / "claims.yml"
VERDICTS = ("correct", "refined", "contested", "wrong")  # in the order of the picture
SECTIONS = (
    "introduction",
    "principle",
    "difference",
    "implementation",
    "applications",
    "theory",
    "variants",
    "related",
    "missing",
)
NUMBER = r"[CM]\d+"
TAG = re.compile(rf"claim-({NUMBER})")
OPENING, CLOSING = zip(*(words["claims"]["quotes"] for words in LANGUAGES.values()), strict=True)
QUOTATION = re.compile(
    rf"\*\*({NUMBER})\*\* *[{''.join(OPENING)}](.+?)[{''.join(CLOSING)}] *· *\*(.+?)\*"
)
MENTION = re.compile(rf"\[({NUMBER})\]\(#ledger-[cm]\d+\) \*(.+?)\*")
BLOCKQUOTE = re.compile(r"(?:^> ?.*\n?)+", re.MULTILINE)


@dataclass(frozen=True)
class Claim:
    """A claim and our verdict.

    Args:
        id: `C` (made by the glossary entry) or `M` (missing there), and a number.
        section: the section of the entry that makes it, one of `SECTIONS`.
        claim: its wording in each language.
        verdict: one of `VERDICTS`.
        finding: the reason for the verdict in each language.
        references: keys of `references.bib`.
        page: the file stem of the page that quotes and shows it.
        experiment: what its cell draws on, if not on algebra alone: "live" for training or
            measuring on the page, or else the name of a recorded sweep.
        effect: the comparison of its cell that settles it, its `name` there (a variable, or an
            entry as in `lead['best']`), and in each language what it is the difference of; where
            the cell compares no pairs, without a name, what it measures instead.

    Raises:
        TypeError: if a field is missing or unknown.
        ValueError: if a field has none of the values above.

    Examples:
        >>> words = dict.fromkeys(LANGUAGES, "…")
        >>> Claim("C01", "theory", words, "true", words, [], "1_page")
        Traceback (most recent call last):
        ValueError: C01: verdict must be one of correct, refined, contested, wrong; got 'true'
    """

    id: str
    section: str
    claim: dict[str, str]
    verdict: str
    finding: dict[str, str]
    references: list[str]
    page: str
    experiment: str = ""
    effect: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the fields."""
        if not re.fullmatch(NUMBER, self.id):
            raise ValueError(f"id must be C or M and a number, as in C01; got {self.id!r}")
        for name, value, known in (
            ("section", self.section, SECTIONS),
            ("verdict", self.verdict, VERDICTS),
        ):
            if value not in known:
                raise ValueError(
                    f"{self.id}: {name} must be one of {', '.join(known)}; got {value!r}"
                )
        texts_of = {"claim": self.claim, "finding": self.finding}
        if self.effect:
            texts_of["effect"] = {k: v for k, v in self.effect.items() if k != "name"}
        for name, texts in texts_of.items():
            said = [code for code in texts if texts[code].strip()]
            if sorted(said) != sorted(LANGUAGES):
                raise ValueError(
                    f"{self.id}: {name} must be written in {', '.join(LANGUAGES)}; "
                    f"got {', '.join(said)}"
                )


def load() -> list[Claim]:
    """Return all claims, in the order of `claims.yml`."""
    return [Claim(**entry) for entry in yaml.safe_load(PATH.read_text(encoding="utf-8"))]


def quotations(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield id, wording and verdict word of the claims that a Markdown text quotes.

    >>> [*quotations("> **C01** “It works” · *correct*")]
    [('C01', 'It works', 'correct')]
    """
    for block in BLOCKQUOTE.findall(text):
        yield from QUOTATION.findall(one_line(re.sub(r"^> ?", "", block, flags=re.MULTILINE)))


def mentions(text: str) -> Iterator[tuple[str, str]]:
    """Yield id and verdict word of the claims that a Markdown text names without quoting them.

    >>> [*mentions("Claim: [C01](#ledger-c01) *correct*.")]
    [('C01', 'correct')]
    """
    yield from MENTION.findall(one_line(text))


def cells_showing(claim: Claim, notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cells of a page that are tagged with a claim."""
    return [cell for number, cell in claim_cells(notebook) if number == claim.id]


def claim_cells(notebook: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the id of each claim that a cell is tagged with, and the cell."""
    for cell in notebook["cells"]:
        for tag in cell["metadata"].get("tags", []):
            if match := TAG.fullmatch(tag):
                yield match[1], cell
