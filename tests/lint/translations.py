#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every file with words for people is listed in po/POTFILES.in or po/POTFILES, and every listed file is there.

    translations.py SOURCE-ROOT
"""

import os
import re
import sys

import lint

C_WORDS = re.compile(r'\b(?:_|N_|C_|NC_|Q_|gettext|ngettext|dgettext|dngettext|g_dngettext|g_dpgettext2?)\s*\(')
BLUEPRINT_WORDS = re.compile(r'\bC?_\s*\(')
ENDINGS = (".c", ".h", ".blp", ".ui", ".desktop.in", ".desktop.in.in", ".metainfo.xml.in", ".metainfo.xml.in.in",
           ".gschema.xml")


def has_words(path, text):
    if path.endswith((".c", ".h")):
        return bool(C_WORDS.search(re.sub(r"(?m)^[ \t]*#.*$", "", lint.without_comments(text))))
    if path.endswith(".blp"):
        return bool(BLUEPRINT_WORDS.search(lint.without_comments(text)))
    if path.endswith(".ui"):
        return 'translatable="' in text
    return not path.endswith(".gschema.xml") or "gettext-domain" in text


def check(root):
    listed = None
    for name in ("po/POTFILES", "po/POTFILES.in"):
        if os.path.exists(os.path.join(root, name)):
            lines = [line.strip() for line in lint.read(root, name).splitlines()]
            listed = [line for line in lines if line and not line.startswith("#")]
            break
    with_words = [path for folder in ("src", "data") for path in lint.files(root, folder, *ENDINGS)
                  if has_words(path, lint.read(root, path))]
    if listed is None:
        return [f"{path}: it has words for people, and there is no po/POTFILES" for path in with_words]
    problems = [f"{path}: not listed in {name}" for path in with_words if path not in listed]
    problems += [f"{name}: {path} has no words for people, or is not there" for path in listed if path not in with_words]
    problems += [f"{name}: {path} is listed twice" for path in sorted(set(listed)) if listed.count(path) > 1]
    return problems


if __name__ == "__main__":
    lint.report(check(sys.argv[1]))
