"""The page's sections on workloads: lines over threads, or one table."""

from html import escape

import charts
import figures
from cells import cell, header_row, number, row, table
from findings import Findings
from looks import looks_of
from workloads import Workload

METRICS = [
    ("Time", "seconds", figures.wall_seconds),
    ("Peak memory", "MiB resident", figures.peak_mib),
]
FURTHER_METRICS = [
    ("Memory at the end", "MiB resident", figures.end_mib),
    ("Minor page faults", "", figures.faults),
]


def sweep(findings: Findings, workload: Workload) -> str:
    drawings, tables = [], []
    for title, unit, value in METRICS:
        values = figures.Table(findings.records, value)
        drawings.append(
            f"<figure><figcaption>{escape(workload.title)}: {title.lower()}</figcaption>"
            f"{_line_chart(findings, workload, values, unit, title)}</figure>"
        )
        tables.append(_points_table(findings, workload, values, f"{title}, {unit}", True))
    folded = [
        _points_table(findings, workload, figures.Table(findings.records, value), title + (f", {unit}" if unit else ""), True)
        for title, unit, value in FURTHER_METRICS
    ]
    tables.append(f"<details><summary>Memory at the end, page faults</summary>{''.join(folded)}</details>")
    for figure in workload.figures:
        values = figures.Table(findings.records, figures.named_figure(figure.name, figure.divide_by))
        caption = figure.title.capitalize() + (f", {figure.unit}" if figure.unit else "")
        tables.append(_points_table(findings, workload, values, caption, False))
    return (
        f"<h2>{escape(workload.title)}</h2><p>{escape(workload.about)}</p>{verified(findings, workload)}"
        f'<div class="charts">{"".join(drawings)}</div>{"".join(tables)}'
    )


def verified(findings: Findings, workload: Workload) -> str:
    for record in findings.records:
        if record["workload"] == workload.name and "result" in record:
            return f'<p class="quiet">Checked in every run: {escape(record["result"]["verified"])}.</p>'
    return ""


def _line_chart(findings: Findings, workload: Workload, values: figures.Table, unit: str, title: str) -> str:
    looks = looks_of([allocator.key for allocator in findings.allocators])
    lines = []
    for allocator in findings.allocators:
        points = []
        for threads in findings.points(workload):
            median = values.median(workload.name, threads, allocator.key)
            if median is not None:
                low, high = values.spread(workload.name, threads, allocator.key)
                points.append((threads, median, low, high))
        if points:
            lines.append(charts.Line(allocator.label, looks[allocator.key], points))
    if not lines:
        return "<p>No run came to its end.</p>"
    x_label = "producers" if workload.name == "mpsc" else "threads"
    salt = f"{workload.name}-{title.split()[-1].lower()}"
    return charts.over_threads(lines, unit, x_label, salt, f"{title} of {workload.title} over {x_label}")


def _points_table(findings: Findings, workload: Workload, values: figures.Table, caption: str, ratios: bool) -> str:
    rows = []
    for threads in findings.points(workload):
        cells = []
        for allocator in findings.allocators:
            median = values.median(workload.name, threads, allocator.key)
            spread = values.spread(workload.name, threads, allocator.key)
            ratio = values.ratio(workload.name, threads, allocator.key, findings.peers()) if ratios else None
            hint = f"{number(spread[0])} to {number(spread[1])}" if spread else ""
            cells.append(cell(allocator, number(median), ratio, hint))
        rows.append(row(f"{threads:,}", cells))
    if ratios and len(rows) > 1:
        rows.append(
            row("geometric mean", [
                cell(allocator, "", values.mean_ratio(
                    [(workload.name, threads) for threads in findings.points(workload)], allocator.key, findings.peers()))
                for allocator in findings.allocators
            ], "mean")
        )
    first = "producers" if workload.name == "mpsc" else "threads"
    note = "medians, and against the best peer" if ratios else "medians"
    return table(caption, note, header_row(first, findings.allocators), rows)


def single(findings: Findings, workload: Workload) -> str:
    """A workload without a scan over threads: one row per measure and thread count."""
    measures = [
        ("time, s", figures.wall_seconds, True),
        ("peak memory, MiB", figures.peak_mib, True),
        ("memory at the end, MiB", figures.end_mib, True),
        ("minor page faults", figures.faults, True),
    ]
    measures += [
        (figure.title + (f", {figure.unit}" if figure.unit else ""), figures.named_figure(figure.name, figure.divide_by),
         figure.is_judged)
        for figure in workload.figures
    ]
    rows = []
    for threads in findings.points(workload):
        if threads is not None:
            words = "1 thread" if threads == 1 else f"{threads:,} threads"
            rows.append(f'<tr class="group"><th colspan="{len(findings.allocators) + 1}">{words}</th></tr>')
        for title, value, with_ratio in measures:
            values = figures.Table(findings.records, value)
            if not values.medians:
                continue  # a time of the trough that the quick report does not wait for
            cells = []
            for allocator in findings.allocators:
                spread = values.spread(workload.name, threads, allocator.key)
                ratio = values.ratio(workload.name, threads, allocator.key, findings.peers()) if with_ratio else None
                hint = f"{number(spread[0])} to {number(spread[1])}" if spread else ""
                cells.append(cell(allocator, number(values.median(workload.name, threads, allocator.key)), ratio, hint))
            rows.append(row(escape(title), cells))
    body = table("Measures", "medians, and against the best peer", header_row("", findings.allocators), rows)
    return f"<h2>{escape(workload.title)}</h2><p>{escape(workload.about)}</p>{verified(findings, workload)}{body}"
