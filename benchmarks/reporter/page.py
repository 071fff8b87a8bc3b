"""The report's page: one HTML file that needs nothing else."""

import os
from html import escape
from typing import Callable, List, Optional, Sequence, Tuple

import fastpath
import figures
import sections
from cells import cell, header_row, ratio_class, ratio_text, row, table
from findings import Findings
from runner import duration_words
from sections import METRICS
from workloads import Workload


def write(findings: Findings, path: str) -> None:
    parts = [_head(findings), _header(findings), _alerts(findings), _verdict(findings), _overview(findings)]
    for workload in findings.workloads:
        if workload.name == "fastpath":
            parts.append(fastpath.section(findings, workload))
        elif workload.sweep:
            parts.append(sections.sweep(findings, workload))
        else:
            parts.append(sections.single(findings, workload))
    parts += [_method(findings), "</body></html>"]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(parts) + "\n")


def _head(findings: Findings) -> str:
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.css"), encoding="utf-8") as file:
        css = file.read()
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(findings.title)}</title><style>{css}</style></head><body>"
    )


def _header(findings: Findings) -> str:
    runs = sum("result" in record for record in findings.records)
    kind = "Quick report" if findings.quick else "Report"
    machine = findings.machine
    return (
        f"<header><h1>{escape(findings.title)}</h1>"
        f'<p class="quiet">{kind} of {escape(findings.date)} · {runs:,} runs in {duration_words(findings.seconds)} · '
        f"{_rounds_words(findings)} · {escape(machine['CPU'])}, {escape(machine['CPUs'].split(';')[0])} · "
        f"Linux {escape(machine['Kernel'])}</p></header>"
    )


def _rounds_words(findings: Findings) -> str:
    if findings.rounds == 1:
        return "one round: single runs, no medians"
    return f"medians of {findings.rounds} interleaved rounds"


def _alerts(findings: Findings) -> str:
    lines = [f"<p><b>Failed:</b> {escape(error)}</p>" for error in findings.errors()]
    lines += [f"<p><b>Left out:</b> {escape(reason)}</p>" for reason in findings.left_out]
    if findings.others_share > 0.05:
        lines.append(
            f"<p><b>A busy machine:</b> other programs took {findings.others_share:.0%} of the CPUs’ time while the "
            "report ran. Repeat it on a quiet one before you conclude anything from small differences.</p>"
        )
    return f'<div class="alert">{"".join(lines)}</div>' if lines else ""


def _mean_ratio(
    findings: Findings, workloads: Sequence[Workload], value: Callable, allocator: str, against: Sequence[str]
) -> Optional[float]:
    """The geometric mean over all the workloads' points of the allocator's ratio to the best of `against`."""
    points = [(workload.name, threads) for workload in workloads for threads in findings.points(workload)]
    return figures.Table(findings.records, value).mean_ratio(points, allocator, against)


PAIRS = [("pair", 16), ("pair", 32), ("pair", 64), ("pair", 128)]
EMPTY_CALLS = ("empty calls", 64)  # no allocator's: what any of them pays at least
MIXED_PAIRS = [("pair of 16 to 128", 0)]


def _paired_ratio(findings: Findings, allocator: str, wanted: List[Tuple[str, int]]) -> Optional[float]:
    """The allocator's mean ratio to the best peer in the kernels that are wanted, repetition by repetition."""
    repetitions = figures.kernel_repetitions(findings.records)
    return figures.geometric_mean(
        figures.paired_ratio(repetitions.get(name_and_size, {}), allocator, findings.peers()) for name_and_size in wanted
    )


def _fastest_ratio(
    findings: Findings, allocator: str, wanted: List[Tuple[str, int]], of: Optional[Tuple[str, int]] = None
) -> Optional[float]:
    """The same by the fastest repetition of all; that of the kernel `of`, if given, to the peers' in those wanted."""
    kernels = figures.kernel_nanoseconds(findings.records)
    ratios = []
    for name_and_size in wanted:
        by_allocator = kernels.get(name_and_size, {})
        peers = [by_allocator[peer][0] for peer in findings.peers() if peer in by_allocator]
        own = kernels.get(of or name_and_size, {}).get(allocator)
        ratios.append(own[0] / min(peers) if peers and own else None)
    return figures.geometric_mean(ratios)


def _verdict(findings: Findings) -> str:
    cards = []
    timed = [workload for workload in findings.workloads if workload.name != "fastpath"]
    for allocator in findings.tandems():
        lines = [
            ("time, against the best peer of each run", _mean_ratio(findings, timed, figures.wall_seconds, allocator.key, findings.peers())),
            ("time, against glibc", _mean_ratio(findings, timed, figures.wall_seconds, allocator.key, ["glibc"])),
            ("peak memory, against the best peer of each run", _mean_ratio(findings, timed, figures.peak_mib, allocator.key, findings.peers())),
            ("peak memory, against glibc", _mean_ratio(findings, timed, figures.peak_mib, allocator.key, ["glibc"])),
            ("a malloc/free pair of one size, 16 to 128 bytes, against the best peer", _paired_ratio(findings, allocator.key, PAIRS)),
            ("the same by the fastest repetitions, which nobody disturbed", _fastest_ratio(findings, allocator.key, PAIRS)),
            ("two calls that do nothing, likewise", _fastest_ratio(findings, allocator.key, PAIRS, EMPTY_CALLS)),
            ("pairs of random sizes, 16 to 128 bytes, against the best peer", _paired_ratio(findings, allocator.key, MIXED_PAIRS)),
        ]
        items = "".join(
            f'<dt>{escape(text)}</dt><dd class="{ratio_class(ratio)}">{ratio_text(ratio)}</dd>'
            for text, ratio in lines
            if ratio is not None
        )
        cards.append(
            f'<div class="card front {allocator.key}"><h3>{escape(allocator.label)}</h3>'
            f'<p class="mode">{escape(allocator.tandem_words)}</p><dl>{items}</dl></div>'
        )
    if not cards:
        return ""
    return (
        f'<div class="cards">{"".join(cards)}</div><p class="quiet">Geometric means; below ×1.00 is faster or smaller. '
        "“Best peer” is, run by run, the best of all allocators here that are not Tandem, glibc among them, so no single "
        "allocator need be that good everywhere.</p>"
    )


def _overview(findings: Findings) -> str:
    """Each workload's mean ratio to the best of all allocators, Tandem included ("virtual best")."""
    everyone = [allocator.key for allocator in findings.allocators]
    timed = [workload for workload in findings.workloads if workload.name != "fastpath"]
    if not timed:
        return ""
    parts = []
    for title, _unit, value in METRICS:
        rows = []
        for workload in timed:
            rows.append(row(escape(workload.title), _mean_cells(findings, [workload], value, everyone)))
        if len(timed) > 1:
            rows.append(row("all, geometric mean", _mean_cells(findings, timed, value, everyone), "mean"))
        if title == "Time" and figures.kernel_nanoseconds(findings.records):
            rows.append(row("fastpath, mean of all kernels", _fastpath_cells(findings)))
        parts.append(
            table(title, "against the best of all allocators in each run (“virtual best”)",
                  header_row("workload", findings.allocators), rows)
        )
    return "<h2>Overview</h2>" + "".join(parts)


def _mean_cells(findings: Findings, workloads: Sequence[Workload], value: Callable, against: Sequence[str]) -> List[str]:
    return [
        cell(allocator, "", _mean_ratio(findings, workloads, value, allocator.key, against))
        for allocator in findings.allocators
    ]


def _fastpath_cells(findings: Findings) -> List[str]:
    """Each allocator's mean ratio, over all kernels and sizes, to the best of all allocators there."""
    kernels = figures.kernel_nanoseconds(findings.records)
    cells = []
    for allocator in findings.allocators:
        ratios = []
        for key, by_allocator in kernels.items():
            if key == EMPTY_CALLS:
                continue
            best = min(by_allocator[each.key][1] for each in findings.allocators if each.key in by_allocator)
            ratios.append(by_allocator[allocator.key][1] / best if allocator.key in by_allocator else None)
        cells.append(cell(allocator, "", figures.geometric_mean(ratios)))
    return cells


def _method(findings: Findings) -> str:
    machine = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in findings.machine.items()
    )
    found = "".join(
        row(escape(allocator.label), [
            f"<td>{escape(allocator.version) or '–'}</td><td>{escape(allocator.malloc_from)}</td>"
            f"<td>{escape(allocator.tandem_words) or '–'}</td>"
        ])
        for allocator in findings.allocators + findings.linked
    )
    return (
        f'<h2>Machine and method</h2><dl class="machine">{machine}</dl>'
        "<p>Every allocator ran the very same program, linked with the C library’s malloc; all but glibc were preloaded "
        "with <code>LD_PRELOAD</code> (only the second table of fastpath has programs with the allocator linked in). Each run looked up where its <code>malloc</code> came from and said so, and a run "
        "that had it from elsewhere would be listed as failed above. The runs are interleaved: each round runs every "
        "allocator once at every point, neighbours in time, in a new order; fastpath’s processes live side by side on one "
        "CPU and take turns at each repetition of a kernel. The work of a run is fixed by its flags and "
        "is the same for every allocator. Time is from the moment all threads exist until the last one has exited and "
        "all objects are freed; peak memory is the process’s whole resident set at its highest. Thin bars in the charts "
        "and the hints on the tables’ cells are the lowest and the highest round: do not conclude from a difference "
        "that is smaller. "
        f"Other programs took {findings.others_share:.0%} of the CPUs’ time meanwhile.</p>"
        '<div class="scroll"><table><thead><tr><th scope="col">allocator</th><th scope="col">version</th>'
        '<th scope="col">malloc came from</th><th scope="col">Tandem’s own words</th></tr></thead>'
        f"<tbody>{found}</tbody></table></div>"
        f'<p>All runs as JSON: <a href="{escape(findings.json_name)}">{escape(findings.json_name)}</a>.</p>'
    )
