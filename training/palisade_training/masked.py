"""Masked-language pre-training on the recipe's own texts (Devlin et al. 2019), with the word embeddings as output matrix."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .encoder import Encoder
from .fit import batches, padded

MASK, FIRST_WORD = 103, 999  # ids in the base's vocabulary: [MASK], and the first that is no special token


def pretrain(encoder: Encoder, ids: list[list[int]], settings: dict, checkpoint: Path) -> dict:
    """Trains in place and returns what happened: 15 % of the tokens are to be told, of which 80 % are masked, 10 % other words, 10 % left.

    ``ids`` are of the base's whole vocabulary. Seeded; ``checkpoint`` is written every ``checkpoint_steps`` steps, whole or not at all; a
    later call goes on from it.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    width = encoder.word.embedding_dim
    torch.manual_seed(settings["seed"])
    output = nn.ModuleDict({"transform": nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))})
    output.register_parameter("bias", nn.Parameter(torch.zeros(encoder.word.num_embeddings)))
    encoder.to(device).train()
    output.to(device)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *output.parameters()], lr=settings["learning_rate"], betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    ids = [i if len(i) <= settings["tokens_max"] else i[: settings["tokens_max"] - 1] + [i[-1]] for i in ids]
    lengths = np.array([len(i) for i in ids])
    order = [group for n in range(settings["epochs"]) for group in batches(lengths, settings["batch_texts"], np.random.default_rng([settings["seed"], n]))]
    steps = len(order)
    warmup = max(1, int(steps * settings["warmup_share"]))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min((s + 1) / warmup, max(0.0, (steps - s) / (steps - warmup))))
    step, history = 0, {"steps": steps, "seconds": 0.0, "loss": 0.0, "device": str(device)}
    if checkpoint.is_file():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        encoder.load_state_dict(saved["encoder"])
        output.load_state_dict(saved["output"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        step, history = saved["step"], saved["history"]
        if step < steps:
            print(f"resuming at step {step} of {steps}", flush=True)

    started = time.monotonic() - history["seconds"]
    while step < steps:
        torch.manual_seed(settings["seed"] * 1_000_003 + step)
        tokens, mask = padded([ids[i] for i in order[step]], device)
        told = (torch.rand(tokens.shape, device=device) < 0.15) & mask & (tokens >= FIRST_WORD)
        told[0, 1] = True  # never none at all
        draw = torch.rand(tokens.shape, device=device)
        seen = torch.where(told & (draw < 0.8), MASK, tokens)
        seen = torch.where(told & (draw >= 0.9), torch.randint_like(tokens, FIRST_WORD, encoder.word.num_embeddings), seen)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            # By index: the gradient of picking by a mask is an order slower on a CPU.
            hidden = output["transform"](encoder.hidden(seen, mask).flatten(0, 1).index_select(0, told.flatten().nonzero()[:, 0]))
            logits = hidden @ encoder.word.weight.T + output.bias
        loss = F.cross_entropy(logits.float(), tokens[told])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), settings["gradient_norm_max"])
        optimizer.step()
        schedule.step()
        step += 1
        history["loss"] = loss.item() if step == 1 else 0.98 * history["loss"] + 0.02 * loss.item()
        history["seconds"] = time.monotonic() - started
        if step % 50 == 0:
            left = history["seconds"] / step * (steps - step)
            print(f"masked: step {step}/{steps} loss {history['loss']:.3f} {history['seconds']:.0f} s, about {left:.0f} s left", flush=True)
        if step % settings["checkpoint_steps"] == 0 or step == steps:
            part = checkpoint.with_suffix(".part")
            states = {"encoder": encoder, "output": output, "optimizer": optimizer, "schedule": schedule}
            torch.save({name: of.state_dict() for name, of in states.items()} | {"step": step, "history": history}, part)
            os.replace(part, checkpoint)
    encoder.to("cpu").eval()
    return history
