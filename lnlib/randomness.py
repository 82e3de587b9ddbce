"""Where the random numbers of the book begin: at seed 0, or where `LNLIB_SEED` says.

Wherever a generator is seeded, here and on the pages, its seed is counted from this offset. Whoever
moves it gets other splits, starts and batches everywhere at once. A page then prints other digits,
and each of its statements should hold as before:

    LNLIB_SEED=12345 jupyter lab book/en
"""

import os

VARIABLE = "LNLIB_SEED"
LARGEST = 2**31


def moved(seed: int = 0) -> int:
    """Return a seed, counted from the offset.

    Raises:
        ValueError: if the variable is not a whole number from 0 to 2^31 - 1.

    Example:
        >>> moved(3) - moved()
        3
    """
    text = os.environ.get(VARIABLE, "0")
    if not (text.isdecimal() and text.isascii() and int(text) < LARGEST):
        raise ValueError(
            f"{VARIABLE}: expected a whole number from 0 to {LARGEST - 1}, got {text!r}; "
            f"set another, as in {VARIABLE}=12345, or unset it"
        )
    return int(text) + seed


SEED = moved()
