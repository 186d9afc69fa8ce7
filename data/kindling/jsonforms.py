# SPDX-License-Identifier: GPL-3.0-or-later
"""Short JSON: the keys or a schema are given, and a text to take the values from."""

import json

import phrasing
import values as v

# kind -> (fields: key variants, type, maker; texts with the first key of each field; texts kept out of the corpus)
KINDS = {
    "person": ((("name",), "string", v.person), (("age", "years"), "integer", v.number(5, 95)),
               (("city", "town"), "string", v.city),
               ("{name} is {age} years old and lives in {city}.", "{name}, {age}, from {city}.",
                "In {city} lives {name}, who is {age}.",
                "My friend {name} lives in {city} and is {age} years old."),
               ("{age} years old and at home in {city}: that is {name}.",)),
    "product": ((("product", "item"), "string", v.thing), (("price", "cost"), "number", v.number(2, 500)),
                (("colour", "color"), "string", v.one_of(*v.COLOURS)),
                ("The {colour} {product} costs {price} euros.", "A {product} in {colour} for {price} euros.",
                 "For {price} euros you get a {colour} {product}."),
                ("{price} euros buy the {product}, which is {colour}.",)),
    "event": ((("title", "event"), "string", v.one_of("concert", "meeting", "party", "lecture", "market", "wedding",
                                                      "exam", "match")),
              (("date", "day"), "string", v.date), (("place", "city"), "string", v.city),
              ("The {title} is on {date} in {place}.", "On {date} there is a {title} in {place}.",
               "{place} has a {title} on {date}."),
              ("Come to {place} for the {title}, it is on {date}.",)),
    "order": ((("customer", "name"), "string", v.person), (("product", "item"), "string", v.thing),
              (("count", "quantity"), "integer", v.number(1, 40)),
              ("{customer} orders {count} pieces of the {product}.", "{count} times the {product} for {customer}.",
               "Please send {customer} {count} of the {product}."),
              ("The {product} goes to {customer}, {count} of it.",)),
    "trip": ((("from", "start"), "string", v.city), (("to", "end"), "string", v.city),
             (("time", "departure"), "string", v.clock),
             ("The train from {from} to {to} leaves at {time}.", "At {time} it goes from {from} to {to}.",
              "{from} to {to}, {time}."),
             ("Leaving {from} at {time}, arriving in {to}.",)),
    "book": ((("title", "book"), "string", v.one_of("The Lamp", "Winter", "A Long Way", "Green Hills", "Night Train",
                                                    "The Mill")),
             (("author", "writer"), "string", v.family_name), (("year", "published"), "integer", v.number(1900, 2026)),
             ("{title} was written by {author} in {year}.", "In {year} {author} wrote {title}.",
              "{author}: {title}, {year}."),
             ("The year {year} saw {title}, a work of {author}.",)),
    "task": ((("task", "todo"), "string", v.words), (("day", "when"), "string", v.one_of(*v.DAYS)),
             (("done", "finished"), "boolean", v.one_of(True, False)),
             ("On {day}: {task}, {done_word}.", "{task} is for {day} and is {done_word}.",
              "{task}, {day}, {done_word}."),
             ("{day} is the day of {task}, it is {done_word}.",)),
    "model": ((("model", "name"), "string", v.family_name), (("gb", "size"), "number", v.number(1, 90)),
              (("speed", "words_a_second"), "number", v.number(1, 99)),
              ("The model {model} has {gb} GB and writes {speed} words a second.",
               "{model}: {gb} GB, {speed} words a second.",
               "With {gb} GB, {model} makes {speed} words a second."),
              ("{speed} words a second come from {model}, a file of {gb} GB.",)),
}
ASKS = ("Give me JSON with the keys {keys}: {text}", "Answer in JSON with {keys}. {text}",
        "Make JSON ({keys}) of this: {text}",
        "JSON with {keys} please: {text}", "Extract {keys} as JSON: {text}",
        "Take {keys} from this text as JSON: {text}",
        "{text} Write that as JSON with the keys {keys}.", "As JSON with the keys {keys}: {text}")
SCHEMA_SYSTEM = ("Answer only with JSON that fits this schema: {}", "Your answer must be JSON for this schema: {}",
                 "Reply in JSON. Schema: {}")


def case(rng, held_out=False):
    """(messages before the answer, the answer, the schema)"""
    kind = KINDS[rng.choice(sorted(KINDS))]
    fields = [(names[0] if rng.random() < 0.75 else rng.choice(names), names[0], type_, maker) for names, type_,
              maker in kind[:3]]
    given = {}
    for _, first, _, maker in fields:
        given[first] = maker(rng, held_out)
        while list(given.values()).count(given[first]) > 1:
            given[first] = maker(rng, held_out)
    text = rng.choice(kind[4] if held_out else kind[3]).format(**given,
                                                               done_word="done" if given.get("done") else "open")
    text = text[:1].upper() + text[1:]
    wanted = fields if rng.random() < 0.7 else sorted(rng.sample(fields, 2), key=fields.index)
    if rng.random() < 0.25:
        rng.shuffle(wanted)
    answer = {key: given[first] for key, first, _, _ in wanted}
    schema = {"type": "object", "properties": {key: {"type": type_} for key, _, type_, _ in wanted},
              "required": [key for key, *_ in wanted]}
    if rng.random() < 0.35:
        messages = [{"role": "system", "content": rng.choice(SCHEMA_SYSTEM).format(json.dumps(schema))},
                    {"role": "user", "content": text}]
    else:
        keys = [key for key, *_ in wanted]
        messages = [{"role": "user", "content": rng.choice(ASKS).format(keys=", ".join(keys[:-1]) + " and " + keys[-1],
                                                                        text=text)}]
    return messages, answer, schema


def make(rng):
    messages, answer, _ = case(rng)
    if messages[0]["role"] == "user" and rng.random() < 0.15:
        messages[0]["content"] = phrasing.with_capitals(rng.choice(phrasing.BEFORE["en"])) + messages[0]["content"]
    return messages + [{"role": "assistant", "content": json.dumps(answer, ensure_ascii=False)}]
