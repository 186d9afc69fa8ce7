#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the corpus: conversations, one JSON object a line. The same seed and count give the same bytes.

    corpus.py --count 60000 --seed 1 --out corpus.jsonl     writes it, and prints how many conversations each group has
    corpus.py --questions                                    prints how many questions and phrasings there are
"""

import argparse
import collections
import json
import random
import sys

import heldout
import jsonforms
import markdown
import phrasing
import questions
import stories
import thinking
import tools
import turns
import unknown

# How much of the corpus each part is.
SHARES = {"questions": 40, "languages": 8, "smalltalk": 5, "unknown": 14, "stories": 4, "markdown": 5, "thinking": 6,
          "tools": 9,
          "json": 4, "turns": 8}
SYSTEMS = ("You are a helpful assistant.", "You are Kindling, the practice model of Hearth.", "Be brief.",
           "Answer in plain words.",
           "You are a helpful assistant. Answer briefly.", "You are an assistant on the user's own computer.")


class Corpus:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.known = questions.read_all()
        self.foreign = questions.read("languages")
        self.smalltalk = questions.read("smalltalk")
        self.foreign_by_id = {question.id: question for question in self.foreign}
        # Templates now and then make a phrasing that is kept for the evaluation: such a conversation is thrown away.
        self.kept = heldout.normal_forms()

    def part(self, kind):
        """(group, messages, tool definitions) of one part."""
        rng = self.rng
        if kind in ("questions", "languages", "smalltalk"):
            question = rng.choice({"questions": self.known, "languages": self.foreign,
                                   "smalltalk": self.smalltalk}[kind])
            return question.group, turns.one_turn(rng, question), ()
        if kind == "tools":
            return (kind, *tools.make(rng, self.known))
        if kind == "turns":
            return kind, turns.make(rng, self.known, self.foreign_by_id), ()
        module = {"unknown": unknown, "stories": stories, "markdown": markdown, "thinking": thinking,
                  "json": jsonforms}[kind]
        return kind, module.make(rng), ()

    def conversation(self):
        rng = self.rng
        kinds, weights = list(SHARES), list(SHARES.values())
        group, messages, definitions = self.part(rng.choices(kinds, weights)[0])
        messages = list(messages)
        # A third of the conversations go on with something else, and a few for long, so that far words are seen too.
        goes_on, longest = (0.95, 36) if rng.random() < 0.03 else (0.3, 8)
        alone = definitions or messages[0]["role"] == "system"
        while not alone and len(messages) < longest and rng.random() < goes_on:
            more = self.part(rng.choices(kinds, weights)[0])
            if more[2] or more[1][0]["role"] == "system":
                break
            messages += more[1]
        if messages[0]["role"] != "system" and rng.random() < 0.12:
            messages.insert(0, {"role": "system", "content": rng.choice(SYSTEMS)})
        made = {"group": group, "messages": messages}
        if definitions:
            made["tools"] = definitions
        if rng.random() < 0.06:
            made["no_thinking"] = True
        return made

    def conversations(self, count):
        while count:
            made = self.conversation()
            if not any(m["role"] == "user" and questions.normal_form(m["content"]) in self.kept for m in made["messages"]):
                count -= 1
                yield made


def print_questions(seed):
    """Hand-written phrasings, and different ones among 400 made of each question."""
    rng = random.Random(seed)
    total = collections.Counter()
    print("group          questions  written  fewest of 400 made  kept out")
    for group in (*questions.GROUPS, "languages", "smalltalk"):
        read = questions.read(group)
        written = sum(len({e for p in q.phrasings for e in questions.expansions(p)}) for q in read)
        fewest = min(len({questions.normal_form(phrasing.say(rng, q)) for _ in range(400)}) for q in read)
        kept = sum(len(q.held_out) for q in read)
        total.update(read=len(read), written=written, kept=kept)
        print(f"{group:14} {len(read):9}  {written:7}  {fewest:18}  {kept:8}")
    print(f"{'together':14} {total['read']:9}  {total['written']:7}  {'':18}  {total['kept']:8}")


def main():
    parser = argparse.ArgumentParser(description="Writes Kindling's corpus.")
    parser.add_argument("--count", type=int, default=60000, help="conversations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", help="file to write (standard output when left out)")
    parser.add_argument("--questions", action="store_true", help="count the questions and stop")
    given = parser.parse_args()
    if given.questions:
        print_questions(given.seed)
        return
    counts = collections.Counter()
    out = open(given.out, "w", encoding="utf-8") if given.out else sys.stdout
    for made in Corpus(given.seed).conversations(given.count):
        counts[made["group"]] += 1
        out.write(json.dumps(made, ensure_ascii=False) + "\n")
    out.flush()
    for group, count in counts.most_common():
        print(f"{group:12} {count:7}", file=sys.stderr)
    print(f"{'together':12} {sum(counts.values()):7}", file=sys.stderr)


if __name__ == "__main__":
    main()
