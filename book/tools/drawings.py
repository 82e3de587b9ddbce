"""The figures that drawings show, from the recordings."""

import json
from collections import defaultdict
from collections.abc import Callable
from random import Random
from typing import Any

from book import ROOT

RECORDINGS = ROOT / "lnlib" / "recordings"
Words = dict[str, Any]
PLAIN = {"placement": "pre", "depth": 8, "start": "plain", "warmup": 0, "steps": 200}
LONGEST = 8192  # that one program of the design "rows in turns" holds
WARPS = 64  # that a multiprocessor holds


def data(name: str, words: Words) -> Any:
    """Return what a drawing shows, None if it computes everything itself.

    Args:
        name: of the drawing.
        words: its texts in a language.
    """
    return SHOWN[name](words) if name in SHOWN else None


def recording(name: str) -> dict[str, Any]:
    """Return a recording, without torch."""
    found: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def rates(words: Words) -> dict[str, Any]:
    """Return the losses of every arm of the transformer sweep, rate by rate and seed by seed.

    `own` is the place of the rate that validation chose, as in `lnlib.experiments.choose`.
    """
    arms: dict[str, dict[float, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in recording("transformer")["rows"]:
        arms[arm(row, words)][row["learning_rate"]].append(row)
    shown = []
    for name, by_rate in arms.items():
        runs = [sorted(by_rate[rate], key=lambda row: row["seed"]) for rate in sorted(by_rate)]
        means = [mean([row["validation"] for row in found]) for found in runs]
        losses = [[row["test"] for row in found] for found in runs]
        own = means.index(min(means))
        shown.append({"name": name, "rates": sorted(by_rate), "losses": losses, "own": own})
    places = words["places"]
    first = [[*arms].index(places[place]) for place in ("post", "pre")]
    return {"arms": shown, "first": first}


def mean(losses: list[float | None]) -> float:
    """Return the mean loss, infinite where a run diverged."""
    return sum(float("inf") if loss is None else loss for loss in losses) / len(losses)


def arm(row: dict[str, Any], words: Words) -> str:
    """Name an arm by what is not plain in it."""
    place = row["norm"] == "LN"
    parts = [words["places"][row["placement"]] if place else words["norms"][row["norm"]]]
    parts += [words["qk_norm"]] if row["qk_norm"] else []
    parts += [words["starts"][row["start"]]] if row["start"] != PLAIN["start"] else []
    parts += [
        words[name].format(row[name])
        for name in ("warmup", "steps", "depth")
        if row[name] != PLAIN[name]
    ]
    return ", ".join(parts)


def launches(words: Words) -> list[dict[str, Any]]:
    """Return the launches of the design “rows in turns”, with what they have under way."""
    search = recording("h100-search")
    copied = search["provenance"]["copy_ms"]
    found = []
    for row in search["rows"]:
        if row["design"] != "bwd" or row["columns"] > LONGEST:
            continue
        options = row["options"]
        size = 4 if row["dtype"] == "float32" else 2
        block = 2 * options["BM"] * row["columns"] * size / 1024
        found.append(
            {
                "norm": row["operation"],
                "dtype": row["dtype"],
                "columns": row["columns"],
                "rows": options["BM"],
                "warps": row["warps"],
                "programs": options["each"],
                "ahead": options["STAGES"] - 1,
                "occupancy": options["each"] * row["warps"] / WARPS,
                "underWay": options["each"] * (options["STAGES"] - 1) * block,
                "ofCopy": round(1.5 * copied / row["ms"], 4),
            }
        )
    return sorted(found, key=lambda launch: -launch["ofCopy"])


def changes(words: Words) -> dict[str, Any]:
    """Return four examples of six features and the weights of a layer, drawn at random."""
    draw = Random(0)
    shapes = {"X": (4, 6), "W": (8, 6)}
    return {
        name: [[round(draw.gauss(0, 1), 2) for _ in range(columns)] for _ in range(rows)]
        for name, (rows, columns) in shapes.items()
    }


SHOWN: dict[str, Callable[[Words], Any]] = {
    "rates": rates,
    "launches": launches,
    "changes": changes,
}
