# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lint scripts share: walking the tree and telling what is wrong.

Each script has a function check(root, ...) that answers a list of problems, one line each; main() prints them and exits 1
when there is one. self_test.py feeds every check a tree in which something is wrong.
"""

import os
import re
import sys


def files(root, folder, *endings):
    """Paths below root/folder that end so, relative to root, in order."""
    found = []
    for place, folders, names in os.walk(os.path.join(root, folder)):
        folders.sort()
        for name in names:
            if name.endswith(endings):
                found.append(os.path.relpath(os.path.join(place, name), root))
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def without_comments(text):
    """C source with every comment replaced by as many line ends; strings stay."""
    def blank(match):
        token = match.group(0)
        return token if token[0] in "\"'" else "\n" * token.count("\n") or " "
    return re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*', blank, text, flags=re.S)


def report(problems):
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems" if len(problems) != 1 else "1 problem")
    sys.exit(1 if problems else 0)
