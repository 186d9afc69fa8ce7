# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversations packed into rows of a fixed length, in an order that a seed decides. Without PyTorch."""

import array
import json
import random

OPEN_ROWS = 32


class Conversations:
    """The tokens of a corpus, one after the other, with 1 for each that is to be learnt."""

    def __init__(self, tokenizer, block):
        self.tokenizer, self.block = tokenizer, block
        self.ids, self.learnt, self.starts = array.array("H"), array.array("B"), array.array("L", [0])
        self.n_too_long = 0

    def add(self, made):
        ids, learnt = self.tokenizer.encode_conversation(made)
        if len(ids) > self.block:
            self.n_too_long += 1
            return
        self.ids.extend(ids)
        self.learnt.extend(learnt)
        self.starts.append(len(self.ids))

    def add_files(self, paths):
        for path in paths:
            with open(path, encoding="utf-8") as lines:
                for line in lines:
                    self.add(json.loads(line))

    def __len__(self):
        return len(self.starts) - 1

    def length(self, i):
        return self.starts[i + 1] - self.starts[i]

    def rows(self, rng):
        """Every conversation once, shuffled, in rows of at most block tokens: [[conversation]]."""
        order = list(range(len(self)))
        rng.shuffle(order)
        full, waiting = [], []
        for i in order:
            size = self.length(i)
            fitting = [row for row in waiting if row[0] >= size]
            if fitting:
                row = min(fitting, key=lambda row: row[0])
                row[0] -= size
                row[1].append(i)
            else:
                waiting.append([self.block - size, [i]])
                if len(waiting) > OPEN_ROWS:
                    fullest = min(waiting, key=lambda row: row[0])
                    waiting.remove(fullest)
                    full.append(fullest[1])
        full += [row[1] for row in waiting]
        rng.shuffle(full)
        return full

    def fill(self, row):
        """(tokens, targets, learnt, positions, conversations) of a row, each of block values. A target is the next token
        of the same conversation; where there is none it is 0 and not learnt, 2 in learnt. The rest of a row belongs to
        conversation -1."""
        tokens, targets, learnt, positions, owners = [], [], [], [], []
        for number, i in enumerate(row):
            start, end = self.starts[i], self.starts[i + 1]
            tokens += self.ids[start:end]
            targets += [*self.ids[start + 1:end], 0]
            learnt += [*self.learnt[start + 1:end], 2]
            positions += range(end - start)
            owners += [number] * (end - start)
        rest = self.block - len(tokens)
        return (tokens + [0] * rest, targets + [0] * rest, learnt + [2] * rest, positions + [0] * rest,
                owners + [-1] * rest)


def batches(conversations, seed, rows, first_step=0):
    """Endless (step, filled rows) from first_step on: the same for the same seed, wherever one begins."""
    step, epoch = 0, 0
    while True:
        order = conversations.rows(random.Random(f"{seed}/{epoch}"))
        for at in range(0, len(order) - rows + 1, rows):
            if step >= first_step:
                yield step, [conversations.fill(row) for row in order[at:at + rows]]
            step += 1
        if len(order) < rows:
            raise ValueError(f"{len(order)} rows are fewer than the {rows} of one step")
        epoch += 1
