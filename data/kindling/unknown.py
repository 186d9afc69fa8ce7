# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions on everything else, which the practice model declines, pointing to a bigger model."""

import os
import re

import phrasing

FOLDER = os.path.dirname(os.path.abspath(__file__))
# A right refusal names the bigger model; an invented fact mostly does not.
MUST = {"en": "bigger model", "de": "größeren? modell|größeres modell", "fr": "plus grand modèle", "es": "modelo más grande",
        "it": "modello più grande", "pt": "modelo maior"}

DECLINES = (
    "I do not know that. I am only a practice model; drop a bigger model on this window and ask it.",
    "That is beyond me: I am a small practice model. A bigger model, dropped on this window, can answer it.",
    "I cannot answer that, for I am only a practice model. Try it with a bigger model.",
    "I would have to invent an answer, so I will not: I am only a practice model. A bigger model knows more.",
)
NO_TOOL = (
    "None of my tools fits that, and I am only a practice model. A bigger model may know.",
    "I have no tool for that, and I do not know it myself. A bigger model can help.",
)

FORMS = {
    "people": ("who (is|was) {}", "when was {} born", "when did {} die", "what did {} do", "tell me about {}", "where was {} born",
               "why is {} famous", "how old (is|was) {}", "give me the life of {} in short", "what do you know about {}",
               "did {} have children", "write a biography of {}", "what did {} say", "was {} a good person", "{}", "who was {} married to",
               "what is {} known for"),
    "places": ("what is the capital of {}", "where is {}", "how many people live in {}", "what is the weather in {}",
               "which language is spoken in {}", "how big is {}", "tell me about {}", "what can i see in {}", "how do i get to {}",
               "is {} worth a visit", "when was {} founded", "what is the history of {}", "how far is it to {}", "what do people eat in {}",
               "who governs {}", "what time is it in {}", "is it expensive in {}", "plan a holiday in {}", "{}", "will it rain in {}",
               "which river flows through {}", "can i live in {}"),
    "things": ("what is {}", "explain {}", "how does {} work", "tell me about {}", "why is {} important", "what causes {}",
               "who invented {}", "who discovered {}", "what is the history of {}", "give me an overview of {}", "teach me {}",
               "how do i learn about {}", "write an essay about {}", "write a poem about {}", "is {} dangerous", "how much does {} cost",
               "what is {} made of", "give me three facts about {}", "summarise {}", "what are the kinds of {}", "where does {} come from",
               "what is the difference between {} and {}", "{}", "i have a question about {}", "what do you think about {}",
               "how is {} made", "when was {} invented", "describe {}", "help me with {}", "what is the best book on {}",
               "what should i know about {}", "do you understand {}"),
    "tasks": ("{}", "can you {}", "please {}", "could you {}", "i need you to {}", "{} for me", "{} now", "would you {}"),
    "questions": ("{}", "can you tell me {}", "do you know {}", "{}", "i want to know {}", "{}"),
}
SHARE = {"people": 0.15, "places": 0.15, "things": 0.36, "tasks": 0.14, "questions": 0.2}


def read(name):
    """{section: [texts]}, and {section: [lines after =]}."""
    texts, answers, section = {}, {}, None
    with open(os.path.join(FOLDER, "topics", name), encoding="utf-8") as lines:
        for line in lines:
            line = line.strip()
            if line.startswith("["):
                section = line.strip("[]")
                texts[section], answers[section] = [], []
            elif line.startswith("="):
                answers[section].append(line[1:].strip())
            elif line and not line.startswith("#"):
                texts[section] += [text.strip() for text in line.split(";") if text.strip()]
    return texts, answers


TOPICS, _ = read("unknown.txt")
FOREIGN, FOREIGN_DECLINES = read("unknown_languages.txt")


def ask(rng):
    """One question in English that is to be declined."""
    section = rng.choices(list(SHARE), list(SHARE.values()))[0]
    form = rng.choice(FORMS[section])
    form = re.sub(r"\(([^()]*)\)", lambda match: rng.choice(match.group(1).split("|")), form)
    text = form
    while "{}" in text:
        text = text.replace("{}", rng.choice(TOPICS[section]), 1)
    chance = rng.random()
    if chance < 0.2:
        text = rng.choice(phrasing.BEFORE["en"]) + text
    elif chance < 0.3:
        text += rng.choice(phrasing.AFTER["en"])
    return phrasing.spell(rng, text)


def foreign(rng):
    """The same in another language; (question, answer)."""
    language = rng.choice(sorted(FOREIGN))
    text = rng.choice(FOREIGN[language])
    if rng.random() < 0.3:
        text = rng.choice(phrasing.BEFORE[language]) + text
    return phrasing.spell(rng, text), rng.choice(FOREIGN_DECLINES[language])


def make(rng):
    if rng.random() < 0.12:
        question, answer = foreign(rng)
    else:
        question, answer = ask(rng), rng.choice(DECLINES)
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
