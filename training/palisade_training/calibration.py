"""Scores that mean what they say: Platt scaling at the natural base rate, and thresholds for a stated precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import nn


@dataclass(frozen=True)
class Calibration:
    """``calibrated logit = slope * logit + intercept``, one pair a label (Platt 1999)."""

    slope: np.ndarray
    intercept: np.ndarray

    def fold_into(self, head: nn.Linear) -> None:
        """Changes the head so that it gives calibrated logits; nothing is left to do at run time."""
        slope = torch.tensor(self.slope, dtype=head.weight.dtype)
        with torch.no_grad():
            head.weight.mul_(slope[:, None])
            head.bias.mul_(slope).add_(torch.tensor(self.intercept, dtype=head.bias.dtype))


def calibrate(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, slope_prior: float) -> Calibration:
    """Weighted maximum likelihood; the prior keeps the slope near 1 where a label has few positives.

    ``labels`` [texts, labels] may be shares, and NaN where unknown; ``weights`` [texts, labels].
    """
    slopes, intercepts = [], []
    for x, y, w in zip(logits.T.astype(np.float64), labels.T, weights.T, strict=True):
        counts = ~np.isnan(y) & (w > 0)
        x, y, w = x[counts], y[counts], w[counts]

        def loss(parameters: np.ndarray) -> float:
            z = parameters[0] * x + parameters[1]
            return np.sum(w * (np.logaddexp(0, z) - y * z)) + slope_prior / 2 * (parameters[0] - 1) ** 2

        found = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 10_000})
        if not found.success:
            raise SystemExit(f"calibration does not settle: {found.message}")
        slope, intercept = found.x
        slopes.append(slope)
        intercepts.append(intercept)
    return Calibration(np.array(slopes), np.array(intercepts))


@dataclass(frozen=True)
class Threshold:
    """A score, and what flagging from it on brings on the texts that it was chosen on."""

    score: float
    precision: float
    recall: float


def threshold_for_precision(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray, precision: float) -> Threshold:
    """The lowest score from which on the flagged texts have at least ``precision``, rounded up to three places; where none of those
    finds a tenth of the positives, the one with the highest F1."""
    counts = ~np.isnan(labels) & (weights > 0)
    x, y, w = scores[counts], labels[counts] >= 0.5, weights[counts]
    found = []
    for candidate in np.unique(np.ceil(x * 1000) / 1000):
        if not 0.01 <= candidate <= 0.99:
            continue
        flagged = x >= candidate
        hit = np.sum(w * flagged * y)
        if flagged.any():
            found.append(Threshold(float(candidate), float(hit / np.sum(w * flagged)), float(hit / np.sum(w * y))))
    enough = [t for t in found if t.precision >= precision and t.recall >= 0.1]
    if enough:
        return min(enough, key=lambda t: t.score)
    return max(found, key=lambda t: 2 * t.precision * t.recall / (t.precision + t.recall) if t.recall else 0.0)
