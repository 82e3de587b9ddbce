"""Compare answers with what is right, and say the first thing in which they differ."""

import copy
import linecache
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
import torch

from lnlib.pages.exercises.words import translate

SMALL = 12  # so many numbers are shown one by one
Say = Callable[[str], str]
Slips = Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """What a function of the reader should return.

    Args:
        function: of the reader.
        given: the arguments, by name.
        want: a number, an array, or several in a tuple.
        slips: what likely mistakes return, by the sentence that names them.
        close: the tolerance relative to the largest number; None takes 32 units of the number
            format, at least 1e-12.
    """

    function: Callable[..., Any]
    given: Mapping[str, Any]
    want: Any
    slips: Slips = field(default_factory=dict)
    close: float | None = None


@dataclass(frozen=True)
class Value:
    """What a number, an array, or a dictionary of them should be; a float may be rounded."""

    name: str
    value: Any
    want: Any
    slips: Slips = field(default_factory=dict)
    close: float = 1e-2


@dataclass(frozen=True)
class Holds:
    """A condition that an answer has to meet, and what to say if it does not."""

    condition: Any
    otherwise: str
    about: str = ""


Cases = Iterator[Call | Value | Holds]


def verdict(cases: Callable[..., Cases], answers: tuple[object, ...], language: str) -> str:
    """Return what to say about the answers to an exercise."""
    say = partial(translate, language=language)
    named = dict(zip(signature(cases).parameters, answers, strict=True))
    if missing := [name for name, answer in named.items() if _missing(answer)]:
        return f"{say('Still to do')}: {', '.join(missing)}."
    tried: dict[str, dict[str, None]] = {}
    try:
        with np.errstate(all="ignore"):
            for case in cases(*answers):
                if isinstance(case, Call):
                    wrong = _call(case, say)
                    for name, value in _telling(case.given):
                        tried.setdefault(name, {})[_size(value)] = None
                elif isinstance(case, Value):
                    wrong = _value(case, say)
                else:
                    wrong = "" if case.condition else f"{case.about} {say(case.otherwise)}".lstrip()
                if wrong:
                    return f"{say('Not yet')}. {wrong}"
    except NotImplementedError:
        functions = (name for name, answer in named.items() if callable(answer))
        return f"{say('Still to do')}: {', '.join(functions)}."
    except Exception as error:
        if (where := _place(error, say)) is None:
            raise
        first, *_ = str(error).splitlines() or [""]
        return f"{say('Not yet')}. {type(error).__name__}{where}: {first}"
    inputs = "; ".join(f"{name} {', '.join(sizes)}" for name, sizes in tried.items())
    return f"{say('Right')}." + (f" {say('Tried')}: {inputs}." if inputs else "")


def _missing(answer: Any) -> bool:
    if isinstance(answer, (tuple, list, dict)):
        return any(map(_missing, answer.values() if isinstance(answer, dict) else answer))
    return answer is None or answer is ...


def _telling(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield of what was given the first array, by its shape, and the numbers."""
    arrays = [(name, value) for name, value in given.items() if np.ndim(value)]
    yield from arrays[:1]
    yield from ((name, value) for name, value in given.items() if not np.ndim(value))


def _call(case: Call, say: Say) -> str:
    """Return how what a function returns differs from what is right; nothing if it does not."""
    received = case.function(*copy.deepcopy([*case.given.values()]))
    shown = (f"{name} = {_brief(value)}" for name, value in case.given.items())
    about = f"{say('On')} {', '.join(shown)}:"
    if _missing(received):
        return f"{about} {say('nothing is returned.')}"
    close = case.close
    if close is None:
        kind = next(iter(_parts(case.want, case.want)))[1].dtype
        close = max(32 * float(np.finfo(kind).eps), 1e-12) if kind.kind == "f" else 0.0
    try:
        wrong = [part for part in _parts(case.want, received) if not _same(*part, close)]
    except (KeyError, TypeError, ValueError):  # not as many parts, or no numbers
        wrong = [("", _form(case.want), _form(received))]
    if not wrong:
        return ""
    name, want, got = wrong[0]
    if not isinstance(want, str):
        if want.shape != got.shape:
            want, got = (f"{say('shape')} {array.shape}" for array in (want, got))
        elif want.size > SMALL:
            name, want, got = _first(name, want, got, close)
    lines = [f"{say('expected')}{name} {_brief(want)}", f"{say('received')}{name} {_brief(got)}"]
    return "\n  ".join([about, *lines, *_slip(case.slips, received, close, say)])


def _value(case: Value, say: Say) -> str:
    """Return what is wrong about a value, without giving it away; nothing if it is right."""
    try:
        wrong = [p for p in _parts(case.want, case.value) if not _same(*p, case.close)]
        name, want, got = wrong[0] if wrong else ("", np.zeros(0), np.zeros(0))
    except (KeyError, TypeError, ValueError):
        return f"{case.name} = {_form(case.value)} {say('is not what is asked for.')}"
    if not wrong:
        return ""
    if want.shape != got.shape:
        return f"{case.name}{name}: {say('shape')} {got.shape}"
    name, want, got = _first(name, want, got, case.close)
    judged = "is not right."
    if want.dtype != bool and got != want:
        judged = "is too large." if got > want else "is too small."
    said = f"{case.name}{name} = {_brief(got)} {say(judged)}"
    return " ".join([said, *_slip(case.slips, case.value, case.close, say)])


def _slip(slips: Slips, received: Any, close: float, say: Say) -> Iterator[str]:
    """Yield the sentence about the mistake that explains what was received, if one does."""
    for sentence, slip in slips.items():
        try:
            if all(_same(*part, close) for part in _parts(slip, received)):
                yield say(sentence)
                return
        except (KeyError, TypeError, ValueError):
            continue


def _parts(want: Any, received: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, what is right and what was received of each part of an answer."""
    if isinstance(want, dict):
        for name in want:
            yield f"[{name!r}]", _array(want[name]), _array(received[name])
    elif isinstance(want, tuple):
        for i, (a, b) in enumerate(zip(want, received, strict=True)):
            yield f"[{i}]", _array(a), _array(b)
    else:
        yield "", _array(want), _array(received)


def _array(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError
    return array


def _same(name: str, want: Any, received: Any, close: float) -> bool:
    return want.shape == received.shape and bool(_equal(want, received, close).all())


def _equal(want: Any, received: Any, close: float) -> Any:
    largest = np.abs(want, where=np.isfinite(want), out=np.zeros(want.shape)).max(initial=0)
    return np.isclose(received, want, rtol=0, atol=close * largest, equal_nan=True)


def _first(name: str, want: Any, got: Any, close: float) -> tuple[str, Any, Any]:
    """Return the first entry in which two arrays differ."""
    if not want.ndim:
        return name, want, got
    place = tuple(np.argwhere(~_equal(want, got, close))[0])
    return f"{name}[{', '.join(map(str, place))}]", want[place], got[place]


def _place(error: Exception, say: Say) -> str | None:
    """Return the line of the reader in which an error arose; None if it is not the reader's."""
    frames = [*traceback.walk_tb(error.__traceback__)]
    for frame, line in reversed(frames):
        if frame.f_globals.get("__name__") == "__main__":
            code = linecache.getline(frame.f_code.co_filename, line).strip()
            return f" {say('in line')} {line}" + (f", `{code}`" if code else "")
    called = frames[-1][0].f_code is _call.__code__  # with the wrong number of arguments
    return "" if called else None


def _brief(value: Any) -> str:
    """Return a small array in full, of a larger one the shape."""
    if isinstance(value, str):
        return value
    array = _array(value)
    if array.size > SMALL:
        return _size(array)
    text = np.array2string(array, precision=4, separator=", ", max_line_width=88)
    return " ".join(text.split()).replace("[ ", "[").replace(" ]", "]")


def _size(value: Any) -> str:
    array = _array(value)
    return str(array.shape) if array.ndim else f"{array:.4g}"


def _form(value: Any) -> str:
    """Return what an answer is that cannot be compared."""
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, dict):
        return ", ".join(map(str, value))
    if isinstance(value, tuple):
        return f"({', '.join(map(_form, value))})"
    try:
        return _brief(value)
    except TypeError:
        return repr(value)
