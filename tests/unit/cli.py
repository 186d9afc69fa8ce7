#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""hearth-engine's subcommands on a small random model: exit codes, outputs, and one line for what goes wrong.

    cli.py HEARTH-ENGINE MAKE-TINY-MODEL
"""

import array
import json
import os
import subprocess
import sys
import tempfile

engine, make_model = sys.argv[1:3]
n_checks = 0
failures = []


def check(good, what):
    global n_checks
    n_checks += 1
    if not good:
        failures.append(what)
        print("failed:", what, file=sys.stderr)


def run(*args, text=None, code=0, drivers=False):
    """Runs the program and checks its exit code; returns (standard output, standard error). drivers: it opens graphics drivers,
    whose leaks a sanitizer would count as ours, because they are unloaded and have no name by then."""
    given = {"stdin": subprocess.DEVNULL} if text is None else {"input": text.encode() if isinstance(text, str) else text}
    env = dict(os.environ)
    if drivers:
        env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    result = subprocess.run([engine, *args], capture_output=True, timeout=120, env=env, **given)
    name = " ".join(os.path.basename(word) if "/" in word else word for word in args)[:200]
    check(result.returncode == code, f"{name}: exit code {result.returncode}, expected {code}: {result.stderr.decode()}")
    if code == 1:
        check(result.stdout == b"" and result.stderr.count(b"\n") == 1, f"{name}: one line on standard error: {result.stderr}")
    if code == 2:
        check(result.stdout == b"" and b"usage: hearth-engine" in result.stderr, f"{name}: usage on standard error")
    return result.stdout.decode(), result.stderr.decode()


def floats(path):
    values = array.array("f")
    with open(path, "rb") as file:
        values.frombytes(file.read())
    return values


def test_usage(model, folder):
    run(code=2)
    run("fly", code=2)
    out, _ = run("--help")
    for command in ("run", "logits", "tokenize", "detokenize", "render", "parse-reply", "inspect", "bench", "devices"):
        check(f"  {command} " in out, f"--help names {command}")
    out, _ = run("run", "--help")
    check(out.startswith("usage: hearth-engine run MODEL -p TEXT"), "run --help")
    run("run", model, code=2)
    run("run", "-p", "words", code=2)
    run("run", model, "-p", "words", "--frobnicate", code=2)
    run("run", model, "-p", code=2)
    run("run", model, "-p", "words", "-n", "minus", code=2)
    run("run", model, "-p", "words", "--seed", "-1", code=2)
    run("run", model, "-p", "words", "--temperature", "nan", code=2)
    run("run", model, model, "-p", "words", code=2)
    run("logits", model, "--tokens", "1", code=2)
    run("logits", model, "--tokens", "1", "--out", folder + "/x", "--kv", "f8", code=2)
    run("logits", model, "--tokens", "1", "--out", folder + "/x", "--isa", "mmx", code=2)
    run("inspect", model, "--json=yes", code=2)
    run("bench", model, "-p", "0", "-n", "0", code=2)
    run("bench", model, "-r", "0", code=2)
    run("devices", "here", code=2)
    run("render", text="{}", code=2)
    run("render", model, "--template", "file", text="{}", code=2)


def test_failures(model, folder):
    text = os.path.join(folder, "text.gguf")
    with open(text, "w", encoding="ascii") as file:
        file.write("this is not a model, just words in a file")
    cut = os.path.join(folder, "cut.gguf")
    with open(model, "rb") as source, open(cut, "wb") as target:
        target.write(source.read(20000))
    for path in (text, cut, os.path.join(folder, "missing.gguf"), folder, "/dev/null"):
        run("run", path, "-p", "words", code=1)
        run("inspect", path, code=1)
        run("tokenize", path, text="words", code=1)
        run("bench", path, code=1)
    run("run", model, "-p", "words", "--device", "toaster", code=1)
    for device in ("vulkan:99", "vulkan:", "CPU", ""):
        run("run", model, "-p", "words", "--device", device, code=1, drivers=True)
    run("run", model, "-p", "words", "--temperature", "-1", code=1)
    run("run", model, "-p", "words", "--temperature", "1e300", code=1)
    run("run", model, "-p", "words " * 4000, code=1)
    run("logits", model, "--tokens", "1,x", "--out", folder + "/x", code=1)
    run("logits", model, "--tokens", "", "--out", folder + "/x", code=1)
    run("logits", model, "--tokens", "1,99999", "--out", folder + "/x", code=1)
    run("logits", model, "--tokens", "@" + folder + "/none", "--out", folder + "/x", code=1)
    run("logits", model, "--tokens", "1", "--out", folder + "/none/x", code=1)
    run("logits", model, "--tokens", "1", "--out", folder + "/x", "--batch", "4294967295", code=1)
    run("detokenize", model, text="[1, 2, 99999]", code=1)
    run("detokenize", model, text="[1, -2]", code=1)
    run("bench", model, "--depth", "100000", code=1)
    run("bench", model, "--depth", "4294967295", "-p", "4294967295", code=1)
    run("run", model, "-p", "words", "-n", "4294967295", "--temperature", "0", "--raw")


def test_match(folder):
    schema, grammar, bad, deep = (os.path.join(folder, name) for name in ("s.json", "g.gbnf", "bad.json", "deep.gbnf"))
    for path, text in ((schema, '{"properties":{"a":{"type":"integer"}},"required":["a"]}'), (grammar, 'root ::= [0-9]+'),
                       (bad, '{"type":"array","uniqueItems":true}'), (deep, "root ::= " + "(" * 60000)):
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    run("match", "--schema", schema, text='{"a": 12}')
    for text in ('{"a": 12', '{"a": "b"}', "{}", "", '{"a": 12}\n'):
        run("match", "--schema", schema, text=text, code=1)
    run("match", "--grammar", grammar, text="123")
    run("match", "--grammar", grammar, text="12x", code=1)
    run("match", "--schema", schema, "--grammar", grammar, text="1", code=2)
    run("match", text="1", code=2)
    for option, path in (("--schema", bad), ("--schema", grammar), ("--grammar", schema), ("--grammar", deep),
                         ("--schema", folder + "/none")):
        result = subprocess.run([engine, "match", option, path], input=b"1", capture_output=True, timeout=120)
        check(result.returncode == 2 and result.stdout == b"" and result.stderr.count(b"\n") == 1,
              f"match {option}: exit code 2 and one line for what is no usable grammar: {result}")


def test_run(model):
    first, err = run("run", model, "-p", "the little", "-n", "20", "--seed", "5")
    check(len(first) > 20 and first.startswith(" "), f"run writes a text that goes on: {first!r}")
    check("no chat template" in err and err.count("\n") == 1, "run says that it continues the text")
    again, err = run("run", model, "-p", "the little", "-n", "20", "--seed", "5", "--raw")
    check(again == first, "the same seed gives the same text")
    check(err == "", "--raw says nothing")
    other, _ = run("run", model, "-p", "the little", "-n", "20", "--seed", "6", "--raw")
    check(other != first, "another seed gives another text")
    greedy = {run("run", model, "-p", "the little", "-n", "20", "--temperature", "0", "--raw", *more)[0]
              for more in ((), ("--seed", "1"), ("--threads", "1"), ("--device", "cpu"))}
    check(len(greedy) == 1, "greedy texts are all the same")
    _, err = run("run", model, "-p", "the little", "-n", "4", "--raw", "--stats")
    for word in ("device: cpu", "load: ", "time to first token: ", "answer: 4 tokens", "seed: "):
        check(word in err, f"--stats says {word}")


def test_bound(model, folder):
    """Answers that must follow a schema or a grammar."""
    schema, grammar, wrong = (os.path.join(folder, name) for name in ("s.json", "g.gbnf", "wrong"))
    with open(schema, "w") as file:
        json.dump({"type": "object", "properties": {"n": {"enum": [1, 2, 30]}, "ok": {"type": "boolean"}},
                   "required": ["n", "ok"], "additionalProperties": False}, file)
    with open(grammar, "w") as file:
        file.write('root ::= (" the" | " one") " day."')
    with open(wrong, "w") as file:
        file.write("root ::= nothing")
    for seed in "123":
        for more in ((), ("--raw",), ("--temperature", "0")):
            out, _ = run("run", model, "-p", "the little", "-n", "80", "--seed", seed, "--schema", schema, *more)
            answer = json.loads(out)
            check(set(answer) == {"n", "ok"} and answer["n"] in (1, 2, 30) and answer["ok"] in (True, False), f"{out}")
        out, _ = run("run", model, "-p", "the little", "--seed", seed, "--grammar", grammar)
        check(out in (" the day.", " one day."), f"an answer by a grammar: {out!r}")
    run("run", model, "-p", "x", "--grammar", wrong, code=1)
    run("run", model, "-p", "x", "--schema", wrong, code=1)
    run("run", model, "-p", "x", "--schema", folder + "/none", code=1)
    run("run", model, "-p", "x", "--schema", schema, "--grammar", grammar, code=2)
    run("run", model, "-p", "x", "--think", "deep", code=2)
    run("run", model, "-p", "x", "--think", "on", "--schema", schema, code=2)
    run("run", model, "-p", "x", "-n", "2", "--think", "off")


def test_parse_reply(folder):
    file = folder + "/calls.jinja"
    with open(file, "w") as f:
        f.write("{% for m in messages %}<A>{% if m.reasoning_content %}<t>{{ m.reasoning_content }}</t>{% endif %}{{ m.content }}"
                "{% for t in m.tool_calls or [] %}<c>{\"name\": \"{{ t.function.name }}\", \"arguments\": "
                "{{ t.function.arguments | tojson }}}</c>{% endfor %}</A>{% endfor %}{% if add_generation_prompt %}<A>{% endif %}")
    asked = {"input": "<t>why</t>Now.<c>{\"name\": \"f\", \"arguments\": {\"a\": [1]}, \"id\": \"7\"}</c>",
             "params": {"tools": [{"name": "f", "parameters": {}}]}}
    out, _ = run("parse-reply", "--template", file, text=json.dumps(asked))
    check(json.loads(out) == {"content": "Now.", "reasoning_content": "why",
                              "tool_calls": [{"name": "f", "arguments": '{"a": [1]}', "id": "7"}]}, f"parse-reply: {out}")
    out, _ = run("parse-reply", "--template", file, text=json.dumps({"input": "<t>w", "is_partial": True}))
    check(json.loads(out) == {"content": "", "reasoning_content": "w", "tool_calls": []}, f"parse-reply of a start: {out}")
    for text in ("{}", "[", '{"input": 3}', ""):
        run("parse-reply", "--template", file, text=text, code=1)
    run("parse-reply", "--template", folder + "/none", text="{}", code=1)
    run("parse-reply", text="{}", code=2)


def test_templates(folder):
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    model, broken = os.path.join(folder, "chat.gguf"), os.path.join(folder, "broken.gguf")
    subprocess.run([make_model, model, "template=" + template, "end-logit=9"], check=True)
    subprocess.run([make_model, broken, "template={% for %}"], check=True)
    asked = {"messages": [{"role": "user", "content": "the sun {{ no code }}"}]}
    out, _ = run("render", model, text=json.dumps(asked))
    check(out == "<user>the sun {{ no code }}<assistant>", f"render: {out!r}")
    out, _ = run("render", model, text=json.dumps(asked | {"add_generation_prompt": False}))
    check(out == "<user>the sun {{ no code }}", f"render without a prompt for the answer: {out!r}")
    file = os.path.join(folder, "file.jinja")
    with open(file, "w", encoding="ascii") as target:
        target.write("{{ bos_token }}{{ tools }} {{ strftime_now('%Y-%m-%d') }}")
    out, _ = run("render", "--template", file, text='{"messages": [], "now": 1752148800, "bos_token": "!"}')
    check(out == "!None 2025-07-10", f"render --template: {out!r}")
    out, _ = run("render", "--template=" + file, "--context", text='{"tools": 3, "bos_token": "?"}')
    check(out.startswith("?3 20"), f"render --context: {out!r}")
    for text in ("", "[]", "{", '{"now": "today"}', '{"messages": 7}'):
        run("render", model, text=text, code=1)
    run("render", "--template", folder + "/none", text="{}", code=1)
    test_parse_reply(folder)

    first, err = run("run", model, "-p", "the sun", "-n", "20", "--seed", "3")
    check(err == "", "a chat says nothing")
    run("run", model, "-p", "not UTF-8: \udcff", "-n", "5")
    check(first != run("run", model, "-p", "the sun", "-n", "20", "--seed", "3", "--raw")[0], "--raw skips the template")
    check(not first.startswith(" "), f"an answer begins with its first word: {first!r}")
    out, err = run("run", broken, "-p", "the sun", "-n", "5")
    check("template cannot be used" in err and "continued" in err and len(out) > 5, f"a template that does not parse: {err}")


def test_logits(model, folder):
    tokens = [1] + [260 + i * 7 % 120 for i in range(40)]
    words = ",".join(map(str, tokens))
    listed = os.path.join(folder, "tokens")
    with open(listed, "w", encoding="ascii") as file:
        file.write(json.dumps(tokens))
    whole = os.path.join(folder, "whole.f32")
    run("logits", model, "--tokens", words, "--out", whole, "--kv", "f32", "--isa", "scalar")
    expected = floats(whole)
    check(len(expected) == len(tokens) * 512, "one row of the vocabulary for each token")
    scale = max(map(abs, expected))
    for limit, options in ((0, ("--batch", "1", "--kv", "f32", "--isa", "scalar")),
                           (0, ("--batch", "7", "--kv", "f32", "--isa", "scalar")),
                           (1e-4, ("--batch", "7", "--kv", "f32")),
                           (1e-2, ()), (1e-2, ("--kv", "f16", "--threads", "1")), (1e-1, ("--kv", "q8_0"))):
        out = os.path.join(folder, "out.f32")
        _, err = run("logits", model, "--tokens", "@" + listed, "--out", out, *options)
        got = floats(out)
        far = max((abs(a - b) for a, b in zip(got, expected)), default=0) / scale
        check(len(got) == len(expected) and far <= limit, f"logits {' '.join(options)}: off by {far}")


def test_split(model, folder):
    """A model in three files answers as the one in a single file does, to the bit, whichever of them is named."""
    prefix = os.path.join(folder, "in parts", "\u5bb6 model")
    os.mkdir(os.path.dirname(prefix))
    subprocess.run([make_model, prefix, "split=3"], check=True)
    parts = [f"{prefix}-{i:05}-of-00003.gguf" for i in (1, 2, 3)]
    check(all(os.path.exists(part) for part in parts), "three files")
    whole, split = os.path.join(folder, "whole.f32"), os.path.join(folder, "split.f32")
    tokens = ",".join(str(5 + i * 37 % 400) for i in range(40))
    run("logits", model, "--tokens", tokens, "--out", whole)
    text, _ = run("run", model, "-p", "the little", "-n", "12", "--temperature", "0", "--raw")
    one = json.loads(run("inspect", model, "--json")[0])
    for path in parts + [os.path.dirname(prefix)]:
        run("logits", path, "--tokens", tokens, "--out", split)
        with open(whole, "rb") as a, open(split, "rb") as b:
            check(a.read() == b.read(), f"the logits of {os.path.basename(path)}")
        out, _ = run("run", path, "-p", "the little", "-n", "12", "--temperature", "0", "--raw")
        check(out == text, f"the answer of {os.path.basename(path)}")
        out, _ = run("tokenize", path, text="the little house")
        check(out == run("tokenize", model, text="the little house")[0], "the tokens")
        said = json.loads(run("inspect", path, "--json")[0])
        check(said["files"] == 3 and said["model"] == one["model"] and len(said["tensors"]) == len(one["tensors"]),
              "inspect says the same of three files")
        check({tensor["file"] for tensor in said["tensors"]} == {1, 2, 3}, "inspect says which file a tensor is in")
    out, _ = run("inspect", parts[1])
    check("in 3 files" in out, "inspect says that there are three files")
    os.rename(parts[2], parts[2] + ".gone")
    _, err = run("inspect", parts[0], code=1)
    check("one is missing: \u5bb6 model-00003-of-00003.gguf" in err, f"the missing file is named: {err}")


def test_tokens(model):
    for text in ("the little house", "", "  two  spaces\n", "Grüße, 東京 🔥", "\0nul"):
        out, _ = run("tokenize", model, text=text)
        ids = json.loads(out)
        check(all(isinstance(i, int) and 0 <= i < 512 for i in ids), f"ids of {text!r}")
        check(1 not in ids, "no token is added before the text")
        back, _ = run("detokenize", model, text=out)
        check(back == text, f"{text!r} comes back as {back!r}")
    plain = json.loads(run("tokenize", model, text="</s>")[0])
    special = json.loads(run("tokenize", model, "--special", text="</s>")[0])
    check(special == [2] and plain != [2], f"--special recognises </s>: {special} {plain}")


def test_inspect(model, folder):
    out, _ = run("inspect", model)
    for word in ("architecture  llama", "per token", "memory", "\nmetadata\n", "general.architecture = \"llama\"",
                 "\ntensors\n", "token_embd.weight"):
        check(word in out, f"inspect says {word!r}")
    facts = json.loads(run("inspect", model, "--json")[0])
    check(facts["version"] == 3 and facts["file_bytes"] == os.path.getsize(model), "inspect --json: the file")
    check(facts["metadata"]["general.architecture"] == "llama", "inspect --json: metadata")
    check(facts["tensors"][0]["shape"] and facts["tensors"][0]["bytes"] > 0, "inspect --json: tensors")
    check(facts["model"]["weights_bytes_per_token"] > 0, "inspect --json: bytes a token")
    check(facts["files"] == 1 and facts["chat"] == {"template": False, "fallback": None, "problem": None,
                                                    "thinking_switch": False}, f"inspect --json: the chat {facts['chat']}")
    # Plans for hardware that is stated: everything fits, some of it, nothing.
    for options, devices in ((("--memory", "1", "--unified"), ["graphics"]), (("--memory", "1"), ["processor"]),
                             (("--card", "1"), ["graphics"]), (("--card", "0.0008"), ["processor", "graphics"])):
        plan = json.loads(run("inspect", model, "--json", "--context", "256", *options)[0])
        check([part["device"] for part in plan["placement"]["parts"]] == devices, f"{options}: {plan['placement']}")
        check(sum(part["layers"] for part in plan["placement"]["parts"]) == 2, f"{options}: every layer")
    for options in (("--memory", "0.0001"), ("--card", "0.0001", "--memory", "0.0001"), ("--memory", "0.01", "--unified")):
        plan = json.loads(run("inspect", model, "--json", *options)[0])
        check(plan["placement"] is None and plan["placement_problem"]["code"] == "too-big" and plan["memory"]["total_bytes"] > 0,
              f"{options}: too big")
        check("needs" in run("inspect", model, *options)[0], f"{options}: what is needed")
    for options in (("--unified",), ("--memory", "0"), ("--card", "-1"), ("--card", "24", "--memory", "9", "--unified")):
        run("inspect", model, *options, code=2)
    # 2 layers, 2 KV heads of 16 values, keys and values.
    check(facts["model"]["kv_bytes_per_token"] == {"f32": 512, "f16": 256, "q8_0": 0}, "inspect --json: the KV cache")
    memory = facts["memory"]
    check(memory["context_tokens"] == 2048 and memory["total_bytes"] ==
          memory["weights_bytes"] + memory["kv_bytes"] + memory["working_bytes"], "inspect --json: memory")
    less = json.loads(run("inspect", model, "--json", "--context", "512")[0])["memory"]
    check(less["context_tokens"] == 512 and less["kv_bytes"] * 4 == memory["kv_bytes"], "inspect --context")
    check(len(facts["placement"]["parts"]) == 1 and "processor" in facts["placement"]["sentence"], "inspect --json: placement")

    # Nothing in a file reaches the terminal's controls.
    red = os.path.join(folder, "red.gguf")
    subprocess.run([make_model, red, "name=\x1b[31mred"], check=True)
    out, _ = run("inspect", red)
    check("\\u001b[31mred" in out and "\x1b" not in out, "inspect: an escape in a name")

    # A family that cannot be run is shown all the same.
    odd = os.path.join(folder, "odd.gguf")
    with open(model, "rb") as source, open(odd, "wb") as target:
        target.write(source.read().replace(b"llama", b"lorem"))
    facts = json.loads(run("inspect", odd, "--json")[0])
    check(facts["model"] is None and facts["model_problem"]["code"] == "unsupported", "inspect: an unknown family")
    out, _ = run("inspect", odd)
    check("cannot be run" in out and "token_embd.weight" in out, "inspect: an unknown family, for people")


def test_bench(model):
    out, _ = run("bench", model, "-p", "64", "-n", "16", "-r", "3", "--json")
    result = json.loads(out)
    check(result["prefill"]["tokens"] == 64 and result["decode"]["tokens"] == 16, "bench --json: tokens")
    for part in (result["prefill"], result["decode"]):
        check(0 < part["min"] <= part["tokens_per_s"] <= part["max"], "bench --json: medians")
    told = json.loads(run("inspect", model, "--json")[0])["model"]["weights_bytes_per_token"]
    check(result["weights_bytes_per_token"] == told > 100000 and result["kv_bytes_per_token"] > 0, "bench --json: bytes a token")
    check(result["dispatches_per_token"] == 2 + 6 * 2 and result["submits_per_token"] == 0, "bench --json: dispatches")
    check(result["allocations_per_token"] == 0, "bench --json: allocations")
    # This model fits into the processor's caches, so its share of what memory allows may be anything.
    check(result["share_of_ceiling"] > 0 and abs(result["share_of_ceiling"] / result["decode"]["tokens_per_s"] *
                                                result["ceiling_tokens_per_s"] - 1) < 1e-6, "bench --json: the share of the ceiling")
    slots = json.loads(run("bench", model, "-p", "32", "-n", "16", "-r", "2", "--slots", "4", "--depth", "300", "--json")[0])
    check(slots["slots"] == 4 and slots["depth"] == 300, "bench --slots --depth")
    # Four slots share the weights of a step, and each reads 300 positions more.
    check(slots["weights_bytes_per_token"] < result["weights_bytes_per_token"] / 3, "bench: slots share weights")
    check(slots["kv_bytes_per_token"] > result["kv_bytes_per_token"] * 10, "bench: depth reads the KV cache")
    out, _ = run("bench", model, "-p", "0", "-n", "8", "-r", "1")
    check("decode" in out and "prefill" not in out and "GB/s" in out, "bench without prefill, for people")


def test_bench_ops():
    result = json.loads(run("bench", "--ops", "--json")[0])
    check(result["device"].startswith("cpu") and result["read_bytes_per_s"] > 1e8, "bench --ops: the device")
    # A norm may not be seen beside the product behind it.
    check({op["op"] for op in result["ops"]} | {"norm"} == {"linear", "embed", "norm", "rope+store", "attention"},
          "bench --ops: the kernels")
    linear = [op for op in result["ops"] if op["op"] == "linear" and op["type"] == "Q4_K"]
    check([op["rows"] for op in linear] == [1, 4, 8, 16, 64], "bench --ops: rows of a linear stage")
    # A matrix of 4096 x 4096 in 4.5 bits a weight.
    for op in linear:
        check(abs(op["bytes_per_s"] * op["ns"] / 1e9 / (4096 * 4096 * 144 / 256) - 1) < 0.05, f"bench --ops: bytes read: {op}")
        check(op["operations_per_s"] > 0 and op["share_of_ceiling"] > 0, f"bench --ops: {op}")
    run("bench", "--ops", "model.gguf", code=2)


def test_gpu_layers(model):
    """The model has two layers."""
    out, _ = run("inspect", model, "--gpu-layers", "1")
    check("the device is cpu" in out, "inspect says where layers cannot be")
    for words in (("run", model, "-p", "the", "-n", "4"), ("bench", model, "-n", "1", "-r", "1")):
        _, said = run(*words, "--gpu-layers", "1", code=1)
        check("the device is cpu" in said, f"layers on a graphics card that is not asked for: {said}")
    run("run", model, "-p", "the", "-n", "4", "--gpu-layers", "0")
    software = [d["name"] for d in json.loads(run("devices", "--json", drivers=True)[0]) if d["name"].startswith("vulkan")]
    if not software:
        return
    where = ("--device", software[0], "--gpu-layers", "1")
    parts = json.loads(run("inspect", model, "--json", *where, drivers=True)[0])["placement"]["parts"]
    check([part["layers"] for part in parts] == [1, 1], f"inspect --gpu-layers: {parts}")
    check([part["embedding"] for part in parts] == [True, False], f"inspect --gpu-layers: {parts}")
    check([part["head"] for part in parts] == [False, True], f"inspect --gpu-layers: {parts}")
    out, _ = run("inspect", model, *where, drivers=True)
    check("On the graphics card, as asked for: 1 of the 2 layers." in out, "inspect says what lives where")
    check("the embedding, layer 0" in out and "layer 1, the head" in out, "inspect says which layers")
    here = run("run", model, "-p", "the", "-n", "8", "--temperature", "0")[0]
    check(run("run", model, "-p", "the", "-n", "8", "--temperature", "0", *where, drivers=True)[0] == here, "run --gpu-layers")


def test_devices():
    out, _ = run("devices", drivers=True)
    first = out.split("\n")[0].split("\t")
    check(first[0] == "cpu" and first[1] == "processor" and "core" in first[4], f"devices: {first}")
    check("GB/s" not in out, "devices measures nothing unless it is told to")
    for device in json.loads(run("devices", "--measure", "--json", drivers=True)[0]):
        check(device["type"] and device["driver"] and device["memory_bytes"] > 0, f"devices --json: {device}")
        check(device["read_bytes_per_s"] > 1e8, f"devices --measure: {device}")
        if device["name"] != "cpu":
            check(device["copy_bytes_per_s"] > 1e8 and device["submit_ns"] > 0, f"devices --measure: {device}")


def main():
    with tempfile.TemporaryDirectory(prefix="hearth-cli-") as folder:
        model = os.path.join(folder, "model.gguf")
        wide = os.path.join(folder, "wide.gguf")
        subprocess.run([make_model, model], check=True)
        # Heads of 32 values, of which Q8_0 makes one block each.
        subprocess.run([make_model, wide, "embd=128"], check=True)
        test_usage(model, folder)
        test_failures(model, folder)
        test_run(model)
        test_match(folder)
        test_bound(model, folder)
        test_templates(folder)
        test_logits(wide, folder)
        test_split(model, folder)
        test_tokens(model)
        test_inspect(model, folder)
        test_bench(model)
        test_bench_ops()
        test_gpu_layers(model)
        test_devices()
    print(f"{n_checks} checks, {len(failures)} failed")
    sys.exit(1 if failures or n_checks == 0 else 0)


if __name__ == "__main__":
    main()
