# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a model file: GGUF version 3, little endian, with F32, F16 and Q8_0 tensors."""

import array
import struct
import sys

MAGIC, VERSION, ALIGNMENT = b"GGUF", 3, 32
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
TYPES = {"F32": 0, "F16": 1, "Q8_0": 8}
BLOCK = 32


def string(text):
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def scalar(kind, value):
    if kind == STRING:
        return string(value)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def entry(key, kind, value, of=None):
    """One piece of metadata; an array's kind of element is of."""
    head = string(key) + struct.pack("<I", kind)
    if kind == ARRAY:
        return head + struct.pack("<IQ", of, len(value)) + b"".join(scalar(of, one) for one in value)
    return head + scalar(kind, value)


def encode_f32(values):
    data = array.array("f", values)
    if sys.byteorder == "big":
        data.byteswap()
    return data.tobytes()


def encode_f16(values):
    return struct.pack(f"<{len(values)}e", *values)


def encode_q8_0(values):
    """Blocks of 32: a scale d as float16, the largest magnitude / 127, and 32 signed bytes round(x / d)."""
    out = bytearray()
    for at in range(0, len(values), BLOCK):
        block = values[at:at + BLOCK]
        scale = max(max(block), -min(block)) / 127
        inverse = 1 / scale if scale else 0.0
        out += struct.pack("<e32b", scale, *(round(value * inverse) for value in block))
    return bytes(out)


ENCODERS = {"F32": encode_f32, "F16": encode_f16, "Q8_0": encode_q8_0}


def decode_q8_0(data):
    values = array.array("f")
    for scale, *quants in struct.iter_unpack("<e32b", data):
        values.extend(scale * quant for quant in quants)
    return values


def write(path, metadata, tensors):
    """metadata: what entry() made; tensors: [(name, (rows, columns) or (length,), type, values in row order)]."""
    infos, datas, offset = [], [], 0
    for name, shape, type_, values in tensors:
        if type_ == "Q8_0" and shape[-1] % BLOCK:
            raise ValueError(f"{name}: rows of {shape[-1]} are no whole blocks of {BLOCK}")
        data = ENCODERS[type_](values)
        data += bytes(-len(data) % ALIGNMENT)
        # A file names the fastest dimension first.
        infos.append(string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), TYPES[type_],
                                                offset))
        datas.append(data)
        offset += len(data)
    head = MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(metadata)) + b"".join(metadata) + b"".join(infos)
    with open(path, "wb") as out:
        out.write(head + bytes(-len(head) % ALIGNMENT))
        for data in datas:
            out.write(data)
