"""Measures the allocators on this machine and writes one HTML page, with the raw figures as JSON beside it."""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from typing import List, Optional

try:
    import matplotlib  # noqa: F401
except ImportError:
    # The first python3 on the path may be another than the distribution's, which has its packages.
    DISTRIBUTION_PYTHON = "/usr/bin/python3"
    checked = subprocess.run([DISTRIBUTION_PYTHON, "-c", "import matplotlib"], capture_output=True, check=False)
    if checked.returncode != 0 or os.path.realpath(sys.executable) == os.path.realpath(DISTRIBUTION_PYTHON):
        sys.exit("report: matplotlib is missing; on Debian: apt-get install python3-matplotlib")
    os.execv(DISTRIBUTION_PYTHON, [DISTRIBUTION_PYTHON] + sys.argv)

sys.dont_write_bytecode = True  # Bazel's runfiles are links into the source tree
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import machine  # noqa: E402
import page  # noqa: E402
from allocators import Allocator  # noqa: E402
from choice import (  # noqa: E402
    absolute, add_allocator_arguments, count, counts, fail, find_allocators, named_files, runfiles_root, say, seconds, select)
from findings import Findings  # noqa: E402
from runner import Plan, duration_words, run_all  # noqa: E402
from workloads import REPORT, SUITE, Workload  # noqa: E402

# What `--quick` takes, without the page; no further round starts that would take longer.
QUICK_BUDGET_S = 115
SUITE_BUDGET_S = 590


def parse_arguments(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="report", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less work and fewer thread counts: two minutes in all")
    parser.add_argument("--suite", action="store_true", help="all workloads, the further ones too; with --quick, ten minutes")
    parser.add_argument("--runs", type=count, help="rounds, of which medians are quoted (quick: as many as fit; else 5)")
    parser.add_argument("--threads", type=counts, help="thread counts for the workloads that take them: 1,8,64")
    parser.add_argument("--workloads", help="a selection: mstress,mpsc")
    add_allocator_arguments(parser)
    parser.add_argument("--linked", action="append", default=[], metavar="NAME=PROGRAM",
                        help="a fastpath of your own build with a further allocator linked in; may be given more than once")
    parser.add_argument("--timeout", type=seconds, help="seconds after which a run is given up (quick: 15, else 120)")
    parser.add_argument("--out", help="folder for the page and the JSON (tandem-report in the working directory)")
    parser.add_argument("--page-from", metavar="JSON", help="measure nothing: draw the page from an earlier report's JSON")
    return parser.parse_args(argv)


def prepare_folder(path: str) -> None:
    os.makedirs(path, exist_ok=True)
    ignore = os.path.join(path, ".gitignore")
    if not os.path.exists(ignore):
        with open(ignore, "w", encoding="utf-8") as file:
            file.write("*\n")


def measure(arguments: argparse.Namespace) -> dict:
    """Everything that goes into the JSON."""
    start = time.monotonic()
    root = runfiles_root()
    others = machine.OtherPrograms()
    offered = SUITE if arguments.suite or arguments.workloads else REPORT
    workloads = select(arguments.workloads, {workload.name: workload for workload in offered}, "workload")
    usable, left_out = find_allocators(arguments, root, named_files(arguments.linked, "--linked"))
    if not usable:
        fail("no allocator is left to measure")
    threads = arguments.threads

    def threads_of(workload: Workload) -> List[Optional[int]]:
        fixed = workload.threads(arguments.quick)
        return fixed if threads is None or fixed == [None] else list(threads)

    budget = SUITE_BUDGET_S if arguments.suite else QUICK_BUDGET_S
    if not arguments.quick or arguments.runs is not None:
        budget = None
    plan = Plan(
        binaries={workload.name: os.path.join(root, "benchmarks", workload.name + "_system") for workload in workloads},
        quick=arguments.quick,
        rounds=arguments.runs or (9 if arguments.quick else 5),
        budget_s=None if budget is None else budget - (time.monotonic() - start),
        timeout_s=arguments.timeout or (15 if arguments.quick else 120),
    )
    records, rounds = run_all(workloads, threads_of, usable, plan)
    return {
        "date": datetime.date.today().isoformat(),
        "quick": arguments.quick,
        "rounds": rounds,
        "seconds": time.monotonic() - start,
        "others_share": others.share(),
        "machine": machine.describe(),
        "allocators": [
            {
                "key": allocator.key,
                "label": allocator.label,
                "library": os.path.basename(allocator.library) if allocator.library else None,
                "is_tandem": allocator.is_tandem,
                "program": os.path.basename(allocator.program) if allocator.program else None,
                "environment": allocator.environment,
                "version": allocator.version,
                "malloc_from": allocator.malloc_from,
                "tandem_words": allocator.tandem_words,
            }
            for allocator in usable
        ],
        "left_out": left_out,
        "workloads": {workload.name: workload.flags(arguments.quick) for workload in workloads},
        "runs": records,
    }


def read_report(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            measured = json.load(file)
    except (OSError, ValueError) as error:
        fail(f"--page-from={path}: {error}")
    if not isinstance(measured, dict) or "runs" not in measured:
        fail(f"--page-from={path}: that is not a report's JSON")
    return measured


def draw(measured: dict, json_name: str, path: str) -> Findings:
    allocators = [Allocator(**fields) for fields in measured["allocators"]]
    findings = Findings(
        title="Tandem and its peers, measured side by side",
        date=measured["date"],
        quick=measured["quick"],
        rounds=measured["rounds"],
        seconds=measured["seconds"],
        others_share=measured["others_share"],
        machine=measured["machine"],
        allocators=[each for each in allocators if each.program is None],
        linked=[each for each in allocators if each.program is not None],
        left_out=measured["left_out"],
        workloads=[workload for workload in SUITE if workload.name in measured["workloads"]],
        records=measured["runs"],
        json_name=json_name,
    )
    page.write(findings, path)
    return findings


def main(argv: List[str]) -> int:
    arguments = parse_arguments(argv)
    folder = absolute(arguments.out or "tandem-report")
    try:
        prepare_folder(folder)
    except OSError as error:
        fail(f"--out: {error}")
    json_path = os.path.join(folder, "report.json")
    if arguments.page_from:
        json_path = absolute(arguments.page_from)
        measured = read_report(json_path)
    else:
        measured = measure(arguments)
        with open(json_path, "w", encoding="utf-8") as file:
            json.dump(measured, file, indent=1)
            file.write("\n")
    page_path = os.path.join(folder, "report.html")
    findings = draw(measured, os.path.basename(json_path), page_path)
    for error in findings.errors():
        say(f"failed: {error}")
    say(f"{len(measured['runs'])} runs, {measured['rounds']} rounds, {duration_words(measured['seconds'])}")
    print(f"The page: {page_path}")
    return 1 if findings.errors() or findings.left_out else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
