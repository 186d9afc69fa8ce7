#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person does with Hearth, from the first start to the deleted conversation.

    scenarios.py NAME BUILD OUT     BUILD: the build folder; OUT: where pictures go
"""

import os
import re
import signal
import subprocess

import hearth_ui
from hearth_ui import Failure, Hearth, Screen, run, wait_for

CHOOSE = re.compile("^Choose a File")
NOTHING = re.compile("had nothing to say")
DIED = "(?i)engine stopped"


# Random models of our own. The quick one ends its answers after some hundred words; the slow one goes on for half a minute,
# long enough to be interrupted at leisure.
QUICK = ("end-logit=3", "context=8192")
SLOW = ("layers=4", "embd=512", "heads=8", "kv-heads=8", "ff=2048", "context=8192")


def tiny_model(screen, build, options=QUICK, name="tiny.gguf"):
    path = screen.path(name)
    run(os.path.join(build, "tests/make-tiny-model"), path, *options)
    return path


def start_with_model(screen, build, options=QUICK):
    hearth = Hearth(screen, build)
    hearth.add_model(tiny_model(screen, build, options))
    hearth.find("Message", hearth_ui.ENTRY)
    return hearth


def ask(hearth, text):
    hearth.write("Message", text)
    hearth.press("Send")
    hearth.wait_text(re.escape(text))


def wait_for_answer(hearth, timeout=30):
    """Until the answer is whole. A random model now and then ends before its first word; then it is asked once more."""
    def whole():
        if hearth.find_all("Stop", hearth_ui.BUTTON):
            return False
        if hearth.find_all(NOTHING):
            hearth.press_if_there("Try Again")
            return False
        messages = hearth.messages()
        return messages and messages[-1][0].startswith("Answer") and messages[-1][1].strip()
    hearth.wait("a whole answer", whole, timeout)


def first_run(build, out):
    """Nothing is there yet: one sentence, one obvious button."""
    with Screen() as screen:
        hearth = Hearth(screen, build)
        hearth.find("Drop a Model File Here")
        hearth.find(CHOOSE, hearth_ui.BUTTON)
        if hearth.find_all("Message", hearth_ui.ENTRY):
            raise Failure(f"one can write although there is no model\n{hearth.tree()}")
        hearth.screenshot(os.path.join(out, "first-run.png"))
        hearth.quit()


def chat(build, out):
    """A model is added, a question asked, the answer streams and ends with its speed."""
    with Screen() as screen:
        hearth = start_with_model(screen, build)
        for question in ("Hello, who are you?", "And what can you do?", "Tell me more."):
            ask(hearth, question)
            wait_for_answer(hearth)
        if len(hearth.messages()) != 6:
            raise Failure(f"there should be three questions and three answers: {hearth.messages()}")
        hearth.wait_text(hearth_ui.SPEED)
        hearth.find("Copy")
        hearth.quit()


def drag(build, out):
    """A file is dragged from another program's window onto Hearth's, with the mouse."""
    with Screen() as screen:
        model = tiny_model(screen, build)
        hearth = Hearth(screen, build)
        hearth.resize(700, 700)
        told = screen.path("drag-source.log")
        with open(told, "w", encoding="utf-8") as log:
            screen.spawn([hearth_ui.PYTHON, os.path.join(os.path.dirname(__file__), "drag-source.py"), model], stdout=log)

        def source_said(words):
            with open(told, encoding="utf-8") as log:
                return words in log.read()
        wait_for("the window to drag from", lambda: source_said("ready"))
        number = wait_for("the window to drag from", lambda: subprocess.run(
            ["xdotool", "search", "--onlyvisible", "--name", "^Files$"], capture_output=True, text=True).stdout.split())[0]
        run("xdotool", "windowmove", number, "900", "100")
        wait_for("the window to move", lambda: hearth_ui.area(number)[0] > 800)

        def offered():
            if not hearth.find_all("Drop to Add This Model"):
                return False
            return hearth.screenshot(os.path.join(out, "drag.png"))
        hearth_ui.drag_between(hearth_ui.centre(number), hearth_ui.centre(hearth.window()),
                               lambda: source_said("drag began"), offered)
        hearth.find("Message", hearth_ui.ENTRY)
        ask(hearth, "Hello")
        wait_for_answer(hearth)
        hearth.quit()


def stop(build, out):
    """Stop ends an answer at once; what came of it stays."""
    with Screen() as screen:
        hearth = start_with_model(screen, build, SLOW)
        ask(hearth, "Tell me a long story.")
        hearth.press("Stop")
        hearth.gone("Stop", timeout=5)
        ask(hearth, "A shorter one, please.")
        hearth.press("Stop")
        hearth.gone("Stop", timeout=5)
        hearth.wait_text("Tell me a long story")
        hearth.quit()


def crash(build, out):
    """The engine is killed in the middle of an answer: one sentence, the conversation is there, and it goes on."""
    with Screen() as screen:
        hearth = start_with_model(screen, build, SLOW)
        ask(hearth, "Tell me a long story.")
        hearth.find("Stop")
        dead = hearth.kill_engine(signal.SIGSEGV)
        hearth.wait_text(DIED)
        hearth.screenshot(os.path.join(out, "engine-died.png"))
        hearth.wait_text("Tell me a long story")
        wait_for("a new engine", lambda: hearth.engine_pid() not in (None, dead), 5)
        hearth.press("Try Again")
        hearth.find("Stop")
        hearth.press("Stop")
        hearth.gone("Stop", timeout=5)
        hearth.quit()


def reopen(build, out):
    """After quitting, the conversation is there again, word for word."""
    with Screen() as screen:
        hearth = start_with_model(screen, build)
        ask(hearth, "Please remember the word juniper.")
        wait_for_answer(hearth)
        before = hearth.messages()
        hearth.quit()
        hearth.launch()
        hearth.open_conversation(re.compile("juniper"))
        hearth.wait_text("Please remember the word juniper")
        try:
            wait_for("the same messages", lambda: hearth.messages() == before, 5)
        except Failure:
            raise Failure(f"before: {before}\nafter:  {hearth.messages()}") from None
        ask(hearth, "Go on.")
        wait_for_answer(hearth)
        hearth.quit()


def device(build, out):
    """The chooser says which device answers; a banner, why the processor does although a card was to."""
    with Screen() as screen:
        hearth = Hearth(screen, build, environment={"HEARTH_DEVICE": "vulkan:99"})
        hearth.add_model(tiny_model(screen, build))
        hearth.find("Message", hearth_ui.ENTRY)
        hearth.wait_text("graphics card cannot run this model")
        hearth.screenshot(os.path.join(out, "processor-answers.png"))
        hearth.press("Details")
        hearth.wait_text("there is no device vulkan:99")
        hearth.wait_text("In use: cpu")
        hearth.press("Hide Notice")
        hearth.gone(re.compile("graphics card cannot run"))
        hearth.press(re.compile("^Model: "), "toggle button")
        hearth.wait_text("The processor answers")
        hearth.key("Escape")
        ask(hearth, "Hello")
        wait_for_answer(hearth)
        hearth.quit()

        devices = run(os.path.join(build, "src/cli/hearth-engine"), "devices")
        software = re.search("^(vulkan:[0-9]+)\t.*software Vulkan", devices, re.M)
        if software:
            hearth.launch(environment={"HEARTH_DEVICE": software[1]})
            hearth.find("Message", hearth_ui.ENTRY)
            ask(hearth, "Hello again")
            wait_for_answer(hearth, 60)
            if hearth.find_all(re.compile("processor answers")):
                raise Failure(f"a banner although the card answers\n{hearth.tree()}")
            hearth.press(re.compile("^Model: "), "toggle button")
            hearth.wait_text("The graphics card answers")
            hearth.screenshot(os.path.join(out, "card-answers.png"))
            hearth.key("Escape")
            hearth.quit()


def rename_and_delete(build, out):
    """A conversation gets another name; deleted, it can be brought back, and stays deleted when it is not."""
    with Screen() as screen:
        hearth = start_with_model(screen, build)
        ask(hearth, "First question")
        wait_for_answer(hearth)
        hearth.rename_conversation("A better name")
        hearth.find(re.compile("A better name"))
        hearth.delete_conversation()
        hearth.press("Undo")
        hearth.find(re.compile("A better name"))
        hearth.delete_conversation()
        hearth.gone(re.compile("A better name"))
        hearth.quit()
        hearth.launch()
        hearth.find("Message", hearth_ui.ENTRY)
        if hearth.find_all(re.compile("A better name")):
            raise Failure("the deleted conversation came back")
        hearth.quit()


def refused(build, out):
    """What is no model is refused in one sentence, and nothing that was there is lost."""
    with Screen() as screen:
        hearth = start_with_model(screen, build)
        ask(hearth, "Are you still there?")
        wait_for_answer(hearth)
        with open(screen.path("letter.gguf"), "w", encoding="utf-8") as letter:
            letter.write("Dear friend, this is not a model.\n" * 100)
        with open(screen.path("tiny.gguf"), "rb") as whole, open(screen.path("cut.gguf"), "wb") as cut:
            cut.write(whole.read(os.path.getsize(screen.path("tiny.gguf")) // 2))
        for name, words in (("letter.gguf", "(?i)not a model|no model|not a GGUF"),
                            ("cut.gguf", "(?i)damaged|completely|cut short|truncated"),
                            ("nowhere.gguf", "(?i)not there|no such|could not be (read|found)")):
            hearth.add_model(screen.path(name))
            hearth.wait_text(words)
            hearth.screenshot(os.path.join(out, f"refused-{name.split('.')[0]}.png"))
            hearth.dismiss()
        hearth.wait_text("Are you still there")
        ask(hearth, "Good.")
        wait_for_answer(hearth)
        hearth.quit()


def keyboard(build, out):
    """Everything of a conversation without a mouse."""
    with Screen() as screen:
        hearth = start_with_model(screen, build)
        hearth.focus_window()
        hearth.key("ctrl+n")
        wait_for("the message line to have the focus", lambda: hearth.has_focus("Message"))
        hearth.type("Typed by hand")
        hearth.key("Return")
        hearth.wait_text("Typed by hand")
        wait_for_answer(hearth)
        hearth.key("ctrl+n")
        hearth.key("ctrl+q")
        hearth.process.wait(20)


def pictures(build, out, dark=False):
    """Each state at 360 and 1200 pixels."""
    with Screen(dark=dark) as screen:
        def pair(name):
            for width in (1200, 360):
                hearth.resize(width, 760)
                hearth.screenshot(os.path.join(out, f"{name}-{width}-{'dark' if dark else 'light'}.png"))
        hearth = Hearth(screen, build)
        hearth.find(CHOOSE, hearth_ui.BUTTON)
        pair("1-no-model")
        hearth.add_model(tiny_model(screen, build, SLOW, "slow.gguf"))
        hearth.find("Message", hearth_ui.ENTRY)
        pair("2-ready")
        ask(hearth, "What is a hearth?")
        hearth.find("Stop", hearth_ui.BUTTON)
        pair("3-answering")
        hearth.kill_engine()
        hearth.wait_text(DIED)
        pair("4-engine-died")
        hearth.add_model(tiny_model(screen, build))
        hearth.wait_text("Model: tiny")
        hearth.press("New Conversation")
        ask(hearth, "Tell me a story in two sentences.")
        wait_for_answer(hearth)
        pair("5-answered")
        hearth.add_model(os.path.abspath(__file__))
        hearth.find(role=("alert", "dialog"))
        pair("6-refused")
        hearth.dismiss()
        stories = os.path.join(os.environ.get("HEARTH_SHARED", "nowhere"), "data/stories260K/stories260K-f32.gguf")
        if os.path.exists(stories):
            hearth.add_model(stories)
            hearth.wait_text("Model: stories260K")
            hearth.press("New Conversation")
            ask(hearth, "Once upon a time, a little dragon lived near a warm fire.")
            wait_for_answer(hearth)
            pair("7-story")
        hearth.quit()


def pictures_dark(build, out):
    pictures(build, out, dark=True)


SCENARIOS = {function.__name__.replace("_", "-"): function for function in (
    first_run, chat, drag, stop, crash, reopen, device, rename_and_delete, refused, keyboard, pictures, pictures_dark)}

if __name__ == "__main__":
    os.environ.setdefault("HEARTH_DEVICE", "cpu")  # whatever this computer has
    hearth_ui.main(SCENARIOS)
