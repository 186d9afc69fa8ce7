# SPDX-License-Identifier: GPL-3.0-or-later
"""The shapes of Kindling and of its draft (family qwen3), without PyTorch, and the file that carries trained weights from the
trainer to the exporter: one line of JSON, then the tensors as little-endian float32 in that order."""

import array
import json
import math
import random
import sys
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Shape:
    name: str
    vocab: int
    embedding: int
    layers: int
    heads: int
    heads_kv: int
    head: int
    feed_forward: int
    context: int = 2048
    rope_base: float = 10000.0
    epsilon: float = 1e-6

    def tensors(self):
        """[(name, (rows, columns) or (length,))]; the rows of a matrix are its outputs."""
        e, q, kv, f = self.embedding, self.heads * self.head, self.heads_kv * self.head, self.feed_forward
        listed = [("token_embd.weight", (self.vocab, e))]
        for i in range(self.layers):
            listed += [(f"blk.{i}.{name}.weight", shape) for name, shape in (
                ("attn_norm", (e,)), ("attn_q", (q, e)), ("attn_k", (kv, e)), ("attn_v", (kv, e)),
                                                                             ("attn_q_norm", (self.head,)),
                ("attn_k_norm", (self.head,)), ("attn_output", (e, q)), ("ffn_norm", (e,)), ("ffn_gate", (f, e)),
                                                                             ("ffn_up", (f, e)),
                ("ffn_down", (e, f)))]
        return listed + [("output_norm.weight", (e,))]

    def parameters(self):
        return sum(math.prod(shape) for _, shape in self.tensors())


def kindling(vocab=4096):
    return Shape("Kindling", vocab, embedding=256, layers=6, heads=4, heads_kv=2, head=64, feed_forward=704)


def draft(vocab=4096):
    return Shape("Kindling draft", vocab, embedding=128, layers=3, heads=2, heads_kv=1, head=64, feed_forward=320)


BY_NAME = {"kindling": kindling, "draft": draft}


def write_weights(path, shape, values, about=None):
    """values(name) gives an array of float32 in row order. about: what else the file is to say, of steps and losses."""
    with open(path, "wb") as out:
        out.write((json.dumps({"shape": asdict(shape), "about": about or {}}) + "\n").encode())
        for name, dims in shape.tensors():
            data = array.array("f", values(name))
            if len(data) != math.prod(dims):
                raise ValueError(f"{name} has {len(data)} values instead of {math.prod(dims)}")
            if sys.byteorder == "big":
                data.byteswap()
            data.tofile(out)


def read_weights(path):
    """(shape, {name: array}, about)"""
    with open(path, "rb") as file:
        head = json.loads(file.readline())
        shape = Shape(**head["shape"])
        weights = {}
        for name, dims in shape.tensors():
            weights[name] = array.array("f")
            weights[name].fromfile(file, math.prod(dims))
            if sys.byteorder == "big":
                weights[name].byteswap()
        if file.read(1):
            raise ValueError(f"{path} goes on after its last tensor")
    return shape, weights, head["about"]


def random_values(shape, seed):
    """Weights of a model that has learnt nothing, for trying the exporter."""
    rng = random.Random(seed)
    dims = dict(shape.tensors())

    def values(name):
        size = dims[name]
        if len(size) == 1:
            return array.array("f", [1.0]) * size[0]
        scale = 1 / math.sqrt(size[1])
        return array.array("f", (rng.gauss(0, scale) for _ in range(math.prod(size))))

    return values
