"""Which norm is this? A detective for any normalization, from outside.

`identify` calls a function on inputs of its choosing and says what it computes; `lnlib.identify`
itself can be called in its place; `python -m lnlib.identify module:callable --shape 8,16` prints
what it finds. Each probe is a module: `groups` (which values share statistics), `scale` (power, ε,
its place), `divisor`, `kind`, `stored` (parameters), `precision` (dtypes), `edges` (constant rows,
NaN, gradients); `detect` puts them together, `calling` calls what they are about.
"""

import sys
from types import ModuleType
from typing import Any

from lnlib.identify.detect import identify
from lnlib.identify.differences import Comparison, Difference, compare
from lnlib.identify.report import Finding, Report
from lnlib.identify.swap import Replacement, replace

__all__ = [
    "Comparison",
    "Difference",
    "Finding",
    "Replacement",
    "Report",
    "compare",
    "identify",
    "replace",
]


class _Callable(ModuleType):
    """This room, which can be called: the room and its function have one name."""

    def __call__(self, f: Any, shape: Any) -> Report:
        return identify(f, shape)


_Callable.__call__.__doc__ = identify.__doc__
sys.modules[__name__].__class__ = _Callable
