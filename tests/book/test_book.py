"""The pages: twins agree, notebooks are clean, figures are described, claims are shown."""

import copy
import re
from itertools import pairwise
from unicodedata import numeric

import nbformat
import pytest
from pybtex.database import parse_file

from book import BOOK
from book.tools import address, ledger, notebooks, reading, twins
from book.tools.claims import Claim, load
from book.tools.configuration import configuration, contents
from book.tools.languages import FIRST, LANGUAGES, OTHERS

EDITIONS = [*LANGUAGES]
PAGES = {e: {p.stem: p for p in notebooks.pages() if p.parent.name == e} for e in EDITIONS}
PATHS = notebooks.pages()
REFERENCE = notebooks.read(PATHS[0])
WIDTH = 88  # of code and text on a page; .ruff.toml in each edition holds the code to it
BIBLIOGRAPHY = parse_file(BOOK / "references.bib").entries
KNOWN = set(BIBLIOGRAPHY)


def name(path):
    return f"{path.parent.name}/{path.stem}"


@pytest.fixture(scope="module")
def book():
    return {e: {stem: notebooks.read(p) for stem, p in PAGES[e].items()} for e in EDITIONS}


@pytest.fixture(scope="module")
def claims():
    return load()


def source(edition, stem):
    """Text of a page, code included."""
    path = BOOK / edition / f"{stem}.md"
    if path.exists():
        return path.read_text(encoding="utf-8")
    return "\n\n".join(c.source for c in notebooks.read(path.with_suffix(".ipynb")).cells)


def test_both_editions_hold_the_pages_of_the_contents():
    for edition in EDITIONS:
        found = {p.stem for p in (BOOK / edition).iterdir() if p.suffix in {".md", ".ipynb"}}
        assert found == set(contents())
    kinds = [{p.name for p in (BOOK / e).iterdir() if not p.name.startswith(".")} for e in EDITIONS]
    assert all(kind == kinds[0] for kind in kinds)


@pytest.mark.parametrize("edition", OTHERS)
@pytest.mark.parametrize("stem", PAGES[FIRST])
def test_twin_notebooks_agree(book, stem, edition):
    assert twins.differences(book[FIRST][stem], book[edition][stem]) == []


@pytest.mark.parametrize("edition", OTHERS)
@pytest.mark.parametrize("stem", [s for s in contents() if s not in PAGES[FIRST]])
def test_twin_texts_agree(stem, edition):
    assert [*twins.markdown_differences(source(FIRST, stem), source(edition, stem))] == []


@pytest.mark.parametrize("path", PATHS, ids=name)
class TestNotebook:
    def test_is_stored_clean(self, path):
        notebook = notebooks.read(path)
        notebooks.clean(notebook)
        assert path.read_text(encoding="utf-8") == notebooks.text(notebook)

    def test_ran_top_to_bottom_without_errors(self, path):
        code = [c for c in notebooks.read(path).cells if c.cell_type == "code"]
        assert [c.execution_count for c in code] == [*range(1, len(code) + 1)]
        outputs = [o for c in code for o in c.outputs]
        assert not [o for o in outputs if o.output_type == "error"]
        assert not [o.text for o in outputs if o.get("name") == "stderr"]

    def test_stores_no_path_of_the_machine_that_ran_it(self, path):
        outputs = (o for c in notebooks.read(path).cells for o in c.get("outputs", ()))
        assert [o for o in map(str, outputs) if re.search("/(home|root|tmp|Users)/|/lib/", o)] == []

    def test_has_one_folded_set_up_cell_that_installs_as_all_do(self, path):
        notebook = notebooks.read(path)
        first = next(c for c in notebook.cells if c.cell_type == "code")
        assert first is notebooks.set_up(notebook)
        assert notebooks.installation(notebook) == notebooks.installation(REFERENCE)
        prompt = LANGUAGES[path.parent.name]["notebooks"]["set_up"]
        assert first.metadata.mystnb == {"code_prompt_show": prompt, "code_prompt_hide": prompt}
        assert first.metadata.tags == ["hide-input", "setup"]
        assert first.outputs == []  # nothing stands before the first idea

    def test_prints_no_wider_than_the_page(self, path):
        printed = "\n".join(
            reading.text_outputs(c) for c in notebooks.read(path).cells if c.cell_type == "code"
        )
        wide = (line for line in printed.splitlines() if len(line) > WIDTH)
        assert [line for line in wide if not line.startswith("| ")] == []  # tables are typeset

    def test_runs_for_a_minute_at_most(self, path):
        first = notebooks.read(path).cells[0].source
        assert 0 < reading.run_time(first, path.parent.name) <= 60

    def test_states_how_long_it_takes_to_read(self, path):
        label = LANGUAGES[path.parent.name]["notebooks"]["reading_time"]
        found = re.search(rf"\*{label}:\* (\d+)", notebooks.read(path).cells[0].source)
        if path.stem != "loesungen":
            expected = reading.reading_minutes(notebooks.read(BOOK / FIRST / path.name))
            assert int(found[1]) == expected

    def test_installs_from_the_wherein_the_configuration(self, path):
        notebook = notebooks.read(path)
        before = notebooks.text(notebook)
        address.fill(notebook, *address.read())
        assert notebooks.text(notebook) == before

    def test_describes_its_figures_in_vector_graphics(self, path):
        for cell in notebooks.read(path).cells:
            if reading.image_count(cell):
                assert len(reading.alt_text(cell)) >= 20, cell["id"]
                name, caption = reading.caption(cell)
                assert name.startswith("fig-"), cell["id"]
                assert 30 <= len(caption) <= 240, cell["id"]
                kinds = {k for o in cell.outputs for k in o.get("data", {}) if "image/" in k}
                assert kinds == {"image/svg+xml"}, cell["id"]

    def test_has_one_title_on_top_and_no_skipped_heading(self, path):
        cells = notebooks.read(path).cells
        levels = reading.heading_levels(reading.markdown(notebooks.read(path)))
        assert re.match(r"(\([\w-]+\)=\n)*# ", cells[0].source)
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b <= a + 1 for a, b in pairwise(levels))

    def test_sets_three_to_six_exercises(self, path):
        exercises = re.findall(r"^:::+\{exercise\}", source(path.parent.name, path.stem), re.M)
        if path.stem != "loesungen":
            assert 3 <= len(exercises) <= 6

    def test_ends_with_the_way_on(self, path):
        order = contents()
        following = order[order.index(path.stem) + 1]
        last = notebooks.read(path).cells[-1]
        assert last.cell_type == "markdown"
        assert following in last.source


def hours(text):
    """Hours as the first page writes them, such as 2¼."""
    whole, part = re.fullmatch(r"(\d+)([¼½¾]?)", text).groups()
    return int(whole) + (numeric(part) if part else 0)


def minutes(stem):
    path = PAGES[FIRST].get(stem)
    page = notebooks.read(path) if path else notebook(cell("markdown", source(FIRST, stem)))
    return reading.reading_minutes(page)


@pytest.mark.parametrize("edition", EDITIONS)
def test_first_page_says_how_long_its_paths_and_the_book_take(edition):
    section = source(edition, "index").partition("(sec-readers)=")[2].partition("(sec-map)=")[0]
    cards = re.findall(r"\{grid-item-card\} .*: (\S+) \w+\n(.*)", section)
    further = re.findall(r"(.*?)\(\w+ (\d+[¼½¾]?) \w+\)", section)
    paths = [*cards, *((time, links) for links, time in further)]
    assert len(paths) == 5
    stems = [stem for stem in contents() if stem[0].isdigit()]
    for time, links in paths:
        pages = re.findall(r"\]\((\w+)\.ipynb\)", links)
        overviews = re.findall(r"\]\(([^\W_]+)_\w+\.md\)", links)  # each counts for its chapter
        pages += [stem for stem in stems for number in overviews if stem.startswith(number)]
        assert sum(map(minutes, pages)) == pytest.approx(60 * hours(time), rel=0.05, abs=15), links
    whole = re.search(r"(\d+[¼½¾]?) \w+;", section)[1]
    assert sum(map(minutes, stems)) == pytest.approx(60 * hours(whole), rel=0.05)


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_exercise_is_solved(edition):
    text = "\n".join(source(edition, stem) for stem in contents())
    labels = re.findall(r"^:::+\{exercise\}.*\n:label: *(\S+)", text, re.M)
    solved = re.findall(r"^:::+\{solution(?:-start)?\} *(\S+)", text, re.M)
    assert sorted(labels) == sorted(solved)


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_exercise_has_a_level_and_a_folded_hint(edition):
    text = "\n".join(source(edition, stem) for stem in contents())
    exercises = re.findall(r"^(:::+)(\{exercise\}.*?)^\1$", text, re.M | re.S)
    for _, exercise in exercises:
        assert re.search(r"^:class: level-[123]$", exercise, re.M), exercise
        assert exercise.count(":::{dropdown}") == 1, exercise
    assert len(exercises) == text.count("{exercise}")


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_citation_is_in_the_bibliography(edition):
    text = "\n".join(source(edition, stem) for stem in contents())
    assert KNOWN.issuperset(reading.citations(text))


def test_every_reference_is_used(claims):
    text = "\n".join(source(FIRST, stem) for stem in contents())
    assert KNOWN <= {*reading.citations(text), *(k for c in claims for k in c.references)}


@pytest.mark.parametrize(("name", "entry"), BIBLIOGRAPHY.items())
def test_reference_names_everyone_and_where_to_find_it(name, entry):
    assert "others" not in [str(person) for person in entry.persons["author"]]
    forms = {"url": r"https://[\w.-]+/\S+", "doi": r"10\.\d{4,9}/\S+"}
    given = {field: entry.fields[field] for field in forms if field in entry.fields}
    assert given
    assert all(re.fullmatch(forms[field], where) for field, where in given.items())


def test_ledger_and_pages_agree(book, claims):
    assert ledger.disagreements(claims, book, KNOWN) == []


# The checks themselves: each must notice what it is there for.


def cell(kind, source, name="c", tags=(), outputs=()):
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}[kind]
    extra = {"outputs": list(outputs)} if kind == "code" else {}
    return make(source, id=name, metadata={"tags": list(tags)} if tags else {}, **extra)


def notebook(*cells):
    return nbformat.v4.new_notebook(cells=list(cells))


@pytest.mark.parametrize(
    ("de", "en"),
    [
        ("x = 1  # eins", "x = 1  # one"),
        ('print("Fehler:", x)', 'print("error:", x)'),
        ('print(f"{a:.2f} von {b}")', 'print(f"of {b}, {a:.2f}")'),
        ('label = "Schritte" if x else "ja"', 'label = "steps" if x else "yes"'),
        ('%pip install "x"', '%pip install "x"'),
        ("f(a,\n  b)", "f(a, b)"),
    ],
)
def test_translated_code_counts_as_equal(de, en):
    assert [*twins.code_differences(de, en)] == []


@pytest.mark.parametrize(
    ("de", "en"),
    [
        ("x = 1", "x = 2"),
        ("f(x, eps=0.3)", "f(x)"),
        ('print(f"Fehler {a:.2f}")', 'print(f"error {a:.3f}")'),
        ('print(f"Fehler {a}")', 'print(f"error {b}")'),
        ('x.astype("float32")', 'x.astype("float64")'),
        ('np.einsum("ij,jk->ik", a, b)', 'np.einsum("ij,jk->ki", a, b)'),
        ('print("auf 3 Stellen")', 'print("to 4 places")'),
        ("%pip install a", "%pip install b"),
    ],
)
def test_changed_code_is_noticed(de, en):
    assert [*twins.code_differences(de, en)] != []


@pytest.mark.parametrize(
    ("de", "en"),
    [
        ("(sec-a)=\n## A", "(sec-b)=\n## A"),
        ("{cite}`ba2016layer`", "{cite}`wu2018group`"),
        ("siehe [A](#sec-a)", "see [A](#sec-b)"),
        ("## A", "### A"),
        ("$$\nx\n$$", "x"),
        (":::{exercise} A\n:label: ex-a\n:::", ":::{exercise} A\n:label: ex-b\n:::"),
        ("> **C11** „x“ · *falsch*", "> **C12** “x” · *wrong*"),
    ],
)
def test_changed_text_is_noticed(de, en):
    assert [*twins.markdown_differences(de, en)] != []


def test_changed_cells_are_noticed():
    stream = nbformat.v4.new_output("stream", name="stdout", text="Fehler 1,5e-3\n")
    page = notebook(cell("code", "f()", tags=["claim-C1"], outputs=[stream]))
    assert twins.differences(page, page) == []
    for change in (
        lambda c: c.update(id="other"),
        lambda c: c.metadata.update(tags=[]),
        lambda c: c.outputs[0].update(text="error 2.5e-3\n"),
        lambda c: c.outputs.append(nbformat.v4.new_output("display_data", {"image/svg+xml": ""})),
        lambda c: c.metadata.update(mystnb={"image": {"alt": "a line"}}),
        lambda c: c.metadata.update(mystnb={"figure": {"name": "fig-a"}}),
    ):
        other = copy.deepcopy(page)
        change(other.cells[0])
        assert twins.differences(page, other) != []


CLAIM = {
    "id": "C11",
    "section": "principle",
    "claim": {"de": "ĥ = (h − μ)/(σ + ε)", "en": "ĥ = (h − μ)/(σ + ε)"},
    "verdict": "refined",
    "finding": {"de": "ε steht unter der Wurzel.", "en": "ε belongs under the root."},
    "references": ["ba2016layer"],
    "page": "1_page",
}


def claim_page(quotation, code="assert x", tags=("claim-C11",)):
    return notebook(cell("markdown", quotation, "q"), cell("code", code, "shown", tags))


def claim_book():
    return {
        "de": {"1_page": claim_page("> **C11** „ĥ =\n> (h − μ)/(σ + ε)“ · *präzisiert*")},
        "en": {"1_page": claim_page("> **C11** “ĥ = (h − μ)/(σ + ε)” · *refined*")},
    }


def disagreements(entries, pages):
    return ledger.disagreements([Claim(**entry) for entry in entries], pages, {"ba2016layer"})


def test_ledger_accepts_a_claim_that_a_cell_shows():
    assert disagreements([CLAIM], claim_book()) == []


@pytest.mark.parametrize(
    ("mention", "complaints"),
    [
        ("Claim: [C11](#ledger-c11) *refined*.", 0),
        ("Claim: [C11](#ledger-c11) *wrong*.", 1),
        ("Claim: [C99](#ledger-c99) *refined*.", 1),
    ],
)
def test_a_claim_is_named_with_our_verdict(mention, complaints):
    pages = claim_book()
    pages["en"]["7_glossary"] = notebook(cell("markdown", mention, "terms"))
    assert len(disagreements([CLAIM], pages)) == complaints


def test_ledger_accepts_a_claim_that_only_a_citation_settles():
    pages = claim_book()
    for edition in pages.values():
        edition["1_page"].cells[1].metadata.tags = []
    assert disagreements([CLAIM], pages) != []
    for edition in pages.values():
        edition["1_page"].cells[0].source += "\n\nText {cite}`ba2016layer`."
    assert disagreements([CLAIM], pages) == []


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "correct"},
        {"id": "C12"},
        {"claim": {"de": "anders", "en": "ĥ = (h − μ)/(σ + ε)"}},
        {"references": ["nobody2000nothing"]},
        {"page": "2_page"},
    ],
    ids=lambda c: next(iter(c)),
)
def test_ledger_notices_a_wrong_entry(change):
    assert disagreements([CLAIM | change], claim_book()) != []


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"verdict": "maybe"}, ValueError, "C11: verdict must be one of .*; got 'maybe'"),
        ({"section": "Anhang"}, ValueError, "C11: section must be one of .*; got 'Anhang'"),
        ({"id": "11"}, ValueError, "id must be C or M and a number, as in C01; got '11'"),
        ({"claim": {"en": "x"}}, ValueError, "C11: claim must be written in de, en; got en"),
        ({"finding": {"de": "", "en": "x"}}, ValueError, "C11: finding must be .*; got en"),
        ({"extra": "key"}, TypeError, "extra"),
    ],
    ids=lambda c: next(iter(c)) if isinstance(c, dict) else "",
)
def test_a_claim_is_complete(change, error, message):
    with pytest.raises(error, match=message):
        Claim(**CLAIM | change)


def test_a_claim_lacks_no_key():
    with pytest.raises(TypeError, match="page"):
        Claim(**{key: value for key, value in CLAIM.items() if key != "page"})


@pytest.mark.parametrize(
    "page",
    [
        claim_page("> **C11** “ĥ = (h − μ)/(σ + ε)” · *wrong*"),
        claim_page("> **C11** “ĥ = (h − μ)/σ” · *refined*"),
        claim_page("no quotation"),
        claim_page("> **C11** “ĥ = (h − μ)/(σ + ε)” · *refined*", code="print(x)"),
        claim_page("> **C11** “ĥ = (h − μ)/(σ + ε)” · *refined*", tags=()),
        claim_page("> **C11** “ĥ = (h − μ)/(σ + ε)” · *refined*", tags=("claim-C11", "claim-C99")),
    ],
    ids=["verdict", "wording", "unquoted", "no assert", "no cell", "unknown tag"],
)
def test_ledger_notices_a_wrong_page(page):
    pages = claim_book()
    pages["en"]["1_page"] = page
    assert disagreements([CLAIM], pages) != []


def test_ledger_notices_a_double_and_a_missing_entry():
    assert disagreements([CLAIM, CLAIM], claim_book()) != []
    assert disagreements([], claim_book()) != []


def test_editions_differ_in_language_title_and_paths_only():
    first, *others = (configuration(e) for e in EDITIONS)
    for other in others:
        differing = {k for k in first if first[k] != other[k]}
        assert differing == {"author", "copyright", "repository", "sphinx"}
        assert set(first["sphinx"]["config"]) == set(other["sphinx"]["config"])
