# SPDX-License-Identifier: GPL-3.0-or-later
"""Values for tools and JSON: from lists, and made up from syllables, so that a model learns to copy and not to remember.
held_out=True takes values that the corpus never has."""

CITIES = ("Paris", "Berlin", "Rome", "Madrid", "Lisbon", "Vienna", "Prague", "Oslo", "Bern", "Zurich", "Hamburg",
          "Munich", "Cologne",
          "Milan", "Naples", "Turin", "Porto", "Seville", "Valencia", "Lyon", "Nice", "Lille", "Ghent", "Bruges",
          "Utrecht", "Leeds",
          "York", "Bristol", "Dublin", "Cork", "Boston", "Chicago", "Denver", "Austin", "Seattle", "Toronto", "Tokyo",
          "Osaka", "Seoul",
          "Delhi", "Cairo", "Lima", "Quito", "Bogota", "New York", "Cape Town", "San Francisco", "Helsinki", "Riga",
          "Athens")
CITIES_HELD = ("Bergen", "Graz", "Salamanca", "Trieste", "Kyoto", "Galway", "Nantes", "Krakow", "Portland", "Tunis",
               "Basel", "Leipzig")
PEOPLE = ("Anna", "Ben", "Clara", "David", "Eva", "Frank", "Greta", "Hugo", "Ines", "Jan", "Karl", "Lena", "Mia",
          "Noah", "Olga", "Peter",
          "Rosa", "Sam", "Tina", "Uwe", "Vera", "Walter", "Yara", "Zoe", "Maria", "John", "Emma", "Luis", "Carmen",
          "Paolo")
PEOPLE_HELD = ("Astrid", "Boris", "Celine", "Dario", "Freya", "Gustav", "Helga", "Ivan", "Kira", "Marco", "Selma",
               "Tobias")
WORDS = ("milk", "bread", "the report", "the garden", "the window", "the tickets", "the car", "coffee", "the dog",
         "the bill", "the letter",
         "the meeting", "the plants", "the laundry", "the keys", "the cake", "lunch", "the book", "the rent",
         "the train", "the bike", "soup")
WORDS_HELD = ("the violin", "the passport", "the oven", "the ladder", "the seeds", "the doctor", "the roof",
              "the suitcase", "the candles")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "grey", "brown", "orange", "violet")
LANGUAGES = ("German", "French", "Spanish", "Italian", "Portuguese", "English", "Dutch", "Polish", "Swedish",
             "Japanese")
CURRENCIES = ("EUR", "USD", "GBP", "CHF", "JPY", "SEK", "PLN", "CAD")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")
ROOMS = ("kitchen", "bedroom", "bathroom", "hall", "office", "garage", "cellar", "attic", "living room")
THINGS = ("chair", "lamp", "table", "jacket", "bag", "clock", "cup", "shelf", "bottle", "kettle", "hat", "knife",
          "mirror", "carpet")
THINGS_HELD = ("umbrella", "teapot", "sofa", "wallet", "pillow", "basket")
SUBJECTS = ("owls", "old ships", "apple trees", "bread", "mountain huts", "chess", "bees", "steam trains", "tea",
            "castles", "violins",
            "mushrooms", "lighthouses", "rivers", "wool", "clocks")
SUBJECTS_HELD = ("windmills", "badgers", "porcelain", "tram lines", "honey", "meteors")
STARTS = ("Bal", "Cor", "Dan", "El", "Fen", "Gar", "Hal", "Il", "Kor", "Lin", "Mar", "Nor", "Or", "Pel", "Rin", "Sal",
          "Tor", "Ul", "Ven", "Wil")
ENDS = ("berg", "dorf", "ville", "ton", "mere", "ford", "sund", "stad", "via", "mont", "dale", "nik", "ova", "port",
        "wick", "heim")
ENDS_HELD = ("grad", "holm", "bury", "ano")


def pick(rng, held_out, usual, kept):
    return rng.choice(kept if held_out else usual)


def city(rng, held_out=False):
    if rng.random() < 0.45:
        return rng.choice(STARTS) + pick(rng, held_out, ENDS, ENDS_HELD)
    return pick(rng, held_out, CITIES, CITIES_HELD)


def person(rng, held_out=False):
    return pick(rng, held_out, PEOPLE, PEOPLE_HELD)


def words(rng, held_out=False):
    return pick(rng, held_out, WORDS, WORDS_HELD)


def thing(rng, held_out=False):
    return pick(rng, held_out, THINGS, THINGS_HELD)


def subject(rng, held_out=False):
    return pick(rng, held_out, SUBJECTS, SUBJECTS_HELD)


def family_name(rng, held_out=False):
    return rng.choice(STARTS) + pick(rng, held_out, ENDS, ENDS_HELD)


def number(low, high):
    return lambda rng, held_out=False: rng.randint(low, high)


def clock(rng, held_out=False):
    return f"{rng.randint(0, 23):02d}:{rng.choice((0, 5, 10, 15, 20, 30, 40, 45, 50)):02d}"


def date(rng, held_out=False):
    return f"{rng.randint(2024, 2029)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def one_of(*choices):
    return lambda rng, held_out=False: rng.choice(choices)


def email(rng, held_out=False):
    return f"{person(rng, held_out).lower()}@{family_name(rng, held_out).lower()}.org"
