"""The report's page: one HTML file that needs nothing else."""

import os
from dataclasses import dataclass
from html import escape
from typing import Callable, Dict, List, Optional, Sequence

import charts
import figures
from allocators import Allocator
from cells import cell, header_row, number, ratio_class, ratio_text, row, table
from looks import looks_of
from runner import duration_words
from workloads import Workload


@dataclass
class Findings:
    """All that the page tells."""

    title: str
    date: str
    quick: bool
    rounds: int
    seconds: float
    others_share: float  # of the CPUs' time, while the report ran
    machine: Dict[str, str]
    allocators: List[Allocator]
    left_out: List[str]  # allocators that were found and not used, and why
    workloads: List[Workload]
    records: List[dict]
    json_name: str

    def peers(self) -> List[str]:
        return [allocator.key for allocator in self.allocators if not allocator.is_tandem]

    def tandems(self) -> List[Allocator]:
        return [allocator for allocator in self.allocators if allocator.is_tandem]

    def sweeps(self) -> List[Workload]:
        return [workload for workload in self.workloads if workload.sweep]

    def points(self, workload: Workload) -> List[Optional[int]]:
        """The thread counts that were run."""
        present = {record["threads"] for record in self.records if record["workload"] == workload.name}
        return sorted(present, key=lambda threads: threads or 0)

    def errors(self) -> List[str]:
        labels = {allocator.key: allocator.label for allocator in self.allocators}
        return [
            f"{labels[record['allocator']]}, {record['workload']}"
            + (f", {record['threads']} threads" if record["threads"] else "")
            + f": {record['error']}"
            for record in self.records
            if "error" in record
        ]


METRICS = [
    ("Time", "seconds", figures.wall_seconds),
    ("Peak memory", "MiB resident", figures.peak_mib),
]


def write(findings: Findings, path: str) -> None:
    parts = [_head(findings), _header(findings), _alerts(findings), _verdict(findings), _overview(findings)]
    for workload in findings.workloads:
        if workload.name == "fastpath":
            parts.append(_fastpath(findings, workload))
        elif workload.sweep:
            parts.append(_sweep(findings, workload))
        else:
            parts.append(_single(findings, workload))
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
    values = figures.Table(findings.records, value)
    return figures.geometric_mean(
        values.ratio(workload.name, threads, allocator, against)
        for workload in workloads
        for threads in findings.points(workload)
    )


def _pair_ratio(findings: Findings, allocator: str) -> Optional[float]:
    kernels = figures.kernel_nanoseconds(findings.records)
    ratios = []
    for size in (16, 32, 64, 128):
        by_allocator = kernels.get(("pair", size), {})
        peers = [by_allocator[peer][1] for peer in findings.peers() if peer in by_allocator]
        ratios.append(by_allocator[allocator][1] / min(peers) if peers and allocator in by_allocator else None)
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
            ("a malloc/free pair, 16 to 128 bytes, against the best peer", _pair_ratio(findings, allocator.key)),
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


def _sweep(findings: Findings, workload: Workload) -> str:
    drawings, tables = [], []
    for title, unit, value in METRICS:
        values = figures.Table(findings.records, value)
        drawings.append(
            f"<figure><figcaption>{escape(workload.title)}: {title.lower()}</figcaption>"
            f"{_line_chart(findings, workload, values, unit, title)}</figure>"
        )
        tables.append(_points_table(findings, workload, values, f"{title}, {unit}", True))
    for figure in workload.figures:
        values = figures.Table(findings.records, figures.named_figure(figure.name, figure.divide_by))
        caption = figure.title.capitalize() + (f", {figure.unit}" if figure.unit else "")
        tables.append(_points_table(findings, workload, values, caption, False))
    return (
        f"<h2>{escape(workload.title)}</h2><p>{escape(workload.about)}</p>{_verified(findings, workload)}"
        f'<div class="charts">{"".join(drawings)}</div>{"".join(tables)}'
    )


def _verified(findings: Findings, workload: Workload) -> str:
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
                cell(allocator, "", figures.geometric_mean(
                    values.ratio(workload.name, threads, allocator.key, findings.peers())
                    for threads in findings.points(workload)
                ))
                for allocator in findings.allocators
            ], "mean")
        )
    first = "producers" if workload.name == "mpsc" else "threads"
    note = "medians, and against the best peer" if ratios else "medians"
    return table(caption, note, header_row(first, findings.allocators), rows)


def _single(findings: Findings, workload: Workload) -> str:
    """A workload without a scan over threads: one row per measure and thread count."""
    measures = [
        ("time, s", figures.wall_seconds, True),
        ("peak memory, MiB", figures.peak_mib, True),
        ("memory at the end, MiB", figures.end_mib, True),
        ("minor page faults", figures.faults, True),
    ]
    measures += [
        (figure.title + (f", {figure.unit}" if figure.unit else ""), figures.named_figure(figure.name, figure.divide_by),
         figure.smaller_is_better)
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
    return f"<h2>{escape(workload.title)}</h2><p>{escape(workload.about)}</p>{_verified(findings, workload)}{body}"


def _fastpath(findings: Findings, workload: Workload) -> str:
    kernels = figures.kernel_nanoseconds(findings.records)
    if not kernels:
        return ""
    names = list(dict.fromkeys(name for name, _size in kernels))
    rows = []
    means: Dict[str, Dict[str, Optional[float]]] = {}
    for name in names:
        of_name = {size: by_allocator for (kernel, size), by_allocator in kernels.items() if kernel == name}
        means[name] = {
            allocator.key: figures.geometric_mean(
                by_allocator[allocator.key][1] if allocator.key in by_allocator else None
                for size, by_allocator in of_name.items()
                if size == 0 or size <= 1024
            )
            for allocator in findings.allocators
        }
        if len(of_name) > 1:
            rows.append(f'<tr class="group"><th colspan="{len(findings.allocators) + 1}">{escape(name)}</th></tr>')
        for size, by_allocator in of_name.items():
            first = f"{size:,} bytes" if size else f"{escape(name)}, up to 1,000 bytes"
            rows.append(row(first, _kernel_cells(findings, by_allocator)))
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
    body = table("Nanoseconds per operation", "median, (fastest repetition), and the median against the best peer’s",
                 header_row("", findings.allocators), rows)
    return (
        f"<h2>{escape(workload.title)}</h2><p>{escape(workload.about)}</p>{_verified(findings, workload)}"
        f"<figure><figcaption>fastpath: geometric means of the medians over the sizes up to 1 KiB</figcaption>{chart}</figure>{body}"
    )


def _kernel_cells(findings: Findings, by_allocator: Dict[str, tuple]) -> List[str]:
    peers = [by_allocator[peer][1] for peer in findings.peers() if peer in by_allocator]
    cells = []
    for allocator in findings.allocators:
        if allocator.key not in by_allocator:
            cells.append(cell(allocator, "–", None))
            continue
        least, median = by_allocator[allocator.key]
        text = f'{number(median)} <span class="least">({number(least)})</span>'
        cells.append(cell(allocator, text, median / min(peers) if peers else None))
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
        for allocator in findings.allocators
    )
    return (
        f'<h2>Machine and method</h2><dl class="machine">{machine}</dl>'
        "<p>Every allocator ran the very same program, linked with the C library’s malloc; all but glibc were preloaded "
        "with <code>LD_PRELOAD</code>. Each run looked up where its <code>malloc</code> came from and said so, and a run "
        "that had it from elsewhere would be listed as failed above. The runs are interleaved: each round runs every "
        "allocator once at every point, neighbours in time, in a new order. The work of a run is fixed by its flags and "
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
