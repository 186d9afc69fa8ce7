#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains Kindling or its draft with PyTorch, on a processor or on a graphics card.

    train.py --shape kindling --corpus corpus.jsonl --tokenizer tokenizer.json --steps 5000
        --checkpoint kindling.pt --out kindling.weights
    train.py ... --minutes 30            stops after half an hour; the same command goes on from the checkpoint
    train.py ... --minutes 10 --clock    one short training: the learning rate falls with the clock, not with the steps
    train.py --shape draft --teacher kindling.weights ...

The order of the conversations, the first weights and so the whole run follow from --seed on one machine.
"""

import argparse
import contextlib
import json
import math
import os
import random
import sys
import time

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch  # noqa: E402
import torch.nn.functional as functional  # noqa: E402

import packing  # noqa: E402
import shape as shapes  # noqa: E402
from corpus import Corpus  # noqa: E402
from model import Model  # noqa: E402
from tokenizer import Tokenizer  # noqa: E402

# Conversations of this seed are never trained on: the check loss is measured with them.
CHECK_SEED, N_CHECK = 1000003, 400


def arguments():
    parser = argparse.ArgumentParser(description="Trains Kindling.")
    parser.add_argument("--shape", choices=sorted(shapes.BY_NAME), default="kindling")
    parser.add_argument("--corpus", nargs="+", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--checkpoint", required=True, help="written now and then, and gone on from when it is there")
    parser.add_argument("--out", required=True, help="the weights, for export.py")
    parser.add_argument("--log", help="one line of JSON for each report is appended here")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=0, help="stop after so many minutes (0: after the steps)")
    parser.add_argument("--clock", action="store_true", help="the learning rate falls over --minutes")
    parser.add_argument("--rows", type=int, default=4, help="rows of a step")
    parser.add_argument("--block", type=int, default=1024, help="tokens of a row; longer conversations are left out")
    parser.add_argument("--rate", type=float, default=2e-3, help="the highest learning rate")
    parser.add_argument("--warmup", type=int, default=100, help="steps until it is reached")
    parser.add_argument("--decay", type=float, default=0.1, help="weight decay of the matrices")
    parser.add_argument("--context-weight", type=float, default=0.1,
                        help="how much of the loss a token has that is not an answer's")
    parser.add_argument("--teacher", help="weights whose predictions are half of what is learnt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--report", type=int, default=50, help="steps between two reports")
    parser.add_argument("--save", type=float, default=5, help="minutes between two checkpoints")
    given = parser.parse_args()
    if given.clock and not given.minutes:
        parser.error("--clock needs --minutes")
    return given


def tensors(rows, device):
    """(tokens, targets, learnt, positions, mask) of filled rows."""
    parts = (torch.tensor(part, dtype=torch.int64, device=device) for part in zip(*rows))
    tokens, targets, learnt, positions, owners = parts
    length = tokens.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    mask = (owners[:, :, None] == owners[:, None, :]) & causal
    return tokens, targets, learnt, positions, mask[:, None]


def losses(model, batch, context_weight, teacher, precision):
    """(the loss to learn from, the mean loss of the answers' tokens)"""
    tokens, targets, learnt, positions, mask = batch
    with precision():
        logits = model.logits(model(tokens, positions, mask))
    logits = logits.float().flatten(0, 1)
    each = functional.cross_entropy(logits, targets.flatten(), reduction="none")
    answers = (learnt == 1).float().flatten()
    answer_loss = (each.detach() * answers).sum() / answers.sum().clamp(min=1)
    if teacher is not None:
        with torch.no_grad(), precision():
            taught = teacher.logits(teacher(tokens, positions, mask))
        taught = functional.softmax(taught.float().flatten(0, 1), dim=-1)
        each = 0.5 * each - 0.5 * (taught * functional.log_softmax(logits, dim=-1)).sum(-1)
    weights = answers + context_weight * (learnt == 0).float().flatten()
    return (each * weights).sum() / weights.sum().clamp(min=1), answer_loss


def rate_at(given, step, elapsed):
    """Straight up over the warmup, then down a cosine to a twentieth."""
    done = elapsed / (given.minutes * 60) if given.clock else step / given.steps
    fall = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(done, 1)))
    return given.rate * fall * min(1, (step + 1) / given.warmup)


def save(path, **what):
    torch.save(what, path + ".new")
    os.replace(path + ".new", path)


class Log:
    def __init__(self, path):
        self.path = path

    def __call__(self, **line):
        shown = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in line.items())
        print("  ".join(shown), flush=True)
        if self.path:
            with open(self.path, "a", encoding="utf-8") as out:
                out.write(json.dumps(line) + "\n")


def main():
    given = arguments()
    if given.threads:
        torch.set_num_threads(given.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    device = torch.device(given.device)

    def precision():
        return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()

    log = Log(given.log)
    tokenizer = Tokenizer.load(given.tokenizer)
    conversations = packing.Conversations(tokenizer, given.block)
    conversations.add_files(given.corpus)
    check_set = packing.Conversations(tokenizer, given.block)
    for made in Corpus(CHECK_SEED).conversations(N_CHECK):
        check_set.add(made)
    shape = shapes.BY_NAME[given.shape](tokenizer.size)
    log(shape=shape.name, parameters=shape.parameters(), conversations=len(conversations),
        tokens=len(conversations.ids),
        too_long=conversations.n_too_long, device=str(device), seed=given.seed)

    model = Model(shape, given.seed).to(device)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": given.decay},
                                   {"params": vectors, "weight_decay": 0.0}],
                                  lr=given.rate, betas=(0.9, 0.95), eps=1e-8)
    teacher = None
    if given.teacher:
        teacher_shape, weights, _ = shapes.read_weights(given.teacher)
        teacher = Model(teacher_shape).to(device).eval()
        teacher.take(weights)
    step, before, seen = 0, 0.0, 0
    if os.path.exists(given.checkpoint):
        state = torch.load(given.checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, before, seen = state["step"], state["seconds"], state["tokens"]
        log(resumed_at=step, seconds=before)

    def check():
        """The mean loss of the answers' tokens in the check set."""
        total = count = 0.0
        rows = [check_set.fill(row) for row in check_set.rows(random.Random(0))]
        with torch.no_grad():
            for at in range(0, len(rows), given.rows):
                batch = tensors(rows[at:at + given.rows], device)
                n = float((batch[2] == 1).sum())
                total += float(losses(model, batch, 0.0, None, precision)[1]) * n
                count += n
        return total / count

    started = saved = time.monotonic()

    def finish(loss):
        seconds = before + time.monotonic() - started
        save(given.checkpoint, model=model.state_dict(), optimizer=optimizer.state_dict(), step=step, seconds=seconds,
             tokens=seen)
        shapes.write_weights(given.out, shape, model.values,
                             {"steps": step, "tokens": seen, "seconds": round(seconds), "seed": given.seed,
                              "check_loss": loss})

    recent = []
    for step, rows in packing.batches(conversations, given.seed, given.rows, step):
        here = time.monotonic() - started
        if step >= given.steps or (given.minutes and here >= given.minutes * 60):
            break
        rate = rate_at(given, step, before + here)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = tensors(rows, device)
        optimizer.zero_grad(set_to_none=True)
        loss, answer_loss = losses(model, batch, given.context_weight, teacher, precision)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen += int((batch[2] != 2).sum())
        recent.append(answer_loss)
        if (step + 1) % given.report == 0:
            mean = float(sum(recent) / len(recent))
            recent = []
            seconds = before + time.monotonic() - started
            log(step=step + 1, tokens=seen, seconds=round(seconds), loss=mean, rate=rate)
            if not math.isfinite(mean):
                sys.exit("the loss is no number any more")
        if time.monotonic() - saved > given.save * 60:
            saved = time.monotonic()
            step += 1
            loss = check()
            log(step=step, check_loss=loss)
            finish(loss)
    loss = check()
    log(step=step, check_loss=loss, seconds=round(before + time.monotonic() - started))
    finish(loss)


if __name__ == "__main__":
    main()
