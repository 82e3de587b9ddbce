"""Experiments of the book: train fairly, record heavy sweeps, read them back.

`ensembles` trains many copies of a small net side by side, `sweeps` runs, resumes and records
what takes too long for a page. The other modules hold the nets of one page each. Needs the extra
`book`.
"""

from lnlib.experiments.ensembles import Data, Ensemble, Outcome, digits, train
from lnlib.experiments.sweeps import Recording, choose, recorded, sweep

__all__ = [
    "Data", "Ensemble", "Outcome", "Recording", "choose", "digits", "recorded", "sweep", "train",
]  # fmt: skip
