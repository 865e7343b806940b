"""Training: seeded, resumable from the last checkpoint, on a GPU where there is one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

from .encoder import Encoder


@dataclass(frozen=True)
class Epoch:
    """What one pass sees: token ids, labels [texts, labels] with NaN for missing, and the teacher's word on them where there is one."""

    ids: list[list[int]]
    labels: np.ndarray
    teacher_logits: np.ndarray | None = None  # float32 [texts, labels]
    teacher_pooled: np.ndarray | None = None  # float16 [texts, width]


def deterministic() -> None:
    """The same sums in the same order at every run. Memory that is going to be overwritten is not filled first: that took a sixth of the time."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False


def batches(lengths: np.ndarray, batch_texts: int, generator: np.random.Generator | None) -> list[np.ndarray]:
    """Row indices in batches of similar length (little padding); shuffled where a generator is given."""
    order = np.arange(len(lengths))
    if generator is not None:
        generator.shuffle(order)
        pool = batch_texts * 64
        order = np.concatenate([p[np.argsort(lengths[p], kind="stable")] for p in np.array_split(order, max(1, len(order) // pool))])
    else:
        order = np.argsort(lengths, kind="stable")
    groups = [order[i : i + batch_texts] for i in range(0, len(order), batch_texts)]
    if generator is not None:
        generator.shuffle(groups)
    return groups


def padded(ids: list[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, ids))
    tokens = torch.zeros(len(ids), longest, dtype=torch.long)
    mask = torch.zeros(len(ids), longest, dtype=torch.bool)
    for row, sequence in enumerate(ids):
        tokens[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = True
    return tokens.to(device), mask.to(device)


@torch.no_grad()
def outputs_of(encoder: Encoder, ids: list[list[int]], device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Logits [texts, labels] in float32 and pooled vectors [texts, width] in float16, in the order of ``ids``."""
    encoder.to(device).eval()
    lengths = np.array([len(i) for i in ids])
    logits = np.zeros((len(ids), encoder.head.out_features), dtype=np.float32)
    pooled = np.zeros((len(ids), encoder.head.in_features), dtype=np.float16)
    for group in batches(lengths, 64, None):
        tokens, mask = padded([ids[i] for i in group], device)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            vectors = encoder.pooled(tokens, mask).float()
        logits[group] = encoder.head(vectors).cpu().numpy()
        pooled[group] = vectors.cpu().numpy()
    return logits, pooled


def aucs(labels: np.ndarray, scores: np.ndarray) -> list[float]:
    """ROC AUC a label over the rows where it is known (a share of one half is yes); NaN where one class is missing."""
    found = []
    for i in range(labels.shape[1]):
        known = ~np.isnan(labels[:, i])
        truth = labels[known, i] >= 0.5
        found.append(float(roc_auc_score(truth, scores[known, i])) if 0 < truth.sum() < len(truth) else float("nan"))
    return found


def hard_loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted binary cross-entropy, mean over the cells that are known."""
    known = ~labels.isnan()
    cells = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(0.0), reduction="none") * known * weights
    return cells.sum() / (known * weights).sum().clamp(min=1.0)


def fit(
    encoder: Encoder,
    epoch: Callable[[int], Epoch],
    texts: int,
    validation: tuple[list[list[int]], np.ndarray],
    names: list[str],
    settings: dict,
    checkpoint: Path,
) -> dict:
    """Trains in place and returns what happened (steps, seconds, loss and validation AUC by epoch).

    ``epoch(n)`` gives the n-th pass of ``texts`` texts, the same at every call. ``checkpoint`` is written every
    ``checkpoint_steps`` steps, whole or not at all; a later call goes on from it.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder.to(device)
    head = list(encoder.head.parameters())
    matrices = [p for n, p in encoder.named_parameters() if p.ndim > 1 and not n.startswith("head")]
    vectors = [p for n, p in encoder.named_parameters() if p.ndim == 1 and not n.startswith("head")]
    rate, decay = settings["learning_rate"], settings["weight_decay"]
    groups = [
        {"params": matrices, "lr": rate, "weight_decay": decay},
        {"params": vectors, "lr": rate, "weight_decay": 0.0},
        {"params": head, "lr": settings["head_learning_rate"], "weight_decay": decay},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    steps_an_epoch = -(-texts // settings["batch_texts"])
    steps = steps_an_epoch * settings["epochs"]
    warmup = max(1, int(steps * settings["warmup_share"]))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min((s + 1) / warmup, max(0.0, (steps - s) / (steps - warmup))))
    weights = torch.tensor([settings.get("label_weights", {}).get(name, 1.0) for name in names], device=device)
    soft_share = settings.get("soft_share", 0.0)

    history = {"steps": steps, "seconds": 0.0, "epochs": [], "device": str(device)}
    step, running = 0, 0.0
    if checkpoint.is_file():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        encoder.load_state_dict(saved["encoder"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        step, history, running = saved["step"], saved["history"], saved["running"]
        if step < steps:
            print(f"resuming at step {step} of {steps}", flush=True)

    def save() -> None:
        whole = checkpoint.with_suffix(".part")
        torch.save(
            {"encoder": encoder.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(), "step": step, "running": running, "history": history},
            whole,
        )
        os.replace(whole, checkpoint)

    started = time.monotonic() - history["seconds"]
    while step < steps:
        number = step // steps_an_epoch
        data = epoch(number)
        ids = [i if len(i) <= settings["tokens_max"] else i[: settings["tokens_max"] - 1] + [i[-1]] for i in data.ids]
        labels = torch.from_numpy(data.labels)
        order = batches(np.array([len(i) for i in ids]), settings["batch_texts"], np.random.default_rng([settings["seed"], number]))
        for group in order[step % steps_an_epoch :]:
            torch.manual_seed(settings["seed"] * 1_000_003 + step)  # so that a resumed run drops the same units
            encoder.train()
            tokens, mask = padded([ids[i] for i in group], device)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                pooled = encoder.pooled(tokens, mask)
                logits = encoder.head(F.dropout(pooled, encoder.dropout)).float()
            loss = hard_loss(logits, labels[group].to(device), weights)
            if data.teacher_logits is not None and data.teacher_pooled is not None:
                taught = torch.from_numpy(data.teacher_logits[group]).to(device)
                soft = F.binary_cross_entropy_with_logits(logits, taught.sigmoid())
                vectors = torch.from_numpy(data.teacher_pooled[group]).to(device).float()
                near = 1 - F.cosine_similarity(pooled.float(), vectors).mean()
                loss = (1 - soft_share) * loss + soft_share * soft + settings["pooled_share"] * near
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), settings["gradient_norm_max"])
            optimizer.step()
            schedule.step()
            step += 1
            running = loss.item() if step == 1 else 0.98 * running + 0.02 * loss.item()
            history["seconds"] = time.monotonic() - started
            if step % 50 == 0:
                left = history["seconds"] / step * (steps - step)
                print(f"step {step}/{steps} loss {running:.4f} {history['seconds']:.0f} s, about {left:.0f} s left", flush=True)
            if step % settings["checkpoint_steps"] == 0 and step % steps_an_epoch:
                save()
        found = aucs(validation[1], outputs_of(encoder, validation[0], device)[0])
        history["epochs"].append({"loss": running, "validation_roc_auc": dict(zip(names, found, strict=True))})
        print(f"epoch {number + 1}: loss {running:.4f}, validation ROC AUC " + " ".join(f"{n} {a:.4f}" for n, a in zip(names, found, strict=True)), flush=True)
        save()
    encoder.to("cpu").eval()
    return history
