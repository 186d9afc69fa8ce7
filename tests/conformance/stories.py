#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""stories260K, a real trained model, against its golden run: 200 greedy tokens and the logits after the first.

    stories.py HEARTH-ENGINE
"""

import array
import json
import os
import subprocess
import sys
import tempfile

engine = sys.argv[1]
place = os.path.join(os.environ.get("HEARTH_SHARED", ""), "data", "stories260K")
model = os.path.join(place, "stories260K-f32.gguf")


def run(*args, text=b""):
    return subprocess.run([engine, *args], input=text, stdout=subprocess.PIPE, check=True, timeout=120).stdout


def main():
    if not os.path.exists(model):
        print("SKIP: stories260K is not here (data/stories260K of the shared folder)")
        sys.exit(77)
    with open(os.path.join(place, "stories260K-greedy-golden.json"), encoding="utf-8") as file:
        golden = json.load(file)
    tokens = golden["tokens"][1:]  # without the token that begins every text

    # The tokens themselves: each golden one is the highest logit after the golden ones before it.
    with tempfile.TemporaryDirectory(prefix="hearth-stories-") as folder:
        out = os.path.join(folder, "logits.f32")
        run("logits", model, "--tokens", ",".join(map(str, golden["tokens"])), "--out", out, "--kv", "f32")
        logits = array.array("f")
        with open(out, "rb") as file:
            logits.frombytes(file.read())
    n_vocab = len(golden["logits_pos0"])
    assert len(logits) == len(golden["tokens"]) * n_vocab, len(logits)
    for position, token in enumerate(tokens):
        row = logits[position * n_vocab:(position + 1) * n_vocab]
        best = max(range(n_vocab), key=row.__getitem__)
        assert best == token, f"position {position}: token {best}, expected {token}"
    far = max(abs(a - b) for a, b in zip(logits, golden["logits_pos0"]))
    assert far <= 1e-4, f"the logits at position 0 are off by {far}"

    # The text that people see, and the tokens behind it.
    for options in ((), ("--threads", "1")):
        text = run("run", model, "--raw", "-p", "", "-n", str(len(tokens)), "--temperature", "0", *options)
        assert text.decode() == golden["text"], text.decode()
    assert run("detokenize", model, text=json.dumps(tokens).encode()).decode() == golden["text"]
    print(f"{len(tokens)} tokens and {n_vocab} logits agree, the logits within {far:.1e}")


if __name__ == "__main__":
    main()
