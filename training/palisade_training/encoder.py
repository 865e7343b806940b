"""The network: the first layers of a BERT-family encoder, mean pooling, one linear head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, dropout: float, epsilon: float):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.attention_output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=epsilon)
        self.intermediate = nn.Linear(width, inner)
        self.output = nn.Linear(inner, width)
        self.output_norm = nn.LayerNorm(width, eps=epsilon)
        self.dropout = dropout

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        batch, tokens, width = hidden.shape

        def split(x: Tensor) -> Tensor:
            return x.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)

        dropout = self.dropout if self.training else 0.0
        context = F.scaled_dot_product_attention(
            split(self.query(hidden)), split(self.key(hidden)), split(self.value(hidden)), attn_mask=mask, dropout_p=dropout
        )
        context = context.transpose(1, 2).reshape(batch, tokens, width)
        hidden = self.attention_norm(hidden + F.dropout(self.attention_output(context), dropout))
        inner = self.output(F.gelu(self.intermediate(hidden)))
        return self.output_norm(hidden + F.dropout(inner, dropout))


class Encoder(nn.Module):
    """Token ids [texts, tokens] and their mask to logits [texts, labels]."""

    def __init__(self, vocabulary: int, positions: int, layers: int, labels: int, config: dict, dropout: float):
        super().__init__()
        width, epsilon = config["hidden_size"], config["layer_norm_eps"]
        self.word = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(positions, width)  # the base's token-type row 0 is added in
        self.embedding_norm = nn.LayerNorm(width, eps=epsilon)
        self.layers = nn.ModuleList(
            Layer(width, config["num_attention_heads"], config["intermediate_size"], dropout, epsilon) for _ in range(layers)
        )
        self.head = nn.Linear(width, labels)
        self.dropout = dropout

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        hidden = self.word(ids) + self.position.weight[: ids.shape[1]]
        hidden = F.dropout(self.embedding_norm(hidden), self.dropout, self.training)
        attend = mask[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, attend)
        weight = mask.to(hidden.dtype)[:, :, None]
        pooled = (hidden * weight).sum(1) / weight.sum(1)
        return self.head(F.dropout(pooled, self.dropout, self.training))


def from_base(folder: Path, config: dict, base_rows: np.ndarray, positions: int, layers: int, labels: int, dropout: float) -> Encoder:
    """Builds the encoder with the base's weights; only the head starts from random numbers."""
    encoder = Encoder(len(base_rows), positions, layers, labels, config, dropout)
    base = load_file(folder / "model.safetensors")
    base = {name.removeprefix("bert."): tensor for name, tensor in base.items()}
    state = {
        "word.weight": base["embeddings.word_embeddings.weight"][torch.from_numpy(base_rows)],
        "position.weight": base["embeddings.position_embeddings.weight"][:positions]
        + base["embeddings.token_type_embeddings.weight"][0],
        "embedding_norm.weight": base["embeddings.LayerNorm.weight"],
        "embedding_norm.bias": base["embeddings.LayerNorm.bias"],
        "head.weight": torch.randn_like(encoder.head.weight) * 0.02,
        "head.bias": torch.zeros_like(encoder.head.bias),
    }
    parts = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "attention_output": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "intermediate": "intermediate.dense",
        "output": "output.dense",
        "output_norm": "output.LayerNorm",
    }
    for layer in range(layers):
        for ours, theirs in parts.items():
            for kind in ("weight", "bias"):
                state[f"layers.{layer}.{ours}.{kind}"] = base[f"encoder.layer.{layer}.{theirs}.{kind}"]
    encoder.load_state_dict(state)
    return encoder
