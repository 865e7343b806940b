"""Matrices as int8, one scale an output column; what the release stores and what is measured are the same numbers."""

from __future__ import annotations

import numpy as np
import torch

from .encoder import Encoder


def columns(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 [in, out] and float32 scale [out] of a matrix [out, in]: symmetric, the largest magnitude is 127."""
    scale = np.maximum(np.abs(weight).max(axis=1), 1e-8).astype(np.float32) / np.float32(127)
    return np.clip(np.rint(weight / scale[:, None]), -127, 127).astype(np.int8).T, scale


def rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 [rows, width] and float32 scale [rows, 1] of a table of embeddings."""
    quantised, scale = columns(table)
    return quantised.T, scale[:, None]


@torch.no_grad()
def quantise(encoder: Encoder) -> None:
    """Rounds the weights in place to what is stored: int8 matrices and word embeddings, float16 positions."""
    for name, parameter in encoder.named_parameters():
        if name == "position.weight":
            parameter.copy_(parameter.to(torch.float16).to(torch.float32))
        elif parameter.ndim == 2 and name != "head.weight":
            quantised, scale = columns(parameter.numpy())
            parameter.copy_(torch.from_numpy(quantised.T.astype(np.float32) * scale[:, None]))
