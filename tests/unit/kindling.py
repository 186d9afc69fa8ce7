#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kindling's kitchen: the corpus generator and what is held out.

    kindling.py KINDLING-FOLDER
"""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.abspath(sys.argv[1]))

import chat  # noqa: E402
import corpus  # noqa: E402
import heldout  # noqa: E402
import questions  # noqa: E402

n_checks = 0
failures = []


def check(good, what):
    global n_checks
    n_checks += 1
    if not good:
        failures.append(what)
        print("failed:", what, file=sys.stderr)


def check_questions():
    read = questions.read_all((*questions.GROUPS, "languages", "smalltalk"))
    ids = [question.id for question in read]
    check(len(ids) == len(set(ids)), "two questions have one id")
    check(len([question for question in read if question.group in questions.GROUPS]) >= 200, "fewer than 200 questions on Hearth")
    kept = heldout.normal_forms()
    for question in read:
        for answer in question.answers:
            check(question.is_right(answer), f"{question.id}: its own answer lacks a fact: {answer}")
        written = {text for phrasing in question.phrasings for text in questions.expansions(phrasing)}
        check(len(written) >= (8 if question.group in questions.GROUPS else 5), f"{question.id}: {len(written)} phrasings")
        for text in written:
            check(questions.normal_form(text) not in kept, f"{question.id}: held out, but in the corpus: {text}")
            check("(" not in text and "|" not in text, f"{question.id}: brackets do not close: {text}")


def check_held_out(conversations):
    pairs = heldout.read_questions()
    check(len(pairs) >= 300, f"{len(pairs)} held-out phrasings")
    check(len(heldout.read_unknown()) == 100, "100 unknown questions are held out")
    check(len(heldout.read_cases("tools")) == 100, "100 tool cases are held out")
    check(not heldout.occurring(conversations), "the corpus has held-out texts")
    # The check itself can fail.
    text = pairs[0][1]
    check(heldout.occurring([{"messages": [{"role": "user", "content": text.upper() + "?"}]}]) == [text.upper() + "?"],
          "a held-out text in other letters is not found")


def check_corpus():
    conversations = list(corpus.Corpus(7).conversations(2000))
    check(conversations == list(corpus.Corpus(7).conversations(2000)), "the same seed gives another corpus")
    check(conversations != list(corpus.Corpus(8).conversations(2000)), "another seed gives the same corpus")
    groups = {made["group"] for made in conversations}
    check(groups >= {*questions.GROUPS, "languages", "smalltalk", "unknown", "stories", "markdown", "thinking", "tools", "json", "turns"},
          f"a group is missing: {sorted(groups)}")
    for made in conversations:
        text = "".join(text for text, _ in chat.pieces(made["messages"], made.get("tools", ())))
        check(made["messages"][-1]["role"] == "assistant" and text.endswith("<|im_end|>\n"), f"a conversation without an answer: {text}")
        learnt = "".join(text for text, learn in chat.pieces(made["messages"], made.get("tools", ())) if learn)
        check(learnt.count(chat.END) == sum(m["role"] == "assistant" for m in made["messages"]), "an answer that is not learnt")
    return conversations


check_questions()
check_held_out(check_corpus())
print(f"{n_checks} checks, {len(failures)} failures")
sys.exit(1 if failures else 0)
