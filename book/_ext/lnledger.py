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

CLAIMS = Path(__file__).resolve().parent.parent / "claims.yml"
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
ROW = 50  # px
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
        head = self._totals(by_section) + self._filter(by_section)
        return [nodes.raw("", head, format="html"), *map(self._section, by_section.items())]

    def _name(self, section: str | None) -> str:
        german = section or "Was dem Eintrag fehlt"
        return german if self.language == "de" else SECTIONS[section][1]

    def _totals(self, by_section: dict[str | None, list[dict[str, Any]]]) -> str:
        """Draw a bar for all claims, and one for each section."""
        everything = [*chain(*by_section.values())]
        rows = {self.text["total"].format(n=len(everything)): everything}
        rows |= {self._name(s): found for s, found in by_section.items()}
        drawn = [
            self._bar(y, name, Counter(c["verdict"] for c in found))
            for y, (name, found) in zip(range(0, len(rows) * ROW, ROW), rows.items(), strict=True)
        ]
        totals = Counter(c["verdict"] for c in everything)
        label = ", ".join(f"{VERDICTS[v][self.language]} {totals[v]}" for v in VERDICTS)
        return (
            f'<svg class="ledger-totals" width="100%" height="{len(rows) * ROW}" role="img" '
            f'aria-label="{label}">{"".join(drawn)}</svg>'
        )

    def _bar(self, y: int, name: str, counts: Counter[str]) -> str:
        ends = [100 * n / counts.total() for n in accumulate(counts[v] for v in VERDICTS)]
        parts = [f'<text y="{y + 15}">{name}</text>']
        for verdict, start, end in zip(VERDICTS, [0, *ends], ends, strict=False):
            if counts[verdict]:
                parts.append(
                    f'<rect class="{verdict}" x="{start:.2f}%" y="{y + 22}" '
                    f'width="{end - start:.2f}%" height="20"/>'
                    f'<text class="count" x="{(start + end) / 2:.2f}%" y="{y + 37}">'
                    f"{counts[verdict]}</text>"
                )
        return "".join(parts)

    def _filter(self, by_section: dict[str | None, list[dict[str, Any]]]) -> str:
        verdicts = Counter(c["verdict"] for c in chain(*by_section.values()))
        choices = {
            "verdict": {v: (names[self.language], verdicts[v]) for v, names in VERDICTS.items()},
            "section": {SECTIONS[s][0]: (self._name(s), len(c)) for s, c in by_section.items()},
        }
        return "".join(self._choice(group, options) for group, options in choices.items())

    def _choice(self, group: str, options: dict[str, tuple[str, int]]) -> str:
        total = sum(count for _, count in options.values())
        radios = "".join(
            f'<label class="{value}"><input type="radio" name="{group}" id="only-{value}"/>'
            f"{name} ({count})</label>"
            for value, (name, count) in options.items()
        )
        return (
            f'<fieldset class="ledger-filter"><legend>{self.text[group]}</legend>'
            f'<label><input type="radio" name="{group}" checked="checked"/>'
            f"{self.text['all']} ({total})</label>{radios}</fieldset>"
        )

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
            number.children = []
            number += link


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("ledger", Ledger)
    app.connect("doctree-read", link_quotations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
