"""Run what takes too long for a page, resume where it stopped, and read it back.

A sweep is a list of points, each the keyword arguments of one run. Every finished run is one line
of a file at once, so an interrupted sweep goes on where it stopped. A finished sweep travels with
the package, in `lnlib/recordings/`, together with the versions it was computed with. Each page's
module lists its own in `SWEEPS`; `lnlib.experiments.__main__` gathers them.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lnlib.experiments.ensembles import one_thread
from lnlib.experiments.workers import finished
from lnlib.provenance import environment
from lnlib.randomness import moved

Row = dict[str, Any]
Sweep = tuple[Callable[..., Row], Callable[[], list[Row]]]  # a run, and all its points
RECORDINGS = files("lnlib") / "recordings"


@dataclass(frozen=True)
class Recording:
    """A finished sweep: one row for each run, and what it was computed with."""

    provenance: dict[str, Any]
    rows: list[Row]

    def where(self, **values: Any) -> list[Row]:
        """Return the rows that have these values.

        Example:
            >>> Recording({}, [{"depth": 2, "seed": 0}, {"depth": 4, "seed": 0}]).where(depth=4)
            [{'depth': 4, 'seed': 0}]
        """
        return [row for row in self.rows if all(row[k] == v for k, v in values.items())]


def sweep(
    run: Callable[..., Row], points: Sequence[Row], path: Path, executor: Executor | None = None
) -> list[Row]:
    """Run every point that the file does not hold yet, and return all rows in the points' order.

    Args:
        run: takes a point as keyword arguments and returns its figures, ready for JSON; with
            an executor it must be importable.
        points: the arguments of each run.
        path: a file of JSON lines that is created or continued.
        executor: what computes the runs, see `workers`; without, this process on one thread.

    Raises:
        ValueError: if two points are the same.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "squares.jsonl")
        ...     sweep(lambda x: {"square": x * x}, [{"x": 2}, {"x": 3}], path)
        [{'x': 2, 'square': 4}, {'x': 3, 'square': 9}]
    """
    wanted = {_key(point): point for point in points}
    if len(wanted) < len(points):
        raise ValueError(f"points: expected each once, got {len(points) - len(wanted)} repeated")
    done = _read(path, {name for point in points for name in point})
    missing = {key: point for key, point in wanted.items() if key not in done}
    progress = tqdm(total=len(points), initial=len(points) - len(missing), desc=path.stem)
    with path.open("a") as file, progress:
        for key, figures in finished(run, missing, executor) if executor else _here(run, missing):
            done[key] = figures
            file.write(json.dumps({**missing[key], **figures}) + "\n")
            file.flush()
            progress.update()
    return [{**point, **done[key]} for key, point in wanted.items()]


def record(path: Path, rows: Iterable[Row]) -> None:
    """Write a finished sweep with what it was computed with, a line for each run."""
    provenance = {**environment(), "seed": moved()}
    lines = ",\n".join(json.dumps(row) for row in rows)
    path.write_text(f'{{"provenance": {json.dumps(provenance)},\n"rows": [\n{lines}\n]}}\n')


def recorded(name: str) -> Recording:
    """Return a sweep that travels with the package.

    One of the same name goes before it in the folder that the variable `LNLIB_RECORDINGS` names.

    Raises:
        FileNotFoundError: if there is none of this name.
        ValueError: if the file was cut off.
    """
    again = f"record it: python -m lnlib.experiments {name}"
    other = Path(os.environ.get("LNLIB_RECORDINGS", os.devnull), f"{name}.json")
    source = other if other.is_file() else RECORDINGS / f"{name}.json"
    if not source.is_file():
        raise FileNotFoundError(f"name: no sweep is recorded as {name!r}; {again}")
    try:
        return Recording(**json.loads(source.read_text()))
    except json.JSONDecodeError as error:
        raise ValueError(f"name: the recording {source} was cut off ({error}); {again}") from error


def choose(rows: Iterable[Row], arm: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Return the runs of each arm at the learning rate whose mean validation loss is lowest.

    A run that diverged counts as infinitely bad, so a rate at which one seed diverges is chosen
    only if there is no other.

    Args:
        rows: with the columns of `arm`, "learning_rate" and "validation".
        arm: the columns that tell the arms apart.

    Example:
        >>> rows = [{"norm": "LN", "learning_rate": r, "validation": r, "seed": 0} for r in (1, 2)]
        >>> choose(rows, ["norm"])[("LN",)][0]["learning_rate"]
        1
    """
    by_arm: dict[tuple[Any, ...], dict[Any, list[Row]]] = {}
    for row in rows:
        by_rate = by_arm.setdefault(tuple(row[name] for name in arm), {})
        by_rate.setdefault(row["learning_rate"], []).append(row)
    return {key: min(by_rate.values(), key=_mean_loss) for key, by_rate in by_arm.items()}


def _mean_loss(rows: list[Row]) -> float:
    losses = [row["validation"] for row in rows]
    return sum(math.inf if loss is None else loss for loss in losses) / len(losses)


def _key(point: Row) -> str:
    return json.dumps(point, sort_keys=True)


def _read(path: Path, names: set[str]) -> dict[str, Row]:
    """Return the finished runs; a last line that was cut off is dropped from the file."""
    if not path.exists():
        return {}
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    done = {}
    for line in whole.splitlines():
        row = json.loads(line)
        point = {name: row.pop(name) for name in list(row) if name in names}
        done[_key(point)] = row
    return done


def _here(run: Callable[..., Row], points: dict[str, Row]) -> Iterator[tuple[str, Row]]:
    with one_thread():
        yield from ((key, run(**point)) for key, point in points.items())
