#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what `meson test` left in build folders, shows every failure with its output and ends with one line.

    summary.py BUILD-FOLDER... [--broken BUILD-NAME...]

A build that did not compile counts as one failure. Exits 0 when something passed and nothing failed.
"""

import argparse
import json
import os
import re
import sys

PASSED = {"OK", "EXPECTEDFAIL"}
SKIPPED = {"SKIP"}
SHOWN_LINES = 60


def results(folder):
    """Every test of a build folder: name, how it ended, what it printed."""
    logs = os.path.join(folder, "meson-logs")
    for name in sorted(os.listdir(logs)) if os.path.isdir(logs) else []:
        if not re.fullmatch(r"testlog(-.*)?\.json", name):
            continue
        with open(os.path.join(logs, name), encoding="utf-8", errors="replace") as log:
            for line in log:
                if line.strip():
                    yield json.loads(line)


def output(test):
    text = (test.get("stdout") or "") + (test.get("stderr") or "")
    return text.rstrip().splitlines()


def reason(test):
    for line in output(test):
        if line.startswith("SKIP:"):
            return line[len("SKIP:"):].strip()
    return "no reason given"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--broken", nargs="*", default=[])
    arguments = parser.parse_args()
    passed, failed, skipped = 0, len(arguments.broken), 0
    for folder in arguments.folders:
        build = os.path.basename(os.path.normpath(folder))
        tests = list(results(folder))
        if not tests:
            failed += 1
            print(f"\nFAILED   {build}: its tests were to run, and none left a result")
        for test in tests:
            label = f"{build}: {test['name']}"
            if test["result"] in PASSED:
                passed += 1
            elif test["result"] in SKIPPED:
                skipped += 1
                print(f"skipped  {label}: {reason(test)}")
            else:
                failed += 1
                lines = output(test)
                print(f"\nFAILED   {label} ({test['result'].lower()}, exit {test.get('returncode')}, "
                      f"{test.get('duration', 0):.1f} s)")
                if len(lines) > SHOWN_LINES:
                    print(f"    ... {len(lines) - SHOWN_LINES} lines left out")
                print("\n".join("    " + line for line in lines[-SHOWN_LINES:]))
    for name in arguments.broken:
        print(f"\nFAILED   the build {name}: see above")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if passed > 0 and failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
