#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Feeds every lint a tree in which something is wrong, and one in which nothing is: a lint that cannot fail proves nothing."""

import json
import os
import subprocess
import tempfile
import unittest

import desktop
import headers
import layers
import symbols
import translations
import words

SPDX = words.SPDX + "\n"


class Lints(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = folder.name

    def write(self, path, text):
        place = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "w", encoding="utf-8") as file:
            file.write(text)

    def assert_one(self, problems, part):
        self.assertEqual(len(problems), 1, problems)
        self.assertIn(part, problems[0])

    def test_layers_accept_the_plan(self):
        self.write("src/base/a.c", '#include "base/a.h"\n#include <stdio.h>\n#include <sys/stat.h>\n')
        self.write("src/engine/e.c", '#include "model/m.h"\n#include "backend/backend.h"\n')
        self.write("src/app/w.c", '#include "client/c.h"\n#include <adwaita.h>\n#include <glib/gi18n.h>\n')
        self.write("src/text/dialog.c", '#include "text/tokenizer/tokenizer.h"\n')
        self.write("src/model/family/llama.c", '/* #include "engine/engine.h" */\n#include "model/model.h"\n')
        self.assertEqual(layers.check(self.root), [])

    def test_layers_refuse_a_wrong_include(self):
        for path, include in [
                ("src/base/a.c", '"gguf/gguf.h"'), ("src/base/a.c", "<glib.h>"), ("src/engine/e.c", '"text/dialog.h"'),
                ("src/backend/cpu/k.c", '"gguf/gguf.h"'), ("src/backend/cpu/k.c", "<vulkan/vulkan.h>"),
                ("src/backend/cpu/k.c", '"backend/vulkan/v.h"'), ("src/app/w.c", '"engine/engine.h"'),
                ("src/app/w.c", "<libsoup/soup.h>"), ("src/client/c.c", '"service/s.h"'), ("src/chat/c.c", "<gtk/gtk.h>"),
                ("src/hardware/h.c", '"backend/cpu/k.h"'), ("src/base/a.c", '"a.h"'), ("src/base/a.c", '"../gguf/gguf.h"'),
                ("src/service/s.c", '"engine/plan.h"'), ("src/base/a.c", "HEADER")]:
            with self.subTest(path=path, include=include):
                self.write(path, f"int x;\n#  include {include}\n")
                self.assert_one(layers.check(self.root), f"{path}:2: ")
                os.remove(os.path.join(self.root, path))

    def test_layers_refuse_an_unknown_room(self):
        self.write("src/attic/a.c", "int x;\n")
        self.assert_one(layers.check(self.root), "the room attic is not in the house plan")

    def library(self, path, source):
        self.write("x.c", source)
        os.makedirs(os.path.dirname(os.path.join(self.root, path)), exist_ok=True)
        subprocess.run(["cc", "-c", "x.c", "-o", "x.o"], cwd=self.root, check=True)
        subprocess.run(["ar", "rcs", path, "x.o"], cwd=self.root, check=True)

    def test_symbols(self):
        self.library("src/base/libem_base.a", "int em_x; static int y; int em_f(void) { return y; }")
        self.library("src/app/libapp.a", "int hearth_x;")
        self.assertEqual(symbols.check(self.root), [])
        self.library("src/base/libem_base.a", "int helper(void) { return 1; }")
        self.assert_one(symbols.check(self.root), "helper does not begin with em_")
        self.library("src/base/libem_base.a", "int em_x;")
        self.library("src/app/libapp.a", "int em_x;")
        self.assert_one(symbols.check(self.root), "em_x does not begin with hearth_")

    def test_symbols_need_a_library(self):
        self.assert_one(symbols.check(self.root), "no static library")

    def test_headers(self):
        self.write("src/base/a.c", "int x;\n")
        self.write("src/base/good.h", "#pragma once\n#include <stddef.h>\nsize_t em_x(void);\n")
        self.write("compile_commands.json", json.dumps([{
            "directory": self.root, "file": "src/base/a.c", "command": "cc -std=gnu17 -o a.o -c src/base/a.c"}]))
        self.assertEqual(headers.check(self.root, self.root), [])
        self.write("src/base/bad.h", "#pragma once\nsize_t em_y(void);\n")
        self.assert_one(headers.check(self.root, self.root), "src/base/bad.h does not compile alone")

    def test_words(self):
        self.write("src/base/a.c", SPDX + "int x; /* malloc(a * b); abort(); */\n")
        self.write("src/app/a.c", SPDX + "void f(void) { g_assert (TRUE); exit(1); }\n")
        self.assertEqual(words.check(self.root), [])
        for line, part in [
                ("/* TO" "DO later */", "an open end"), ("p = \"/wo" "rk/main\";", "a place of one machine"),
                ("x;" + " " * 140 + "y;", "columns"), ("abort();", "never ends the process"), ("assert(x);", "assert"),
                ("p = malloc(n * sizeof *p);", "multiplied"), ("p = realloc(p, (n + 1) * 4);", "multiplied"),
                ("strcpy(a, b);", "buffer's size"), ("x = setlocale(0, 0);", "locale")]:
            with self.subTest(line=line):
                self.write("src/base/a.c", SPDX + line + "\n")
                self.assert_one(words.check(self.root), part)

    def test_words_licence_and_length(self):
        self.write("src/app/a.c", "int x;\n")
        self.assert_one(words.check(self.root), "the first line is not")
        self.write("src/app/a.c", SPDX + "\n" * words.LINES_LIMIT)
        self.assert_one(words.check(self.root), "901 lines")

    def test_translations(self):
        self.write("src/app/a.c", 'char *s = _("Hello");\n')
        self.write("src/app/b.c", '#define _(x) x\n/* _("no") */\n')
        self.assert_one(translations.check(self.root), "there is no po/POTFILES")
        self.write("po/POTFILES", "# comment\nsrc/app/a.c\n")
        self.assertEqual(translations.check(self.root), [])
        self.write("src/app/window.blp", 'Button { label: _("Send"); }\n')
        self.assert_one(translations.check(self.root), "src/app/window.blp: not listed")
        self.write("po/POTFILES", "src/app/a.c\nsrc/app/window.blp\nsrc/app/b.c\n")
        self.assert_one(translations.check(self.root), "src/app/b.c has no words")

    def test_desktop(self):
        good = "[Desktop Entry]\nType=Application\nName=X\nExec=x\nCategories=Utility;\n"
        info = ('<?xml version="1.0"?>\n<component type="desktop-application"><id>dev.hearth.X</id><metadata_license>CC0-1.0'
                '</metadata_license><project_license>GPL-3.0-or-later</project_license><name>X</name><summary>Do a thing'
                '</summary><description><p>A thing that is done well and often by people who like to do it.</p></description>'
                '<developer id="dev.hearth"><name>X</name></developer><launchable type="desktop-id">dev.hearth.X.desktop'
                '</launchable><url type="homepage">https://example.org</url><content_rating type="oars-1.1"/>'
                '<releases><release version="1" date="2026-01-01"/></releases></component>\n')
        self.write("data/dev.hearth.X.desktop", good)
        self.write("data/dev.hearth.X.metainfo.xml", info)
        empty = os.path.join(self.root, "empty")
        self.assertEqual(desktop.check(self.root, empty), [])
        self.write("data/dev.hearth.X.desktop", good.replace("Type=", "Kind="))
        self.assertTrue(desktop.check(self.root, empty))
        self.write("data/dev.hearth.X.desktop", good)
        self.write("data/dev.hearth.X.metainfo.xml", info.replace("<id>dev.hearth.X</id>", ""))
        self.assertTrue(desktop.check(self.root, empty))
        self.write("data/dev.hearth.X.metainfo.xml", info)
        self.write("data/icon.svg", "<svg>")
        self.assert_one(desktop.check(self.root, empty), "icon.svg")
        self.assertEqual(len(desktop.check(empty, empty)), 2)


if __name__ == "__main__":
    unittest.main()
