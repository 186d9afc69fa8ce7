# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said after an answer: shorter, again, in another language, thanks, and what was said before."""

import re

import phrasing
import values

SHORTER = ("shorter", "in one sentence", "shorter please", "make it shorter", "in short", "too long",
           "can you say that in one sentence",
           "say it in one sentence", "the short version", "summarise that", "tl;dr", "sum it up", "brief please",
           "a shorter answer please",
           "could you be briefer", "make that one sentence", "the gist please")
AGAIN = ("again", "repeat that", "say that again", "once more", "please repeat", "again please", "can you repeat that",
         "what did you say",
         "repeat your answer", "i did not catch that", "sorry, what", "say it again", "one more time")
OTHERWISE = ("say it differently", "in other words", "another way please", "explain it differently",
             "i did not understand that",
             "can you rephrase that", "put it another way", "i don't get it", "explain again in other words",
             "other words please")
WHAT_ASKED = ("what did i ask", "what was my question", "repeat my question", "what did i just ask",
              "what did i write", "which question did i ask")
IN_LANGUAGE = {
    "de": ("in german", "in german please", "auf deutsch", "say that in german", "auf deutsch bitte",
           "translate that into german"),
    "fr": ("in french", "in french please", "en français", "say that in french", "translate that into french"),
    "es": ("in spanish", "in spanish please", "en español", "say that in spanish", "translate that into spanish"),
    "it": ("in italian", "in italian please", "in italiano", "say that in italian", "translate that into italian"),
    "pt": ("in portuguese", "in portuguese please", "em português", "say that in portuguese",
           "translate that into portuguese"),
}
# The questions that have an answer in each of these languages, by the end of their id there.
TRANSLATED = {"who-are-you": "who-are-you", "what-is-hearth": "what-is-hearth", "add-model": "add-model",
              "is-it-private": "private",
              "internet-needed": "internet", "is-it-free": "cost", "why-slow": "slow", "how-much-ram": "memory",
              "what-can-you-do": "can-do",
              "what-is-moe": "moe"}
NAME = ("my name is {}", "i am {}", "i'm {}", "call me {}", "hello, my name is {}", "hi, i am {}", "i am called {}")
NAME_ASKED = ("what is my name", "who am i", "do you know my name", "what am i called", "do you remember my name",
              "say my name")


def first_sentence(text):
    return re.split(r"(?<=[a-z0-9)\"][.!?]) (?=[A-Z])", text)[0]


def one_turn(rng, question):
    return [{"role": "user", "content": phrasing.say(rng, question)},
            {"role": "assistant", "content": rng.choice(question.answers)}]


def follow(rng, question, messages, foreign):
    """One more turn after the answer to a question; foreign: {id: question} of the other languages."""
    answer = messages[-1]["content"]
    kinds = [("shorter", 4), ("again", 3), ("otherwise", 2 if len(question.answers) > 1 else 0), ("asked", 1),
             ("language", 4 if question.id in TRANSLATED else 0)]
    kind = rng.choices([name for name, _ in kinds], [weight for _, weight in kinds])[0]
    if kind == "shorter":
        return rng.choice(SHORTER), first_sentence(answer)
    if kind == "again":
        return rng.choice(AGAIN), answer
    if kind == "otherwise":
        return rng.choice(OTHERWISE), rng.choice([other for other in question.answers if other != answer] or [answer])
    if kind == "asked":
        return rng.choice(WHAT_ASKED), f"You asked: {messages[-2]['content']}"
    language = rng.choice(sorted(IN_LANGUAGE))
    return rng.choice(IN_LANGUAGE[language]), foreign[f"{language}-{TRANSLATED[question.id]}"].answers[0]


def make_name(rng, known):
    name = values.person(rng) if rng.random() < 0.5 else values.family_name(rng)
    messages = [{"role": "user", "content": rng.choice(NAME).format(name)},
                {"role": "assistant", "content": f"Hello {name}! I am Kindling, a small practice model."}]
    if rng.random() < 0.5:
        messages += one_turn(rng, rng.choice(known))
    return messages + [{"role": "user", "content": phrasing.spell(rng, rng.choice(NAME_ASKED))},
                       {"role": "assistant", "content": f"Your name is {name}."}]


def make(rng, known, foreign):
    if rng.random() < 0.12:
        return make_name(rng, known)
    popular = [question for question in known if question.id in TRANSLATED]
    question = rng.choice(popular if rng.random() < 0.25 else known)
    messages = one_turn(rng, question)
    text, answer = follow(rng, question, messages, foreign)
    return messages + [{"role": "user", "content": phrasing.spell(rng, text)}, {"role": "assistant", "content": answer}]
