# SPDX-License-Identifier: GPL-3.0-or-later
"""A virtual screen, and Hearth on it, driven as a person with a screen reader would: through AT-SPI, keys and the mouse.

    with Screen() as screen:
        hearth = Hearth(screen, build)
        hearth.press("Add a Model")

A Screen has an X server, a window manager, a session bus and a home folder of its own, and takes them all with it when
it ends; a process has one, because the accessibility library knows one bus. Nothing here sleeps for a fixed time but the
hand that moves the mouse: everything waits for what it expects, until a deadline.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

WAIT_S = 40.0
POLL_S = 0.05
HAND_S = 0.3
APP_ID = "dev.hearth.Hearth"
APP_PATH = "/dev/hearth/Hearth"
PYTHON = sys.executable
SPEED = re.compile("words? a second")
# Roles by name; accessibility libraries spell some of them in two ways.
BUTTON = ("button", "push button", "toggle button", "menu item")
ENTRY = ("text", "entry", "text box", "editable")


class Failure(Exception):
    """What a scenario expected did not come."""


def wait_for(what, question, timeout=WAIT_S):
    """Asks until the answer is true, and gives it back."""
    deadline = time.monotonic() + timeout
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise Failure(f"waited {timeout:.0f} s for {what}")
        time.sleep(POLL_S)


def run(*words):
    result = subprocess.run(words, capture_output=True, text=True)
    if result.returncode != 0:
        raise Failure(f"{' '.join(words)} ended with {result.returncode}: {result.stderr.strip()}")
    return result.stdout


def area(number):
    """x, y, width, height of an X window on the screen."""
    values = dict(line.split("=") for line in run("xdotool", "getwindowgeometry", "--shell", number).split())
    return tuple(int(values[name]) for name in ("X", "Y", "WIDTH", "HEIGHT"))


def centre(number):
    x, y, width, height = area(number)
    return x + width // 2, y + height // 2


def move_mouse(start, end, steps=20):
    """In small steps, as a hand does, and as slowly: GTK takes no movement in the first 0.1 s after a press for a drag."""
    for step in range(1, steps + 1):
        x, y = (start[axis] + (end[axis] - start[axis]) * step // steps for axis in (0, 1))
        run("xdotool", "mousemove", str(x), str(y))
        time.sleep(HAND_S / steps)


def drag_between(start, end, begun, over):
    """Presses the left button at one place, moves to the other and lets go. begun: asks whether the drag has begun; over: asks
    whether the target shows that it would take it. A press that came before a window was ready, or a drag that was lost on
    the way, is tried again, as a person would."""
    for _ in range(4):
        try:
            drag_once(start, end, begun, over)
            return
        except Failure:
            run("xdotool", "mouseup", "1")
    drag_once(start, end, begun, over)


def drag_once(start, end, begun, over):
    run("xdotool", "mousemove", str(start[0]), str(start[1]), "mousedown", "1")
    move_mouse(start, (start[0] - 30, start[1] + 30))
    wait_for("the drag to begin", begun, 3)
    move_mouse((start[0] - 30, start[1] + 30), end)
    places = [end, (end[0] + 5, end[1] + 5)]

    def shown():
        places.reverse()
        run("xdotool", "mousemove", str(places[0][0]), str(places[0][1]))
        return over()
    wait_for("the window to offer to take it", shown, 6)
    run("xdotool", "mouseup", "1")


class Screen:
    def __init__(self, width=1400, height=1000, dark=False):
        self.size = f"{width}x{height}x24"
        self.dark = dark
        self.processes = []

    def __enter__(self):
        self.home = tempfile.mkdtemp(prefix="hearth-ui-")
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def start(self):
        for name in ("home", "data", "config/gtk-4.0", "cache", "state", "run"):
            os.makedirs(os.path.join(self.home, name))
        os.chmod(os.path.join(self.home, "run"), 0o700)
        with open(os.path.join(self.home, "config/gtk-4.0/settings.ini"), "w", encoding="utf-8") as settings:
            settings.write("[Settings]\ngtk-font-name=Cantarell 11\n")
        for name in ("WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS", "AT_SPI_BUS_ADDRESS"):
            os.environ.pop(name, None)
        os.environ.update(
            HOME=os.path.join(self.home, "home"), XDG_DATA_HOME=os.path.join(self.home, "data"),
            XDG_CONFIG_HOME=os.path.join(self.home, "config"), XDG_CACHE_HOME=os.path.join(self.home, "cache"),
            XDG_STATE_HOME=os.path.join(self.home, "state"), XDG_RUNTIME_DIR=os.path.join(self.home, "run"),
            GSK_RENDERER="cairo", GDK_BACKEND="x11", GTK_A11Y="atspi", GSETTINGS_BACKEND="keyfile", ADW_DISABLE_PORTAL="1",
            GTK_USE_PORTAL="0", LANG="C.UTF-8", LC_ALL="C.UTF-8",
            ADW_DEBUG_COLOR_SCHEME="prefer-dark" if self.dark else "prefer-light")
        # The X server tells the number of a free display itself, so that two screens never meet. It is not to start afresh
        # when its last client leaves: the first one may be a look at whether the window manager is there.
        ready, tell = os.pipe()
        self.spawn(["Xvfb", "-displayfd", str(tell), "-screen", "0", self.size, "-nolisten", "tcp", "-noreset"], pass_fds=[tell])
        os.close(tell)
        with os.fdopen(ready) as number:
            display = number.readline().strip()
        if not display:
            raise Failure("Xvfb did not start")
        os.environ["DISPLAY"] = ":" + display
        bus = self.spawn(["dbus-daemon", "--session", "--nofork", "--print-address=1"], stdout=subprocess.PIPE, text=True)
        os.environ["DBUS_SESSION_BUS_ADDRESS"] = bus.stdout.readline().strip()
        # Its own word that it runs is waited for: it claims the screen long before, and may lose a window mapped in between.
        runs = os.path.join(self.home, "window-manager-runs")
        self.spawn(["openbox", "--sm-disable", "--startup", f"touch {runs}"])
        wait_for("the window manager", lambda: os.path.exists(runs))

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def spawn(self, words, **options):
        options.setdefault("stdout", subprocess.DEVNULL)
        options.setdefault("stderr", subprocess.DEVNULL)
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, **options)
        self.processes.append(process)
        return process

    def path(self, name):
        """A place for a file of the scenario's own."""
        return os.path.join(self.home, "home", name)


def atspi():
    """The accessibility library, which may be loaded only once the session bus is there."""
    import gi
    gi.require_version("Atspi", "2.0")
    from gi.repository import Atspi, GLib
    # The library warns about every program that keeps no cache for it.
    GLib.log_set_handler("dbind", GLib.LogLevelFlags.LEVEL_WARNING, lambda *_: None, None)
    context = GLib.MainContext.default()
    while context.iteration(False):
        pass
    return Atspi


class Hearth:
    def __init__(self, screen, build, arguments=(), environment=None):
        self.screen, self.build = screen, os.path.abspath(build)
        self.log_path = os.path.join(screen.home, f"hearth-{len(screen.processes)}.log")
        self.launch(arguments, environment)

    def launch(self, arguments=(), environment=None):
        environment = dict(os.environ, **(environment or {}))
        environment.setdefault("G_DEBUG", "fatal-criticals")
        environment["GSETTINGS_SCHEMA_DIR"] = os.path.join(self.build, "data")
        environment["HEARTH_ENGINE"] = os.path.join(self.build, "src/cli/hearth-engine")
        self.log = open(self.log_path, "a", encoding="utf-8")
        self.process = self.screen.spawn([os.path.join(self.build, "src/app/hearth"), *arguments], env=environment,
                                         stdout=self.log, stderr=self.log)
        self.application = wait_for("Hearth's window", self.find_application, 60)

    def words_it_said(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    # --- what is on the screen ----------------------------------------------------------------------------------------

    def check_alive(self):
        code = self.process.poll()
        if code is not None:
            raise Failure(f"Hearth ended with {code}; it said:\n{self.words_it_said()}")

    def find_application(self):
        self.check_alive()
        Atspi = atspi()
        desktop = Atspi.get_desktop(0)
        desktop.clear_cache()
        for index in range(desktop.get_child_count()):
            child = desktop.get_child_at_index(index)
            if child and child.get_process_id() == self.process.pid and child.get_child_count() > 0:
                return child
        return None

    def everything(self, root=None):
        """Every accessible that is showing, from the window (or another one) downwards, dialogs included."""
        import gi.repository.GLib as GLib
        Atspi = atspi()
        self.check_alive()
        found = []
        root = root or self.application
        pending = [root]
        while pending:
            item = pending.pop()
            try:
                item.clear_cache_single()
                if item is not root:
                    if not item.get_state_set().contains(Atspi.StateType.SHOWING):
                        continue
                    found.append(item)
                children = [item.get_child_at_index(index) for index in range(item.get_child_count())]
            except GLib.Error:
                continue  # It went away while we looked.
            pending.extend(child for child in reversed(children) if child)
        return found

    def find_all(self, name=None, role=None):
        """Accessibles by name (a string, or a compiled pattern searched for) and role name."""
        import gi.repository.GLib as GLib
        matches = []
        for item in self.everything():
            try:
                item_name, item_role = item.get_name() or "", item.get_role_name()
            except GLib.Error:
                continue
            if role and item_role not in (role if isinstance(role, tuple) else (role,)):
                continue
            if isinstance(name, str) and item_name != name:
                continue
            if name and not isinstance(name, str) and not name.search(item_name):
                continue
            matches.append(item)
        return matches

    def find(self, name=None, role=None, timeout=WAIT_S):
        matches = self.wait(f"{role or 'something'} named {name!r}", lambda: self.find_all(name, role), timeout)
        return matches[0]

    def gone(self, name=None, role=None, timeout=WAIT_S):
        self.wait(f"{name!r} to go away", lambda: not self.find_all(name, role), timeout)

    def wait(self, what, question, timeout=WAIT_S):
        """wait_for, with a picture of the widgets in the message when it fails."""
        try:
            return wait_for(what, question, timeout)
        except Failure as failure:
            raise Failure(f"{failure}; on the screen:\n{self.tree()}\nHearth said:\n{self.words_it_said()}") from None

    def tree(self):
        lines = []
        for item in self.everything():
            name, text = item.get_name() or "", self.text_of(item)
            if name or text:
                lines.append(f"  {item.get_role_name()}: {name!r}" + (f" {text[:120]!r}" if text and text != name else ""))
        return "\n".join(lines[:150])

    def text_of(self, item):
        import gi.repository.GLib as GLib
        try:
            if not item.is_text():
                return ""
            return atspi().Text.get_text(item, 0, atspi().Text.get_character_count(item))
        except GLib.Error:
            return ""

    def all_text(self):
        """Every word that is showing, a line each."""
        lines = []
        for item in self.everything():
            lines.append(item.get_name() or "")
            lines.append(self.text_of(item))
        return "\n".join(line for line in lines if line)

    def wait_text(self, pattern, timeout=WAIT_S):
        compiled = re.compile(pattern)
        return self.wait(f"the words {pattern!r}", lambda: compiled.search(self.all_text()), timeout)

    def has_state(self, item, state):
        item.clear_cache_single()
        return item.get_state_set().contains(getattr(atspi().StateType, state))

    # --- what a person does -------------------------------------------------------------------------------------------

    def press(self, name, role=BUTTON, timeout=WAIT_S):
        """Presses a button that is there and can be pressed."""
        self.wait(f"a button {name!r} that can be pressed", lambda: self.press_if_there(name, role), timeout)

    def press_if_there(self, name, role=BUTTON):
        """Whether it was there and took the press; one that goes away as it is pressed may have taken it and not say so."""
        import gi.repository.GLib as GLib
        for item in self.find_all(name, role):
            try:
                if self.has_state(item, "SENSITIVE") and item.is_action() and item.get_n_actions() > 0:
                    return atspi().Action.do_action(item, 0)
            except GLib.Error:
                continue
        return False

    def has_focus(self, name):
        return any(self.has_state(item, "FOCUSED") for item in self.find_all(name))

    def messages(self):
        """The conversation as (who, words), in order, without what changes with time."""
        found = []
        for group in self.find_all(re.compile("^(Your message|Answer)"), "grouping"):
            words = [self.text_of(label) for label in self.everything(group) if label.get_role_name() in ("label", "text")]
            found.append((group.get_name(), "\n".join(line for line in words if not SPEED.search(line))))
        return found

    def press_menu_item(self, menu, index):
        """Opens a menu and chooses by place: GTK's menu items carry no name of their own here."""
        self.press(menu, "toggle button")
        items = self.wait(f"the items of {menu}", lambda: self.find_all(role="menu item"))
        atspi().Action.do_action(items[index], 0)

    def rename_conversation(self, title):
        """The topmost conversation of the list."""
        self.press_menu_item("Conversation Menu", 0)
        self.find("Cancel", BUTTON)
        entries = self.wait("a line for the new name", lambda: [
            item for item in self.find_all(role=ENTRY) if item.get_name() != "Message" and self.text_of(item)])
        atspi().EditableText.set_text_contents(entries[0], title)
        self.press("Rename")

    def delete_conversation(self):
        self.press_menu_item("Conversation Menu", 1)

    def open_conversation(self, title):
        """A row of the list, by its title."""
        self.click(self.find(title, "list item"))

    def click(self, item):
        """The mouse on the middle of it."""
        number = self.focus_window()
        x, y = area(number)[:2]
        place = atspi().Component.get_extents(item, atspi().CoordType.WINDOW)
        run("xdotool", "mousemove", str(x + place.x + place.width // 2), str(y + place.y + place.height // 2), "click", "1")

    def dismiss(self):
        """Leaves a dialog with the Escape key."""
        self.focus_window()
        self.key("Escape")
        self.gone(role=("alert", "dialog"))

    def window(self):
        """The X window's number."""
        def visible():
            result = subprocess.run(["xdotool", "search", "--onlyvisible", "--pid", str(self.process.pid)],
                                    capture_output=True, text=True)
            sizes = [(area(number)[2] * area(number)[3], number) for number in result.stdout.split()]
            return max(sizes)[1] if sizes else None
        return wait_for("Hearth's window on the X server", visible)

    def focus_window(self):
        number = self.window()
        run("xdotool", "windowactivate", "--sync", number)
        return number

    def key(self, *keys):
        """Keys as xdotool names them, to the window that has the focus."""
        run("xdotool", "key", "--clearmodifiers", "--delay", "20", *keys)

    def type(self, text):
        run("xdotool", "type", "--clearmodifiers", "--delay", "10", text)

    def write(self, name, text):
        """Puts text into the entry or text view of that name, through accessibility."""
        item = self.find(name, ENTRY)
        if not atspi().EditableText.set_text_contents(item, text):
            raise Failure(f"{name} took no text")

    def resize(self, width, height):
        number = self.focus_window()
        run("xdotool", "windowsize", "--sync", number, str(width), str(height))
        run("xdotool", "windowmove", number, "0", "0")
        wait_for(f"a width of {width}", lambda: area(number)[2] == width)

    def activate(self, action, *parameters):
        """An action of the application, over the session bus: what a desktop's menu or a notification does."""
        from gi.repository import Gio, GLib
        bus = Gio.bus_get_sync(Gio.BusType.SESSION, None)
        values = [GLib.Variant("s", parameter) for parameter in parameters]
        bus.call_sync(APP_ID, APP_PATH, "org.gtk.Actions", "Activate",
                      GLib.Variant("(sava{sv})", (action, values, {})), None, Gio.DBusCallFlags.NONE, 5000, None)

    def add_model(self, path):
        """What a drop on the window does, through the same handler."""
        self.activate("add-model", os.path.abspath(path))

    def screenshot(self, path):
        """The window as it is once two pictures in a row are the same (a spinner gives up the wait)."""
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        number, last, deadline = self.window(), None, time.monotonic() + 3
        while True:
            run("import", "-window", number, path)
            with open(path, "rb") as file:
                picture = file.read()
            if picture == last or time.monotonic() > deadline:
                return path
            last = picture
            time.sleep(2 * POLL_S)

    # --- the processes ------------------------------------------------------------------------------------------------

    def engine_pid(self):
        """The engine process, a child of the app, or None."""
        result = subprocess.run(["pgrep", "-P", str(self.process.pid), "-f", "hearth-engine"], capture_output=True, text=True)
        pids = [int(word) for word in result.stdout.split()]
        return pids[0] if pids else None

    def kill_engine(self, number=signal.SIGSEGV):
        """Kills it and gives back its process id."""
        pid = wait_for("the engine process", self.engine_pid)
        os.kill(pid, number)
        return pid

    def quit(self):
        """Ends the app as its menu does, and waits for it and its engine to be gone."""
        engine = self.engine_pid()
        self.activate("quit")
        try:
            code = self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            raise Failure(f"Hearth did not quit\n{self.words_it_said()}") from None
        if code != 0:
            raise Failure(f"Hearth ended with {code}; it said:\n{self.words_it_said()}")
        if engine:
            wait_for("the engine to end with the app", lambda: not os.path.exists(f"/proc/{engine}"))


def main(scenarios):
    """scenarios.py NAME BUILD OUT: runs one; its failure is told in plain words."""
    name, build, out = sys.argv[1:4]
    try:
        scenarios[name](build, out)
    except Failure as failure:
        print(failure)
        sys.exit(1)
    print("ok")
