#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a model the held-out questions at temperature 0 and checks facts, not wording.

    evaluate.py --engine build/src/cli/hearth-engine --model kindling.gguf [--device D] [--answers FILE] [--show]
    evaluate.py --compare ANSWERS ANSWERS       how many answers are the same in two files that --answers wrote
    evaluate.py --engine ENGINE --draft draft.gguf --accept ANSWERS
        how many tokens of those answers a draft would have guessed
"""

import argparse
import array
import collections
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import tempfile

import chat
import heldout
import unknown

LONGEST = 220
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool}


def fits(value, schema):
    """Whether a value has the keys and types of one of our flat schemas."""
    if not isinstance(value, dict) or set(value) != set(schema["required"]):
        return False
    for name, rule in schema["properties"].items():
        kind = rule["type"]
        if not isinstance(value[name], TYPES[kind]) or (kind != "boolean" and isinstance(value[name], bool)):
            return False
    return True


def calls(text):
    """[(name, arguments)] of the calls in an answer, None for one that is no JSON."""
    found = []
    for body in re.findall(r"<tool_call>\s*(.*?)\s*</tool_call>", text, re.S):
        try:
            call = json.loads(body)
            found.append((call["name"], call["arguments"]))
        except (ValueError, KeyError, TypeError):
            found.append(None)
    return found


def cases():
    """[(group, prompt, check)], check(answer) -> bool."""
    made = []
    for question, text in heldout.read_questions():
        made.append((question.group, chat.prompt([{"role": "user", "content": text}]), question.is_right))
    for question, text in heldout.read_questions(far=True):
        made.append(("far", chat.prompt([{"role": "user", "content": text}]), question.is_right))
    for text in heldout.read_unknown():
        made.append(("unknown", chat.prompt([{"role": "user", "content": text}]),
                     lambda answer: re.search(unknown.MUST["en"], answer, re.I) is not None))
    for case in heldout.read_cases("tools"):
        made.append(("tools", chat.prompt([{"role": "user", "content": case["question"]}], case["tools"]),
                     lambda answer, case=case: calls(answer) == [(case["name"], case["arguments"])]))
    for case in heldout.read_cases("json"):
        prompt = chat.prompt(case["messages"])
        made.append(("json valid", prompt, lambda answer, case=case: fits(parsed(answer), case["schema"])))
        made.append(("json right", prompt, lambda answer, case=case: parsed(answer) == case["answer"]))
    for case in heldout.read_cases("other"):
        made.append((case["group"], chat.prompt(case["messages"]),
                     lambda answer, case=case: all(re.search(p, answer) for p in case["must"])
                     and not any(re.search(p, answer) for p in case.get("must_not", ()))))
    return made


def parsed(answer):
    try:
        return json.loads(answer)
    except ValueError:
        return None


def ask(engine, model, prompt, extra=()):
    run = subprocess.run([engine, "run", model, "--raw", "-p", prompt, "-n", str(LONGEST), "--temperature", "0",
                          *extra],
                         capture_output=True, text=True, timeout=300)
    if run.returncode:
        raise RuntimeError(run.stderr.strip())
    return run.stdout.strip()


def evaluate(given):
    extra = ["--device", given.device] if given.device else []
    extra += ["--threads", str(given.threads)] if given.threads else []
    listed = cases()
    prompts = sorted({prompt for _, prompt, _ in listed})
    with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        answers = dict(zip(prompts, pool.map(lambda prompt: ask(given.engine, given.model, prompt, extra), prompts)))
    right, total = collections.Counter(), collections.Counter()
    for group, prompt, check in listed:
        good = bool(check(answers[prompt]))
        total[group] += 1
        right[group] += good
        if given.show and not good:
            said = prompt.rsplit(f"{chat.START}user\n", 1)[1].split(chat.END)[0]
            print(f"[{group}] {said}\n    {answers[prompt]}")
    asked = [group for group in total if group not in ("far", "unknown", "tools", "json valid", "json right")]
    for group in total:
        print(f"{group:12} {right[group]:4} of {total[group]:4}  {100 * right[group] / total[group]:5.1f} %")
    known, n_known = sum(right[g] for g in asked), sum(total[g] for g in asked)
    print(f"{'phrasings':12} {known:4} of {n_known:4}  {100 * known / n_known:5.1f} %   (all but far, unknown, tools and json)")
    if given.answers:
        with open(given.answers, "w", encoding="utf-8") as out:
            json.dump(answers, out, ensure_ascii=False, indent=1, sort_keys=True)
            out.write("\n")


def compare(first, second):
    with open(first, encoding="utf-8") as one, open(second, encoding="utf-8") as other:
        one, other = json.load(one), json.load(other)
    if one.keys() != other.keys():
        sys.exit("the two files do not hold answers to the same questions")
    same = sum(one[prompt] == other[prompt] for prompt in one)
    print(f"{same} of {len(one)} answers are the same, {100 * same / len(one):.1f} %")


def accepted(engine, draft, prompt, answer, folder):
    """(how many tokens of an answer the draft finds likeliest after those before, how many there are), the end token
    included."""
    def ids(text):
        run = subprocess.run([engine, "tokenize", draft, "--special"], input=text.encode(), capture_output=True,
                             check=True)
        return json.loads(run.stdout)

    before, whole = ids(prompt), ids(prompt + answer + chat.END)
    out = os.path.join(folder, "logits")
    subprocess.run([engine, "logits", draft, "--tokens", ",".join(map(str, whole[:-1])), "--out", out], check=True,
                   capture_output=True)
    logits = array.array("f")
    with open(out, "rb") as file:
        logits.frombytes(file.read())
    width = len(logits) // (len(whole) - 1)
    right = 0
    for i in range(len(before), len(whole)):
        row = logits[(i - 1) * width:i * width]
        right += row.index(max(row)) == whole[i]
    return right, len(whole) - len(before)


def acceptance(given):
    with open(given.accept, encoding="utf-8") as file:
        answers = json.load(file)
    with tempfile.TemporaryDirectory() as folder:
        counts = [accepted(given.engine, given.draft, prompt, answer, folder) for prompt, answer in answers.items()]
    right, total = map(sum, zip(*counts))
    print(f"{right} of {total} tokens accepted, {100 * right / total:.1f} %")


def main():
    parser = argparse.ArgumentParser(description="Evaluates Kindling.")
    parser.add_argument("--engine", help="hearth-engine")
    parser.add_argument("--model")
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="engines at a time")
    parser.add_argument("--answers", help="file for all answers")
    parser.add_argument("--show", action="store_true", help="print what is wrong")
    parser.add_argument("--compare", nargs=2, metavar="ANSWERS")
    parser.add_argument("--draft", help="model that guesses")
    parser.add_argument("--accept", metavar="ANSWERS", help="answers whose tokens it is to guess")
    given = parser.parse_args()
    if given.compare:
        compare(*given.compare)
    elif given.engine and given.draft and given.accept:
        acceptance(given)
    elif given.engine and given.model:
        evaluate(given)
    else:
        parser.error("give --engine and --model, --engine, --draft and --accept, or --compare")


if __name__ == "__main__":
    main()
