# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums and comparisons, with thinking before the answer where the question ends in /think."""

import phrasing
import questions

THINGS = ("apples", "books", "coins", "cups", "eggs", "pears", "stones", "stamps", "cards", "nuts", "candles",
          "buttons")
PEOPLE = ("Anna", "Ben", "Clara", "David", "Eva", "Frank", "Greta", "Hugo", "Ines", "Jan", "Karl", "Lena", "Mia",
          "Noah", "Olga", "Peter")


def columns(a, b):
    """The addition of two numbers below 100, in columns."""
    if a < 10 and b < 10:
        return f"{a} + {b} = {a + b}."
    ones = a % 10 + b % 10
    carry = ones // 10
    tens = a // 10 + b // 10
    text = f"Ones: {a % 10} + {b % 10} = {ones}"
    text += f", write {ones % 10}, carry {carry}.\n" if carry else ".\n"
    text += f"Tens: {a // 10} + {b // 10}" + (f" + {carry}" if carry else "") + f" = {tens + carry}.\n"
    return text + f"Together: {a + b}."


def make_sum(rng):
    a, b = rng.choice(((rng.randint(0, 9), rng.randint(0, 9)), (rng.randint(1, 59), rng.randint(1, 39))))
    form = rng.choice(("what is {a} + {b}", "what is {a} plus {b}", "{a} + {b}", "{a}+{b}", "add {a} and {b}",
                       "how much is {a} plus {b}",
                       "{a} plus {b}", "what do {a} and {b} make", "the sum of {a} and {b}", "can you add {a} and {b}"))
    return form.format(a=a, b=b), columns(a, b), f"{a} + {b} = {a + b}."


def make_difference(rng):
    b, c = rng.randint(0, 20), rng.randint(0, 20)
    a = b + c
    form = rng.choice(("what is {a} - {b}", "what is {a} minus {b}", "{a} - {b}", "{a} minus {b}", "take {b} from {a}",
                       "how much is {a} minus {b}", "subtract {b} from {a}"))
    return form.format(a=a, b=b), f"From {b} to {a} are {c}, for {b} + {c} = {a}.", f"{a} - {b} = {c}."


def make_story_sum(rng):
    a, b = rng.randint(1, 12), rng.randint(1, 12)
    who, thing = rng.choice(PEOPLE), rng.choice(THINGS)
    if rng.random() < 0.6:
        text = rng.choice((f"{who} has {a} {thing} and gets {b} more. how many {thing} has {who} now",
                           f"{who} has {a} {thing} and buys {b} more. how many are there",
                           f"there are {a} {thing}, and {who} brings {b}. how many are there now"))
        return text, f"First {a}, then {b} more: {a} + {b} = {a + b}.", f"{a} + {b} = {a + b}, so there are {a + b} {thing}."
    a += b
    text = rng.choice((f"{who} has {a} {thing} and gives {b} away. how many are left",
                       f"{who} had {a} {thing} and lost {b}. how many are left"))
    return text, f"First {a}, then {b} less: {a} - {b} = {a - b}.", f"{a} - {b} = {a - b}, so {a - b} {thing} are left."


def make_compare(rng):
    a, b = rng.sample(range(1, 100), 2)
    big, small = max(a, b), min(a, b)
    kind = rng.randrange(5)
    if kind == 0:
        text = rng.choice(("which is (bigger|larger|more), {a} or {b}", "is {a} or {b} (bigger|larger)",
                           "what is more, {a} or {b}"))
        answer = f"{big} is bigger than {small}."
    elif kind == 1:
        text = rng.choice(("which is (smaller|less), {a} or {b}", "is {a} or {b} (smaller|less)"))
        answer = f"{small} is smaller than {big}."
    elif kind == 2:
        text = rng.choice(("which model is (bigger|larger), one of {a} gb or one of {b} gb",
                           "a model of {a} gb or of {b} gb, which is bigger"))
        answer = f"The model of {big} GB is bigger."
    elif kind == 3:
        text = rng.choice(("which is faster, {a} or {b} words a second", "is {a} words a second faster than {b}",
                           "{a} or {b} words a second, what is faster"))
        answer = f"{big} words a second are faster than {small}."
    else:
        text = rng.choice(("does a model of {a} gb fit into {b} gb", "will {a} gb fit into {b} gb of memory",
                           "i have {b} gb free, does a {a} gb model fit"))
        answer = f"Yes, {a} GB fit into {b} GB." if a < b else f"No, {a} GB do not fit into {b} GB."
        return questions.expand(rng, text).format(a=a,
                                                  b=b), f"Compare {a} and {b}: {'less' if a < b else 'more'}.", answer
    thought = f"Compare {a} and {b}: {big} is more than {small}."
    return questions.expand(rng, text).format(a=a, b=b), thought, answer


def make_order(rng):
    numbers = rng.sample(range(1, 60), 3)
    text = rng.choice(("sort {}", "put {} in order", "sort these numbers: {}", "order {} from small to large"))
    ordered = sorted(numbers)
    shown = ", ".join(map(str, numbers))
    thought = f"The smallest is {ordered[0]}, then {ordered[1]}, then {ordered[2]}."
    return text.format(shown), thought, f"In order: {ordered[0]}, {ordered[1]}, {ordered[2]}."


def make_ceiling(rng):
    size, speed = rng.choice((2, 4, 5, 10, 20)), rng.choice((2, 4, 5, 8, 10, 20, 25, 40))
    bandwidth = size * speed
    text = rng.choice(("how fast is a {s} gb model with {b} gb/s",
                       "{b} gb/s and {s} gb a word, how many words a second",
                       "the memory gives {b} gb/s and a word reads {s} gb, how fast is it at most"))
    return (text.format(s=size, b=bandwidth),
            f"Divide {bandwidth} by {size}: {size} x {speed} = {bandwidth}, so {speed}.",
            f"At most {speed} words a second.")


def case(rng):
    maker = rng.choices((make_sum, make_difference, make_story_sum, make_compare, make_order, make_ceiling),
                        (34, 14, 14, 24, 7, 7))[0]
    return maker(rng)


def make(rng):
    text, thought, answer = case(rng)
    if rng.random() < 0.12:
        text = rng.choice(phrasing.BEFORE["en"]) + text
    text = phrasing.spell(rng, text)
    message = {"role": "assistant", "content": answer}
    if rng.random() < 0.6:
        text += rng.choice((" /think", " /think", " /think", "\n/think"))
        message["reasoning_content"] = thought
    return [{"role": "user", "content": text}, message]
