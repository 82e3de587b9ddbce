"""What the exercises of the book ask for, checked: right, or not yet and why.

A page calls `check` with the label of an exercise and the reader's answers. What is right stands in
the modules of the chapters, as a function of the exercise's name (`ten_undo` for `ex-ten-undo`)
that yields cases; `cases` compares them, `words` says it in the reader's language.
"""

from inspect import getmembers, isfunction

from lnlib.pages.exercises import applications, basics, implementation, variants
from lnlib.pages.exercises.cases import verdict

CHECKS = {
    f"ex-{name.replace('_', '-')}": function
    for chapter in (basics, implementation, applications, variants)
    for name, function in getmembers(chapter, isfunction)
    if function.__module__ == chapter.__name__ and not name.startswith("_")
}


def check(label: str, *answers: object, language: str = "en") -> None:
    """Print whether the answers to an exercise are right, and if not, where they differ.

    Args:
        label: of the exercise.
        answers: functions or values, as in the cell below the exercise; None or
            NotImplementedError stand for what is still missing.
        language: of the reader.

    Example:
        >>> check("ex-eps-design", 3e-4, None)
        Still to do: outside.
        >>> check("ex-eps-design", 4e-4, 1e-2)
        Not yet. inside = 0.0004 is too large.
    """
    print(verdict(CHECKS[label], answers, language))
