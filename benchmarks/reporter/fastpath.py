"""The page's section on fastpath: a chart of its kernels, and a table of all sizes."""

from html import escape
from typing import Dict, List, Optional, Tuple

import charts
import figures
from allocators import Allocator
from cells import cell, header_row, number, row, table
from findings import Findings
from looks import looks_of
from sections import verified
from workloads import Workload

Kernels = Dict[Tuple[str, int], Dict[str, Tuple[float, float]]]  # see `figures.kernel_nanoseconds`


def section(findings: Findings, workload: Workload) -> str:
    kernels = figures.kernel_nanoseconds(findings.records)
    if not kernels:
        return ""
    names = list(dict.fromkeys(name for name, _size in kernels))
    repetitions = figures.kernel_repetitions(findings.records)
    rows = _kernel_rows(kernels, repetitions, findings.allocators)
    means = _kernel_means(kernels, findings.allocators)
    looks = looks_of([allocator.key for allocator in findings.allocators])
    chart = charts.bars(
        names,
        [allocator.label for allocator in findings.allocators],
        looks,
        {key: [means[name][key] for name in names] for key in looks},
        "nanoseconds",
        "fastpath-bars",
        "Nanoseconds per operation of each kernel",
    )
    note = (
        "median, (fastest repetition), and the ratio to the best peer: the median of those between two repetitions that ran "
        "one right after the other"
    )
    body = table("Nanoseconds per operation, preloaded", note, header_row("", findings.allocators), rows)
    if findings.linked:
        body += table("Nanoseconds per operation, linked into the program", note, header_row("", findings.linked),
                      _kernel_rows(kernels, repetitions, findings.linked))
    return (
        f"<h2>{escape(workload.title)}</h2><p>{escape(workload.about)}</p>{verified(findings, workload)}"
        f"<figure><figcaption>fastpath: geometric means of the medians over the sizes up to 1 KiB</figcaption>{chart}</figure>{body}"
    )


def _kernel_rows(kernels: Kernels, repetitions: figures.Repetitions, allocators: List[Allocator]) -> List[str]:
    rows = []
    group = None
    for (name, size), by_allocator in kernels.items():
        if size != 0 and name != group:
            rows.append(f'<tr class="group"><th colspan="{len(allocators) + 1}">{escape(name)}</th></tr>')
            group = name
        first = f"{size:,} bytes" if size else f"{escape(name)}, random sizes"
        rows.append(row(first, _kernel_cells(by_allocator, repetitions[(name, size)], allocators)))
    return rows


def _kernel_cells(
    by_allocator: Dict[str, tuple], repetitions: Dict[str, Dict[int, List[float]]], allocators: List[Allocator]
) -> List[str]:
    peers = [each.key for each in allocators if not each.is_tandem and each.key in by_allocator]
    cells = []
    for allocator in allocators:
        if allocator.key not in by_allocator:
            cells.append(cell(allocator, "–", None))
            continue
        least, median = by_allocator[allocator.key]
        text = f'{number(median)} <span class="least">({number(least)})</span>'
        cells.append(cell(allocator, text, figures.paired_ratio(repetitions, allocator.key, peers)))
    return cells


def _kernel_means(kernels: Kernels, allocators: List[Allocator]) -> Dict[str, Dict[str, Optional[float]]]:
    """By kernel and allocator: the geometric mean of the medians over the sizes up to 1 KiB."""
    means: Dict[str, Dict[str, Optional[float]]] = {}
    for name in dict.fromkeys(name for name, _size in kernels):
        small = [by_allocator for (kernel, size), by_allocator in kernels.items() if kernel == name and size <= 1024]
        means[name] = {
            allocator.key: figures.geometric_mean(
                by_allocator[allocator.key][1] if allocator.key in by_allocator else None for by_allocator in small
            )
            for allocator in allocators
        }
    return means
