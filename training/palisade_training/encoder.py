"""The network: layers of a BERT-family encoder, mean pooling, one linear head."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, epsilon: float):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.attention_output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=epsilon)
        self.intermediate = nn.Linear(width, inner)
        self.output = nn.Linear(inner, width)
        self.output_norm = nn.LayerNorm(width, eps=epsilon)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        batch, tokens, width = hidden.shape

        def split(x: Tensor) -> Tensor:
            return x.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)

        # Written out: the backward pass of PyTorch's own attention takes twice the time of all the rest on a CPU.
        query, key, value = split(self.query(hidden)), split(self.key(hidden)), split(self.value(hidden))
        scores = torch.matmul(query * (width // self.heads) ** -0.5, key.transpose(-1, -2))
        share = scores.masked_fill(~mask, -1e4).softmax(-1)
        context = torch.matmul(share.to(value.dtype), value).transpose(1, 2).reshape(batch, tokens, width)
        hidden = self.attention_norm(hidden + self.attention_output(context))
        return self.output_norm(hidden + self.output(F.gelu(self.intermediate(hidden))))


class Encoder(nn.Module):
    """Token ids [texts, tokens] and their mask to logits [texts, labels]. Dropout is on embeddings and on the pooled vector only."""

    def __init__(self, vocabulary: int, positions: int, layers: int, labels: int, config: dict, dropout: float):
        super().__init__()
        width, epsilon = config["hidden_size"], config["layer_norm_eps"]
        self.word = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(positions, width)  # the base's token-type row 0 is added in
        self.embedding_norm = nn.LayerNorm(width, eps=epsilon)
        self.layers = nn.ModuleList(
            Layer(width, config["num_attention_heads"], config["intermediate_size"], epsilon) for _ in range(layers)
        )
        self.head = nn.Linear(width, labels)
        self.dropout = dropout

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.head(F.dropout(self.pooled(ids, mask), self.dropout, self.training))

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Means over the tokens [texts, width]."""
        hidden = self.hidden(ids, mask)
        weight = mask.to(hidden.dtype)[:, :, None]
        return (hidden * weight).sum(1) / weight.sum(1)

    def hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The last layer's output [texts, tokens, width]."""
        hidden = self.word(ids) + self.position.weight[: ids.shape[1]]
        hidden = F.dropout(self.embedding_norm(hidden), self.dropout, self.training)
        attend = mask[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, attend)
        return hidden


def part_of(whole: Encoder, layers: list[int], inner: int | None, rows: np.ndarray, positions: int) -> Encoder:
    """A smaller encoder that begins as parts of another one: the chosen layers, in each the ``inner`` feed-forward units with the
    largest weights (product of the norms of what goes in and out; None: all), the chosen rows of the word embeddings, the first
    positions."""
    part = copy.deepcopy(whole)
    part.layers = nn.ModuleList(copy.deepcopy(whole.layers[i]) for i in layers)
    with torch.no_grad():
        part.word = nn.Embedding.from_pretrained(whole.word.weight[torch.from_numpy(rows)].clone(), freeze=False)
        part.position = nn.Embedding.from_pretrained(whole.position.weight[:positions].clone(), freeze=False)
        for layer in part.layers if inner is not None else []:
            into, out = layer.intermediate, layer.output
            kept = (into.weight.norm(dim=1) * out.weight.norm(dim=0)).topk(inner).indices.sort().values
            layer.intermediate, layer.output = nn.Linear(into.in_features, inner), nn.Linear(inner, out.out_features)
            layer.intermediate.weight.copy_(into.weight[kept])
            layer.intermediate.bias.copy_(into.bias[kept])
            layer.output.weight.copy_(out.weight[:, kept])
            layer.output.bias.copy_(out.bias)
    return part


def with_head(encoder: Encoder, labels: int) -> Encoder:
    """The encoder with a new head of random numbers."""
    encoder.head = nn.Linear(encoder.head.in_features, labels)
    with torch.no_grad():
        encoder.head.weight.normal_(0.0, 0.02)
        encoder.head.bias.zero_()
    return encoder


def from_base(folder: Path, base_rows: np.ndarray, positions: int, dropout: float) -> Encoder:
    """The base's encoder, with these rows of its word embeddings and these first positions; its head has no labels yet."""
    config = json.loads((folder / "config.json").read_text())
    layers = config["num_hidden_layers"]
    encoder = Encoder(len(base_rows), positions, layers, 0, config, dropout)
    base = load_file(folder / "model.safetensors")
    base = {name.removeprefix("bert."): tensor for name, tensor in base.items()}
    state = {
        "word.weight": base["embeddings.word_embeddings.weight"][torch.from_numpy(base_rows)],
        "position.weight": base["embeddings.position_embeddings.weight"][:positions]
        + base["embeddings.token_type_embeddings.weight"][0],
        "embedding_norm.weight": base["embeddings.LayerNorm.weight"],
        "embedding_norm.bias": base["embeddings.LayerNorm.bias"],
        "head.weight": encoder.head.weight,
        "head.bias": encoder.head.bias,
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
