"""Runs one program with every allocator at the same time on one CPU, and compares their CPU time.

The scheduler gives them turns of some milliseconds, so that whatever slows that CPU down for a moment meets all of them
alike: on a machine where a process may take one and a half times as long as the same one before, ratios are good to a few
hundredths. They share caches, and threads of one process seldom run at once: how threads meet is not measured.
"""

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Dict, List

sys.dont_write_bytecode = True  # Bazel's runfiles are links into the source tree
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from allocators import Allocator  # noqa: E402
from choice import (  # noqa: E402
    absolute, add_allocator_arguments, count, fail, find_allocators, runfiles_root, say, seconds)
from warm import BYTES, WarmMemory  # noqa: E402


@dataclass
class Usage:
    cpu_s: float
    system_s: float
    peak_kib: int
    faults: int


def parse_arguments(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="side_by_side", description=__doc__.splitlines()[0],
                                     usage="%(prog)s [options] -- PROGRAM [ARGUMENT ...]")
    parser.add_argument("--runs", type=count, default=5, help="rounds, of which medians are quoted (5)")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the CPU (the last one)")
    parser.add_argument("--input", default=os.devnull, help="a file for the program's standard input")
    parser.add_argument("--env", action="append", default=[], metavar="VARIABLE=VALUE",
                        help="an environment variable for the program; may be given more than once")
    parser.add_argument("--timeout", type=seconds, default=600, help="seconds after which a round is given up (600)")
    add_allocator_arguments(parser)
    parser.add_argument("program", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.cpu not in os.sched_getaffinity(0):
        fail(f"--cpu={arguments.cpu}: this process may not run there")
    for text in arguments.env:
        if not text.partition("=")[0] or "=" not in text:
            fail(f"--env takes VARIABLE=VALUE, not \"{text}\"")
        if text.partition("=")[0] in ("LD_PRELOAD", "PRELOAD"):
            fail(f"--env={text}: --peer is for what is to be preloaded")
    arguments.input = absolute(arguments.input)
    if not os.access(arguments.input, os.R_OK):
        fail(f"--input={arguments.input}: cannot be read")
    name = arguments.program[0]
    if not shutil.which(name if os.sep not in name else absolute(name)):
        fail(f"there is no program {name}")
    return arguments


class Run:
    """The program with one allocator."""

    def __init__(self, arguments: argparse.Namespace, allocator: Allocator, run_once: str):
        self.key = allocator.key
        self._errors = tempfile.TemporaryFile("w+", errors="replace")
        command = [run_once, str(arguments.cpu), arguments.input] + arguments.program
        # A session of its own, so that all that the program starts can be ended with it.
        self._process = subprocess.Popen(
            command, env=environment_for(arguments, allocator), cwd=absolute("."), stdout=subprocess.PIPE,
            stderr=self._errors, text=True, start_new_session=True)

    def usage(self, timeout_s: float) -> Usage:
        output = self._process.communicate(timeout=timeout_s)[0]
        self._errors.seek(0)
        errors = self._errors.read().strip().splitlines()
        if self._process.returncode != 0:
            fail(f"run_once exited with {self._process.returncode}: {' '.join(errors[-1:])}")
        user_s, system_s, peak_kib, faults, exit_code = output.split()
        if int(exit_code) != 0:
            said = f", and said at last: {errors[-1]}" if errors else ""
            fail(f"with {self.key} the program exited with {exit_code}{said}")
        return Usage(float(user_s) + float(system_s), float(system_s), int(peak_kib), int(faults))

    def end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._errors.close()


def environment_for(arguments: argparse.Namespace, allocator: Allocator) -> Dict[str, str]:
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C"}
    environment.update(text.split("=", 1) for text in arguments.env)
    environment.update(allocator.environment)
    if allocator.library:
        environment["PRELOAD"] = allocator.library
    return environment


def run_round(arguments: argparse.Namespace, allocators: List[Allocator], run_once: str) -> Dict[str, Usage]:
    end_s = time.monotonic() + arguments.timeout
    runs: List[Run] = []
    try:
        for allocator in random.sample(allocators, len(allocators)):
            runs.append(Run(arguments, allocator, run_once))
        return {run.key: run.usage(max(0, end_s - time.monotonic())) for run in runs}
    except subprocess.TimeoutExpired:
        fail(f"a round takes more than {arguments.timeout:g} s")
    finally:
        for run in runs:
            run.end()


def print_table(allocators: List[Allocator], rounds: List[Dict[str, Usage]]) -> None:
    # To the mean of its round, so that it does not matter which allocator is the first.
    means = [statistics.geometric_mean(usage.cpu_s for usage in each.values()) for each in rounds]
    ratios = {
        allocator.key: [each[allocator.key].cpu_s / mean for each, mean in zip(rounds, means)] for allocator in allocators
    }
    best = min(statistics.median(values) for values in ratios.values())

    def median(key: str, field: str) -> float:
        return statistics.median(getattr(each[key], field) for each in rounds)

    print(f"{'':24}{'CPU time':>10}{'to the best':>14}{'in single rounds':>20}{'system':>10}{'peak':>12}{'page faults':>14}")
    for allocator in sorted(allocators, key=lambda each: statistics.median(ratios[each.key])):
        key, values = allocator.key, [value / best for value in ratios[allocator.key]]
        spread = f"{min(values):.3f} to {max(values):.3f}"
        name = f"{allocator.label} {allocator.version}".strip()
        print(f"{name:24}{median(key, 'cpu_s'):8.3f} s{statistics.median(values):14.3f}{spread:>20}"
              f"{median(key, 'system_s'):8.3f} s{median(key, 'peak_kib') / 1024:8.1f} MiB{median(key, 'faults'):14.0f}")


def main(argv: List[str]) -> int:
    arguments = parse_arguments(argv)
    root = runfiles_root()
    allocators, left_out = find_allocators(arguments, root)
    if not allocators:
        fail("no allocator is left to measure")
    run_once = os.path.join(root, "benchmarks", "run_once")
    warm = WarmMemory()
    rounds: List[Dict[str, Usage]] = []
    wanted_bytes = BYTES
    for i in range(arguments.runs):
        warm.prepare(wanted_bytes)
        rounds.append(run_round(arguments, allocators, run_once))
        wanted_bytes = sum(usage.peak_kib for usage in rounds[-1].values()) * 1024 * 5 // 4
        say(f"round {i + 1} of {arguments.runs}: {sum(usage.cpu_s for usage in rounds[-1].values()):.1f} s")
    print_table(allocators, rounds)
    return 1 if left_out else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
