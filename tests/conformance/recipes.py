#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of real models without their data, from the recipes of the shared folder: what inspect says of each, how long it takes,
and the plans for hardware that is stated. A family that cannot be run yet is skipped by name.

    recipes.py HEARTH-ENGINE MAKE-RECIPE-MODEL
"""

import glob
import json
import os
import subprocess
import sys
import tempfile
import time

engine, make_model = sys.argv[1:3]
place = os.path.join(os.environ.get("HEARTH_SHARED", ""), "data", "quant-recipes")
kinds = {"gpt-oss-120b": "MXFP4_MOE"}
files = {"qwen3.5-397b-a17b": 4}
failures = []


def check(good, what):
    if not good:
        failures.append(what)
        print("failed:", what, file=sys.stderr)


def inspect(path, *options):
    """What inspect says, and the best of three times in seconds: the computer may have other things to do."""
    best = None
    for _ in range(3):
        began = time.monotonic()
        result = subprocess.run([engine, "inspect", path, "--json", *options], capture_output=True, timeout=60)
        seconds = time.monotonic() - began
        best = seconds if best is None else min(best, seconds)
        if best < 0.5:
            break
    check(result.returncode == 0, f"inspect {os.path.basename(path)}: {result.stderr.decode()}")
    return json.loads(result.stdout), best


def check_plan(name, facts, total):
    """The parts of a plan are all of the model; where it does not fit, the sentence says what is missing."""
    if facts["memory"] is None:
        check(False, f"{name}: no plan, because {facts['memory_problem']['text']}")
        return "no plan"
    memory, placement = facts["memory"], facts["placement"]
    check(memory["total_bytes"] > 0, f"{name}: what it needs")
    if placement is None:
        check("memory" in facts["placement_problem"]["text"], f"{name}: why it does not fit")
        return "too big"
    layers = sum(part["layers"] for part in placement["parts"])
    check(layers == facts["model"]["layers"], f"{name}: every layer is somewhere")
    check(memory["weights_bytes"] >= total * 0.99, f"{name}: all weights are somewhere")
    return f"{placement['parts'][-1]['layers']} of {layers} layers on graphics"


def test_recipe(recipe, folder):
    name = os.path.splitext(os.path.basename(recipe))[0]
    path = os.path.join(folder, name)
    arguments = [recipe, path, kinds.get(name, "Q4_K_M")] + ([str(files[name])] if name in files else [])
    made = subprocess.run([make_model, *arguments], capture_output=True, timeout=60)
    if made.returncode == 77:
        print(f"SKIP: {name}: no family of Hearth's")
        return False
    if made.returncode != 0:
        if b"cannot be written" in made.stderr:
            print(f"SKIP: {name}: the file system holds no files this large")
            return False
        check(False, f"{name}: {made.stderr.decode()}")
        return False
    wanted = json.loads(made.stdout)
    if name in files:
        path = os.path.join(folder, f"{name}-00002-of-{files[name]:05}.gguf")
    facts, seconds = inspect(path)
    check(seconds < 1, f"{name}: inspect takes {seconds:.2f} s")
    check(facts["files"] == files.get(name, 1), f"{name}: the files")
    total = sum(tensor["bytes"] for tensor in facts["tensors"])
    check(total == wanted["weights_bytes"], f"{name}: {total} bytes of tensors, {wanted['weights_bytes']} were written")
    check(facts["file_bytes"] >= total, f"{name}: the size of the file")
    if facts["model"] is None:
        problem = facts["model_problem"]
        check(problem["code"] == "unsupported", f"{name}: {problem['text']}")
        print(f"SKIP: {name} ({wanted['architecture']}): {problem['text']}")
        return False
    model = facts["model"]
    for key in ("architecture", "layers", "weights_bytes", "weights_bytes_per_token"):
        check(model[key] == wanted[key], f"{name}: {key} is {model[key]}, expected {wanted[key]}")
    kv = model["kv_bytes_per_token"]["f16"]
    check(kv == wanted["kv_bytes_per_token_f16"], f"{name}: {kv} bytes of KV, expected {wanted['kv_bytes_per_token_f16']}")
    unified = check_plan(name, inspect(path, "--memory", "128", "--unified", "--context", "4096")[0], total)
    card = check_plan(name, inspect(path, "--card", "24", "--context", "4096")[0], total)
    print(f"{name}: {total / 1e9:.2f} GB, {model['weights_bytes_per_token'] / 1e9:.3f} GB and {kv} bytes of KV a token, "
          f"{seconds:.2f} s; 128 GB shared: {unified}; a card of 24 GB: {card}")
    return True


def main():
    recipes = sorted(glob.glob(os.path.join(place, "*.schema")))
    if not recipes:
        print("SKIP: the recipes are not here (data/quant-recipes of the shared folder)")
        sys.exit(77)
    tested = 0
    for recipe in recipes:
        with tempfile.TemporaryDirectory(prefix="hearth-recipes-") as folder:
            tested += test_recipe(recipe, folder)
    print(f"{tested} of {len(recipes)} recipes")
    sys.exit(1 if failures or tested == 0 else 0)


if __name__ == "__main__":
    main()
