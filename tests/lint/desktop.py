#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The desktop file and the metainfo, as the build merged them, are valid, and every icon is well-formed.

    desktop.py SOURCE-ROOT BUILD-ROOT
"""

import os
import subprocess
import sys
import xml.etree.ElementTree

import lint


def complaints(*words):
    result = subprocess.run(words, capture_output=True, text=True)
    if result.returncode == 0:
        return []
    said = (result.stdout + result.stderr).strip().splitlines() or [f"exit code {result.returncode}"]
    return [f"{words[0]}: {line.strip()}" for line in said if line.strip()]


def check(source, build):
    problems = []
    found = {".desktop": 0, ".metainfo.xml": 0}
    for place in (source, build):
        for ending in found:
            for path in lint.files(place, "data", ending):
                found[ending] += 1
                words = ["desktop-file-validate"] if ending == ".desktop" else ["appstreamcli", "validate", "--no-net", "--no-color"]
                problems += complaints(*words, os.path.join(place, path))
    problems += [f"data holds no {ending}" for ending, count in found.items() if count == 0]
    for path in lint.files(source, "data", ".svg", ".xml"):
        try:
            xml.etree.ElementTree.parse(os.path.join(source, path))
        except xml.etree.ElementTree.ParseError as error:
            problems.append(f"{path}: {error}")
    return problems


if __name__ == "__main__":
    lint.report(check(sys.argv[1], sys.argv[2]))
