"""The book: its pages by language, what builds and checks them (`tools`), Sphinx extensions."""

from pathlib import Path

BOOK = Path(__file__).resolve().parent
ROOT = BOOK.parent
