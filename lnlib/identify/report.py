"""What was found, by which probe, and how sure it is."""

from dataclasses import dataclass, field
from typing import Any, Literal

from lnlib.identify.model import Array, EpsPlace, Model

Kind = Literal["none", "layer", "rms", "group", "instance", "batch", "unknown"]
Certainty = Literal["certain", "likely", "open"]
Casts = Literal["last", "before weight"]
PLACES = {"inside": "under the root", "outside": "beside σ", "max": "as a floor of σ"}


@dataclass(frozen=True)
class Finding:
    """One thing that was found, or that cannot be told."""

    about: str
    says: str
    probe: str
    certainty: Certainty


@dataclass(frozen=True, eq=False)
class Report:
    """What a function is: the fields of `to_dict`, and how each was found.

    What cannot be told is None.
    """

    kind: Kind = "unknown"
    axes: tuple[int, ...] | None = None
    num_groups: int | None = None
    centered: bool | None = None
    divisor: Literal["n", "n-1"] | None = None
    eps: float | None = None
    eps_place: EpsPlace | None = None
    weight: Array | None = None
    bias: Array | None = None
    gain: Literal["weight", "1 + weight"] | None = None
    statistics_dtype: str | None = None
    faults: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    eps_interval: tuple[float, float] | None = None
    casts: Casts | None = None
    stored_as: tuple[str | None, str | None] = (None, None)
    """Names of the parameters that are the gain and the shift."""
    calls: int = 0
    shape: tuple[int, ...] = ()
    model: Model | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON; null is what cannot be told."""
        return {
            "kind": self.kind,
            "axes": None if self.axes is None else list(self.axes),
            "num_groups": self.num_groups,
            "centered": self.centered,
            "divisor": self.divisor,
            "eps": self.eps,
            "eps_place": self.eps_place,
            "weight": None if self.weight is None else self.weight.tolist(),
            "bias": None if self.bias is None else self.bias.tolist(),
            "gain": self.gain,
            "statistics_dtype": self.statistics_dtype,
            "faults": list(self.faults),
        }

    def __str__(self) -> str:
        """Return the report as a table, with the probe of each finding."""
        lines = [self.headline()]
        lines += [f"  fault: {fault}" for fault in self.faults]
        width = max((len(finding.about) for finding in self.findings), default=0)
        lines += [
            f"  {f.about:<{width}}  {f.says} ({f.probe}; {_SURE[f.certainty]})"
            for f in self.findings
        ]
        return "\n".join(lines)

    __repr__ = __str__

    def headline(self) -> str:
        """Return the report in one line."""
        if self.kind == "unknown":
            return f"unknown function of {list(self.shape)}"
        if self.kind == "none":
            return f"no norm: an affine map of {list(self.shape)}"
        name = "RMS norm" if self.kind == "rms" else f"{self.kind} norm"
        groups = f", {self.num_groups} groups" if self.num_groups else ""
        parts = [f"{name} over axes {list(self.axes or ())}{groups}"]
        if self.divisor == "n-1":
            parts.append("variance over n − 1")
        if self.eps is not None and self.eps_place:
            parts.append(f"ε = {self.eps:.4g} {PLACES[self.eps_place]}")
        if self.gain == "1 + weight":
            parts.append("gain 1 + weight")
        return ", ".join(parts)


_SURE = {"certain": "certain", "likely": "likely", "open": "cannot be told"}
