"""Formulas as text on one line, as a reader would type them into a search."""

import re

from bs4 import Tag
from bs4.element import PageElement

RAISED = str.maketrans("0123456789−+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺")
HIGH = re.compile("[−+]?[0-9]+|[′⊤⟂]+")
ACCENTS = {"ˆ": "\u0302", "~": "\u0303"}
SIMPLE = re.compile(r"\w[\u0302\u0303]?|\d+|\W|√\([^()]*\)")


def plain(formula: PageElement) -> str:
    """Return a formula as text on one line."""
    if not isinstance(formula, Tag):
        return str(formula)
    parts = [plain(part) for part in formula.children]
    match formula.name, parts:
        case "msqrt", _:
            return f"√{grouped(''.join(parts))}"
        case "mfrac", [above, below]:
            return f"{grouped(above)}/{grouped(below)}"
        case "mover", [base, accent] if accent in ACCENTS:
            return base + ACCENTS[accent]
        case (("msup" | "mover"), [base, above]):
            return base + raised(above)
        case (("msub" | "munder"), [base, below]):
            return f"{base}_{grouped(below)}"
        case (("msubsup" | "munderover"), [base, below, above]):
            return f"{base}_{grouped(below)}{raised(above)}"
    return "".join(parts).replace("\u2061", "")  # the sign that applies a function


def raised(text: str) -> str:
    """Return an exponent, or what else stands high."""
    return text.translate(RAISED) if HIGH.fullmatch(text) else f"^{grouped(text)}"


def grouped(text: str) -> str:
    """Put what is more than a letter or a number into parentheses."""
    return text if SIMPLE.fullmatch(text) else f"({text})"
