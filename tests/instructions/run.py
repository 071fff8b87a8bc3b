#!/usr/bin/env python3
"""Counts the fast paths' instructions and the lines of 64 bytes that they lie in, each of which takes a cycle to fetch.

What was counted is compared with golden.json: what a change costs is to be seen.

Usage: tests/instructions/run.py [--update] [FOLDER]
FOLDER is where Bazel puts what it builds (bazel-bin by default). What counts is the longest way from the entry to
a `ret` that goes neither back nor into another function: every check passes and the object is at hand. --update writes
what was counted into golden.json. Counts of compilers that golden.json does not know are printed and not judged.
Ends with "N passed, N failed".
"""

import functools
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../style"))

import symbol_checks  # noqa: E402

GOLDEN = os.path.join(HERE, "golden.json")
ENTRY_POINTS = {
    "malloc": "malloc",
    "free": "free",
    "free_sized": "free_sized",
    "_Znwm": "operator new",
    "_ZdlPv": "operator delete",
    "_ZdlPvm": "operator delete, sized",
}
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\t(\S+)(?:\s+(.*))?$")
TARGET = re.compile(r"\b([0-9a-f]+)(?: <|$)")
UNCONDITIONAL = {"x86_64": ("jmp",), "aarch64": ("b",)}
CALLS = ("call", "bl", "blr")
LINE = 64


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout


def compiler_of(library):
    """The compiler and its major version, as ld leaves them in the section .comment."""
    text = output("readelf", "-p", ".comment", library)
    clang = re.search(r"clang version (\d+)", text)
    if clang:
        return "clang " + clang.group(1)
    return "gcc " + re.search(r"GCC: \(.*\) (\d+)", text).group(1)


def address_and_size(library, symbol):
    for line in output("nm", "-D", "-S", library).splitlines():
        words = line.split()
        if len(words) == 4 and words[3] == symbol:
            return int(words[0], 16), int(words[1], 16)
    raise KeyError(symbol)


def is_branch(mnemonic):
    return mnemonic.startswith(("j", "b.", "cb", "tb")) or mnemonic == "b"


class Code:
    """A function's instructions, by address."""

    def __init__(self, library, symbol, machine):
        # By its address: another name may be there as well.
        start, size = address_and_size(library, symbol)
        text = output("objdump", "-d", "--no-show-raw-insn", "--start-address=%d" % start,
                      "--stop-address=%d" % (start + size), library)
        lines = [match.groups() for match in map(INSTRUCTION.match, text.splitlines()) if match]
        self._addresses = [int(address, 16) for address, _, _ in lines]
        self._lines = {int(address, 16): (mnemonic, operands or "") for address, mnemonic, operands in lines}
        self._following = dict(zip(self._addresses, self._addresses[1:]))
        self._unconditional = UNCONDITIONAL[machine]

    def entry(self):
        return self._addresses[0]

    def _successors(self, address):
        mnemonic, operands = self._lines[address]
        if mnemonic in CALLS:
            return []
        successors = [] if mnemonic in self._unconditional else [self._following.get(address)]
        if is_branch(mnemonic):
            successors += [int(target, 16) for target in TARGET.findall(operands)[-1:]]
        return [successor for successor in successors if successor in self._lines and successor > address]

    @functools.lru_cache(maxsize=None)
    def longest_way(self, address):
        """Where the instructions are from the one at `address` to a `ret`, both included; None if there is no way."""
        if self._lines[address][0].startswith("ret"):
            return (address,)
        ways = [self.longest_way(successor) for successor in self._successors(address)]
        longest = max((way for way in ways if way is not None), key=len, default=None)
        return (address,) + longest if longest is not None else None

    def count(self):
        way = self.longest_way(self.entry())
        if way is None:
            return None
        return {"instructions": len(way), "lines": len({address // LINE for address in way})}


def count(bin_folder, machine):
    """The compiler, and the counts by front end and entry point."""
    counts = {}
    for library in symbol_checks.shared_objects(bin_folder):
        front_end = os.path.basename(library)[len("libtandem_"):-len(".so")]
        compiler = compiler_of(library)
        counts[front_end] = {}
        for symbol, name in ENTRY_POINTS.items():
            counts[front_end][name] = Code(library, symbol, machine).count()
    return compiler, counts


def in_words(counted):
    return "nothing" if counted is None else "%(instructions)d instructions in %(lines)d lines" % counted


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--update"]
    bin_folder = os.path.realpath(arguments[0] if arguments else os.path.join(HERE, "../../bazel-bin"))
    machine = os.uname().machine
    with open(GOLDEN, encoding="utf-8") as file:
        golden = json.load(file)
    compiler, counts = count(bin_folder, machine)
    key = machine + ", " + compiler
    if "--update" in sys.argv:
        golden[key] = counts
        with open(GOLDEN, "w", encoding="utf-8") as file:
            json.dump(golden, file, indent=4, sort_keys=True)
            file.write("\n")

    passed = failed = 0
    for front_end in sorted(counts):
        for name, counted in counts[front_end].items():
            expected = golden.get(key, {}).get(front_end, {}).get(name)
            is_right = counted is not None and expected in (None, counted)
            verdict = "FAILED" if not is_right else "not judged" if expected is None else "ok"
            print("%s: %s, %s, %s: %s%s" % (
                verdict, key, front_end, name, in_words(counted),
                "" if is_right else ", golden.json has " + in_words(expected)))
            passed += is_right
            failed += not is_right
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
