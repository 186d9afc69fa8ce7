#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the tables of unicode.h: make-unicode.py UNICODE.H OUT.C

General categories come from Python's unicodedata. Scripts are not in it, so script Han is written out here, as are the
sets that pre-tokenizers spell as ranges.
"""
import re
import sys
import unicodedata

N = 0x110000


def ranges(*pairs):
    return {c for first, last in pairs for c in range(first, last + 1)}


def chars(text):
    return {ord(c) for c in text}


# Script=Han of the Unicode Character Database (Scripts.txt).
HAN = ranges(
    (0x2E80, 0x2E99), (0x2E9B, 0x2EF3), (0x2F00, 0x2FD5), (0x3005, 0x3005), (0x3007, 0x3007), (0x3021, 0x3029),
    (0x3038, 0x303B), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFA6D), (0xFA70, 0xFAD9), (0x16FE2, 0x16FE3),
    (0x16FF0, 0x16FF1), (0x20000, 0x2A6DF), (0x2A700, 0x2B739), (0x2B740, 0x2B81D), (0x2B820, 0x2CEA1),
    (0x2CEB0, 0x2EBE0), (0x2EBF0, 0x2EE5D), (0x2F800, 0x2FA1D), (0x30000, 0x3134A), (0x31350, 0x323AF))

WHITE_SPACE = ranges((0x09, 0x0D), (0x20, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A),
                     (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000))

# The letters that deepseek-llm's pre-tokenizer names: those of scripts with two cases.
BICAMERAL = ranges(
    (0x41, 0x5A), (0x61, 0x7A), (0xB5, 0xB5), (0xC0, 0xD6), (0xD8, 0xF6), (0xF8, 0x1BA), (0x1BC, 0x1BF),
    (0x1C4, 0x293), (0x295, 0x2AF), (0x370, 0x373), (0x376, 0x377), (0x37B, 0x37D), (0x37F, 0x37F), (0x386, 0x386),
    (0x388, 0x38A), (0x38C, 0x38C), (0x38E, 0x3A1), (0x3A3, 0x3F5), (0x3F7, 0x481), (0x48A, 0x52F), (0x531, 0x556),
    (0x10A0, 0x10C5), (0x13A0, 0x13F5), (0x13F8, 0x13FD), (0x1C90, 0x1CBA), (0x1CBD, 0x1CBF), (0x1D00, 0x1D2B),
    (0x1D6B, 0x1D77), (0x1D79, 0x1D9A), (0x1E00, 0x1F15), (0x1F18, 0x1F1D), (0x1F20, 0x1F45), (0x1F48, 0x1F4D),
    (0x1F50, 0x1F57), (0x1F59, 0x1F59), (0x1F5B, 0x1F5B), (0x1F5D, 0x1F5D), (0x1F5F, 0x1F7D), (0x1F80, 0x1FB4),
    (0x1FB6, 0x1FBC), (0x1FBE, 0x1FBE), (0x1FC2, 0x1FC4), (0x1FC6, 0x1FCC), (0x1FD0, 0x1FD3), (0x1FD6, 0x1FDB),
    (0x1FE0, 0x1FEC), (0x1FF2, 0x1FF4), (0x1FF6, 0x1FFC), (0x2102, 0x2102), (0x2107, 0x2107), (0x210A, 0x2113),
    (0x2115, 0x2115), (0x2119, 0x211D), (0x2124, 0x2124), (0x2126, 0x2126), (0x2128, 0x2128), (0x212A, 0x212D),
    (0x212F, 0x2134), (0x2139, 0x2139), (0x213C, 0x213F), (0x2145, 0x2149), (0x214E, 0x214E), (0x2183, 0x2184),
    (0x2C00, 0x2C7B), (0x2C7E, 0x2CE4), (0x2CEB, 0x2CEE), (0x2CF2, 0x2CF3), (0xA640, 0xA66D), (0xA680, 0xA69B),
    (0xA722, 0xA76F), (0xA771, 0xA787), (0xA78B, 0xA78E), (0xAB70, 0xABBF), (0xFB00, 0xFB06), (0xFB13, 0xFB17),
    (0xFF21, 0xFF3A), (0xFF41, 0xFF5A), (0x10400, 0x1044F), (0x104B0, 0x104D3), (0x104D8, 0x104FB),
    (0x10C80, 0x10CB2), (0x10CC0, 0x10CF2), (0x118A0, 0x118DF), (0x1E900, 0x1E943))

SETS = {
    'SPACE': WHITE_SPACE,
    'HAN': HAN,
    'BLANK': chars(' '),
    'NEWLINE': chars('\r\n'),
    'LINEFEED': chars('\n'),
    'SLASH': chars('/'),
    'ASCII_PUNCT': ranges((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)),
    'ASCII_LETTER': ranges((0x41, 0x5A), (0x61, 0x7A)),
    'ASCII_DIGIT': ranges((0x30, 0x39)),
    'CHINESE_KANA': ranges((0x4E00, 0x9FA5), (0x3040, 0x30FF)),
    'CHINESE_HANGUL': ranges((0x4E00, 0x9FA5), (0x0800, 0x4E00), (0xAC00, 0xD7FF)),
    'BICAMERAL': BICAMERAL,
    'HALF_FULL_PUNCT': ranges((0x21, 0x2F), (0x3A, 0x7E), (0xFF01, 0xFF0F), (0xFF1A, 0xFF5E), (0x2018, 0x201F),
                              (0x3000, 0x3002)),
    'FALCON_SYMBOL': chars('$+<=>^~|'),
    'BACKTICK': chars('`'),
    'BLOOM_STOP': WHITE_SPACE | chars('(|.,!?)\u2026\u3002\uFF0C\u3001\u0964\u06D4\u060C'),
    'IDEOGRAPH': ranges((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
                        (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
}

CATEGORIES = {'Lu': 'LU', 'Ll': 'LL', 'Lt': 'LT', 'Lm': 'LM', 'Lo': 'LO', 'M': 'M', 'N': 'N', 'P': 'P', 'S': 'S', 'C': 'C'}


def class_of(code_point, bits):
    category = unicodedata.category(chr(code_point))
    name = CATEGORIES.get(category) or CATEGORIES.get(category[0])
    if name == 'C' and chr(code_point) in '\t\n\r':
        name = None
    return 1 << bits['ANY'] | (1 << bits[name] if name else 0)


def fold(code_point):
    """Lower case, decomposed, without nonspacing marks; None where that is the character itself."""
    char = chr(code_point)
    if 0xD800 <= code_point < 0xE000 or 0xAC00 <= code_point < 0xAC00 + 11172:
        return None
    text = ''.join(c for c in unicodedata.normalize('NFD', char.lower()) if unicodedata.category(c) != 'Mn')
    return None if text == char else tuple(map(ord, text))


def two_stage(values, shift):
    """Blocks of 2^shift values, each kept once, and the block of every value."""
    size = 1 << shift
    blocks, index, seen = [], [], {}
    for start in range(0, N, size):
        block = tuple(values[start:start + size])
        if block not in seen:
            seen[block] = len(seen)
            blocks.extend(block)
        index.append(seen[block])
    return blocks, index


def write(out, kind, name, values):
    limit = {'uint8_t': 1 << 8, 'uint16_t': 1 << 16, 'uint32_t': 1 << 32}[kind]
    if max(values) >= limit:
        sys.exit(f'{name} does not fit {kind}')
    out.write(f'\nconst {kind} {name}[{len(values)}] = {{\n')
    for i in range(0, len(values), 24):
        out.write('  ' + ','.join(map(str, values[i:i + 24])) + ',\n')
    out.write('};\n')


def main():
    with open(sys.argv[1], encoding='utf-8') as header:
        text = header.read()
    bits = {name: int(bit) for name, bit in re.findall(r'EM_CHAR_(\w+) = 1u << (\d+)', text)}
    shifts = {name: int(shift) for name, shift in re.findall(r'EM_UNICODE_(\w+)_SHIFT (\d+)', text)}
    longest = int(re.search(r'EM_FOLD_MAX (\d+)', text).group(1))
    unknown = set(bits) - set(SETS) - set(CATEGORIES.values()) - {'ANY'}
    if unknown:
        sys.exit(f'sets without a meaning: {unknown}')

    flags = [class_of(c, bits) for c in range(N)]
    for name, members in SETS.items():
        for c in members:
            flags[c] |= 1 << bits[name]
    kinds = sorted(set(flags))
    number = {kind: i for i, kind in enumerate(kinds)}
    class_blocks, class_index = two_stage([number[f] for f in flags], shifts['CLASS'])

    pool, places, folds = [0], {}, []
    for c in range(N):
        folded = fold(c)
        if folded is None:
            folds.append(0)
            continue
        if len(folded) > longest:
            sys.exit(f'U+{c:04X} folds to {len(folded)} characters')
        if folded not in places:
            places[folded] = len(pool)
            pool.extend((len(folded), *folded))
        folds.append(places[folded])
    fold_blocks, fold_index = two_stage(folds, shifts['FOLD'])

    with open(sys.argv[2], 'w', encoding='utf-8') as out:
        out.write('/* SPDX-License-Identifier: GPL-3.0-or-later */\n')
        out.write(f'/* Made by make-unicode.py from Unicode {unicodedata.unidata_version}. */\n')
        out.write('#include "text/tokenizer/unicode.h"\n')
        write(out, 'uint32_t', 'em_unicode_class_flags', kinds)
        write(out, 'uint16_t', 'em_unicode_class_index', class_index)
        write(out, 'uint8_t', 'em_unicode_class_blocks', class_blocks)
        write(out, 'uint32_t', 'em_unicode_fold_pool', pool)
        write(out, 'uint16_t', 'em_unicode_fold_index', fold_index)
        write(out, 'uint16_t', 'em_unicode_fold_blocks', fold_blocks)


if __name__ == '__main__':
    main()
