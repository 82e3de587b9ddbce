"""The record of replications: current, honest about failures, resumed where it stopped."""

import copy
import json
import sys
from dataclasses import replace

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book._ext.claims import effects, evidence
from book.tools import replicate, replications
from book.tools.claims import Claim, cells_showing, load
from book.tools.notebooks import text
from book.tools.replications import Cell, Replication

RECORD = replications.load()
COMPARING = [claim for claim in load() if "name" in claim.effect]


def page(*cells):
    notebook = new_notebook(cells=[new_markdown_cell("# A page"), *cells])
    notebook.cells[1].id = "setup"
    return notebook


def cell(source, name):
    return new_code_cell(f"# %pip\n{source}" if name == "setup" else source, id=name)


PAGE = page(
    cell("from lnlib.randomness import SEED\nfrom lnlib.experiments import paired", "setup"),
    cell(
        "lead = paired([1.0, 2.0 + SEED], [0.0, 0.0])\nleads = {('x', 2): lead, print: lead}\n"
        "assert lead.mean < 100",
        "lead",
    ),
    cell("assert SEED == 0, 'another seed'", "own"),
    cell("assert lead.n == 2", "after"),
)


def test_every_page_has_been_replicated_as_it_is():
    stale = replications.stale(RECORD, replications.first_edition())
    assert stale == [], f"run `make replicate PAGE='{' '.join(stale)}'`"


def test_every_failure_says_what_is_to_be_done():
    assert [*replications.unexplained(RECORD)] == []


def test_a_page_is_observed_to_its_end_whatever_fails(tmp_path):
    found = replicate.observe(text(PAGE), "20000 default", str(tmp_path))
    assert found["errors"] == {
        "lead": "AssertionError: ",
        "own": "AssertionError: another seed",
    }
    lead = [10001.5, pytest.approx(10000.5), 2]
    assert found["effects"] == {"lead": lead, "leads[('x', 2)]": lead}
    assert "lnlib.randomness" in found["modules"]
    assert "json" not in found["modules"]


def observed(**errors):
    effects = {
        "lead": [1.5, 0.25, 2], "leads['x']": [1.5, 0.25, 2], "rest": [0.0, 1.0, 2],
    }  # fmt: skip
    return {"modules": [], "effects": effects, "errors": errors, "sweeps": {}}


def test_the_record_says_what_failed_where_and_keeps_remarks():
    seen = {replicate.OWN: observed(), "9 avx2": observed(own="AssertionError: x")}
    before = Replication([], [], {"own": Cell("", remark="ask more"), "lead": Cell("", remark="?")})
    found = replicate.summary(PAGE, seen, before)
    assert found.conditions == [replicate.OWN, "9 avx2"]
    expected = dict.fromkeys(seen, (1.5, 0.25, 2))
    assert found.cells["lead"].effects == {"lead": expected, "leads['x']": expected}
    assert found.cells["lead"].remark == ""
    assert found.cells["own"].failed == {"9 avx2": "AssertionError: x"}
    assert found.cells["own"].remark == "ask more"
    assert [*replications.unexplained({"page": found})] == []
    alone = replicate.summary(PAGE, seen, None)
    assert len([*replications.unexplained({"page": alone})]) == 1


def test_the_record_is_read_as_it_was_written(tmp_path):
    found = {"page": replicate.summary(PAGE, {replicate.OWN: observed(own="E: ü")}, None)}
    replications.save(found, tmp_path / "record.json")
    again = replications.load(tmp_path / "record.json")
    replications.save(again, tmp_path / "again.json")
    assert (tmp_path / "record.json").read_text() == (tmp_path / "again.json").read_text()
    assert again["page"].cells["own"] == found["page"].cells["own"]
    assert replications.load(tmp_path / "none.json") == {}


@pytest.fixture
def house(tmp_path):
    for name, content in {
        "lnlib/__init__.py": "",
        "lnlib/room/__init__.py": '"""A room."""',
        "lnlib/room/norm.py": "def norm(x):\n    return x\n",
        "lnlib/pages/__init__.py": "",
        "lnlib/recordings/runs.json": json.dumps({"provenance": {}, "rows": [1]}),
        "lnlib/recordings/other.json": json.dumps({"provenance": {}, "rows": [1]}),
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


MODULES = ["lnlib", "lnlib.room", "lnlib.room.norm", "lnlib.pages"]


def pages_of(first='rows = recorded("runs")\nassert rows', second="x = 1\nassert x"):
    return page(cell("import lnlib", "setup"), cell(first, "one"), cell(second, "two"))


@pytest.mark.parametrize(
    ("name", "content", "changed"),
    [
        ("lnlib/room/norm.py", "def norm(x):\n    return 2 * x\n", {"one", "two"}),
        ("lnlib/room/norm.py", "def norm(x):  # x\n    '''Return x.'''\n    return x\n", set()),
        ("lnlib/pages/__init__.py", "x = 1", set()),
        ("lnlib/recordings/runs.json", '{"provenance": {}, "rows": [2]}', {"one", "two"}),
        ("lnlib/recordings/runs.json", '{"provenance": {"date": "x"}, "rows": [1]}', set()),
        ("lnlib/recordings/other.json", '{"provenance": {}, "rows": [2]}', set()),
    ],
)
def test_a_fingerprint_changes_with_what_the_cell_runs(house, name, content, changed):
    before = replications.fingerprints(pages_of(), MODULES, house)
    (house / name).write_text(content)
    after = replications.fingerprints(pages_of(), MODULES, house)
    assert {key for key in before if before[key] != after[key]} == changed


def test_a_fingerprint_does_not_depend_on_later_cells(house):
    before = replications.fingerprints(pages_of(), MODULES, house)
    later = replications.fingerprints(pages_of(second="x = 2\nassert x"), MODULES, house)
    earlier = replications.fingerprints(pages_of(first="assert 1"), MODULES, house)
    assert before["one"] == later["one"] != earlier["one"]
    assert len({before["two"], later["two"], earlier["two"]}) == 3


def test_a_page_with_other_code_is_stale():
    prints = replications.fingerprints(PAGE, [])
    record = {"page": Replication([], [], {name: Cell(prints[name]) for name in prints})}
    assert replications.stale(record, {"page": PAGE}) == []
    assert replications.stale({}, {"page": PAGE, "overview": page(cell("1", "setup"))}) == ["page"]
    other = page(PAGE.cells[1], cell("assert 1", "lead"), *PAGE.cells[3:])
    assert replications.stale(record, {"page": other}) == ["page"]


def test_a_page_whose_sweep_was_replicated_anew_is_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(replications, "SWEPT", tmp_path)
    sweep = replications.swept("9 native") / "runs.json"
    sweep.parent.mkdir()
    notebook = pages_of()
    prints = replications.fingerprints(notebook, [])

    def stale():
        cells = {name: Cell(found) for name, found in prints.items()}
        found = Replication(["9 native"], [], cells, {"9 native": before})
        return replications.stale({"page": found}, {"page": notebook})

    before = {}
    assert stale() == []
    sweep.write_text(json.dumps({"rows": [1]}))
    assert stale() == ["page"]
    before = replications.sweeps(notebook, sweep.parent)
    assert stale() == []
    sweep.write_text(json.dumps({"rows": [2]}))
    assert stale() == ["page"]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    path, found = tmp_path / "page" / "0 native.json", observed()
    assert replicate.kept(path, text(PAGE), tmp_path) is None
    replicate.keep(path, text(PAGE), found)
    assert replicate.kept(path, text(PAGE), tmp_path) == found
    other = page(PAGE.cells[1], cell("assert 1", "lead"), *PAGE.cells[3:])
    assert replicate.kept(path, text(other), tmp_path) is None


def test_a_page_is_run_again_once_its_sweep_is_replicated(tmp_path):
    path, reader = tmp_path / "page" / "9 native.json", text(pages_of())
    replicate.keep(path, reader, observed())
    (tmp_path / "other.json").write_text(json.dumps({"rows": [1]}))
    assert replicate.kept(path, reader, tmp_path) is not None
    (tmp_path / "runs.json").write_text(json.dumps({"rows": [1]}))
    assert replicate.kept(path, reader, tmp_path) is None
    replicate.keep(path, reader, observed() | {"sweeps": replicate.sweeps(reader, tmp_path)})
    assert [*replicate.kept(path, reader, tmp_path)["sweeps"]] == ["runs"]
    (tmp_path / "runs.json").write_text(json.dumps({"rows": [2]}))
    assert replicate.kept(path, reader, tmp_path) is None


def test_a_replicated_sweep_stands_where_its_pages_look(tmp_path, monkeypatch):
    monkeypatch.setattr(replications, "SWEPT", tmp_path)
    begun = []

    def run_sweep(name, path, executor):
        begun.append((name, replicate.os.environ["LNLIB_SEED"]))
        path.write_text("{}")

    monkeypatch.setattr(replicate, "run_sweep", run_sweep)
    monkeypatch.setenv("LNLIB_SEED", "5")
    for _ in range(2):  # the second time it is there
        replicate.replicate_sweeps(["gan"], 10000, None)
    assert begun == [("gan", "10000")]
    assert (replications.swept("10000 native") / "gan.json").exists()
    assert replicate.os.environ["LNLIB_SEED"] == "5"


@pytest.mark.parametrize("option", ["--page", "--sweep"])
def test_an_unknown_name_is_refused(option, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["replicate", option, "nothing"])
    with pytest.raises(SystemExit):
        replicate.main()
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


WORDS = {"de": "Satz", "en": "sentence"}
CLAIM = Claim("C11", "principle", WORDS, "refined", WORDS, [], "page")
SHOWN = page(
    cell("1", "setup"), new_code_cell("assert 1", id="lead", metadata={"tags": ["claim-C11"]})
)
LEAD = {"0 native": (0.5, 0.125, 16), "9 avx2": (-0.25, 0.125, 16)}
SHOWN.cells[0].source = "*Run time:* up to 15\N{NO-BREAK SPACE}s."
FARED = Cell("", {"9 avx2": "AssertionError"}, {"lead": LEAD})
ONE = {"lead": FARED}


@pytest.mark.parametrize(
    ("change", "notebook", "record", "said"),
    [
        ({}, PAGE, {}, "Settled by the sources"),
        ({}, SHOWN, {}, "Calculated · not yet repeated · the page runs up to 15\xa0s"),
        (
            {"experiment": "runs"},
            SHOWN,
            {"page": Replication(["0 native", "9 avx2"], [], ONE)},
            "Experiment · not yet repeated · the page runs up to 15\xa0s",
        ),
        (
            {"experiment": "runs"},
            SHOWN,
            {
                "page": Replication(
                    ["0 native", "8 avx2"], [], {"lead": FARED}, {"8 avx2": {"runs": ""}}
                )
            },
            "Experiment · held in 1 of 1 repetitions · the page runs up to 15\xa0s",
        ),
        (
            {"experiment": "live"},
            SHOWN,
            {"page": Replication(["0 native", "9 avx2"], [], ONE)},
            "Experiment · held in 1 of 2 repetitions · the page runs up to 15\xa0s",
        ),
        (
            {"experiment": "live", "effect": {"name": "lead", "de": "Vorsprung", "en": "Lead"}},
            SHOWN,
            {"page": Replication(["0 native"], [], {"lead": replace(FARED, failed={})})},
            "Experiment · held in 1 of 1 repetitions · Lead: 0.500 ± 0.125 (n = 16) · "
            "the page runs up to 15\xa0s",
        ),
        (
            {"experiment": "live", "effect": {"name": "lead", "de": "Vorsprung", "en": "Lead"}},
            SHOWN,
            {"page": Replication(["0 native", "9 avx2"], [], ONE)},
            "Experiment · held in 1 of 2 repetitions · Lead: 0.500 ± 0.125 (n = 16), "
            "under other seeds −0.250 ± 0.125 · the page runs up to 15\xa0s",
        ),
    ],
    ids=["cited", "new", "recorded", "recorded again", "failed once", "effect", "other seeds"],
)
def test_the_ledger_says_what_a_verdict_rests_on(change, notebook, record, said):
    assert evidence(replace(CLAIM, **change), "en", notebook, record) == said


def test_every_experiment_says_what_it_compares_or_measures():
    assert [claim.id for claim in load() if bool(claim.experiment) != bool(claim.effect)] == []


def test_every_effect_of_a_claim_is_recorded():
    pages = replications.first_edition()
    for claim in COMPARING:
        shown = [c["id"] for c in cells_showing(claim, pages[claim.page])]
        effects = {name for c in shown for name in RECORD[claim.page].cells[c].effects}
        assert claim.effect["name"] in effects, claim.id


def test_an_effect_of_a_claim_is_assigned_once():
    """The record reads it at the end of its page."""
    pages = replications.first_edition()
    for claim in COMPARING:
        sources = [c["source"] for c in pages[claim.page]["cells"] if c["cell_type"] == "code"]
        name = replications.variable(claim.effect["name"])
        assigning = [s for s in sources if name in replications.assigned(s)]
        assert len(assigning) == 1, (claim.id, claim.effect["name"])


def test_german_figures_have_a_comma():
    effect = {"name": "lead", "de": "Vorsprung", "en": "Lead"}
    claim = replace(CLAIM, experiment="live", effect=effect)
    german = copy.deepcopy(SHOWN)
    german.cells[0].source = "*Laufzeit:* bis 15\N{NO-BREAK SPACE}s."
    record = {"page": Replication(["0 native"], [], {"lead": replace(FARED, failed={})})}
    assert "Vorsprung: 0,500 ± 0,125 (n = 16)" in evidence(claim, "de", german, record)


def test_effects_are_drawn_in_standard_errors():
    effect = {"de": "Vorsprung", "en": "Lead"}
    sure = replace(CLAIM, id="C01", experiment="live", effect=effect | {"name": "lead"})
    unsure = replace(CLAIM, id="C02", experiment="runs", effect=effect | {"name": "less"})
    notebook = copy.deepcopy(SHOWN)
    notebook.cells[-1].metadata["tags"] = ["claim-C01", "claim-C02"]
    found = {
        "lead": {"0 native": (0.5, 0.05, 16), "9 avx2": (0.15, 0.05, 16)},
        "less": dict.fromkeys(("0 native", "9 avx2"), (-0.1, 0.05, 8)),
    }
    cell = replace(FARED, effects=found)
    conditions = ["0 native", "8 native", "9 avx2"]  # the second never came to the comparison
    record = {"page": Replication(conditions, [], {"lead": cell})}
    measured = replace(
        CLAIM, id="C03", experiment="live", effect={"de": "Streuung", "en": "Spread"}
    )
    drawn = effects([sure, unsure, measured], "en", {"page": notebook}, record)
    assert [row["name"] for row in drawn["others"]] == ["Spread"]
    assert [row["figures"] for row in drawn["rows"]] == [
        "0.500 ± 0.050 (n = 16), under other seeds 0.150 ± 0.050",
        "−0.100 ± 0.050 (n = 8)",
    ]
    assert [tick for tick, _ in drawn["ticks"]] == ["−3", "0", "3", "10"]
    ticks = dict(drawn["ticks"])
    (_, ten, beyond), (_, two, _) = (row["at"] for row in drawn["rows"])
    assert ten == pytest.approx(ticks["10"])
    assert [row["again"] for row in drawn["rows"]] == [[pytest.approx(ticks["3"])], []]
    assert ten < beyond <= 100
    assert drawn["unclear"] == pytest.approx((ticks["−3"], ticks["3"]))
    assert ticks["−3"] < two < ticks["0"] == drawn["zero"]
