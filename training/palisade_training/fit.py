"""Training: seeded, resumable from the last checkpoint, on a GPU where there is one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

from .data import Rows
from .encoder import Encoder


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
def logits_of(encoder: Encoder, ids: list[list[int]], device: torch.device) -> np.ndarray:
    """float32 logits [texts, labels], in the order of ``ids``."""
    encoder.eval()
    lengths = np.array([len(i) for i in ids])
    out = np.zeros((len(ids), encoder.head.out_features), dtype=np.float32)
    for group in batches(lengths, 64, None):
        tokens, mask = padded([ids[i] for i in group], device)
        out[group] = encoder(tokens, mask).float().cpu().numpy()
    return out


def mean_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    return float(np.mean([roc_auc_score(labels[:, i], scores[:, i]) for i in range(labels.shape[1])]))


def fit(encoder: Encoder, ids: list[list[int]], rows: Rows, validation_ids: list[list[int]], validation: Rows, settings: dict, work: Path) -> dict:
    """Trains in place and returns what happened (steps, seconds, loss and validation AUC by epoch).

    ``work/checkpoint.pt`` is written every ``checkpoint_steps`` steps, whole or not at all; a later call goes on from it.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder.to(device)
    ids = [i if len(i) <= settings["tokens_max"] else i[: settings["tokens_max"] - 1] + [i[-1]] for i in ids]
    lengths = np.array([len(i) for i in ids])
    labels = torch.from_numpy(rows.labels)

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
    steps_an_epoch = -(-len(ids) // settings["batch_texts"])
    steps = steps_an_epoch * settings["epochs"]
    warmup = max(1, int(steps * settings["warmup_share"]))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min((s + 1) / warmup, max(0.0, (steps - s) / (steps - warmup))))

    history = {"steps": steps, "seconds": 0.0, "epochs": [], "device": str(device)}
    step, running, checkpoint = 0, 0.0, work / "checkpoint.pt"
    if checkpoint.is_file():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        encoder.load_state_dict(saved["encoder"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        step, history, running = saved["step"], saved["history"], saved.get("running", 0.0)
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
        epoch = step // steps_an_epoch
        order = batches(lengths, settings["batch_texts"], np.random.default_rng([settings["seed"], epoch]))
        for group in order[step % steps_an_epoch :]:
            torch.manual_seed(settings["seed"] * 1_000_003 + step)  # so that a resumed run drops the same units
            encoder.train()
            tokens, mask = padded([ids[i] for i in group], device)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                loss = F.binary_cross_entropy_with_logits(encoder(tokens, mask).float(), labels[group].to(device))
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
            if step % settings["checkpoint_steps"] == 0 and step < steps:
                save()
        auc = mean_auc(validation.labels, logits_of(encoder, validation_ids, device))
        history["epochs"].append({"loss": running, "validation_mean_roc_auc": auc})
        print(f"epoch {epoch + 1}: loss {running:.4f}, validation mean ROC AUC {auc:.4f}", flush=True)
        save()
    encoder.to("cpu").eval()
    return history
