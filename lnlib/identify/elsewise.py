"""What is no norm, but often stands where one could: softmax, tanh."""

from dataclasses import replace

import numpy as np

from lnlib.identify.calling import Subject
from lnlib.identify.report import Finding, Report


def softmax_axis(subject: Subject) -> int | None:
    """Return the axis over which the function is softmax, if it is."""
    x = np.random.default_rng(10).normal(size=subject.shape)
    y = subject(x)
    if not (y > 0).all():
        return None
    for axis, n in enumerate(subject.shape):
        apart = np.log(y) - x
        same = np.ptp(apart, axis=axis).max() < 1e-3
        if n > 1 and same and np.abs(y.sum(axis) - 1).max() < 1e-3:
            return axis
    return None


def elementwise(subject: Subject, blank: Report, noise: float) -> Report:
    """Report a function of each value alone that is not affine; name it if it is DyT."""
    note = Finding("axes", "each value is on its own", "one value changed at a time", "certain")
    report = replace(blank, findings=(note,))
    ones = np.ones(subject.shape)
    shift = subject(0 * ones)
    top, bottom = subject(1e4 * ones) - shift, subject(-2e4 * ones) - shift
    level = np.abs(top + bottom).max() < 1e-3 * np.abs(top).max()
    alpha = []
    for t in (0.05, 0.3, 0.7):
        ratio = (subject(t * ones) - shift) / np.where(top == 0, 1, top)
        alpha.append(np.arctanh(np.clip(ratio, -0.999999, 0.999999)) / t)
    values = np.stack(alpha)[:, np.abs(top) > 0]
    spread = np.ptp(values, axis=0).max() if values.size else np.inf
    if (
        level
        and values.size
        and spread < (64 * noise + 1e-4) * np.abs(values).max()
        and values.min() > 0
    ):
        said = f"this is DyT, γ tanh(αx) + β with α = {np.median(values):.4g}, not a norm"
    else:
        said = "no norm: a function of each value alone that is not affine"
    return replace(report, faults=(said,))
