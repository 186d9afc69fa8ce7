#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Byte-level BPE with the words of qwen2, as Hearth's tokenizer has it: trainer, encoder and decoder.

    tokenizer.py train CORPUS.jsonl... --size 4096 --out tokenizer.json
    tokenizer.py count tokenizer.json CORPUS.jsonl...       tokens in all, and tokens that are learnt
    tokenizer.py encode tokenizer.json [--special]          text on standard input -> JSON array of ids

Ids: the 256 bytes, then the merges in their order, then the special tokens.
"""

import argparse
import collections
import heapq
import json
import re
import sys
import unicodedata

import chat

# --- Words ---------------------------------------------------------------------------------------------------------------


def char_class(kind):
    """Every character whose Unicode category begins with a letter, as the inside of a regular expression's class."""
    ranges, start = [], None
    for code in range(0x110001):
        inside = code < 0x110000 and unicodedata.category(chr(code))[0] == kind
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            ranges.append(f"\\U{start:08x}-\\U{code - 1:08x}")
            start = None
    return "".join(ranges)


SPACES = "\\t\\n\\x0b\\x0c\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"


def word_pattern():
    """The words of qwen2: a digit stands alone, and a word takes the space before it."""
    letters, digits = char_class("L"), char_class("N")
    return re.compile(
        "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
        f"|[^\\r\\n{letters}{digits}]?[{letters}]+"
        f"|[{digits}]"
        f"| ?[^{SPACES}{letters}{digits}]+[\\r\\n]*"
        f"|[{SPACES}]*[\\r\\n]+"
        f"|[{SPACES}]+(?![^{SPACES}])"
        f"|[{SPACES}]+")


def byte_letters():
    """The printable character that stands for each byte in a vocabulary file (GPT-2's table: visible Latin-1 for themselves, the
    others from U+0100 on)."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters, next_code = {}, 0x100
    for byte in range(256):
        if byte in visible:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(next_code)
            next_code += 1
    return letters


# --- Encoding ------------------------------------------------------------------------------------------------------------


class Tokenizer:
    def __init__(self, merges):
        """merges: pairs of ids, in the order of training."""
        self.merges = [tuple(pair) for pair in merges]
        self.pieces = [bytes([byte]) for byte in range(256)]
        self.ranks = {}
        for rank, (left, right) in enumerate(self.merges):
            self.ranks[left, right] = rank
            self.pieces.append(self.pieces[left] + self.pieces[right])
        self.first_special = len(self.pieces)
        self.special = {text: self.first_special + i for i, text in enumerate(chat.SPECIALS)}
        self.size = self.first_special + len(self.special)
        self.pattern = word_pattern()
        self.special_pattern = re.compile("(" + "|".join(map(re.escape, chat.SPECIALS)) + ")")
        self.cache = {}

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as file:
            return cls(json.load(file)["merges"])

    def save(self, path):
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"merges": self.merges}, file, separators=(",", ":"))
            file.write("\n")

    def encode_word(self, word):
        ids = list(word.encode("utf-8"))
        while len(ids) > 1:
            rank, at = min((self.ranks.get(pair, len(self.merges)), i) for i, pair in enumerate(zip(ids, ids[1:])))
            if rank == len(self.merges):
                break
            ids[at:at + 2] = [256 + rank]
        return ids

    def encode(self, text, special=False):
        """special: the special tokens in the text are recognised."""
        if special:
            out = []
            for part in self.special_pattern.split(text):
                out += [self.special[part]] if part in self.special else self.encode(part)
            return out
        out = []
        for word in self.pattern.findall(text):
            if word not in self.cache:
                self.cache[word] = self.encode_word(word)
            out += self.cache[word]
        return out

    def encode_conversation(self, made):
        """(ids, 1 for each id that is to be learnt)"""
        ids, learnt = [], []
        for text, learn in chat.pieces(made["messages"], made.get("tools", ()), made.get("no_thinking", False)):
            part = self.encode(text, special=True)
            ids += part
            learnt += [int(learn)] * len(part)
        return ids, learnt

    def decode(self, ids):
        names = {i: text.encode() for text, i in self.special.items()}
        return b"".join(names[i] if i in names else self.pieces[i] for i in ids).decode("utf-8", "replace")

    def vocabulary(self):
        """(tokens, merges, types) as a model file stores them; type 1 normal, 3 control, 4 shown though special."""
        letters = byte_letters()
        shown = ["".join(letters[byte] for byte in piece) for piece in self.pieces]
        merges = [f"{shown[left]} {shown[right]}" for left, right in self.merges]
        tokens = shown + list(chat.SPECIALS)
        types = [1] * len(shown) + [3 if text.startswith("<|") else 4 for text in chat.SPECIALS]
        return tokens, merges, types


# --- Training ------------------------------------------------------------------------------------------------------------


def read_texts(paths):
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                made = json.loads(line)
                for text, _ in chat.pieces(made["messages"], made.get("tools", ())):
                    yield text


def count_words(texts):
    pattern = word_pattern()
    split = re.compile("|".join(map(re.escape, chat.SPECIALS)))
    words = collections.Counter()
    for text in texts:
        for part in split.split(text):
            words.update(pattern.findall(part))
    return words


def train(words, size):
    """Merges the commonest pair, the lower ids first among equals, until the vocabulary has its size."""
    listed = sorted(words.items())
    ids = [list(word.encode("utf-8")) for word, _ in listed]
    weights = [count for _, count in listed]
    counts, places = collections.Counter(), collections.defaultdict(set)
    for i, word in enumerate(ids):
        for pair in zip(word, word[1:]):
            counts[pair] += weights[i]
            places[pair].add(i)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    merges = []
    while len(merges) < size - 256 - len(chat.SPECIALS) and heap:
        count, pair = heapq.heappop(heap)
        if counts[pair] != -count:
            continue  # An entry from before a merge changed this pair's count; the right one is in the heap too.
        if -count < 2:
            break
        made = 256 + len(merges)
        merges.append(pair)
        changed = set()
        for i in sorted(places.pop(pair)):
            word, weight = ids[i], weights[i]
            for old in zip(word, word[1:]):
                counts[old] -= weight
                changed.add(old)
            new, at = [], 0
            while at < len(word):
                if at + 1 < len(word) and (word[at], word[at + 1]) == pair:
                    new.append(made)
                    at += 2
                else:
                    new.append(word[at])
                    at += 1
            ids[i] = new
            for fresh in zip(new, new[1:]):
                counts[fresh] += weight
                places[fresh].add(i)
                changed.add(fresh)
        counts[pair] = 0
        for other in changed:
            if counts[other] > 0:
                heapq.heappush(heap, (-counts[other], other))
    return Tokenizer(merges)


def main():
    parser = argparse.ArgumentParser(description="Kindling's tokenizer.")
    commands = parser.add_subparsers(dest="command", required=True)
    trained = commands.add_parser("train")
    trained.add_argument("corpus", nargs="+")
    trained.add_argument("--size", type=int, default=4096)
    trained.add_argument("--out", required=True)
    counted = commands.add_parser("count")
    counted.add_argument("tokenizer")
    counted.add_argument("corpus", nargs="+")
    encoded = commands.add_parser("encode")
    encoded.add_argument("tokenizer")
    encoded.add_argument("--special", action="store_true")
    given = parser.parse_args()
    if given.command == "train":
        tokenizer = train(count_words(read_texts(given.corpus)), given.size)
        tokenizer.save(given.out)
        print(f"{tokenizer.size} tokens")
    elif given.command == "count":
        tokenizer = Tokenizer.load(given.tokenizer)
        total = learnt = longest = n = 0
        for path in given.corpus:
            with open(path, encoding="utf-8") as lines:
                for line in lines:
                    ids, learn = tokenizer.encode_conversation(json.loads(line))
                    total, learnt, longest, n = total + len(ids), learnt + sum(learn), max(longest, len(ids)), n + 1
        print(f"{n} conversations, {total} tokens, {learnt} learnt, the longest has {longest}")
    else:
        tokenizer = Tokenizer.load(given.tokenizer)
        print(json.dumps(tokenizer.encode(sys.stdin.read(), given.special)))


if __name__ == "__main__":
    main()
