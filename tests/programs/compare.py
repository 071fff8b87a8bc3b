#!/usr/bin/python3
"""Runs real programs with the C library's malloc and with each library preloaded, and compares what they do.

Usage: compare.py [--only NAME]... LIBRARY...

NAME is a program's name or how it starts ("python"). Prints a line per program and library, with the wall time and the peak
resident set as ratios to the C library's; these are told, not judged. Ends with "N passed, N failed".
"""

import argparse
import ctypes.util
import os
import shutil
import signal
import sys
import tempfile

import catalogue
import launch

REFERENCE_TRIES = 3


def c_library():
    """The path of the C library that this process has."""
    with open("/proc/self/maps", encoding="ascii") as maps:
        for line in maps:
            path = line.split()[-1]
            if os.path.basename(path) == ctypes.util.find_library("c"):
                return path
    raise SystemExit("no C library in /proc/self/maps")


class Outcome:
    """One run of one program: what it showed, what it took."""

    def __init__(self, evidence, launcher):
        self.evidence = evidence
        self.seconds = launcher.seconds
        self.peak_kib = launcher.peak_kib
        self.processes, without = launcher.loaded()
        if self.processes == 0 or without:
            raise launch.Failure("%d processes, of which these had another malloc: %s" %
                                 (self.processes, sorted(set(without))))


def run(program, library, folder):
    """Runs the program once, on a copy of its inputs. Raises `launch.Failure`."""
    working = os.path.join(folder, "run")
    catalogue.copy_inputs(os.path.join(folder, "prepared"), working)
    with launch.Launcher(library, os.path.join(folder, "witness.so")) as launcher:
        for executable in program.executables:
            launcher.verify_binding(executable, working)
        return Outcome(program.run(launcher, working), launcher)


def first_difference(expected, found):
    """One line about the first piece of evidence that differs; None if all are equal."""
    for name in sorted(set(expected) | set(found)):
        if expected.get(name) != found.get(name):
            return "%s differs: %s" % (name, _contrast(_lines(expected.get(name)), _lines(found.get(name))))
    return None


def _lines(value):
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return value if isinstance(value, list) else str(value).split("\n")


def _contrast(expected, found):
    for left, right in zip(expected, found):
        if left != right:
            return "%.300r with the C library, %.300r with this one" % (left, right)
    return "%d lines with the C library, %d with this one" % (len(expected), len(found))


def results(evidence):
    """How many things were compared."""
    return sum(len(value) if isinstance(value, list) else 1 for value in evidence.values())


def ratio(value, reference):
    return "%.2f" % (value / reference) if reference else "-"


def judge(program, library, reference, folder):
    """Runs the program with the library and prints the line about it. Whether it passed."""
    label = "%s, %s" % (program.name, os.path.basename(library))
    try:
        outcome = run(program, library, folder)
    except launch.Failure as failure:
        print("FAILED: %s: %s" % (label, failure), flush=True)
        return False
    difference = first_difference(reference.evidence, outcome.evidence)
    if difference:
        print("FAILED: %s: %s" % (label, difference), flush=True)
        return False
    print("passed: %s: %d results equal, %d processes; time %s, peak RSS %s of the C library's %.1f s, %.1f MiB" % (
        label, results(outcome.evidence), outcome.processes, ratio(outcome.seconds, reference.seconds),
        ratio(outcome.peak_kib, reference.peak_kib), reference.seconds, reference.peak_kib / 1024), flush=True)
    return True


def run_reference(program, folder):
    """The outcome with the C library. Some programs have deadlines, which a busy machine misses: they may try again."""
    # Some programs bring an allocator of their own: preloading the C library puts its malloc first.
    for _ in range(REFERENCE_TRIES - 1):
        try:
            return run(program, c_library(), folder)
        except launch.Failure as failure:
            print("trying again: %s, C library: %s" % (program.name, failure), flush=True)
    return run(program, c_library(), folder)


def compare(program, libraries, folder):
    """Runs the program with the C library and with each library. Returns how many passed and how many failed."""
    prepared = os.path.join(folder, "prepared")
    shutil.rmtree(prepared, ignore_errors=True)
    os.mkdir(prepared)
    program.prepare(prepared)
    try:
        reference = run_reference(program, folder)
    except launch.Failure as failure:
        print("FAILED: %s, C library: %s" % (program.name, failure), flush=True)
        return 0, len(libraries)
    passed = sum(judge(program, library, reference, folder) for library in libraries)
    return passed, len(libraries) - passed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", action="append", metavar="NAME")
    parser.add_argument("libraries", nargs="+", metavar="LIBRARY")
    arguments = parser.parse_args()
    programs = [program for program in catalogue.programs()
                if not arguments.only or any(program.name.startswith(name) for name in arguments.only)]
    passed = failed = 0
    # So that what was started does not outlive this script.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = tempfile.mkdtemp(prefix="tandem_programs")
    try:
        launch.build_witness(folder)
        for program in programs:
            more_passed, more_failed = compare(program, arguments.libraries, folder)
            passed += more_passed
            failed += more_failed
    finally:
        shutil.rmtree(folder)
    print("%d passed, %d failed" % (passed, failed))
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
