# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists, tables, code blocks, bold words and headings, over a small world of things."""

import phrasing
import questions

KINDS = {
    "fruits": ("apple", "pear", "plum", "cherry", "banana", "grape", "orange", "lemon", "peach", "melon"),
    "vegetables": ("carrot", "onion", "potato", "leek", "pea", "cabbage", "bean", "beetroot", "spinach", "pumpkin"),
    "colours": ("red", "blue", "green", "yellow", "black", "white", "brown", "orange", "violet", "grey"),
    "animals": ("fox", "cow", "goat", "mouse", "horse", "dog", "cat", "sheep", "hen", "duck"),
    "days of the week": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "months": ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
               "November", "December"),
    "seasons": ("spring", "summer", "autumn", "winter"),
    "musical instruments": ("piano", "flute", "drum", "violin", "trumpet", "harp", "guitar", "horn"),
    "tools": ("hammer", "saw", "drill", "file", "screwdriver", "pliers", "axe", "spade"),
    "pieces of furniture": ("table", "chair", "bed", "shelf", "lamp", "bench", "desk", "stool"),
    "clothes": ("shirt", "coat", "hat", "scarf", "sock", "shoe", "skirt", "glove"),
    "drinks": ("water", "tea", "milk", "juice", "coffee", "cocoa"),
    "trees": ("oak", "birch", "pine", "beech", "willow", "maple", "lime", "fir"),
    "parts of a computer": ("processor", "memory", "graphics card", "disk", "screen", "keyboard", "fan"),
    "places in Hearth": ("Models", "This Computer", "Sharing"),
    "families of models": ("Llama", "Qwen", "Mistral", "Gemma", "Phi", "GLM"),
    "units of memory": ("MB", "GB", "MiB", "GiB"),
    "rooms": ("kitchen", "bedroom", "bathroom", "cellar", "attic", "hall"),
    "birds": ("owl", "robin", "crow", "swan", "gull", "lark", "finch", "stork"),
    "flowers": ("rose", "tulip", "daisy", "lily", "poppy", "violet", "iris"),
}
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}

STEPS = {
    "adding a model": ("Get a model file that ends in `.gguf`.", "Drop it on Hearth's window.",
                       "Write below and press Enter."),
    "starting a new conversation": ("Press Ctrl+N.", "Choose a model at the top, if you like.",
                                    "Write and press Enter."),
    "sharing a model": ("Open **Sharing** in the sidebar.", "Turn the switch on.",
                        "Enter the address and the key on the other device."),
    "checking the memory": ("Open **This Computer**.", "Look at the free memory.",
                            "Compare it with the size of the model."),
    "removing a model": ("Open **Models**.", "Choose **Remove From List** beside the model.",
                         "Delete the file yourself if you want the space."),
    "finding an old conversation": ("Press Ctrl+F.", "Type a word you remember.",
                                    "Choose the conversation in the list."),
    "getting a faster answer": ("Choose a smaller model.", "Or one with fewer bits a weight.",
                                "Or take a mixture of experts."),
    "computing the ceiling": ("Find the bandwidth of the memory in GB/s.", "Find the GB that are read for a token.",
                              "Divide the first by the second."),
}
TABLES = (
    ("a table of sizes and memory", "sizes of models and the memory they need", ("Model", "File at Q4", "Memory"),
     (("4B", "2.5 GB", "8 GB"), ("8B", "5 GB", "16 GB"), ("30B", "18 GB", "32 GB"), ("70B", "41 GB", "64 GB"))),
    ("a table of the shortcuts", "the keyboard shortcuts of hearth", ("Key", "What it does"),
     (("Enter", "send"), ("Shift+Enter", "new line"), ("Escape", "stop"), ("Ctrl+N", "new conversation"),
      ("Ctrl+F", "search"))),
    ("a table of qualities", "the quality words and their bits", ("Quality", "Bits"),
     (("full", "16"), ("very high", "8"), ("high", "6"), ("good", "4 to 5"), ("reduced", "3"), ("low", "2"))),
    ("a table of bandwidths", "some memories and their bandwidth", ("Memory", "GB/s"),
     (("DDR5-5600, two channels", "89.6"), ("Strix Halo", "256"), ("RTX 4070", "504"), ("RTX 3090", "936"))),
    ("a table of dense and moe", "dense models and mixtures of experts", ("", "Dense", "Mixture of experts"),
     (("Memory", "all", "all"), ("Read for a word", "all", "a part"), ("Speed", "slower", "faster"))),
    ("a table of local and cloud", "local models and cloud models", ("", "Local", "Cloud"),
     (("Private", "yes", "no"), ("Works offline", "yes", "no"), ("Fee", "no", "mostly"))),
    ("a table of speeds", "words a second and how they feel", ("Words a second", "Feels"),
     (("5", "slow"), ("10 to 20", "comfortable"), ("40", "instant"))),
)
CODE = (
    ("python", "hello world in python", 'print("Hello, world!")'),
    ("python", "a python program that adds two numbers", "a = 2\nb = 3\nprint(a + b)"),
    ("python", "a python loop from 1 to 5", "for i in range(1, 6):\n    print(i)"),
    ("c", "hello world in c", '#include <stdio.h>\n\nint main(void) {\n  printf("Hello, world!\\n");\n  return 0;\n}'),
    ("javascript", "hello world in javascript", 'console.log("Hello, world!");'),
    ("bash", "a shell command that lists the models in a folder", "ls *.gguf"),
    ("bash", "hello world in bash", 'echo "Hello, world!"'),
    ("bash", "the command that builds hearth", "./dev run"),
    ("bash", "the command that runs hearth's tests", "./dev test"),
    ("bash", "a command that asks a model in the terminal", 'hearth-engine run model.gguf -p "Hello"'),
    ("bash", "the command that measures a model", "hearth-engine bench model.gguf"),
    ("html", "a small html page", "<!doctype html>\n<title>Hello</title>\n<p>Hello, world!</p>"),
    ("json", "a small json example", '{\n  "name": "Kindling",\n  "size_mb": 8\n}'),
)
BOLD = (
    ("memory decides which models fit, bandwidth decides how fast they are",
     "**Memory** decides which models fit, **bandwidth** decides how fast they are."),
    ("what you write never leaves this computer", "What you write **never leaves** this computer."),
    ("hearth needs no account", "Hearth needs **no account**."),
    ("drop a model file on the window", "Drop a **model file** on the window."),
    ("a mixture of experts is big but quick", "A mixture of experts is **big** but **quick**."),
    ("press escape to stop the answer", "Press **Escape** to stop the answer."),
)


def make_list(rng):
    kind = rng.choice(sorted(KINDS))
    things = list(KINDS[kind])
    count = rng.choice([n for n in NUMBERS if n <= len(things)])
    words = things[:count] if rng.random() < 0.7 else rng.sample(things, count)
    form = rng.choice((
        "(list|name|give me|tell me|write down) {n} {kind}", "(a|make a|give me a|write a) list of {n} {kind}",
                       "{n} {kind}", "{n} {kind} as a list",
        "(i need|show me) {n} {kind}", "can you (list|name) {n} {kind}", "please (list|name) {n} {kind}",
                       "{n} examples of {kind}",
        "(a numbered list|bullet points) with {n} {kind}"))
    number = NUMBERS[count] if rng.random() < 0.6 else str(count)
    text = questions.expand(rng, form).format(n=number, kind=kind.lower())
    if "numbered" in text:
        return text, "\n".join(f"{i}. {word}" for i, word in enumerate(words, 1))
    return text, "\n".join(f"- {word}" for word in words)


def make_steps(rng):
    what = rng.choice(sorted(STEPS))
    form = rng.choice(("(list|give me|write|show me) the steps for {}", "steps for {}", "{} step by step",
                       "{} as a numbered list",
                       "a numbered list for {}", "(explain|show) {} step by step", "a short guide for {}",
                       "instructions for {} as a list"))
    return questions.expand(rng, form).format(what), "\n".join(f"{i}. {step}" for i, step in enumerate(STEPS[what], 1))


def make_table(rng):
    if rng.random() < 0.65:
        short, long, head, rows = rng.choice(TABLES)
        form = rng.choice(("(make|give me|show me|write|i want) {short}", "{short}",
                           "(make|write|give me|show me) a table of {long}",
                           "{long} as a table", "a table with {long}", "put {long} (in|into) a table",
                           "can you make a table of {long}"))
        text = questions.expand(rng, form).format(short=short, long=long)
        count = len(rows)
    else:
        kind, other = rng.sample([k for k in sorted(KINDS) if len(KINDS[k]) > 4], 2)
        count = rng.choice((2, 3, 4))
        head = (kind.capitalize(), other.capitalize())
        rows = list(zip(rng.sample(KINDS[kind], count), rng.sample(KINDS[other], count)))
        form = rng.choice(("(make|give me|write) a table with {n} {a} and {n} {b}", "a table of {n} {a} and {n} {b}",
                           "{n} {a} and {n} {b} in a table"))
        text = questions.expand(rng, form).format(n=NUMBERS[count], a=kind.lower(), b=other.lower())
    lines = ["| " + " | ".join(row) + " |" for row in (head, tuple("---" for _ in head), *rows)]
    return text, "\n".join(lines)


def make_code(rng):
    language, what, code = rng.choice(CODE)
    form = rng.choice(("{}", "(show me|write|give me|write me) {}", "please (write|show) {}", "can you write {}",
                       "{} please", "{} in a code block",
                       "i need {}", "how do i write {}"))
    return questions.expand(rng, form).format(what), f"```{language}\n{code}\n```"


def make_bold(rng):
    plain, bold = rng.choice(BOLD)
    form = rng.choice(("make the important words bold: {}", "put the key words in bold: {}", "bold: {}",
                       "(highlight|mark) what matters: {}",
                       "write this with the main words in bold: {}"))
    return questions.expand(rng, form).format(plain), bold


def make(rng):
    maker = rng.choices((make_list, make_steps, make_table, make_code, make_bold), (35, 15, 20, 20, 10))[0]
    text, answer = maker(rng)
    return [{"role": "user", "content": phrasing.spell(rng, text)}, {"role": "assistant", "content": answer}]
