#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the names that every static library of the build exports: em_ in layers 0-3, hearth_ above.

    symbols.py BUILD-ROOT
"""

import subprocess
import sys

import lint

CORE = {"base", "gguf", "text", "backend", "hardware", "model", "advisor", "engine"}


def check(build):
    problems = []
    libraries = lint.files(build, "src", ".a")
    if not libraries:
        problems.append("there is no static library in the build")
    for library in libraries:
        room = library.split("/")[1]
        prefix = "em_" if room in CORE else "hearth_"
        names = subprocess.run(["nm", "--defined-only", "--extern-only", "--format=posix", library], cwd=build, check=True,
                               capture_output=True, text=True).stdout
        for line in names.splitlines():
            fields = line.split()
            if len(fields) < 2 or line.endswith(":"):
                continue
            # Weak type registration of code made by gdbus-codegen and glib-genmarshal keeps the prefix, with underscores before.
            name = fields[0].lstrip("_")
            if not name.startswith(prefix):
                problems.append(f"{library}: {fields[0]} does not begin with {prefix}")
    return problems


if __name__ == "__main__":
    lint.report(check(sys.argv[1]))
