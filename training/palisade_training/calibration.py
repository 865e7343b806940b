"""Scores that mean what they say: Platt scaling and F1 thresholds at the natural base rate."""

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
    """Weighted maximum likelihood; the prior keeps the slope near 1 where a label has few positives."""
    slopes, intercepts = [], []
    for x, y in zip(logits.T.astype(np.float64), labels.T, strict=True):

        def loss(parameters: np.ndarray) -> float:
            z = parameters[0] * x + parameters[1]
            likelihood = np.sum(weights * (np.logaddexp(0, z) - y * z))
            return likelihood + slope_prior / 2 * (parameters[0] - 1) ** 2

        found = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 10_000})
        if not found.success:
            raise SystemExit(f"calibration does not settle: {found.message}")
        slope, intercept = found.x
        slopes.append(slope)
        intercepts.append(intercept)
    return Calibration(np.array(slopes), np.array(intercepts))


def thresholds(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> list[float]:
    """For each label the score at or above which F1 is highest, rounded to three places."""
    best = []
    for x, y in zip(scores.T, labels.T, strict=True):
        candidates = np.unique(np.round(x, 3))
        f1 = []
        for threshold in candidates:
            flagged = x >= threshold
            hit = np.sum(weights * flagged * y)
            f1.append(2 * hit / (np.sum(weights * flagged) + np.sum(weights * y)))
        best.append(float(np.clip(candidates[int(np.argmax(f1))], 0.001, 0.999)))
    return best
