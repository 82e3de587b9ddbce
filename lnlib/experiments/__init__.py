"""Experiments of the book: train fairly, compare in pairs, record heavy sweeps, read them back.

`ensembles` trains many copies of a small net side by side, `pairs` compares what they reach,
`sweeps` runs, resumes and records what takes too long for a page, `workers` says where it is
computed. The other modules hold the nets of one page each. Needs the extra `book`.
"""

from lnlib.experiments.ensembles import Data, Ensemble, Outcome, digits, train
from lnlib.experiments.pairs import Paired, effects, paired
from lnlib.experiments.sweeps import Recording, choose, recorded, sweep

__all__ = [
    "Data", "Ensemble", "Outcome", "Paired", "Recording", "choose", "digits", "effects",
    "paired", "recorded", "sweep", "train",
]  # fmt: skip
