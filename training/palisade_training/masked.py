"""Masked-language pre-training on the recipe's own texts (Devlin et al. 2019), with the word embeddings as output matrix."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .encoder import Encoder
from .fit import batches, padded

MASK, SPECIAL_TOKENS = 4, 5  # ids in the pruned vocabulary: [MASK], and how many special ones come first


def pretrain(encoder: Encoder, ids: list[list[int]], settings: dict, checkpoint: Path) -> None:
    """One pass over the texts: 15 % of their tokens are to be told, of which 80 % are masked, 10 % other words, 10 % left.

    The state is kept at the end only: with ``checkpoint`` there, nothing is trained.
    """
    if checkpoint.is_file():
        encoder.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder.to(device).train()
    bias = torch.nn.Parameter(torch.zeros(encoder.word.num_embeddings, device=device))
    transform = torch.nn.Sequential(torch.nn.Linear(encoder.word.embedding_dim, encoder.word.embedding_dim), torch.nn.GELU(), torch.nn.LayerNorm(encoder.word.embedding_dim)).to(device)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *transform.parameters(), bias], lr=settings["masked_learning_rate"], weight_decay=0.01, fused=True)
    ids = [i[: settings["tokens_max"]] for i in ids]
    order = batches(np.array([len(i) for i in ids]), settings["batch_texts"], np.random.default_rng(settings["seed"]))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min((s + 1) / 100, (len(order) - s) / len(order)))
    running = 0.0
    for step, group in enumerate(order):
        torch.manual_seed(settings["seed"] + step)
        tokens, mask = padded([ids[i] for i in group], device)
        told = (torch.rand(tokens.shape, device=device) < 0.15) & mask & (tokens >= SPECIAL_TOKENS)
        if not told.any():
            continue
        draw = torch.rand(tokens.shape, device=device)
        seen = torch.where(told & (draw < 0.8), MASK, tokens)
        seen = torch.where(told & (draw >= 0.9), torch.randint_like(tokens, SPECIAL_TOKENS, encoder.word.num_embeddings), seen)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            hidden = transform(encoder.hidden(seen, mask)[told])
            logits = hidden @ encoder.word.weight.T + bias
        loss = F.cross_entropy(logits.float(), tokens[told])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        running = loss.item() if step == 0 else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            print(f"masked: step {step + 1}/{len(order)} loss {running:.3f}", flush=True)
    part = checkpoint.with_suffix(".part")
    torch.save(encoder.state_dict(), part)
    os.replace(part, checkpoint)
