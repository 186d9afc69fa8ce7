# SPDX-License-Identifier: GPL-3.0-or-later
"""The qwen3 family in PyTorch, for training: RMS norms before attention and feed-forward, norms of each head's query and
key before the rotation, rotation of the two halves of a head (NEOX), grouped queries, SwiGLU, and the embedding used again
as the output head."""

import array
import math

import torch
import torch.nn.functional as functional


def key(name):
    """A tensor's name as PyTorch allows it."""
    return name.replace(".", "/")


def rms_norm(x, weight, epsilon):
    scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + epsilon)
    return (x.float() * scale * weight.float()).to(x.dtype)


def rotate(x, cos, sin):
    """x [batch, head, token, dim]; cos and sin [batch, 1, token, dim / 2]."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


class Model(torch.nn.Module):
    def __init__(self, shape, seed=1):
        super().__init__()
        self.shape = shape
        generator = torch.Generator().manual_seed(seed)
        self.weights = torch.nn.ParameterDict()
        for name, dims in shape.tensors():
            if len(dims) == 1:
                value = torch.ones(dims)
            else:
                spread = 0.04 if name.startswith("token_embd") else 0.6 / math.sqrt(dims[1])
                if "attn_output" in name or "ffn_down" in name:
                    spread /= math.sqrt(2 * shape.layers)
                value = torch.randn(dims, generator=generator) * spread
            self.weights[key(name)] = torch.nn.Parameter(value)
        frequencies = shape.rope_base ** (-torch.arange(0, shape.head, 2, dtype=torch.float64) / shape.head)
        angles = torch.arange(shape.context, dtype=torch.float64)[:, None] * frequencies[None, :]
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def weight(self, name):
        return self.weights[key(name + ".weight")]

    def forward(self, tokens, positions, mask):
        """The normed last hidden state [batch, token, embedding]. tokens, positions: int64 [batch, token]; mask: bool
        [batch, 1, token, token], true where a token (third) sees another (fourth)."""
        shape = self.shape
        batch, length = tokens.shape
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        x = functional.embedding(tokens, self.weight("token_embd"))

        def heads(projected, count):
            return projected.view(batch, length, count, shape.head).transpose(1, 2)

        for i in range(shape.layers):
            block = f"blk.{i}."
            h = rms_norm(x, self.weight(block + "attn_norm"), shape.epsilon)
            q = heads(functional.linear(h, self.weight(block + "attn_q")), shape.heads)
            k = heads(functional.linear(h, self.weight(block + "attn_k")), shape.heads_kv)
            v = heads(functional.linear(h, self.weight(block + "attn_v")), shape.heads_kv)
            q = rotate(rms_norm(q, self.weight(block + "attn_q_norm"), shape.epsilon), cos, sin)
            k = rotate(rms_norm(k, self.weight(block + "attn_k_norm"), shape.epsilon), cos, sin)
            # Query head h reads key head h / (heads / heads_kv).
            repeat = shape.heads // shape.heads_kv
            k, v = k.repeat_interleave(repeat, dim=1), v.repeat_interleave(repeat, dim=1)
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            mixed = mixed.transpose(1, 2).reshape(batch, length, shape.heads * shape.head)
            x = x + functional.linear(mixed, self.weight(block + "attn_output"))
            h = rms_norm(x, self.weight(block + "ffn_norm"), shape.epsilon)
            gate = functional.silu(functional.linear(h, self.weight(block + "ffn_gate")))
            x = x + functional.linear(gate * functional.linear(h, self.weight(block + "ffn_up")),
                                      self.weight(block + "ffn_down"))
        return rms_norm(x, self.weight("output_norm"), shape.epsilon)

    def logits(self, hidden):
        return functional.linear(hidden, self.weight("token_embd"))

    def values(self, name):
        """A tensor's values in row order, for shape.write_weights."""
        return array.array("f", self.weights[key(name)].detach().float().cpu().flatten().tolist())

    def take(self, weights):
        """Weights that shape.read_weights gave."""
        with torch.no_grad():
            for name, dims in self.shape.tensors():
                self.weights[key(name)].copy_(torch.frombuffer(weights[name], dtype=torch.float32).view(dims))
