"""Runs a program with every allocator at the same time on the same CPUs, and compares their CPU time.

The scheduler gives them turns of some milliseconds, so that whatever slows a CPU down for a moment meets all of them
alike: on a machine where a process may take one and a half times as long as the same one before, ratios of programs with
one thread, on one CPU, are good to a few hundredths. They share caches. With several CPUs threads of one process meet as
they do on a busy machine: two of them seldom run at once, and one that holds a lock may have to wait for its turn.
"""

import argparse
import math
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Dict, List, Optional, Set

sys.dont_write_bytecode = True  # Bazel's runfiles are links into the source tree
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from allocators import Allocator  # noqa: E402
from choice import (  # noqa: E402
    absolute, add_allocator_arguments, count, counts, fail, find_allocators, runfiles_root, say, seconds, select)
from means import print_means  # noqa: E402
from warm import BYTES, WarmMemory  # noqa: E402
from workloads import CLASSIC, FURTHER, Workload  # noqa: E402

# Those of this repository that do the same work with any allocator; fastpath's processes have a report of their own.
WORKLOADS = {workload.name: workload for workload in CLASSIC + FURTHER}


@dataclass
class Usage:
    cpu_s: float
    system_s: float
    peak_kib: int
    faults: int
    rate: Optional[float]

    @property
    def cost(self) -> float:
        """What is compared: CPU time, for each unit of the rate if there is one."""
        return self.cpu_s / self.rate if self.rate else self.cpu_s


def cpu_set(text: str) -> Set[int]:
    cpus = {int(part) if part.isdecimal() else -1 for part in text.split(",")}
    if not cpus <= os.sched_getaffinity(0):
        raise argparse.ArgumentTypeError(f"this process may not run on all of {text}")
    return cpus


def rate_pattern(text: str) -> re.Pattern:
    try:
        pattern = re.compile(text, re.MULTILINE)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}")
    if pattern.groups != 1:
        raise argparse.ArgumentTypeError(f"{text} has {pattern.groups} groups, must have one")
    return pattern


def parse_arguments(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="side_by_side", description=__doc__.splitlines()[0],
                                     usage="%(prog)s [options] -- PROGRAM [ARGUMENT ...]\n"
                                     "       %(prog)s [options] --workloads=all")
    parser.add_argument("--runs", type=count, default=5, help="rounds, of which medians are quoted (5)")
    parser.add_argument("--cpu", type=cpu_set, default={max(os.sched_getaffinity(0))},
                        help="the CPU, or several: 0,1 (the last one)")
    parser.add_argument("--rate", type=rate_pattern, metavar="REGEX",
                        help="for a program that runs for a set time and prints how much it did: what the group first matches in its"
                        " output; CPU time is compared for each unit of that")
    parser.add_argument("--input", default=os.devnull, help="a file for the program's standard input")
    parser.add_argument("--env", action="append", default=[], metavar="VARIABLE=VALUE",
                        help="an environment variable for the program; may be given more than once")
    parser.add_argument("--timeout", type=seconds, default=600, help="seconds after which a round is given up (600)")
    parser.add_argument("--workloads",
                        help="this repository's in the place of a program, and their geometric means: mstress,mpsc or all")
    parser.add_argument("--threads", type=counts, help="with --workloads, other numbers of threads: 1,8,64")
    add_allocator_arguments(parser)
    parser.add_argument("program", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    for text in arguments.env:
        if not text.partition("=")[0] or "=" not in text:
            fail(f"--env takes VARIABLE=VALUE, not \"{text}\"")
        if text.partition("=")[0] in ("LD_PRELOAD", "PRELOAD"):
            fail(f"--env={text}: --peer is for what is to be preloaded")
    arguments.input = absolute(arguments.input)
    if not os.access(arguments.input, os.R_OK):
        fail(f"--input={arguments.input}: cannot be read")
    if bool(arguments.program) == bool(arguments.workloads):
        fail("takes either a program or --workloads")
    if arguments.workloads and arguments.rate:
        fail("--rate is for a program")
    if arguments.threads and not arguments.workloads:
        fail("--threads is for --workloads")
    name = arguments.program[0] if arguments.program else None
    if name and not shutil.which(name if os.sep not in name else absolute(name)):
        fail(f"there is no program {name}")
    return arguments


class Run:
    """The program with one allocator."""

    def __init__(self, arguments: argparse.Namespace, program: List[str], allocator: Allocator, run_once: str):
        self.key = allocator.key
        self._rate = arguments.rate
        self._errors = tempfile.TemporaryFile("w+", errors="replace")
        self._output = tempfile.NamedTemporaryFile("r", errors="replace")
        output = self._output.name if arguments.rate else os.devnull
        command = [run_once, arguments.input, output] + program
        # A session of its own, so that all that the program starts can be ended with it.
        self._process = subprocess.Popen(
            command, env=environment_for(arguments, allocator), cwd=absolute("."), stdout=subprocess.PIPE,
            stderr=self._errors, text=True, start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, arguments.cpu))

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
        return Usage(float(user_s) + float(system_s), float(system_s), int(peak_kib), int(faults), self._found_rate())

    def _found_rate(self) -> Optional[float]:
        if not self._rate:
            return None
        found = self._rate.search(self._output.read())
        try:
            rate = float(found.group(1) or 0) if found else 0
        except ValueError:
            rate = 0
        if not 0 < rate < math.inf:
            fail(f"with {self.key} the program printed no number above 0 where --rate looks")
        return rate

    def end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._errors.close()
        self._output.close()


def environment_for(arguments: argparse.Namespace, allocator: Allocator) -> Dict[str, str]:
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C"}
    environment.update(text.split("=", 1) for text in arguments.env)
    environment.update(allocator.environment)
    if allocator.library:
        environment["PRELOAD"] = allocator.library
    return environment


def run_round(arguments: argparse.Namespace, program: List[str], allocators: List[Allocator],
              run_once: str) -> Dict[str, Usage]:
    end_s = time.monotonic() + arguments.timeout
    runs: List[Run] = []
    try:
        for allocator in random.sample(allocators, len(allocators)):
            runs.append(Run(arguments, program, allocator, run_once))
        return {run.key: run.usage(max(0, end_s - time.monotonic())) for run in runs}
    except subprocess.TimeoutExpired:
        fail(f"a round takes more than {arguments.timeout:g} s")
    finally:
        for run in runs:
            run.end()


def run_rounds(arguments: argparse.Namespace, program: List[str], allocators: List[Allocator], root: str,
               warm: WarmMemory) -> List[Dict[str, Usage]]:
    run_once = os.path.join(root, "benchmarks", "run_once")
    rounds: List[Dict[str, Usage]] = []
    wanted_bytes = BYTES
    for i in range(arguments.runs):
        warm.prepare(wanted_bytes)
        rounds.append(run_round(arguments, program, allocators, run_once))
        wanted_bytes = sum(usage.peak_kib for usage in rounds[-1].values()) * 1024 * 5 // 4
        say(f"round {i + 1} of {arguments.runs}: {sum(usage.cpu_s for usage in rounds[-1].values()):.1f} s")
    return rounds


def costs_to_mean(rounds: List[Dict[str, Usage]]) -> List[Dict[str, float]]:
    """To the mean of its round, so that it does not matter which allocator is the first."""
    means = [statistics.geometric_mean(usage.cost for usage in each.values()) for each in rounds]
    return [{key: usage.cost / mean for key, usage in each.items()} for each, mean in zip(rounds, means)]


def print_table(allocators: List[Allocator], rounds: List[Dict[str, Usage]]) -> None:
    costs = costs_to_mean(rounds)
    ratios = {allocator.key: [each[allocator.key] for each in costs] for allocator in allocators}
    best = min(statistics.median(values) for values in ratios.values())

    def median(key: str, field: str) -> float:
        return statistics.median(getattr(each[key], field) for each in rounds)

    has_rate = all(usage.rate for usage in rounds[0].values())
    print(f"{'':24}{'CPU time':>10}{'to the best':>14}{'in single rounds':>20}{'system':>10}{'peak':>12}{'page faults':>14}"
          f"{'rate' if has_rate else '':>14}".rstrip())
    for allocator in sorted(allocators, key=lambda each: statistics.median(ratios[each.key])):
        key, values = allocator.key, [value / best for value in ratios[allocator.key]]
        spread = f"{min(values):.3f} to {max(values):.3f}"
        name = f"{allocator.label} {allocator.version}".strip()
        print(f"{name:24}{median(key, 'cpu_s'):8.3f} s{statistics.median(values):14.3f}{spread:>20}"
              f"{median(key, 'system_s'):8.3f} s{median(key, 'peak_kib') / 1024:8.1f} MiB{median(key, 'faults'):14.0f}"
              f"{format(median(key, 'rate'), '14.6g') if has_rate else ''}")


def records_of(workload: Workload, threads: int, rounds: List[Dict[str, Usage]]) -> List[dict]:
    return [
        {
            "workload": workload.name,
            "threads": threads,
            "allocator": key,
            "result": {"cost_to_mean": cost, "rss_peak_kib": usages[key].peak_kib},
        }
        for usages, costs in zip(rounds, costs_to_mean(rounds))
        for key, cost in costs.items()
    ]


def compare_workloads(arguments: argparse.Namespace, allocators: List[Allocator], root: str, warm: WarmMemory) -> None:
    chosen = select(None if arguments.workloads == "all" else arguments.workloads, WORKLOADS, "workload")
    records: List[dict] = []
    for workload in chosen:
        binary = os.path.join(root, "benchmarks", workload.name + "_system")
        for threads in arguments.threads or workload.threads(quick=True):
            rounds = run_rounds(arguments, [binary, f"--threads={threads}"], allocators, root, warm)
            print(f"{workload.name}, {threads}", flush=True)
            print_table(allocators, rounds)
            records += records_of(workload, threads, rounds)
    print_means(allocators, records)


def main(argv: List[str]) -> int:
    arguments = parse_arguments(argv)
    root = runfiles_root()
    allocators, left_out = find_allocators(arguments, root)
    if not allocators:
        fail("no allocator is left to measure")
    warm = WarmMemory()
    if arguments.workloads:
        compare_workloads(arguments, allocators, root, warm)
    else:
        print_table(allocators, run_rounds(arguments, arguments.program, allocators, root, warm))
    return 1 if left_out else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
