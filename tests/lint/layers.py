#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads every #include below src and fails on one that the house plan does not allow.

    layers.py SOURCE-ROOT

A room is a folder of src. Its row says which headers of other rooms it may include (a room's name: all of that room's own
headers; a path: only that header) and which libraries. Every room may include its own headers and the C library.
"""

import re
import sys

import lint

C_LIBRARY = re.compile(
    r"(assert|complex|ctype|errno|fenv|float|inttypes|iso646|limits|locale|math|setjmp|signal|stdalign|stdarg|stdatomic|"
    r"stdbool|stddef|stdint|stdio|stdlib|string|strings|time|uchar|wchar|alloca|cpuid|dirent|dlfcn|endian|fcntl|poll|"
    r"pthread|sched|unistd|immintrin|x86intrin|arm_neon|getopt|spawn|"
    r"(sys|linux|asm|sanitizer)/\w+)\.h")

LIBRARIES = {
    "glib": re.compile(r"(glib|glib-object|glib-unix|gmodule|glib/.+|gobject/.+)(\.h)?"),
    "gio": re.compile(r"gio/.+"),
    "soup": re.compile(r"libsoup/.+"),
    "json-glib": re.compile(r"json-glib/.+"),
    "sqlite": re.compile(r"sqlite3\.h"),
    "secret": re.compile(r"libsecret/.+"),
    "portal": re.compile(r"libportal(-gtk4)?/.+"),
    "gtk": re.compile(r"(gtk|gdk|gsk|pango|graphene)[\w-]*(/.+)?\.h"),
    "adwaita": re.compile(r"adwaita\.h"),
    "sourceview": re.compile(r"gtksourceview/.+"),
    "md4c": re.compile(r"md4c\.h"),
    "qrencode": re.compile(r"qrencode\.h"),
    "vulkan": re.compile(r"vulkan/.+"),
}

# room: (what of other rooms, which libraries)
BACKEND = ["base", "gguf/format.h", "backend/backend.h", "backend/impl.h"]
ROOMS = {
    "base": ([], []),
    "gguf": (["base"], []),
    "text/tokenizer": (["base", "gguf"], []),
    "text/template": (["base"], []),
    "text/grammar": (["base"], []),
    "text/reply": (["base"], []),
    "text": (["base", "gguf", "text/tokenizer", "text/template", "text/grammar", "text/reply"], []),
    "backend": (BACKEND, []),
    "backend/null": (BACKEND, []),
    "backend/cpu": (BACKEND + ["backend/cpu/x86"], []),
    "backend/cpu/x86": (BACKEND + ["backend/cpu"], []),
    "backend/vulkan": (BACKEND, ["vulkan"]),
    "hardware": (["base", "backend/backend.h"], []),
    "model": (["base", "gguf", "backend/backend.h"], []),
    "model/family": (["base", "gguf", "backend/backend.h", "model"], []),
    "advisor": (["base", "model", "hardware"], []),
    "engine": (["base", "gguf", "backend", "model", "hardware", "advisor"], []),
    "library": (["base", "gguf", "advisor"], ["glib", "gio", "soup", "json-glib"]),
    "chat": (["base", "gguf", "advisor"], ["glib", "gio", "sqlite", "md4c"]),
    "service": (["base", "engine/engine.h", "text/dialog.h", "advisor", "hardware", "library"],
                ["glib", "gio", "json-glib", "soup"]),
    "service/http": (["base", "engine/engine.h", "text/dialog.h", "advisor", "hardware", "library", "service"],
                     ["glib", "gio", "json-glib", "soup"]),
    "client": ([], ["glib", "gio"]),
    "app": (["client", "library", "chat", "advisor"],
            ["glib", "gio", "gtk", "adwaita", "sourceview", "md4c", "qrencode", "secret", "portal"]),
    "cli": (["base", "gguf", "service", "engine/engine.h", "text", "text/tokenizer", "text/template", "text/grammar",
             "text/reply", "backend/backend.h", "model", "advisor", "hardware", "library"], ["glib", "gio"]),
}
# Made by the build: gdbus-codegen's code, resources and the configuration.
GENERATED = re.compile(r"(hearth-engine-dbus|hearth-resources|hearth-config)\.h")
# Tables that a source file includes into itself.
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>|(\S+))', re.M)


def room_of(path):
    """The room a path below src belongs to: its folder."""
    return path.rpartition("/")[0]


def allowed(room, target, quoted):
    rooms, libraries = ROOMS[room]
    if not quoted:
        return bool(C_LIBRARY.fullmatch(target)) or any(LIBRARIES[name].fullmatch(target) for name in libraries)
    if GENERATED.fullmatch(target):
        return room in ("service", "client", "app", "cli")
    return room_of(target) == room or room_of(target) in rooms or target in rooms


def check(root):
    problems = []
    for path in lint.files(root, "src", ".c", ".h"):
        room = room_of(path[len("src/"):])
        if room not in ROOMS:
            problems.append(f"{path}: the room {room or 'src'} is not in the house plan")
            continue
        text = lint.without_comments(lint.read(root, path))
        for match in INCLUDE.finditer(text):
            quoted, system, other = match.groups()
            line = text.count("\n", 0, match.start()) + 1
            if other or not allowed(room, quoted or system, bool(quoted)):
                problems.append(f"{path}:{line}: {room} may not include {quoted or system or other}")
    return problems


if __name__ == "__main__":
    lint.report(check(sys.argv[1]))
