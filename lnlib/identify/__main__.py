"""Say which norm a callable is: `python -m lnlib.identify module:callable --shape 8,16`."""

import argparse
import json
import sys
from importlib import import_module
from operator import attrgetter
from typing import Any

from lnlib.identify import identify


def main(arguments: list[str] | None = None) -> None:
    """Import what is named, identify it, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m lnlib.identify", description=__doc__)
    parser.add_argument("callable", help="module:name, as package.norms:my_norm")
    parser.add_argument("--shape", required=True, help="of the input, as 8,16")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    try:
        f, shape = _load(options.callable), _shape(options.shape)
    except ValueError as error:
        parser.error(str(error))
    report = identify(f, shape)
    print(json.dumps(report.to_dict(), ensure_ascii=False) if options.json else report)


def _load(name: str) -> Any:
    module, _, path = name.partition(":")
    if not path:
        raise ValueError(f"callable must be module:name, got {name!r}; as package.norms:my_norm")
    sys.path.insert(0, "")  # as python -c does: the current directory
    try:
        return attrgetter(path)(import_module(module))
    except (ImportError, AttributeError) as error:
        raise ValueError(f"callable {name!r} cannot be imported: {error}") from error


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise ValueError(f"--shape must be sizes with commas, got {text!r}; as 8,16") from None


if __name__ == "__main__":
    main()
