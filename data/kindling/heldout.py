#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cases kept out of the corpus: phrasings marked ~ and % in the questions, heldout/unknown.txt, heldout/other.jsonl (thinking,
Markdown, stories and follow-ups), heldout/tools.jsonl and heldout/json.jsonl.

    heldout.py CORPUS.jsonl...    fails when one of them occurs in a corpus
    heldout.py --write            writes the last two files anew, from their own seed
"""

import json
import os
import random
import sys

import questions

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "heldout")
SEED, N_TOOLS, N_JSON = 20260, 100, 80


def read_questions(far=False):
    """[(question, phrasing)] of every group: those marked ~, or, far, those marked %."""
    read = questions.read_all((*questions.GROUPS, "languages", "smalltalk"))
    return [(question, text) for question in read for text in (question.far if far else question.held_out)]


def read_unknown():
    with open(os.path.join(FOLDER, "unknown.txt"), encoding="utf-8") as lines:
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def read_cases(name):
    """The cases of tools, json or other."""
    path = os.path.join(FOLDER, name + ".jsonl")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def normal_forms():
    """Of everything a person says in the held-out cases."""
    texts = [text for far in (False, True) for _,
             text in read_questions(far)] + read_unknown() + [case["question"] for case in read_cases("tools")]
    texts += [case["messages"][-1]["content"] for name in ("json", "other") for case in read_cases(name)]
    return {questions.normal_form(text) for text in texts}


def occurring(conversations, kept=None):
    """The held-out texts that occur in conversations."""
    kept = normal_forms() if kept is None else kept
    found = set()
    for made in conversations:
        for message in made["messages"]:
            if message["role"] == "user" and questions.normal_form(message["content"]) in kept:
                found.add(message["content"])
    return sorted(found)


def write():
    import jsonforms
    import tools
    rng = random.Random(SEED)
    os.makedirs(FOLDER, exist_ok=True)
    with open(os.path.join(FOLDER, "tools.jsonl"), "w", encoding="utf-8") as out:
        for i in range(N_TOOLS):
            out.write(json.dumps(tools.held_out_case(rng, tools.TOOLS[i % len(tools.TOOLS)]),
                                 ensure_ascii=False) + "\n")
    with open(os.path.join(FOLDER, "json.jsonl"), "w", encoding="utf-8") as out:
        for _ in range(N_JSON):
            messages, answer, schema = jsonforms.case(rng, held_out=True)
            out.write(json.dumps({"messages": messages, "answer": answer, "schema": schema}, ensure_ascii=False) + "\n")


def main():
    if sys.argv[1:] == ["--write"]:
        write()
        return 0
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    kept = normal_forms()
    found = []
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as lines:
            found += occurring(map(json.loads, lines), kept)
    for text in found:
        print("held out, but in the corpus:", text)
    print(f"{len(kept)} held-out texts, {len(found)} of them in the corpus")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
