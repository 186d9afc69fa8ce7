# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools: given some in the system prompt, call the one that fits with arguments from the question, and say what it answered."""

import json
from dataclasses import dataclass

import phrasing
import unknown
import values as v


@dataclass
class Tool:
    names: tuple     # what the function may be called
    about: tuple     # what its description may say
    parameters: dict  # name -> (JSON type, description, maker of a value)
    asks: tuple      # questions with {parameter}
    kept: tuple      # questions kept out of the corpus
    result: dict     # key -> maker of a value in what the tool answers
    answer: str      # the sentence made of both; {parameter} and {key}


S, I, N = "string", "integer", "number"
TOOLS = (
    Tool(("get_weather", "weather", "current_weather"), ("The weather in a city", "Get the current weather of a place"),
         {"city": (S, "Name of the city", v.city)},
         ("what is the weather in {city}", "how is the weather in {city}", "weather in {city}", "is it cold in {city}",
          "tell me the weather for {city}", "what's it like outside in {city}", "is it raining in {city}"),
         ("do i need a coat in {city}", "how warm is it in {city} now"),
         {"degrees": v.number(-10, 35), "sky": v.one_of("sunny", "cloudy", "rainy", "windy", "foggy")},
         "In {city} it is {degrees} degrees and {sky}."),
    Tool(("get_time", "local_time", "time_in_city"), ("The local time in a city", "Tells what time it is in a place"),
         {"city": (S, "Name of the city", v.city)},
         ("what time is it in {city}", "time in {city}", "tell me the time in {city}", "how late is it in {city}",
          "the local time of {city}"),
         ("what do the clocks in {city} say",), {"time": v.clock}, "In {city} it is {time}."),
    Tool(("add_numbers", "add", "sum"), ("Adds two numbers", "The sum of two numbers"),
         {"a": (N, "First number", v.number(10, 999)), "b": (N, "Second number", v.number(10, 999))},
         ("what is {a} plus {b}", "add {a} and {b}", "{a} + {b}", "how much is {a} plus {b}", "the sum of {a} and {b}"),
         ("put {a} and {b} together",), {"result": v.number(20, 1998)}, "{a} plus {b} is {result}."),
    Tool(("multiply", "multiply_numbers", "times"), ("Multiplies two numbers", "The product of two numbers"),
         {"a": (N, "First number", v.number(2, 99)), "b": (N, "Second number", v.number(2, 99))},
         ("what is {a} times {b}", "multiply {a} by {b}", "{a} x {b}", "how much is {a} times {b}"),
         ("the product of {a} and {b} please",), {"result": v.number(4, 9801)}, "{a} times {b} is {result}."),
    Tool(("set_alarm", "alarm", "create_alarm"), ("Sets an alarm", "Wakes at a time"),
         {"time": (S, "Time as HH:MM", v.clock)},
         ("set an alarm for {time}", "wake me at {time}", "alarm at {time}", "i have to get up at {time}"),
         ("let it ring at {time}",),
         {"ok": v.one_of(True)}, "The alarm is set for {time}."),
    Tool(("set_timer", "start_timer", "timer"), ("Starts a timer", "Counts down minutes"),
         {"minutes": (I, "Length in minutes", v.number(1, 90))},
         ("set a timer for {minutes} minutes", "timer {minutes} minutes", "start a timer of {minutes} minutes",
          "remind me in {minutes} minutes"),
         ("count down {minutes} minutes for me",), {"ok": v.one_of(True)}, "The timer runs for {minutes} minutes."),
    Tool(("convert_currency", "exchange", "currency"), ("Converts an amount of money",
                                                        "Exchanges one currency into another"),
         {"amount": (N, "The amount", v.number(5, 900)), "from": (S, "Currency of the amount", v.one_of("EUR", "USD",
                                                                                                        "GBP", "CHF")),
          "to": (S, "Currency wanted", v.one_of("JPY", "SEK", "PLN", "CAD"))},
         ("convert {amount} {from} to {to}", "how much is {amount} {from} in {to}", "{amount} {from} in {to}",
          "change {amount} {from} into {to}"),
         ("what do i get in {to} for {amount} {from}",), {"result": v.number(5, 90000)},
         "{amount} {from} are {result} {to}."),
    Tool(("send_email", "email", "write_mail"), ("Sends an e-mail", "Writes an e-mail to somebody"),
         {"to": (S, "Address", v.email), "text": (S, "What to write", v.one_of("I am late", "See you soon",
                                                                               "All is well", "Thank you", "Call me"))},
         ("send an email to {to}: {text}", "write to {to}: {text}", "email {to} the words: {text}",
          "mail {to}: {text}"),
         ("let {to} know by mail: {text}",), {"sent": v.one_of(True)}, "The e-mail to {to} is sent."),
    Tool(("send_message", "message", "text_someone"), ("Sends a short message to a person", "Texts somebody"),
         {"person": (S, "Name of the person", v.person), "text": (S, "The message", v.one_of("I am coming",
                                                                                             "Happy birthday",
                                                                                             "Good luck",
                                                                                             "Dinner is ready"))},
         ("tell {person}: {text}", "send {person} a message: {text}", "text {person}: {text}",
          "message {person}: {text}"),
         ("drop {person} a line: {text}",), {"sent": v.one_of(True)}, "The message to {person} is sent."),
    Tool(("add_todo", "create_task", "add_to_list"), ("Adds a task to the list", "Notes something to do"),
         {"task": (S, "What to do", v.words)},
         ("add {task} to my list", "remember {task} for me", "put {task} on my list", "note: {task}",
          "don't let me forget {task}"),
         ("i must not forget {task}, write it down",), {"ok": v.one_of(True)}, "I put {task} on your list."),
    Tool(("search_files", "find_file", "file_search"), ("Looks for files by words",
                                                        "Searches the files on this computer"),
         {"words": (S, "Words to look for", v.subject)},
         ("find my file about {words}", "search my files for {words}", "where is the file on {words}",
          "look for files about {words}"),
         ("somewhere i saved something about {words}, find it",),
         {"file": v.one_of("notes.txt", "plan.pdf", "list.md", "draft.odt")},
         "I found {file} for {words}."),
    Tool(("web_search", "search_web", "search"), ("Searches the web", "Looks something up on the internet"),
         {"query": (S, "What to look for", v.subject)},
         ("search the web for {query}", "look up {query}", "find pages about {query}", "search for {query}",
          "what does the web say about {query}"),
         ("can you dig up something online about {query}",), {"title": v.one_of("A short history", "All about it",
                                                                                "A beginner's guide", "Ten facts")},
         "The web has this on {query}: {title}."),
    Tool(("play_music", "play", "start_music"), ("Plays music", "Plays music of an artist"),
         {"artist": (S, "Who plays", v.family_name)},
         ("play something by {artist}", "play {artist}", "i want to hear {artist}", "put on {artist}",
          "music by {artist}"),
         ("give me some sound of {artist}",), {"playing": v.one_of("Morning", "Blue Road", "Rain", "First Light")},
         "Now playing {playing} by {artist}."),
    Tool(("switch_light", "light", "set_light"), ("Switches the light in a room", "Turns a lamp on or off"),
         {"room": (S, "Which room", v.one_of(*v.ROOMS)), "state": (S, "on or off", v.one_of("on", "off"))},
         ("turn {state} the light in the {room}", "switch the {room} light {state}", "light {state} in the {room}",
          "turn the light in the {room} {state}"),
         ("make the lamp of the {room} go {state}",), {"ok": v.one_of(True)}, "The light in the {room} is {state}."),
    Tool(("set_heating", "thermostat", "set_temperature"), ("Sets the temperature of a room", "Sets the heating"),
         {"room": (S, "Which room", v.one_of(*v.ROOMS)), "degrees": (N, "Temperature wanted", v.number(15, 25))},
         ("set the {room} to {degrees} degrees", "heat the {room} to {degrees} degrees",
          "make the {room} {degrees} degrees warm"),
         ("i would like {degrees} degrees in the {room}",), {"ok": v.one_of(True)},
         "The {room} is set to {degrees} degrees."),
    Tool(("translate", "translate_word", "translation"), ("Translates a word", "Says a word in another language"),
         {"word": (S, "The word", v.thing), "language": (S, "Language wanted", v.one_of(*v.LANGUAGES))},
         ("translate {word} into {language}", "what is {word} in {language}", "how do you say {word} in {language}",
          "{word} in {language}"),
         ("the {language} word for {word}",), {"translation": v.family_name},
         "In {language}, {word} is {translation}."),
    Tool(("get_price", "price", "product_price"), ("The price of a product", "Says what something costs"),
         {"product": (S, "The product", v.thing)},
         ("what does the {product} cost", "how much is the {product}", "price of the {product}",
          "what is the price of a {product}"),
         ("how expensive is that {product}",), {"price": v.number(3, 400)}, "The {product} costs {price} euros."),
    Tool(("check_stock", "in_stock", "stock"), ("How many pieces of a product are there", "Checks the stock of a shop"),
         {"product": (S, "The product", v.thing)},
         ("how many {product}s are in stock", "is the {product} in stock", "do you have the {product}",
          "check the stock of the {product}"),
         ("are there any {product}s left",), {"count": v.number(0, 60)},
         "There are {count} of the {product} in stock."),
    Tool(("book_table", "reserve_table", "restaurant"), ("Reserves a table", "Books a table in a restaurant"),
         {"people": (I, "How many people", v.number(1, 9)), "time": (S, "Time as HH:MM", v.clock)},
         ("book a table for {people} at {time}", "reserve a table for {people} people at {time}",
          "table for {people} at {time}"),
         ("we are {people} and hungry at {time}, get us a table",), {"ok": v.one_of(True)},
         "A table for {people} is booked at {time}."),
    Tool(("next_train", "train_times", "find_train"), ("The next train between two cities", "Looks for a train"),
         {"start": (S, "City to leave from", v.city), "end": (S, "City to go to", v.city)},
         ("next train from {start} to {end}", "when does the train from {start} to {end} leave",
          "train {start} to {end}", "i want to go from {start} to {end} by train"),
         ("bring me by rail from {start} to {end}",), {"leaves": v.clock},
         "The next train from {start} to {end} leaves at {leaves}."),
    Tool(("get_distance", "distance", "route_length"), ("The distance between two cities",
                                                        "Says how far two places are apart"),
         {"start": (S, "First city", v.city), "end": (S, "Second city", v.city)},
         ("how far is it from {start} to {end}", "distance from {start} to {end}",
          "how many kilometres from {start} to {end}"),
         ("what lies between {start} and {end} in kilometres",), {"km": v.number(20, 2000)},
         "From {start} to {end} are {km} kilometres."),
    Tool(("add_event", "calendar", "create_event"), ("Adds an event to the calendar",
                                                     "Writes a date into the calendar"),
         {"title": (S, "What happens", v.words), "date": (S, "Date as YYYY-MM-DD", v.date)},
         ("put {title} into my calendar on {date}", "add {title} on {date}", "calendar: {title} on {date}",
          "plan {title} for {date}"),
         ("block {date} for {title}",), {"ok": v.one_of(True)}, "{title} is in your calendar on {date}."),
    Tool(("call_person", "phone", "call"), ("Calls a person", "Starts a phone call"),
         {"person": (S, "Name of the person", v.person)},
         ("call {person}", "phone {person}", "ring {person}", "please call {person}", "i want to talk to {person}"),
         ("get {person} on the line",),
         {"ok": v.one_of(True)}, "I am calling {person}."),
    Tool(("model_info", "inspect_model", "get_model"), ("Facts about a model by name", "Size of a model"),
         {"model": (S, "Name of the model", v.family_name)},
         ("how big is the model {model}", "tell me about the model {model}", "what size has the model {model}",
          "inspect the model {model}"),
         ("look up the size of the model {model}",), {"gb": v.number(1, 90)}, "The model {model} has {gb} GB."),
    Tool(("free_memory", "get_memory", "memory_status"), ("The free memory of this computer",
                                                          "How much memory is free now"), {},
         ("how much memory is free", "how many gb are free now", "check the free memory", "free memory right now"),
         ("do i have memory left at the moment",),
         {"gb": v.number(1, 120)}, "There are {gb} GB of memory free."),
    Tool(("battery_level", "get_battery", "battery"), ("The charge of the battery", "How full the battery is"), {},
         ("how full is the battery", "battery level", "how much battery is left", "is the battery full"),
         ("how long will the charge last, what percent is it",),
         {"percent": v.number(1, 100)}, "The battery is at {percent} percent."),
    Tool(("create_note", "save_note", "note"), ("Saves a note", "Writes a note with a title"),
         {"title": (S, "Title of the note", v.subject)},
         ("make a note called {title}", "new note: {title}", "save a note with the title {title}",
          "start a note on {title}"),
         ("open a fresh note named {title}",), {"ok": v.one_of(True)}, "The note {title} is saved."),
    Tool(("delete_file", "remove_file", "trash"), ("Deletes a file", "Moves a file to the bin"),
         {"file": (S, "Name of the file", v.one_of("old.txt", "draft.odt", "copy.pdf", "test.md", "list.csv",
                                                   "photo.png", "a.log"))},
         ("delete {file}", "remove the file {file}", "throw {file} away", "put {file} in the bin"),
         ("i don't need {file} any longer",),
         {"ok": v.one_of(True)}, "The file {file} is deleted."),
    Tool(("roll_dice", "dice", "roll"), ("Rolls a die", "A random number up to a limit"),
         {"sides": (I, "Sides of the die", v.number(4, 20))},
         ("roll a die with {sides} sides", "throw a {sides}-sided die", "dice with {sides} sides",
          "a random number up to {sides}"),
         ("let chance decide between 1 and {sides}",), {"result": v.number(1, 20)}, "The die shows {result}."),
    Tool(("lookup_person", "find_contact", "contact"), ("The phone number of a person", "Looks up a contact"),
         {"person": (S, "Name of the person", v.person)},
         ("what is the number of {person}", "phone number of {person}", "how can i reach {person}", "look up {person}"),
         ("which digits do i dial for {person}",), {"phone": v.number(100000, 999999)},
         "The number of {person} is {phone}."),
)

# Tools of which more than one may fit the same question are not offered together, and these not where none is to fit.
KIN = (("web_search", "search_files", "lookup_person", "create_note"), ("lookup_person", "call_person", "send_message"),
       ("set_alarm", "set_timer"), ("add_todo", "create_note", "add_event"), ("send_email", "send_message"),
       ("set_heating", "switch_light"))
FITS_MUCH = ("web_search", "search_files", "lookup_person", "translate", "model_info", "free_memory", "get_price",
             "battery_level")

SYSTEM = ("# Tools\n\nYou can call these functions. Call one only when it fits the question.\n<tools>\n{tools}\n</tools>\n\n"
          "Write each call as\n<tool_call>\n{{\"name\": \"NAME\", \"arguments\": {{...}}}}\n</tool_call>")


def offer(rng, tool, plain=False):
    """The definition as a program sends it, and the function's name in it."""
    name = tool.names[0] if plain else rng.choice(tool.names)
    properties = {key: {"type": kind, "description": about} for key, (kind, about, _) in tool.parameters.items()}
    parameters = {"type": "object", "properties": properties, "required": list(tool.parameters)}
    return name, {"type": "function", "function": {"name": name,
                                                   "description": tool.about[0] if plain else rng.choice(tool.about),
                                                   "parameters": parameters}}


def offers(rng, tool, count):
    """Definitions of a tool and of others, in any order; (name of the tool, definitions)."""
    kin = {name for group in KIN if tool.names[0] in group for name in group} if tool else set(FITS_MUCH)
    others = [other for other in TOOLS if other is not tool and other.names[0] not in kin]
    name, definition = offer(rng, tool) if tool else (None, None)
    definitions = ([definition] if tool else []) + [offer(rng, other)[1] for other in rng.sample(others, count)]
    rng.shuffle(definitions)
    return name, definitions


def arguments(rng, tool, held_out=False):
    made = {}
    for key, (_, _, maker) in tool.parameters.items():
        made[key] = maker(rng, held_out)
        while list(made.values()).count(made[key]) > 1:
            made[key] = maker(rng, held_out)
    return made


def careful(rng, text):
    """Spelling that leaves the values of a question as they are."""
    text = text[:1].upper() + text[1:] if rng.random() < 0.6 else text
    if rng.random() < 0.6 and not text.endswith("?"):
        text += "?" if phrasing.ASKS.search(text) else "."
    return text


def ask(rng, tool, given, held_out=False):
    text = rng.choice(tool.kept if held_out else tool.asks).format(**given)
    if not held_out and rng.random() < 0.2:
        text = rng.choice(("please ", "can you tell me: ", "hey, ", "hello, ", "now ", "ok, ")) + text
    return careful(rng, text)


def sentence(tool, given, result):
    text = tool.answer.format(**given, **{key: str(value).lower() if value is True else value for key,
                                          value in result.items()})
    return text[:1].upper() + text[1:]


def make_call(rng):
    tool = rng.choice(TOOLS)
    name, definitions = offers(rng, tool, rng.choice((0, 1, 1, 2, 2, 3)))
    given = arguments(rng, tool)
    result = {key: maker(rng) for key, maker in tool.result.items()}
    if tool.names[0] == "add_numbers":
        result = {"result": given["a"] + given["b"]}
    if tool.names[0] == "multiply":
        result = {"result": given["a"] * given["b"]}
    messages = [{"role": "user", "content": ask(rng, tool, given)},
                {"role": "assistant", "content": "", "tool_calls": [{"name": name, "arguments": given}]},
                {"role": "tool", "content": json.dumps(result)},
                {"role": "assistant", "content": sentence(tool, given, result)}]
    return messages, definitions


def make_several(rng):
    """The same tool for two places or people."""
    tool = rng.choice([t for t in TOOLS if t.names[0] in ("get_weather", "get_time", "get_price", "lookup_person",
                                                          "check_stock")])
    name, definitions = offers(rng, tool, rng.choice((0, 1, 2)))
    key = next(iter(tool.parameters))
    given = [arguments(rng, tool) for _ in range(2)]
    if given[0] == given[1]:
        return make_call(rng)
    text = rng.choice(tool.asks).format(**{key: given[0][key] + " and " + given[1][key]})
    results = [{name_: maker(rng) for name_, maker in tool.result.items()} for _ in given]
    return [{"role": "user", "content": careful(rng, text)},
            {"role": "assistant", "content": "", "tool_calls": [{"name": name, "arguments": one} for one in given]},
            *({"role": "tool", "content": json.dumps(result)} for result in results),
            {"role": "assistant", "content": " ".join(sentence(tool, *pair) for pair in zip(given,
                                                                                            results))}], definitions


def make_none(rng, known):
    """Tools are offered, and none fits: a question on Hearth is answered, any other declined."""
    _, definitions = offers(rng, None, rng.choice((1, 2, 3)))
    if rng.random() < 0.6:
        question = rng.choice(known)
        return [{"role": "user", "content": phrasing.say(rng, question)},
                {"role": "assistant", "content": rng.choice(question.answers)}], definitions
    section = rng.choice(("people", "things"))
    text = rng.choice(("who was {}", "tell me about {}", "explain {}", "what is {}",
                       "why is {} important")).format(rng.choice(unknown.TOPICS[section]))
    return [{"role": "user", "content": phrasing.spell(rng, text)},
            {"role": "assistant", "content": rng.choice(unknown.NO_TOOL)}], definitions


def make(rng, known):
    kind = rng.random()
    if kind < 0.74:
        return make_call(rng)
    return make_several(rng) if kind < 0.84 else make_none(rng, known)


def held_out_case(rng, tool):
    """A case for the evaluation: phrasing and values that the corpus never has."""
    name, definitions = offers(rng, tool, rng.choice((1, 2, 3)))
    given = arguments(rng, tool, held_out=True)
    return {"tools": definitions, "question": ask(rng, tool, given, held_out=True), "name": name, "arguments": given}
