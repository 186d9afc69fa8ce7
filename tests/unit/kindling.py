#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kindling's kitchen: the corpus generator, what is held out, tokenizer, packing and exporter, beside the engine's own.

    kindling.py KINDLING-FOLDER HEARTH-ENGINE
"""

import array
import json
import os
import random
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.abspath(sys.argv[1]))

import chat  # noqa: E402
import corpus  # noqa: E402
import evaluate  # noqa: E402
import export  # noqa: E402
import gguf  # noqa: E402
import heldout  # noqa: E402
import packing  # noqa: E402
import questions  # noqa: E402
import shape as shapes  # noqa: E402
import tokenizer as tokenizers  # noqa: E402

engine = sys.argv[2]
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
    check(len([question for question in read if question.group in questions.GROUPS]) >= 200,
          "fewer than 200 questions on Hearth")
    kept = heldout.normal_forms()
    for question in read:
        for answer in question.answers:
            check(question.is_right(answer), f"{question.id}: its own answer lacks a fact: {answer}")
        written = {text for phrasing in question.phrasings for text in questions.expansions(phrasing)}
        check(len(written) >= (8 if question.group in questions.GROUPS else 5),
              f"{question.id}: {len(written)} phrasings")
        for text in written:
            check(questions.normal_form(text) not in kept, f"{question.id}: held out, but in the corpus: {text}")
            check("(" not in text and "|" not in text, f"{question.id}: brackets do not close: {text}")


def check_held_out(conversations):
    pairs = heldout.read_questions() + heldout.read_questions(far=True)
    check(len(heldout.read_questions()) >= 300, "fewer than 300 held-out phrasings")
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
    check(groups >= {*questions.GROUPS, "languages", "smalltalk", "unknown", "stories", "markdown", "thinking",
                     "tools", "json", "turns"},
          f"a group is missing: {sorted(groups)}")
    for made in conversations:
        text = "".join(text for text, _ in chat.pieces(made["messages"], made.get("tools", ())))
        check(made["messages"][-1]["role"] == "assistant" and text.endswith("<|im_end|>\n"),
              f"a conversation without an answer: {text}")
        learnt = "".join(text for text, learn in chat.pieces(made["messages"], made.get("tools", ())) if learn)
        check(learnt.count(chat.END) == sum(m["role"] == "assistant" for m in made["messages"]),
              "an answer that is not learnt")
    return conversations


# Spaces, digits, marks and scripts where pre-tokenizers differ.
ODD = "Zw\u00f6lf \u00bd \u00b2 \u2163 na\u00efve \u65e5\u672c\u8a9e \U0001f389 a\u00a0b  \n\n  x\t\ty it's I'LL don't 12345 --- \r\n end   "


def run(*args, text=""):
    result = subprocess.run([engine, *args], input=text.encode(), capture_output=True, timeout=120)
    check(result.returncode == 0, f"{args[0]}: {result.stderr.decode()}")
    return result.stdout.decode()


def check_tokenizer(conversations):
    texts = [text for made in conversations[:800] for text, _ in chat.pieces(made["messages"], made.get("tools", ()))]
    words = tokenizers.count_words(texts)
    tokenizer = tokenizers.train(words, 1024)
    check(tokenizer.size == 1024, f"{tokenizer.size} tokens")
    check(tokenizers.train(words, 1024).merges == tokenizer.merges, "the same words give another tokenizer")
    for text in (ODD, "", " ", "\n", *texts[:300]):
        check(tokenizer.decode(tokenizer.encode(text)) == text, f"not the same after a round trip: {text!r}")
        check(tokenizer.decode(tokenizer.encode(text, special=True)) == text,
              f"not the same with special tokens: {text!r}")
    check(tokenizer.encode("<|im_end|>", special=True) == [tokenizer.special["<|im_end|>"]],
          "a special token is one token")
    check(len(tokenizer.encode("<|im_end|>")) > 1, "a special token's text in a message is no special token")
    return tokenizer


def check_packing(tokenizer, conversations):
    packed = packing.Conversations(tokenizer, 512)
    for made in conversations[:300]:
        packed.add(made)
    rows = packed.rows(random.Random(1))
    check(sorted(i for row in rows for i in row) == list(range(len(packed))), "a conversation is lost or doubled")
    check(all(sum(packed.length(i) for i in row) <= 512 for row in rows), "a row is too long")
    waste = 1 - len(packed.ids) / (512 * len(rows))
    check(waste < 0.15, f"{waste:.0%} of the rows are empty")
    tokens, targets, learnt, positions, owners = packed.fill(rows[0])
    check({len(part) for part in (tokens, targets, learnt, positions, owners)} == {512},
          "a row's parts have its length")
    for i in range(511):
        if learnt[i] == 1:
            check(owners[i] == owners[i + 1] >= 0 and targets[i] == tokens[i + 1],
                  "a target is the next token of its conversation")
    check(sum(flag == 1 for flag in learnt) == sum(packed.learnt[packed.starts[i]:packed.starts[i + 1]].count(1) for i in rows[0]),
          "every token of an answer is learnt once")
    steps = packing.batches(packed, 5, 3)
    first = [next(steps) for _ in range(len(rows) // 3 + 4)]
    again = packing.batches(packed, 5, 3, len(first) - 1)
    check(next(again) == first[-1], "going on from a step gives other rows than the first time")


def check_export(tokenizer, conversations):
    shape = shapes.Shape("Small", tokenizer.size, embedding=64, layers=2, heads=4, heads_kv=2, head=32, feed_forward=96)
    values = array.array("f", (random.Random(2).uniform(-1, 1) for _ in range(320)))
    decoded = gguf.decode_q8_0(gguf.encode_q8_0(values))
    check(max(abs(a - b) for a, b in zip(values, decoded)) < 1 / 127, "Q8_0 is not near enough")
    check(shapes.kindling().parameters() < 6.1e6 and shapes.draft().parameters() < 1.2e6, "the shapes are too big")
    with tempfile.TemporaryDirectory() as folder:
        weights, model = os.path.join(folder, "small.weights"), os.path.join(folder, "small.gguf")
        shapes.write_weights(weights, shape, shapes.random_values(shape, 1), {"steps": 0})
        read_shape, read, about = shapes.read_weights(weights)
        check(read_shape == shape and about == {"steps": 0}, "the weights' file lost its shape")
        check(read["output_norm.weight"] == array.array("f", [1.0] * 64), "the weights' file lost its values")
        logits = {}
        for type_ in ("F32", "F16", "Q8_0"):
            export.export(model, read_shape, read.__getitem__, tokenizer, type_)
            out = os.path.join(folder, "logits")
            run("logits", model, "--tokens", "5,300,7,1020,9", "--kv", "f32", "--out", out)
            logits[type_] = array.array("f")
            with open(out, "rb") as file:
                logits[type_].frombytes(file.read())
        check(len(logits["F32"]) == 5 * tokenizer.size, "not a row of logits for each token")
        for type_, limit in (("F16", 1e-5), ("Q8_0", 1e-2)):
            error = sum((a - b) ** 2 for a, b in zip(logits["F32"], logits[type_])) / sum(a * a for a in logits["F32"])
            check(error < limit, f"{type_}: normalised error {error}")
        # The engine cuts text into the same tokens, and renders the same prompts with the template in the file.
        plain = "\n".join(message["content"] for made in conversations[:500] for message in made["messages"]) + ODD
        check(json.loads(run("tokenize", model, text=plain)) == tokenizer.encode(plain), "the engine's tokens differ")
        whole = "".join(text for made in conversations[:300] for text,
                        _ in chat.pieces(made["messages"], made.get("tools", ())))
        ids = tokenizer.encode(whole, special=True)
        check(json.loads(run("tokenize", model, "--special", text=whole)) == ids,
              "the engine's tokens differ in a conversation")
        check(run("detokenize", model, text=json.dumps(ids)) == whole, "the engine's text differs")
        chosen = [made for made in conversations if "tools" in made][:12] + conversations[:20]
        for made in chosen:
            messages = [dict(message) for message in made["messages"][:-1]]
            for message in messages:
                if "tool_calls" in message:
                    message["tool_calls"] = [{"type": "function", "function": call} for call in message["tool_calls"]]
            context = {"messages": messages, "tools": made.get("tools"), "add_generation_prompt": True}
            check(run("render", model, text=json.dumps(context)) == chat.prompt(made["messages"][:-1],
                                                                                made.get("tools", ())),
                  f"the template renders another prompt: {made}")
        check(isinstance(evaluate.ask(engine, model, chat.prompt([{"role": "user", "content": "hello"}])), str),
              "no answer")


def check_evaluation():
    """The checks accept what is right and refuse what is not."""
    listed = evaluate.cases()
    for name in ("tools", "json right"):
        pairs = [(check_, case) for (group, _, check_), case in
                 zip([case for case in listed if case[0] == name], heldout.read_cases(name.split()[0]))]
        for check_, case in pairs:
            right = chat.call_text(case) if name == "tools" else json.dumps(case["answer"])
            check(check_(right) and not check_(right.replace('"', "", 1)) and not check_(""),
                  f"a wrong judgement: {right}")
    unknown_checks = [check_ for group, _, check_ in listed if group == "unknown"]
    check(not unknown_checks[0]("It takes 165 years.") and unknown_checks[0]("Ask a bigger model."),
          "a wrong judgement of a refusal")


check_questions()
made = check_corpus()
check_held_out(made)
small = check_tokenizer(made)
check_packing(small, made)
check_export(small, made)
check_evaluation()
print(f"{n_checks} checks, {len(failures)} failures")
sys.exit(1 if failures else 0)
