"""Sphinx extension: the ledger of all claims, and links between it, quotations and cells."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes, locale
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.domains.std import StandardDomain
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from book._ext.formulas import with_symbols
from book.tools import replications
from book.tools.claims import PATH, SECTIONS, TAG, VERDICTS, Claim, cells_showing, load
from book.tools.languages import LANGUAGES
from book.tools.reading import run_time
from book.tools.replications import OWN, Effect, Record, Replication

CLAIMS = load()
CLEAR = 3  # standard errors that an effect has to lie from a bound: `Paired.exceeds`
TICKS = (-30, -10, -3, 0, 3, 10, 30, 100, 300)


def bars(claims: Iterable[Claim]) -> list[tuple[str, int, float, float]]:
    """Return each verdict's count, and where its part of a bar begins and ends, in percent."""
    counts = Counter(claim.verdict for claim in claims)
    ends = [100 * n / counts.total() for n in accumulate(counts[v] for v in VERDICTS)]
    parts = zip(VERDICTS, [0.0, *ends], ends, strict=False)
    return [(v, counts[v], start, end) for v, start, end in parts if counts[v]]


def overview(sections: dict[str, list[Claim]], words: dict[str, Any]) -> dict[str, Any]:
    """Return what `ledger.html` draws: bars of all claims and of each section, and the choices.

    Args:
        sections: the claims of each section.
        words: the entry `claims` of a language.
    """
    claims = [claim for found in sections.values() for claim in found]
    counts = Counter(claim.verdict for claim in claims)
    verdicts = [(v, words["verdicts"][v], counts[v]) for v in VERDICTS]
    rows = [(words["total"].format(n=len(claims)), claims)]
    rows += [(words["sections"][section], found) for section, found in sections.items()]
    return {
        "label": ", ".join(f"{name} {count}" for _, name, count in verdicts),
        "rows": [(name, bars(found)) for name, found in rows],
        "all": words["all"],
        "choices": [
            ("verdict", words["verdict"], verdicts),
            (
                "section",
                words["section"],
                [(s, words["sections"][s], len(found)) for s, found in sections.items()],
            ),
        ],
    }


def evidence(claim: Claim, language: str, page: dict[str, Any], record: Record) -> str:
    """Return what the verdict on a claim rests on.

    Args:
        claim: the claim.
        language: a key of `LANGUAGES`.
        page: the notebook that is to show it.
        record: how the cells of the book have fared.
    """
    words = LANGUAGES[language]["claims"]
    cells = [cell["id"] for cell in cells_showing(claim, page)]
    if not cells:
        return str(words["sources"])
    parts = [words["experiment" if claim.experiment else "calculation"]]
    found = record.get(claim.page, Replication([], [], {}))
    fared = [found.cells[cell] for cell in cells if cell in found.cells]
    runs = repetitions(claim, record)
    if runs and len(fared) == len(cells):
        held = sum(not any(condition in cell.failed for cell in fared) for condition in runs)
        parts.append(words["repeated"].format(held=held, all=len(runs)))
    else:
        parts.append(words["once"])
    if by_condition := effect_of(claim, page, record):
        figures = in_all(by_condition, others(by_condition, runs), language)
        parts.append(f"{claim.effect[language]}: {figures}")
    elif claim.effect:
        parts.append(claim.effect[language])
    first = "".join(page["cells"][0]["source"])
    seconds = LANGUAGES[language]["notebooks"]["seconds"].format(run_time(first, language))
    return " · ".join([*parts, words["time"].format(seconds)])


def effects(
    claims: Iterable[Claim], language: str, pages: dict[str, Any], record: Record
) -> dict[str, Any]:
    """Return what `ledger.html` draws of the effects of all experiments, in standard errors.

    Args:
        claims: all of them.
        language: a key of `LANGUAGES`.
        pages: the notebooks, by file stem.
        record: how the cells of the book have fared.
    """
    found = [
        (claim, effect, others(effect, repetitions(claim, record)))
        for claim in claims
        if (effect := effect_of(claim, pages[claim.page], record))
    ]
    ratios: list[float] = [-CLEAR, CLEAR]
    for _, effect, runs in found:
        ratios += [effect[run][0] / effect[run][1] for run in (OWN, *runs)]
    low, high = (math.asinh(end / CLEAR) for end in (min(ratios) - 1, max(ratios) + 1))

    def place(errors: float) -> float:
        """Where on the axis, in percent: linear near zero, logarithmic beyond."""
        return 2 + 96 * (math.asinh(errors / CLEAR) - low) / (high - low)

    return {
        "unclear": (place(-CLEAR), place(CLEAR)),
        "zero": place(0),
        "ticks": [
            (str(tick).replace("-", "−"), at) for tick in TICKS if 0 <= (at := place(tick)) <= 100
        ],
        "rows": [
            {
                "claim": claim,
                "name": with_symbols(claim.effect[language]),
                "figures": in_all(effect, runs, language),
                "at": [place(effect[OWN][0] / effect[OWN][1] + shift) for shift in (-1, 0, 1)],
                "again": [place(effect[run][0] / effect[run][1]) for run in runs],
            }
            for claim, effect, runs in found
        ],
        "others": [
            {"claim": claim, "name": with_symbols(claim.effect[language])}
            for claim in claims
            if claim.effect and "name" not in claim.effect
        ],
    }


def effect_of(claim: Claim, page: dict[str, Any], record: Record) -> dict[str, Effect] | None:
    """Return the comparison that settles a claim, by condition."""
    cells = record.get(claim.page, Replication([], [], {})).cells
    names = (cell["id"] for cell in cells_showing(claim, page))
    shown = (cells[name].effects for name in names if name in cells)
    return next((e[claim.effect["name"]] for e in shown if claim.effect.get("name") in e), None)


def in_all(effect: dict[str, Effect], runs: list[str], language: str) -> str:
    """Return an effect with its standard error and number of pairs, and what repetitions found."""
    words = LANGUAGES[language]["claims"]

    def figures(condition: str) -> str:
        mean, error, _ = effect[condition]
        return f"{mean:.3f} ± {error:.3f}".replace(".", words["decimal"]).replace("-", "−")

    found = f"{figures(OWN)} (n = {effect[OWN][2]})"
    return f"{found}, {words['others']} {'; '.join(map(figures, runs))}" if runs else found


def others(effect: dict[str, Effect], runs: Iterable[str]) -> list[str]:
    """Return those of some conditions that have other seeds and came as far as the comparison."""
    return [run for run in runs if run in effect and run != OWN]


def repetitions(claim: Claim, record: Record) -> list[str]:
    """Return the conditions under which a page's run repeats what settles a claim."""
    found = record.get(claim.page, Replication([], [], {}))
    return [
        condition
        for condition in found.conditions
        if claim.experiment in ("", "live", *found.sweeps.get(condition, ()))
    ]


def written(claim: Claim, language: str, page: dict[str, Any], record: Record) -> list[str]:
    """Return a claim's entry in the ledger as lines of MyST.

    Args:
        claim: the claim.
        language: a key of `LANGUAGES`.
        page: the notebook that is to show it.
        record: how the cells of the book have fared.
    """
    words = LANGUAGES[language]["claims"]
    opening, closing = words["quotes"]
    sources = f" {{cite:p}}`{','.join(claim.references)}`" if claim.references else ""
    ways = f"{{ref}}`{heading(page)} <quote-{claim.id.lower()}>`"
    if cells_showing(claim, page):
        ways += f" · {{ref}}`{words['cell']} <claim-{claim.id.lower()}>`"
    return [
        f"**{claim.id}** {opening}{claim.claim[language]}{closing} "
        f"· *{words['verdicts'][claim.verdict]}*",
        "",
        f"{claim.finding[language]}{sources}",
        "",
        f"{evidence(claim, language, page, record)} · {ways}",
    ]


def heading(page: dict[str, Any]) -> str:
    """Return the title of a notebook."""
    (title,) = re.findall(r"^# (.+)$", "".join(page["cells"][0]["source"]), re.MULTILINE)
    return str(title)


class Ledger(SphinxDirective):
    """Draw the totals, then list every section's claims, with a filter that needs no script."""

    def run(self) -> list[nodes.Node]:
        """Build the nodes."""
        paths = [*Path(self.env.doc2path(self.env.docname)).parent.glob("*.ipynb")]
        for path in (PATH, replications.PATH, *paths):
            self.env.note_dependency(str(path))
        self.pages = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
        self.record = replications.load()
        self.words = LANGUAGES[self.config.language]["claims"]
        by_section = {s: [claim for claim in CLAIMS if claim.section == s] for s in SECTIONS}
        sections = {s: claims for s, claims in by_section.items() if claims}
        builder = cast(StandaloneHTMLBuilder, self.env.app.builder)
        drawn = effects(CLAIMS, self.config.language, self.pages, self.record)
        head = builder.templates.render(
            "ledger.html",
            overview(sections, self.words)
            | {"effects": drawn, "words": self.words, "permalink": locale._("Link to this image")},
        )
        return [nodes.raw("", head, format="html"), *map(self._section, sections.items())]

    def _section(self, item: tuple[str, list[Claim]]) -> nodes.section:
        name, claims = item
        title = nodes.title("", self.words["sections"][name])
        section = nodes.section("", title, ids=[f"section-{name}"], classes=["ledger", name])
        section += [self._entry(claim) for claim in claims]
        section += nodes.paragraph("", self.words["none"], classes=["none"])
        return section

    def _entry(self, claim: Claim) -> nodes.container:
        label = f"ledger-{claim.id.lower()}"
        standard(self.env.app).anonlabels[label] = (self.env.docname, label)
        entry = nodes.container(classes=["claim", claim.verdict], ids=[label])
        lines = written(claim, self.config.language, self.pages[claim.page], self.record)
        self.state.nested_parse(StringList(lines, source=str(PATH)), 0, entry)
        return entry


def standard(app: Sphinx) -> StandardDomain:
    """Return the domain whose labels lead to pages and ids."""
    return cast(StandardDomain, app.env.get_domain("std"))


def anchor_cells(app: Sphinx, doctree: nodes.document) -> None:
    """Give the first cell of a page that shows a claim the claim's id, so it can be linked."""
    domain = standard(app)
    for cell in doctree.findall(nodes.container):
        for name in cell["classes"]:
            anchor = name.removeprefix("tag_")
            if (tag := TAG.fullmatch(anchor)) and anchor not in doctree.ids:
                doctree.ids[anchor] = cell
                cell["ids"].append(anchor)
                domain.labels[anchor.lower()] = (app.env.docname, anchor, tag[1])
                domain.anonlabels[anchor.lower()] = (app.env.docname, anchor)


def link_quotations(app: Sphinx, doctree: nodes.document) -> None:
    """Link the number of each claim in a quotation to the ledger, and show its verdict.

    Where the page decides the claim, the quotation gets an id.
    """
    page = app.env.docname
    claims = {claim.id: claim for claim in CLAIMS}
    for quotation in doctree.findall(nodes.block_quote):
        for number in quotation.findall(nodes.strong):
            name = number.astext()
            if name not in claims:
                continue
            quotation["classes"].append(claims[name].verdict)
            if claims[name].page == Path(page).name:
                label = f"quote-{name.lower()}"
                number.parent["ids"].append(label)
                standard(app).anonlabels[label] = (page, label)
            number.clear()
            number += addnodes.pending_xref(
                "",
                nodes.inline("", name),
                refdomain="std",
                reftype="ref",
                reftarget=f"ledger-{name.lower()}",
                refexplicit=True,
                refwarn=True,
                refdoc=page,
            )


def label_cells(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Say above a cell that the ledger leads to which claim it shows, with the way back."""
    shows = LANGUAGES[app.config.language]["claims"]["shows"]
    for cell in doctree.findall(nodes.container):
        label = nodes.paragraph("", shows, classes=["shows"])
        for claim in (match[1] for i in cell["ids"] if (match := TAG.fullmatch(i))):
            ledger, entry = standard(app).anonlabels[f"ledger-{claim.lower()}"]
            uri = f"{app.builder.get_relative_uri(page, ledger)}#{entry}"
            label += [nodes.Text(" "), nodes.reference("", claim, refuri=uri, internal=True)]
        if len(label) > 1:
            cell.insert(0, label)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    app.add_directive("ledger", Ledger)
    app.connect("doctree-read", anchor_cells)
    app.connect("doctree-read", link_quotations)
    app.connect("doctree-resolved", label_cells)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
