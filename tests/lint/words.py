#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""House rules that a text search can check.

    words.py SOURCE-ROOT

Every C file names its licence in its first line; no file of src has more than 900 lines (700 is the aim, and is said);
lines aim at 120 columns and end at 140; no open ends are left in the source; no place of one machine is written down; the core keeps
its sizes, its allocations and its exits in order.
"""

import re
import sys

import lint

SPDX = "/* SPDX-License-Identifier: GPL-3.0-or-later */"
LINES_LIMIT, LINES_AIM, COLUMNS_LIMIT = 900, 700, 140
CORE = ("src/base/", "src/gguf/", "src/text/", "src/backend/", "src/hardware/", "src/model/", "src/advisor/", "src/engine/")
OPEN_ENDS = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
MACHINE_PLACES = re.compile(r"(?<![\w.$}*])/(?:wo" r"rk|ho" r"me|ro" r"ot)/[\w.]")
# What the core may not call, and why.
FORBIDDEN = {
    r"(?:abort|exit|_exit|quick_exit)": "the core never ends the process",
    r"assert": "input never meets an assert",
    r"(?:strcpy|strcat|sprintf|vsprintf|gets|strtok)": "it does not know the buffer's size",
    r"alloca": "memory on the stack cannot fail properly",
    r"(?:setlocale|localeconv)": "the core does not depend on the locale",
}
# A product inside an allocation that no checked function computed.
UNCHECKED_SIZE = re.compile(r"\b(?:malloc|realloc)\s*\([^;]*?[\w\])]\s*\*\s*[\w(][^;]*;")


def place(text, match):
    return text.count("\n", 0, match.start()) + 1


def check_core(path, text):
    problems = []
    for pattern, why in FORBIDDEN.items():
        for match in re.finditer(rf"(?<![\w.>]){pattern}\s*\(", text):
            problems.append(f"{path}:{place(text, match)}: {match.group(0)}...) in the core: {why}")
    for match in UNCHECKED_SIZE.finditer(text):
        problems.append(f"{path}:{place(text, match)}: an allocation's size is multiplied without base/checked.h")
    return problems


def check(root):
    problems = []
    for path in lint.files(root, "src", ".c", ".h"):
        text = lint.read(root, path)
        count = text.count("\n")
        if count > LINES_LIMIT:
            problems.append(f"{path}: {count} lines; the limit is {LINES_LIMIT}")
        elif count > LINES_AIM:
            print(f"note: {path} has {count} lines; past {LINES_AIM} it should be two files")
        if path.startswith(CORE):
            problems += check_core(path, lint.without_comments(text))
    for folder in ("src", "tests"):
        for path in lint.files(root, folder, ".c"):
            if lint.read(root, path).split("\n", 1)[0] != SPDX:
                problems.append(f"{path}:1: the first line is not {SPDX}")
    for folder in ("src", "tests", "shaders", "data", "po"):
        for path in lint.files(root, folder, ".c", ".h", ".py", ".blp", ".xml", ".build", ".comp", ".glsl", ".css", ".sh", ".in"):
            for number, line in enumerate(lint.read(root, path).split("\n"), 1):
                if OPEN_ENDS.search(line):
                    problems.append(f"{path}:{number}: an open end is left: {line.strip()[:80]}")
                if MACHINE_PLACES.search(line):
                    problems.append(f"{path}:{number}: a place of one machine: {line.strip()[:80]}")
                if folder == "src" and path.endswith((".c", ".h")) and len(line) > COLUMNS_LIMIT:
                    problems.append(f"{path}:{number}: {len(line)} columns; the limit is {COLUMNS_LIMIT}")
    return problems


if __name__ == "__main__":
    lint.report(check(sys.argv[1]))
