# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions on everything else, which the practice model declines, pointing to a bigger model."""

import os
import re

import phrasing
import questions

FOLDER = os.path.dirname(os.path.abspath(__file__))
# A right refusal names the bigger model; an invented fact mostly does not.
MUST = {"en": "bigger model", "de": "größeren? modell|größeres modell", "fr": "plus grand modèle",
        "es": "modelo más grande",
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
    "people": ("who (is|was) {}", "when was {} born", "when did {} die", "what did {} do", "tell me about {}",
               "where was {} born", "why is {} famous", "how old (is|was) {}", "give me the life of {} in short",
               "what do you know about {}", "did {} have children", "write a biography of {}", "what did {} say",
               "was {} a good person", "{}", "who was {} married to", "what is {} known for"),
    "places": ("what is the capital of {}", "where is {}", "how many people live in {}", "what is the weather in {}",
               "which language is spoken in {}", "how big is {}", "tell me about {}", "what can i see in {}",
               "how do i get to {}", "is {} worth a visit", "when was {} founded", "what is the history of {}",
               "how far is it to {}", "what do people eat in {}", "who governs {}", "what time is it in {}",
               "is it expensive in {}", "plan a holiday in {}", "{}", "will it rain in {}",
               "which river flows through {}", "can i live in {}"),
    "things": ("what is {}", "explain {}", "how does {} work", "tell me about {}", "why is {} important",
               "what causes {}", "who invented {}", "who discovered {}", "what is the history of {}",
               "give me an overview of {}", "teach me {}", "how do i learn about {}", "write an essay about {}",
               "write a poem about {}", "is {} dangerous", "how much does {} cost", "what is {} made of",
               "give me three facts about {}", "summarise {}", "what are the kinds of {}", "where does {} come from",
               "what is the difference between {} and {}", "{}", "i have a question about {}",
               "what do you think about {}", "how is {} made", "when was {} invented", "describe {}", "help me with {}",
               "what is the best book on {}", "what should i know about {}", "do you understand {}"),
    "tasks": ("{}", "can you {}", "please {}", "could you {}", "i need you to {}", "{} for me", "{} now",
              "would you {}"),
    "questions": ("{}", "can you tell me {}", "do you know {}", "{}", "i want to know {}", "{}"),
}
SHARE = {"people": 0.1, "places": 0.1, "things": 0.22, "tasks": 0.1, "questions": 0.13, "words": 0.35}

# Questions built of single words: n noun, a adjective, v verb, p person, l place, z a word that nobody has heard of.
WORD_FORMS = (
    "what is the {n} of {z}", "what is a {z}", "what is {z} {n}", "who was {z} {z}", "who invented the {n}",
    "where is {z}", "who discovered {z}", "how do i {v} a {n}", "how do i {v} {n}", "how long must a {n} {v}",
    "can i {v} a {n}", "how many {n}s has a {n}", "why is the {n} {a}", "why are {n}s {a}", "is a {n} {a}",
    "are {n}s {a}", "do {n}s {v}", "which {n} is the most {a}", "what do {n}s eat", "when was the {n} of {l}",
    "who won the {n} of {z}", "what is the difference between a {n} and a {n}", "name some {n}s of {l}",
    "name three {a} {n}s of {z}", "explain the {n} of {p}", "explain the {z} {n}", "what does {z}'s rule say",
    "what is {z}'s law", "what does the law of {z} say", "how does a {a} {n} work",
    "what is the best {n} for a {a} {n}", "should i {v} my {n}", "what does the {n} do", "what is {z} used for",
    "how is {z} made", "how is a {n} treated", "what is the symbol of {z}", "tell me about the {n} of {l}",
    "tell me about {z}", "write a {n} about a {a} {n}", "how high is the {n} of {z}", "how cold is {z}",
    "what is the capital of {z}", "which sea is near {z}", "who wrote the {a} {n}", "who acted in {z}",
    "who sang the {n} of {z}", "who painted the {a} {n}", "how does the story of the {a} {n} end", "how does {z} end",
    "translate {n} into {z}", "translate the {a} {n} into french", "how do you say {n} in {z}",
    "may i {v} my {n} at night", "is it legal to {v} a {n}", "what is the tax on a {n}", "do i pay tax for a {n}",
    "what is the fine for a {a} {n}", "my {n} hurts, what is it", "my {n} is {a}, what can i do",
    "how long does {z} last", "what are the symptoms of {z}", "is {z} contagious", "is {z} better than {z}",
    "what is the dose of {z}", "what was the day of a {a} {n} like", "describe {z}", "what happened at {z}",
    "when did {z} begin", "when did {p} meet {p}", "what ended the {n} of {z}", "what did {p} think about the {n}",
    "how far is {z} from {l}", "which {n} lives in {l}", "how many {n}s are in {l}", "what {n} goes with {a} {n}",
    "give me a recipe for {a} {n}", "give me a recipe for {z}", "how hot must the oven be for a {n}",
    "how long can i keep {n}", "how do i {v} a {a} {n} with a {n}", "what is the density of {z}",
    "what is the number of {z}", "what is the formula of {z}", "prove the {n} of {z}", "solve {z} for {z}",
    "write a function that counts {n}s", "write code for a {n}", "fix my {z} program", "how do i install {z}",
    "what does {z} mean", "define {z}", "which version of {z} is best", "how do i use {z} in {z}",
    "what is the difference between {z} and {z}", "{z}", "{z} {n}", "{a} {n}", "{n}", "who is {z}", "what was {z}",
    "was {p} {a}", "is {z} {a}", "which {n} should i {v}", "what should i {v} for a {n}", "when do {n}s {v}",
    "where do {n}s {v}", "how old is the {n}", "how heavy is a {n}", "what colour is a {n}", "do {n}s have {n}s",
    "is there a {n} in {z}", "how is {n} {v}ed",
)
ONSETS = ("b", "br", "c", "ch", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "l", "m", "n", "p", "ph", "pl", "qu",
          "r", "s", "sc", "st", "t", "th", "tr",
          "v", "w", "x", "y", "z", "sh", "")
VOWELS = ("a", "e", "i", "o", "u", "ae", "ai", "ea", "eu", "ia", "io", "ou", "y", "oo")
CODAS = ("", "", "", "n", "r", "l", "s", "t", "m", "x", "nd", "rt", "ck", "ng", "sm", "ph", "st", "c", "d", "us", "um",
         "is")


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
WORDS, _ = read("words.txt")
FOREIGN, FOREIGN_DECLINES = read("unknown_languages.txt")


def unheard(rng):
    """A word that nobody has heard of: a name or a term from a field the model knows nothing of looks like that to it."""
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.choice((1, 2, 2, 2,
                                                                                                          3))))


def of_words(rng):
    makers = {"n": lambda: rng.choice(WORDS["nouns"]), "a": lambda: rng.choice(WORDS["adjectives"]),
              "v": lambda: rng.choice(WORDS["verbs"]),
              "p": lambda: rng.choice(TOPICS["people"]), "l": lambda: rng.choice(TOPICS["places"]),
              "z": lambda: unheard(rng)}
    return re.sub(r"\{(\w)\}", lambda match: makers[match.group(1)](), rng.choice(WORD_FORMS))


def ask(rng):
    """One question in English that is to be declined."""
    section = rng.choices(list(SHARE), list(SHARE.values()))[0]
    if section == "words":
        text = of_words(rng)
    else:
        text = questions.expand(rng, rng.choice(FORMS[section]))
        while "{}" in text:
            heard = rng.random() < 0.8 or section in ("tasks", "questions")
            text = text.replace("{}", rng.choice(TOPICS[section]) if heard else unheard(rng), 1)
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
