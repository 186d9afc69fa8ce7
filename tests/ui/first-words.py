#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens Hearth on a virtual screen, adds a model, says one thing, waits for the answer and takes a picture of it.

    first-words.py BUILD MODEL OUT
"""

import os
import sys
import time

import hearth_ui
import scenarios
from hearth_ui import Failure, Hearth, Screen

LOADING_S, ANSWER_S = 600, 600


def main():
    build, model, out = sys.argv[1:4]
    begun = time.monotonic()
    with Screen(width=1100, height=800) as screen:
        hearth = Hearth(screen, build)
        print(f"the window is there after {time.monotonic() - begun:.1f} s", flush=True)
        hearth.add_model(model)
        hearth.find("Message", hearth_ui.ENTRY, LOADING_S)
        hearth.resize(1000, 700)
        asked = time.monotonic()
        scenarios.ask(hearth, "What is a hearth, in one sentence?")
        scenarios.wait_for_answer(hearth, ANSWER_S)
        print(f"the answer took {time.monotonic() - asked:.1f} s:\n{hearth.messages()[-1][1].strip()}", flush=True)
        picture = hearth.screenshot(os.path.join(out, "first-words.png"))
        hearth.quit()
    print(f"the screenshot is {picture}")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(str(failure))
