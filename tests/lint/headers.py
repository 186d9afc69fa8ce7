#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiles each header below src alone, with the flags of a source file of its room.

    headers.py SOURCE-ROOT BUILD-ROOT
"""

import concurrent.futures
import json
import os
import shlex
import subprocess
import sys

import lint


def flags_by_folder(root, build):
    """Folder below the source root -> compiler and flags of one of its files."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        commands = json.load(file)
    folders = {}
    for entry in commands:
        place = os.path.normpath(os.path.join(entry["directory"], entry["file"]))
        words = shlex.split(entry["command"])
        kept, skip = [], False
        for word in words:
            if skip:
                skip = False
            elif word in ("-o", "-MF", "-MQ", "-MT"):
                skip = True
            elif word not in ("-c", "-MD", "-MMD", entry["file"]):
                kept.append(word)
        folders.setdefault(os.path.dirname(os.path.relpath(place, root)), kept)
    return folders


def flags_for(header, folders):
    """The flags of the header's own folder, or of the nearest one above or below it, or any."""
    folder = os.path.dirname(header)
    while folder:
        for name in sorted(folders):
            if name == folder or name.startswith(folder + "/"):
                return folders[name]
        folder = os.path.dirname(folder)
    return next(iter(folders.values()), ["cc", "-std=gnu17", "-D_GNU_SOURCE"])


def compile_alone(root, build, header, flags):
    words = flags + ["-fdiagnostics-color=never", "-I" + os.path.join(root, "src"), "-Wno-unused-function", "-fsyntax-only", "-x", "c", "-"]
    result = subprocess.run(words, cwd=build, capture_output=True, text=True, input=f'#include "{os.path.join(root, header)}"\n')
    if result.returncode == 0 and not result.stderr:
        return None
    first = next((line for line in result.stderr.splitlines() if "error" in line or "warning" in line), result.stderr.strip())
    return f"{header} does not compile alone: {first}"


def check(root, build):
    folders = flags_by_folder(root, build)
    headers = lint.files(root, "src", ".h")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda header: compile_alone(root, build, header, flags_for(header, folders)), headers)
        return [problem for problem in results if problem]


if __name__ == "__main__":
    lint.report(check(os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])))
