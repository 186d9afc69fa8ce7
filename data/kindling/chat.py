# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversations as the model reads them: ChatML with thinking and tools. template.jinja, which is stored in the model
file, gives the same text; tests/unit/kindling.py compares the two."""

import json

import tools

START, END = "<|im_start|>", "<|im_end|>"
SPECIALS = ("<|endoftext|>", START, END, "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>",
            "</tool_response>")
NO_THINKING = "<think>\n\n</think>\n\n"


def system_text(messages, definitions):
    text = messages[0]["content"] if messages and messages[0]["role"] == "system" else ""
    if definitions:
        lines = "\n".join(json.dumps(definition, ensure_ascii=False) for definition in definitions)
        text += ("\n\n" if text else "") + tools.SYSTEM.format(tools=lines)
    return text


def call_text(call):
    arguments = json.dumps(call["arguments"], ensure_ascii=False)
    return f"<tool_call>\n{{\"name\": \"{call['name']}\", \"arguments\": {arguments}}}\n</tool_call>"


def assistant_text(message):
    text = ""
    if message.get("reasoning_content"):
        text += f"<think>\n{message['reasoning_content']}\n</think>\n\n"
    text += message["content"]
    for i, call in enumerate(message.get("tool_calls", ())):
        text += ("\n" if i or message["content"] else "") + call_text(call)
    return text


def pieces(messages, definitions=(), no_thinking=False):
    """[(text, whether the model is to learn it)]. no_thinking: the last answer begins with an empty thought that is given."""
    out = []
    system = system_text(messages, definitions)
    if system:
        out.append((f"{START}system\n{system}{END}\n", False))
    rest = [message for message in messages if message["role"] != "system"]
    for i, message in enumerate(rest):
        role = message["role"]
        if role == "user":
            out.append((f"{START}user\n{message['content']}{END}\n", False))
        elif role == "tool":
            text = f"<tool_response>\n{message['content']}\n</tool_response>"
            before = f"{START}user\n" if rest[i - 1]["role"] != "tool" else "\n"
            after = f"{END}\n" if i + 1 == len(rest) or rest[i + 1]["role"] != "tool" else ""
            out.append((before + text + after, False))
        else:
            head = f"{START}assistant\n"
            if no_thinking and i + 1 == len(rest) and not message.get("reasoning_content"):
                head += NO_THINKING
            out.append((head, False))
            out.append((assistant_text(message) + END, True))
            out.append(("\n", False))
    return out


def prompt(messages, definitions=(), no_thinking=False):
    """What the model reads before its answer."""
    text = "".join(text for text, _ in pieces(messages, definitions))
    return text + f"{START}assistant\n" + (NO_THINKING if no_thinking else "")
