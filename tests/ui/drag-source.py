#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A window of another program, from which the files named on the command line can be dragged: what a file manager offers."""

import sys

import gi

gi.require_version("Gtk", "4.0")
gi.require_version("Gdk", "4.0")
from gi.repository import Gdk, Gio, Gtk  # noqa: E402


def main():
    files = [Gio.File.new_for_path(path) for path in sys.argv[1:]]
    application = Gtk.Application(application_id="dev.hearth.DragSource", flags=Gio.ApplicationFlags.NON_UNIQUE)

    def open_window(_):
        source = Gtk.DragSource(actions=Gdk.DragAction.COPY)
        source.connect("prepare", lambda *_: Gdk.ContentProvider.new_for_value(Gdk.FileList.new_from_list(files)))
        source.connect("drag-begin", lambda *_: print("drag began", flush=True))
        label = Gtk.Label(label="Drag me")
        label.add_controller(source)
        window = Gtk.ApplicationWindow(application=application, title="Files", child=label, default_width=200,
                                       default_height=200)
        window.connect("map", lambda *_: print("ready", flush=True))
        window.present()

    application.connect("activate", open_window)
    application.run([])


if __name__ == "__main__":
    main()
