"""The directive `ledger`: every claim of `claims.yml`, with its verdict and the way to its cell."""

import re
from collections import Counter
from functools import cache
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from book import BOOK

CLAIMS = BOOK / "claims.yml"
VERDICTS = {  # in the order of the picture
    "correct": {"de": "korrekt", "en": "correct"},
    "refined": {"de": "präzisiert", "en": "refined"},
    "contested": {"de": "umstritten", "en": "contested"},
    "wrong": {"de": "falsch", "en": "wrong"},
}
SECTIONS = {
    "Einleitung": ("introduction", "Introduction"),
    "Funktionsprinzip": ("principle", "How it works"),
    "Unterschied zu anderen Normalisierungstechniken": (
        "difference",
        "Difference from other normalization techniques",
    ),
    "Implementierung": ("implementation", "Implementation"),
    "Anwendungen": ("applications", "Applications"),
    "Theoretische Grundlagen": ("theory", "Theoretical foundations"),
    "Varianten und Erweiterungen": ("variants", "Variants and extensions"),
    "Verwandte Themen": ("related", "Related topics"),
    None: ("missing", "What the entry lacks"),
}
TEXT = {
    "de": {
        "quotes": "„“",
        "verdict": "Urteil",
        "section": "Abschnitt",
        "all": "alle",
        "none": "In diesem Abschnitt hat keine Behauptung dieses Urteil.",
        "page": "Seite",
        "cell": "die Zelle, die es zeigt",
        "total": "{n} Behauptungen",
    },
    "en": {
        "quotes": "“”",
        "verdict": "Verdict",
        "section": "Section",
        "all": "all",
        "none": "No claim of this section has this verdict.",
        "page": "page",
        "cell": "the cell that shows it",
        "total": "{n} claims",
    },
}
SHOWN = re.compile(r'"claim-([CM]\d+)"')


@cache
def _claims() -> list[dict[str, Any]]:
    claims: list[dict[str, Any]] = yaml.safe_load(CLAIMS.read_text(encoding="utf-8"))
    return claims


class Ledger(SphinxDirective):
    """Draw the totals, then list every section's claims, with a filter that needs no script."""

    def run(self) -> list[nodes.Node]:
        """Build the nodes."""
        pages = [*Path(self.env.srcdir).rglob("*.ipynb")]
        for path in (CLAIMS, *pages):
            self.env.note_dependency(str(path))
        self.shown = {n for page in pages for n in SHOWN.findall(page.read_text(encoding="utf-8"))}
        self.language = self.config.language
        self.text = TEXT[self.language]
        by_section = {s: [c for c in _claims() if c["section"] == s] for s in SECTIONS}
        by_section = {s: found for s, found in by_section.items() if found}
        head = nodes.raw("", self._head(by_section), format="html")
        return [head, *map(self._section, by_section.items())]

    def _name(self, section: str | None) -> str:
        german = section or "Was dem Eintrag fehlt"
        return german if self.language == "de" else SECTIONS[section][1]

    def _head(self, by_section: dict[str | None, list[dict[str, Any]]]) -> str:
        """Draw a bar for all claims, and one for each section; offer to show some of them."""
        verdicts = {v: names[self.language] for v, names in VERDICTS.items()}
        everything = [*chain(*by_section.values())]
        totals = Counter(c["verdict"] for c in everything)
        groups = {self.text["total"].format(n=len(everything)): everything}
        groups |= {self._name(s): found for s, found in by_section.items()}
        by_verdict = [(v, name, totals[v]) for v, name in verdicts.items()]
        sections = [(SECTIONS[s][0], self._name(s), len(c)) for s, c in by_section.items()]
        choices = {"verdict": by_verdict, "section": sections}
        context = {
            "rows": [
                (name, bars(Counter(c["verdict"] for c in found))) for name, found in groups.items()
            ],
            "label": ", ".join(f"{name} {count}" for _, name, count in by_verdict),
            "choices": [(g, self.text[g], options) for g, options in choices.items()],
            "all": self.text["all"],
        }
        return self.env.app.builder.templates.render("ledger.html", context)

    def _section(self, item: tuple[str | None, list[dict[str, Any]]]) -> nodes.section:
        section, claims = item
        name = SECTIONS[section][0]
        title = nodes.title("", self._name(section))
        found = nodes.section("", title, ids=[f"section-{name}"], classes=["ledger", name])
        found += [self._entry(claim) for claim in claims]
        found += nodes.paragraph("", self.text["none"], classes=["none"])
        return found

    def _entry(self, claim: dict[str, Any]) -> nodes.container:
        """Return one claim, written in MyST and parsed as a page's text is."""
        number, verdict = claim["id"], claim["verdict"]
        opening, closing = self.text["quotes"]
        sources = f" {{cite:p}}`{','.join(claim['references'])}`" if claim["references"] else ""
        ways = f"{{ref}}`{self.text['page']} <quote-{number.lower()}>`"
        if number in self.shown:
            ways += f" · {{ref}}`{self.text['cell']} <claim-{number.lower()}>`"
        lines = [
            f"**{number}** {opening}{claim['claim'][self.language]}{closing} "
            f"· *{VERDICTS[verdict][self.language]}*",
            "",
            f"{claim['finding'][self.language]}{sources}",
            "",
            ways,
        ]
        label = f"ledger-{number.lower()}"
        self.env.get_domain("std").anonlabels[label] = (self.env.docname, label)
        entry = nodes.container(classes=["claim", verdict], ids=[label])
        self.state.nested_parse(StringList(lines, source=str(CLAIMS)), 0, entry)
        return entry


def bars(counts: Counter[str]) -> list[tuple[str, int, float, float]]:
    """Return each verdict's count, and where its part of a bar begins and ends, in percent.

    >>> bars(Counter({"wrong": 1, "correct": 3}))
    [('correct', 3, 0.0, 75.0), ('wrong', 1, 75.0, 100.0)]
    """
    ends = [100 * n / counts.total() for n in accumulate(counts[v] for v in VERDICTS)]
    parts = zip(VERDICTS, [0.0, *ends], ends, strict=False)
    return [(v, counts[v], start, end) for v, start, end in parts if counts[v]]


def link_quotations(app: Sphinx, doctree: nodes.document) -> None:
    """Give each claim that the page quotes an id, and link its number to the ledger."""
    page, labels = app.env.docname, app.env.get_domain("std").anonlabels
    here = {c["id"] for c in _claims() if c["page"] == Path(page).name}
    for quotation in doctree.findall(nodes.block_quote):
        for number in quotation.findall(nodes.strong):
            name = number.astext()
            if name not in here:
                continue
            label = f"quote-{name.lower()}"
            number.parent["ids"].append(label)
            labels[label] = (page, label)
            link = addnodes.pending_xref(
                "",
                nodes.inline("", name),
                refdomain="std",
                reftype="ref",
                reftarget=f"ledger-{name.lower()}",
                refexplicit=True,
                refwarn=True,
                refdoc=page,
            )
            number.clear()
            number += link


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("ledger", Ledger)
    app.connect("doctree-read", link_quotations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
