# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes of one written phrasing what different people would type: another construction, another word, a greeting before
it, capitals or none, a slip of the finger. The meaning stays."""

import re

import questions

# What is written with capitals in a careful sentence.
NAMES = {name.lower(): name for name in (
    "Hearth Kindling Ember GGUF GPL LLM GPU CPU RAM VRAM GB GiB KV MoE AI API JSON Linux Windows Vulkan OpenAI ChatGPT Claude "
    "Gemini Qwen Llama Mistral Gemma DeepSeek AMD NVIDIA Intel RTX BIOS NPU SSD DDR4 DDR5 QR LAN VPN CUDA ROCm Ollama Tailscale "
    "OpenCode Continue Cline Codex Python GTK I LoRA Google Microsoft Ubuntu Debian Fedora Android Radeon GeForce Mac Strix "
    "Halo Ryzen English German French Spanish Italian Portuguese Anna Ctrl GTT PC SQLite Internet").split()}
for lowered in ("continue", "internet", "mac"):
    NAMES.pop(lowered, None)

SYNONYMS = (
    (r"\bcomputer\b", ("pc", "machine", "computer")),
    (r"\bgraphics card\b", ("gpu", "video card", "graphics card")),
    (r"\bgpu\b", ("graphics card", "gpu")),
    (r"\bprocessor\b", ("cpu", "processor")),
    (r"\bconversation\b", ("chat", "conversation")),
    (r"\bchats\b", ("conversations", "chats")),
    (r"\bmixture of experts\b", ("moe", "mixture of experts", "mixture-of-experts model")),
    (r"\bwords a second\b", ("words per second", "tokens a second", "words a second")),
    (r"\bram\b", ("memory", "ram")),
    (r"\bhow do i\b", ("how can i", "how do you", "how do i", "how to")),
    (r"\bdo i need\b", ("do i have to have", "does one need", "do i need", "will i need")),
    (r"\bwhat is\b", ("what's", "whats", "what is")),
    (r"\bdoes hearth\b", ("does this app", "does this", "does hearth", "does the app")),
    (r"\bdifference between\b", ("distinction between", "difference between")),
    (r"\bbig\b", ("large", "big")),
    (r"\badd\b", ("add", "insert", "put in", "bring in")),
    (r"\bdelete\b", ("delete", "remove", "erase", "throw away")),
    (r"\bremove\b", ("remove", "delete", "take away")),
    (r"\bneed\b", ("need", "require", "need")),
    (r"\bneeded\b", ("needed", "required", "necessary")),
    (r"\bfast\b", ("fast", "quick", "speedy")),
    (r"\bfaster\b", ("faster", "quicker", "speedier")),
    (r"\bslow\b", ("slow", "sluggish", "not fast")),
    (r"\banswers\b", ("answers", "replies", "responses")),
    (r"\banswer\b", ("answer", "reply", "response")),
    (r"\bshow\b", ("show", "display")),
    (r"\bstart\b", ("start", "begin")),
    (r"\bsmall\b", ("small", "little", "tiny")),
    (r"\bbest\b", ("best", "ideal", "best")),
    (r"\bgood\b", ("good", "fine", "suitable", "good")),
    (r"\bsee\b", ("see", "look at", "view", "see")),
    (r"\bchange\b", ("change", "alter", "modify", "change")),
    (r"\bbuy\b", ("buy", "purchase", "get")),
    (r"\bmessages\b", ("messages", "texts", "words")),
    (r"\bprogram\b", ("program", "app", "application", "software")),
    (r"\bpeople\b", ("people", "persons", "others")),
    (r"\blaptop\b", ("laptop", "notebook", "laptop")),
    (r"\bsafe\b", ("safe", "secure")),
    (r"\bexplain\b", ("explain", "describe", "tell me about", "explain")),
    (r"\bpossible\b", ("possible", "doable", "possible")),
    (r"\bcan you\b", ("can you", "could you", "are you able to")),
    (r"\bi want to\b", ("i want to", "i would like to", "i wish to", "i'd like to")),
    (r"\bpicture\b", ("picture", "image", "photo")),
    (r"\bmy computer\b", ("my computer", "this computer", "my pc", "my machine", "my system")),
    (r"\bhelp\b", ("help", "assist", "help")),
    (r"\bquestion\b", ("question", "query", "question")),
    (r"\bwhere (do|can) i\b", ("where should i", "where do i", "where can i")),
    (r"\bshould i\b", ("ought i to", "should i", "is it good if i")),
)

# (pattern, what may take its place); \1 is the rest of the question.
CONSTRUCTIONS = (
    (r"what is (?!the best |my )(.+)", (
        r"what exactly is \1", r"can you explain what \1 is", r"do you know what \1 is", r"i'd like to know what \1 is",
        r"i don't know what \1 is", r"explain \1", r"could you explain \1 to me", r"tell me what \1 is",
                                        r"\1, what is that",
        r"what do you mean by \1", r"please define \1", r"what is meant by \1", r"\1",
                                        r"i keep reading about \1, what is it",
        r"could you say what \1 is", r"what kind of thing is \1", r"what does \1 mean", r"what does the word \1 mean",
        r"i've heard of \1, what is it", r"please explain \1", r"let me know what \1 is", r"what's \1 about",
                                        r"tell me more about \1",
        r"i would like to understand what \1 is", r"what should i know about \1", r"how would you explain \1",
        r"can somebody tell me what \1 is", r"what would \1 be", r"give me a short explanation of \1",
                                        r"meaning of \1")),
    (r"what does (.+) mean", (
        r"what is the meaning of \1", r"what is meant by \1", r"can you explain what \1 means", r"\1 means what",
        r"i don't understand what \1 means", r"explain \1", r"meaning of \1", r"what do they mean by \1")),
    (r"how do i (.+)", (
        r"can you tell me how to \1", r"how to \1", r"i want to \1", r"i would like to \1", r"show me how to \1",
        r"what do i do to \1", r"is there a way to \1", r"help me \1", r"what must i do to \1", r"i need to \1, how",
        r"i don't know how to \1", r"explain how to \1", r"what's the way to \1", r"could you tell me how i \1",
        r"how does one \1", r"how would i \1", r"please tell me how to \1", r"which way do i \1",
                        r"what is the way to \1",
        r"tell me the way to \1", r"how might i \1", r"can you show me how i \1", r"what is needed to \1",
                        r"in which way can i \1",
        r"what do i have to do to \1", r"what do i have to do if i want to \1", r"what steps do i take to \1",
                        r"how should i \1",
        r"i am trying to \1", r"i can't find out how to \1", r"where do i \1", r"i'd love to \1, how",
                        r"what must be done to \1",
        r"could you help me to \1", r"instructions to \1", r"how exactly do i \1")),
    (r"can i (.+)", (
        r"is it possible to \1", r"am i able to \1", r"would it be possible to \1", r"is there a way to \1",
                     r"i want to \1, can i",
        r"may i \1", r"am i allowed to \1", r"is one allowed to \1", r"does hearth let me \1", r"will i be able to \1",
        r"could one \1", r"can you \1 here", r"can people \1", r"is it ok to \1", r"are users able to \1",
                     r"can somebody \1",
        r"could i \1", r"is one able to \1", r"i'd like to \1, is that possible", r"tell me whether i can \1")),
    (r"why (is|are|does|do) (.+)", (
        r"why \1 \2", r"how come: why \1 \2", r"can you tell me why \1 \2", r"what is the reason: why \1 \2",
        r"i wonder why \1 \2", r"what causes it: why \1 \2", r"i don't understand why \1 \2", r"tell me why \1 \2",
                                    r"so why \1 \2",
        r"why exactly \1 \2", r"for what reason \1 \2", r"please explain: why \1 \2")),
    (r"is (hearth|it|this|sharing|a model) (.+)", (
        r"i wonder if \1 is \2", r"would you say that \1 is \2", r"tell me if \1 is \2", r"is it true that \1 is \2",
        r"\1 is \2, right")),
    (r"does (hearth|a draft|sharing|this) (.+)", (
        r"i wonder, does \1 \2", r"tell me, does \1 \2", r"does \1 really \2", r"do you know, does \1 \2")),
    (r"do i need (.+)", (
        r"is it necessary to have \1", r"will i need \1", r"would i need \1", r"does hearth need \1",
                         r"does one need \1",
        r"is \1 needed", r"is \1 necessary", r"must i have \1", r"can i do without \1", r"is \1 required",
                         r"do i really need \1")),
    (r"which (.+)", (r"what \1", r"can you tell me which \1", r"i'd like to know which \1",
                     r"please tell me which \1")),
    (r"where (is|are) (.+)", (r"where can i find \2", r"i can't find \2, where \1 it", r"in which place \1 \2",
                              r"tell me where \2 \1")),
    (r"how (much|many|big|fast|old|long) (.+)", (
        r"can you tell me how \1 \2", r"i'd like to know: how \1 \2", r"roughly how \1 \2", r"about how \1 \2",
                                                 r"how \1 \2 exactly",
        r"any idea how \1 \2")),
    (r"what (happens|if|limits|decides|makes) (.+)", (
        r"tell me what \1 \2", r"i wonder what \1 \2", r"do you know what \1 \2", r"and what \1 \2")),
)

BEFORE = {
    "en": ("hi, ", "hello, ", "hey, ", "hi kindling, ", "please tell me: ", "question: ", "quick question: ",
           "sorry, ", "ok, ", "so ",
           "and ", "i have a question: ", "can you tell me: ", "um, ", "one more thing: ", "good morning, ",
           "excuse me, ",
           "well, ", "now ", "tell me, ", "hey kindling, ", "i was wondering: ", "just curious, ", "hello kindling, ",
           "next: ",
           "my friend asks: ", "stupid question, but ", "i am new to this, ", "i don't get it, ", "for a beginner: "),
    "de": ("hallo, ", "hi, ", "bitte: ", "eine frage: ", "sag mal, ", "guten tag, ", "entschuldigung, ", "und ",
           "kurze frage: "),
    "fr": ("bonjour, ", "salut, ", "une question : ", "dis-moi, ", "s'il te plaît, ", "pardon, ", "et ", "dites-moi, "),
    "es": ("hola, ", "buenos días, ", "una pregunta: ", "por favor, ", "dime, ", "perdona, ", "y "),
    "it": ("ciao, ", "buongiorno, ", "una domanda: ", "per favore, ", "dimmi, ", "scusa, ", "e "),
    "pt": ("olá, ", "bom dia, ", "uma pergunta: ", "por favor, ", "diz-me, ", "desculpa, ", "e "),
}
AFTER = {
    "en": (" please", ", please", " thanks", ", thank you", " (i am new here)", ", do you know", " exactly",
           ", kindling", " in short",
           " in simple words", ", i wonder", " by the way", ", can you say", " then", " actually"),
    "de": (" bitte", ", danke", " denn", " eigentlich", ", weißt du das"),
    "fr": (" s'il te plaît", ", merci", " exactement", ", tu sais"),
    "es": (" por favor", ", gracias", " exactamente"),
    "it": (" per favore", ", grazie", " esattamente"),
    "pt": (" por favor", ", obrigado", " exatamente"),
}
ASKS = re.compile(r"\b(what|how|why|who|whom|which|where|when|is|are|can|does|do|may|should|will|must|whose|from|in which|"
                  r"was|wer|wie|warum|wo|kann|ist|qui|que|comment|pourquoi|combien|qué|cómo|cuánto|quién|chi|cosa|come|quanto|"
                  r"es|est|cabe|bastan|serve|necesito|preciso|brauche|reichen|kannst|bist|eres|sei|"
                  r"perché|quem|o que|como|porque)\b", re.I)
KEYS = "qwertyuiop asdfghjkl zxcvbnm"


# Phrasings of one to three words that name a thing may be asked for like this; a first word that tells what to do does
# not count.
ABOUT_THING = ("{}", "{}", "tell me about {}", "explain {}", "a question about {}", "what about {}",
               "i want to know about {}", "info on {}",
               "something about {}", "help with {}", "i have a question on {}", "what can you say about {}",
               "{} please", "and {}",
               "more on {}", "could you explain {}", "please explain {}", "{}, please explain",
               "what do you know about {}")
DOING = frozenset(
    "abort about activate adapt add adding analyse are begin block break bring browse build buy buying calculate call cancel change "
    "check choose choosing clean clear close combine compare compile compress compute connect contribute convert copy crack deinstall "
    "delete describe did disable donate download draw edit empty enable end enlarge enter erase exchange explain export find fit fits "
    "fork free get getting give go guess halt help hide import improve in increase insert install interrupt is just keep kick leave "
    "limit list load loading lock look lower make measure modify move my need no not on only open out over pass pay phi pick play power "
    "prefer protect prove put raise read recommend redistribute reinstall release remote remove rename repeat report restore revoke run "
    "save scan search select send set share show shrink sleep speak speed start stop suggest support suspend swap switch take tell test "
    "the throw to too transfer translate try turn undo uninstall unload update upgrade upload use used withdraw watch wipe with works write "
    "wrong you your zoom".split())


def slip(rng, text):
    """One slip of the finger, in a word of at least four letters that is not a name or a number."""
    words = [m for m in re.finditer(r"[a-zà-ÿ]{4,}", text) if m.group() not in NAMES]
    if not words:
        return text
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return text[:at] + text[at + 1] + text[at] + text[at + 2:]
    if kind == 1:
        return text[:at] + text[at + 1:]
    if kind == 2:
        return text[:at] + text[at] + text[at:]
    near = KEYS.find(text[at])
    letter = KEYS[near + 1] if 0 <= near < len(KEYS) - 1 and KEYS[near + 1] != " " else text[at]
    return text[:at] + letter + text[at + 1:]


def with_capitals(text):
    text = re.sub(r"[^\W\d_]+\d*|\d+\w*", lambda m: NAMES.get(m.group().lower(), m.group()), text)
    return text[:1].upper() + text[1:]


def spell(rng, text, mark=True):
    """Writes a lower-case phrasing as people do: capitals and marks, or none."""
    style = rng.random()
    if style > 0.9:
        text = slip(rng, text)
    asks = bool(ASKS.search(text))
    if style < 0.55 or 0.9 < style < 0.93:
        text = with_capitals(text)
        if mark and not text.endswith(("?", ".", "!")):
            text += rng.choice(("?", "?", "?", "?", "", "??")) if asks else rng.choice((".", "", "", ""))
    elif style < 0.57:
        text = text.upper()
    elif mark and asks and rng.random() < 0.45:
        text += "?"
    return text


def reword(rng, text):
    """Another construction of an English question, and other words of the same meaning."""
    words = text.split()
    if len(words) <= 3 and words[0] not in DOING and not ASKS.search(text) and "," not in text:
        text = rng.choice(ABOUT_THING).format(text)
    elif rng.random() < 0.45:
        for pattern, places in CONSTRUCTIONS:
            match = re.fullmatch(pattern, text)
            if match:
                text = match.expand(rng.choice(places))
                break
    for pattern, choices in SYNONYMS:
        if rng.random() < 0.2:
            text = re.sub(pattern, rng.choice(choices), text)
    if rng.random() < 0.06:
        # As people write who are in a hurry or new to English.
        text = re.sub(r"\b(the|a|an|do|does|is) ", "", text)
    return text


def say(rng, question):
    """What one person might type for a question."""
    text = questions.expand(rng, rng.choice(question.phrasings))
    language = question.language()
    if question.group == "smalltalk":
        return spell(rng, text + (rng.choice((" kindling", "!", " :)", "...", " there")) if rng.random() < 0.1 else ""))
    if language == "en":
        text = reword(rng, text)
    chance = rng.random()
    if chance < 0.22:
        text = rng.choice(BEFORE[language]) + text
    elif chance < 0.34:
        text += rng.choice(AFTER[language])
    elif chance < 0.37:
        text = rng.choice(BEFORE[language]) + text + rng.choice(AFTER[language])
    return spell(rng, text)
