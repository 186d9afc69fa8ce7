# SPDX-License-Identifier: GPL-3.0-or-later
"""Short stories from a grammar of our own, with continuations."""

import phrasing
import questions

# A hero, what it is called in the story, and how it is spoken of: (name, pronoun, possessive).
HEROES = {
    "fox": ("it", "its"), "hedgehog": ("it", "its"), "mouse": ("it", "its"), "owl": ("it", "its"),
          "bear": ("it", "its"),
    "rabbit": ("it", "its"), "snail": ("it", "its"), "cat": ("it", "its"), "dog": ("it", "its"), "duck": ("it", "its"),
    "robot": ("it", "its"), "lamp": ("it", "its"), "kettle": ("it", "its"), "cloud": ("it", "its"),
          "star": ("it", "its"),
    "boat": ("it", "its"), "tree": ("it", "its"), "stone": ("it", "its"), "dragon": ("it", "its"),
          "ghost": ("it", "its"),
    "girl": ("she", "her"), "boy": ("he", "his"), "baker": ("she", "her"), "farmer": ("he", "his"),
          "king": ("he", "his"),
    "queen": ("she", "her"), "knight": ("he", "his"), "sailor": ("he", "his"), "painter": ("she", "her"),
          "gardener": ("he", "his"),
    "teacher": ("she", "her"), "wizard": ("he", "his"), "witch": ("she", "her"), "princess": ("she", "her"),
          "horse": ("it", "its"),
    "frog": ("it", "its"), "crow": ("it", "its"), "squirrel": ("it", "its"), "whale": ("it", "its"),
          "train": ("it", "its"),
}
NAMES = ("Mila", "Tom", "Ida", "Otto", "Nora", "Finn", "Ella", "Paul", "Lea", "Max", "Zoe", "Ben", "Rosa", "Leo",
         "Pip", "Ada", "Juno",
         "Emil", "Lotte", "Nils")
TRAITS = ("small", "quiet", "old", "brave", "curious", "shy", "merry", "slow", "clever", "sleepy", "kind", "proud")
PLACES = ("in a wood", "by the sea", "on a high hill", "in a little town", "near a wide river", "under an old bridge",
          "in a garden",
          "at the edge of a village", "in a white house", "on an island", "in a deep valley", "beside a mill")
WISHES = ("to see the snow", "to find a friend", "to learn to sing", "to cross the river", "to hear the oldest song",
          "to keep warm in winter", "to find the lost key", "to see what lies behind the hill", "to light up the night",
          "to tell a story", "to plant a seed", "to bake the best bread")
TROUBLES = ("But the way was long and the night was dark.", "But a storm came up and took the path away.",
            "But everybody said it could not be done.", "But the door was shut and the key was gone.",
            "But the wind was cold and nobody was at home.", "But the bridge had fallen into the water.",
            "But the map was torn in two.", "But the rain did not stop for seven days.")
HELPERS = ("an old owl", "a small mouse", "a traveller with a lantern", "a child with a red hat", "a friendly crow",
           "a tired horse",
           "a quiet fisherman", "a bee", "a woman with a basket", "a frog in the grass", "a lost lamb", "a hedgehog")
HELP = ("shared a piece of bread", "showed the way", "lent a lamp", "told the secret of the place",
        "waited until the morning",
        "sang to keep the fear away", "held the rope", "knew a hidden path", "gave a warm scarf",
        "asked the right question")
ENDS = ("and so the wish came true.", "and together they reached the place at sunrise.",
        "and the night was not dark any more.",
        "and from that day on they were friends.", "and everyone in the village heard of it.",
        "and there was tea for all.",
        "and at home the fire was still warm.")
LESSONS = ("Small steps go far.", "It is good to ask for help.", "Two lights are brighter than one.",
           "Who waits well, travels well.",
           "A friend is half the way.", "Every fire begins with kindling.")
LATER = ("The next day", "A week later", "When spring came", "One evening", "In the following winter", "Years later")
MORE = ("{hero} met {helper} again.", "{hero} set out once more.", "a letter came for {hero}.",
        "{hero} heard a knock at the door.",
        "{hero} found a small box in the grass.", "{hero} wanted to give something back.")
THEN = ("Inside was a note: thank you.", "It was the start of a new journey.",
        "They sat by the fire and talked until late.",
        "They built a bench there, for all who pass by.", "They laughed, for they had both grown a little.",
        "They shared a loaf of bread and looked at the stars.")

ASK = ("tell me a (short |)story about a {}", "a story about a {}", "(can|could) you tell me a story about a {}",
       "story about a {}",
       "tell a story of a {}", "write a (short |)story about a {}", "i want (to hear |)a story about a {}",
       "make up a story about a {}",
       "please tell a (little |)story with a {}", "do you know a story about a {}", "once upon a time there was a {}",
       "a bedtime story about a {}", "tell my (daughter|son|child) a story about a {}")
ASK_ANY = ("tell me a story", "a story please", "tell me a (short|little) story", "i want a story", "write a story",
           "story time",
           "tell me a bedtime story", "make up a story", "another story", "do you know a (nice|good) story",
           "a story for my (son|daughter)")
GO_ON = ("go on", "continue", "what happened next", "and then", "more", "go on please", "what happened then",
         "continue the story",
         "tell me more", "how does it go on", "and what happened after that", "keep going", "please continue")


def story(rng, hero):
    """(story, continuation)"""
    pronoun, its = HEROES[hero]
    trait, name = rng.choice(TRAITS), rng.choice(NAMES)
    article = "an" if trait[0] in "aeiou" else "a"
    called = f"the {hero}"
    opening = rng.choice((
        f"Once there was {article} {trait} {hero} called {name}, who lived {rng.choice(PLACES)}.",
        f"{rng.choice(PLACES).capitalize()} lived {article} {trait} {hero}. {its.capitalize()} name was {name}.",
        f"Long ago {article} {trait} {hero} named {name} lived {rng.choice(PLACES)}."))
    wish = rng.choice((f"{name} wanted {rng.choice(WISHES)}.",
                       f"More than anything {name} wished {rng.choice(WISHES)}.",
                       f"Every day {called} dreamed of one thing: {rng.choice(WISHES)}."))
    helper = rng.choice([h for h in HELPERS if hero not in h])
    helped = f"Then {helper} came by and {rng.choice(HELP)}, {rng.choice(ENDS)}"
    text = " ".join((opening, wish, rng.choice(TROUBLES), helped))
    if rng.random() < 0.5:
        text += " " + rng.choice(LESSONS)
    more = rng.choice(MORE).format(hero=name, helper=helper.replace("an ", "the ", 1).replace("a ", "the ", 1))
    return text, f"{rng.choice(LATER)} {more} {rng.choice(THEN)}"


def make(rng):
    hero = rng.choice(sorted(HEROES))
    if rng.random() < 0.75:
        text = questions.expand(rng, rng.choice(ASK)).format(hero)
        text = text.replace("a owl", "an owl").replace("story of a old", "story of an old")
    else:
        text = questions.expand(rng, rng.choice(ASK_ANY))
    if rng.random() < 0.15:
        text = rng.choice(phrasing.BEFORE["en"]) + text
    told, more = story(rng, hero)
    messages = [{"role": "user", "content": phrasing.spell(rng, text)}, {"role": "assistant", "content": told}]
    if rng.random() < 0.35:
        messages += [{"role": "user", "content": phrasing.spell(rng, rng.choice(GO_ON))},
                     {"role": "assistant", "content": more}]
    return messages
