#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""tests/gpu-report on a device that is played: the engine, the tests and the peer are small programs that answer as the
real ones do. Only the names of the kernels are asked of the real test of linear stages; each must be tested by itself.

    gpu_report.py GPU-REPORT VULKAN-LINEAR KERNEL...

The kernels are those that tests/kernels/meson.build tests one by one: all that there are.
"""

import os
import subprocess
import sys
import tempfile

REPORT, LINEAR, *TESTED = sys.argv[1:]
DEVICE = "vulkan:3"
failures = 0

ENGINE = """#!/usr/bin/env python3
import json, sys
args = sys.argv[1:]
if args[0] == "devices":
    card = {"name": "vulkan:3", "description": "A card", "driver": "a driver", "memory_bytes": 8e9}
    card |= {"read_bytes_per_s": 2e11, "copy_bytes_per_s": 3e11, "barrier_ns": 1500, "submit_ns": 9000}
    print(json.dumps([{"name": "cpu"}, card]))
elif args[args.index("--device") + 1] != "vulkan:3":
    sys.exit("another device")
elif "--ops" in args:
    print(json.dumps({"ops": [{"op": "linear", "type": "Q4_K", "rows": 1, "depth": 0, "ns": 2500.0, "bytes_per_s": 1e11,
                               "share_of_ceiling": 0.5, "operations_per_s": 4e11}]}))
else:
    open(args[1]).close()
    result = {"share_of_ceiling": 0.8}
    for key, option, speed in (("prefill", "-p", 50.0), ("decode", "-n", 400.0)):
        if args[args.index(option) + 1] != "0":
            result[key] = {"tokens_per_s": speed}
    print(json.dumps(result))
"""
PEER = """#!/usr/bin/env python3
import json, os
assert os.environ["GGML_VK_VISIBLE_DEVICES"] == "3"
print(json.dumps([{"n_prompt": 32, "avg_ts": 25.0}, {"n_prompt": 4, "avg_ts": 5.0}, {"n_prompt": 16, "avg_ts": 5.0},
                  {"n_prompt": 0, "avg_ts": 800.0}]))
"""
STAGES = """#!/bin/sh
[ "$HEARTH_TEST_DEVICE" = vulkan:3 ] && [ $# = 0 ] || exit 1
echo '12 checks, 0 failed'
"""
# Real where it tells the names. A kernel's verdict: FAILS and SKIPS name the kernels that end so.
KERNELS = """#!/bin/sh
[ "$1" != --list ] || exec "$REAL" --list
[ "$HEARTH_TEST_DEVICE" = vulkan:3 ] && [ $# = 1 ] || exit 1
case $1 in
  $FAILS) echo '3 checks, 1 failed'; exit 1 ;;
  $SKIPS) echo "SKIP: the device cannot run the $1 kernel"; exit 77 ;;
esac
echo '5 checks, 0 failed'
"""


def check(condition, what):
    global failures
    if not condition:
        failures += 1
        print(f"failed: {what}", file=sys.stderr)


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o755)


def report(folder, *args, fails="-", skips="-"):
    environment = {**os.environ, "REAL": LINEAR, "FAILS": fails, "SKIPS": skips}
    environment.pop("GGML_VK_VISIBLE_DEVICES", None)
    command = [sys.executable, REPORT, "--tiny", "--build", os.path.join(folder, "build"), "--work", os.path.join(folder, "work")]
    result = subprocess.run([*command, *args], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            timeout=60, check=False)
    return result.returncode, result.stdout, result.stderr


def main():
    names = subprocess.run([LINEAR, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    check(sorted(names) == sorted(TESTED), f"the kernels are {names}, but those that are tested are {TESTED}")
    for wrong in ["nonsense"], []:
        result = subprocess.run([LINEAR, *wrong], stderr=subprocess.PIPE, text=True, check=False)
        check(result.returncode == 2 and result.stderr.count("\n") == 1, f"{wrong} is no kernel, which is an error")

    with tempfile.TemporaryDirectory() as folder:
        for path, text in {"src/cli/hearth-engine": ENGINE, "tests/make-large-model": '#!/bin/sh\n: >"$1"\n',
                           "tests/kernels/vulkan_linear": KERNELS, "tests/kernels/vulkan_stages": STAGES}.items():
            write(os.path.join(folder, "build", path), text)
        peer = os.path.join(folder, "peer")
        write(peer, PEER)
        code, text, errors = report(folder, "--device", DEVICE, "--peer", peer, skips=names[0])
        check(code == 0, f"it ends with {code}: {errors}")
        for name in names:
            wanted = "passed | 5 checks, 0 failed"
            if name == names[0]:
                wanted = f"skipped | SKIP: the device cannot run the {name} kernel"
            check(f"| vulkan_linear {name} | {wanted} |" in text, f"the kernel {name}: {wanted}")
        check("| vulkan_stages | passed | 12 checks, 0 failed |" in text, "the stages")
        times = "50.0 / 25.0 (2.00) | 400 / 800 (0.50) | 80 % | 400 / 5.0 (80.00) | 50.0 / 5.0 (10.00)"
        check(f"| tiny | {times} |" in text, "the times")
        check("| linear | Q4_K | 1 |  | 2.5 | 100.0 | 50 % | 400 |" in text, "a kernel's times")

        # A page keeps what it says of other devices, and has one section for this one.
        page = os.path.join(folder, "gpu.md")
        write(page, "# Cards\n\nNo graphics device has been measured yet.\n\n## Another card\n\nits table\n")
        for _ in range(2):
            code, text, errors = report(folder, "--device", DEVICE, "--out", page, fails=names[-1])
            check(code == 1 and text == "", f"a test that fails makes it end with 1, not {code}: {errors}")
        with open(page, encoding="utf-8") as file:
            text = file.read()
        check(text.startswith("# Cards\n\n## Another card\n\nits table\n\n## A card\n"), f"the page: {text}")
        check(text.count("## A card") == 1, "its section is there once")
        check(f"| vulkan_linear {names[-1]} | **failed** | 3 checks, 1 failed |" in text, "the kernel that failed")

        code, _, errors = report(folder, "--device", "vulkan:7")
        check(code == 1 and "vulkan:7" in errors, "a device that is not there")
        code, _, errors = report(os.path.join(folder, "work"))
        check(code == 1 and "hearth-engine is missing" in errors, "a build that is not there")
    sys.exit(1 if failures else 0)


main()
