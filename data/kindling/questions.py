# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the questions: text files of blocks like

    @ id
    ? a phrasing; (this|that) stands for either, (word|) for the word or nothing
    ~ a phrasing that is kept out of the corpus, for the evaluation
    % another one kept out, that shares few words with the others: how far understanding reaches
    ! an answer
    + a regular expression that a right answer matches
    - one that it does not match

A group is a file. Phrasings are written in lower case and without a final mark: phrasing.py makes people's spellings of them.
"""

import os
import re
from dataclasses import dataclass, field

FOLDER = os.path.dirname(os.path.abspath(__file__))
GROUPS = ("hearth", "kindling", "models", "speed", "memory", "experts", "sharing", "privacy", "licence", "cost")
ALTERNATIVES = re.compile(r"\(([^()]*)\)")


@dataclass
class Question:
    id: str
    group: str
    phrasings: list = field(default_factory=list)
    held_out: list = field(default_factory=list)
    far: list = field(default_factory=list)
    answers: list = field(default_factory=list)
    must: list = field(default_factory=list)
    must_not: list = field(default_factory=list)

    def language(self):
        return self.id[:2] if self.group == "languages" else "en"

    def is_right(self, answer):
        """Whether an answer has the facts of this question."""
        return (all(re.search(p, answer, re.I) for p in self.must)
                and not any(re.search(p, answer, re.I) for p in self.must_not))


def read(group):
    """The questions of one file, checked for what is missing."""
    questions = []
    fields = {"?": "phrasings", "~": "held_out", "%": "far", "!": "answers", "+": "must", "-": "must_not"}
    path = os.path.join(FOLDER, "questions", group + ".txt")
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            mark, text = line[0], line[1:].strip()
            if mark == "@":
                questions.append(Question(text, group))
            elif mark in fields and questions and text:
                getattr(questions[-1], fields[mark]).append(text)
            else:
                raise ValueError(f"{path}:{number}: not understood: {line}")
    for question in questions:
        if not (question.phrasings and question.held_out and question.answers and question.must):
            raise ValueError(f"{path}: {question.id} has no phrasing, held-out phrasing, answer or fact")
    return questions


def read_all(groups=GROUPS):
    return [question for group in groups for question in read(group)]


def expansions(text):
    """Every text that a phrasing with alternatives stands for; alternatives may hold alternatives."""
    match = ALTERNATIVES.search(text)
    if not match:
        return [tidy(text)]
    return [made for word in match.group(1).split("|") for made in expansions(text[:match.start()] + word + text[match.end():])]


def expand(rng, text):
    """One of them."""
    while ALTERNATIVES.search(text):
        text = ALTERNATIVES.sub(lambda match: rng.choice(match.group(1).split("|")), text)
    return tidy(text)


def tidy(text):
    """Without the double spaces that alternatives leave."""
    return re.sub(r"\s+", " ", text).strip()


def normal_form(text):
    """What makes two phrasings the same: letters and digits only, without case."""
    return " ".join(re.findall(r"\w+", text.lower()))
