#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a model file of trained weights and a tokenizer.

    export.py --weights kindling.weights --tokenizer tokenizer.json --type Q8_0 --out kindling.gguf
    export.py --random kindling --tokenizer tokenizer.json --out random.gguf     a model that has learnt nothing, for tests
"""

import argparse
import hashlib
import os

import gguf
import shape as shapes
from tokenizer import Tokenizer

LICENCE = "GPL-3.0-or-later"
ABOUT = {"Kindling": "The practice model that comes with Hearth, trained on text written for it.",
         "Kindling draft": "Guesses ahead for Kindling."}
# What answers best: nearly the likeliest word each time.
SAMPLING = {"temp": 0.2, "top_p": 0.95, "min_p": 0.05, "penalty_repeat": 1.0}
TOP_K = 20
FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7}


def metadata(shape, tokenizer, type_):
    entry = gguf.entry
    tokens, merges, types = tokenizer.vocabulary()
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "template.jinja"), encoding="utf-8") as file:
        template = file.read().rstrip("\n")
    made = [entry("general.architecture", gguf.STRING, "qwen3"),
            entry("general.type", gguf.STRING, "model"),
            entry("general.name", gguf.STRING, shape.name),
            entry("general.description", gguf.STRING, ABOUT.get(shape.name, shape.name)),
            entry("general.license", gguf.STRING, LICENCE),
            entry("general.file_type", gguf.U32, FILE_TYPES[type_])]
    made += [entry(f"general.sampling.{key}", gguf.F32, value) for key, value in SAMPLING.items()]
    made.append(entry("general.sampling.top_k", gguf.U32, TOP_K))
    made += [entry(f"qwen3.{key}", gguf.U32, value) for key, value in (
        ("context_length", shape.context), ("embedding_length", shape.embedding), ("block_count", shape.layers),
        ("feed_forward_length", shape.feed_forward), ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.heads_kv), ("attention.key_length", shape.head),
                                                                       ("attention.value_length", shape.head),
        ("rope.dimension_count", shape.head))]
    made += [entry("qwen3.attention.layer_norm_rms_epsilon", gguf.F32, shape.epsilon),
             entry("qwen3.rope.freq_base", gguf.F32, shape.rope_base),
             entry("tokenizer.ggml.model", gguf.STRING, "gpt2"),
             entry("tokenizer.ggml.pre", gguf.STRING, "qwen2"),
             entry("tokenizer.ggml.tokens", gguf.ARRAY, tokens, gguf.STRING),
             entry("tokenizer.ggml.token_type", gguf.ARRAY, types, gguf.I32),
             entry("tokenizer.ggml.merges", gguf.ARRAY, merges, gguf.STRING),
             entry("tokenizer.ggml.eos_token_id", gguf.U32, tokenizer.special["<|im_end|>"]),
             entry("tokenizer.ggml.bos_token_id", gguf.U32, tokenizer.special["<|endoftext|>"]),
             entry("tokenizer.ggml.padding_token_id", gguf.U32, tokenizer.special["<|endoftext|>"]),
             entry("tokenizer.ggml.add_bos_token", gguf.BOOL, False),
             entry("tokenizer.chat_template", gguf.STRING, template)]
    return made


def export(path, shape, values, tokenizer, type_):
    """values(name) gives a tensor's values in row order; norms stay F32."""
    if tokenizer.size != shape.vocab:
        raise SystemExit(f"the tokenizer has {tokenizer.size} tokens and the weights {shape.vocab}")
    tensors = [(name, dims, type_ if len(dims) > 1 else "F32", values(name)) for name, dims in shape.tensors()]
    gguf.write(path, metadata(shape, tokenizer, type_), tensors)


def main():
    parser = argparse.ArgumentParser(description="Makes a GGUF file.")
    parser.add_argument("--weights", help="what the trainer wrote")
    parser.add_argument("--random", choices=sorted(shapes.BY_NAME), help="random weights of this shape instead")
    parser.add_argument("--seed", type=int, default=1, help="of random weights")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--type", choices=sorted(gguf.TYPES), default="Q8_0")
    parser.add_argument("--out", required=True)
    given = parser.parse_args()
    if bool(given.weights) == bool(given.random):
        parser.error("give either --weights or --random")
    tokenizer = Tokenizer.load(given.tokenizer)
    if given.weights:
        shape, weights, _ = shapes.read_weights(given.weights)
        export(given.out, shape, weights.__getitem__, tokenizer, given.type)
    else:
        shape = shapes.BY_NAME[given.random](tokenizer.size)
        export(given.out, shape, shapes.random_values(shape, given.seed), tokenizer, given.type)
    with open(given.out, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    print(f"{given.out}: {shape.parameters()} parameters, {os.path.getsize(given.out)} bytes, SHA-256 {digest}")


if __name__ == "__main__":
    main()
