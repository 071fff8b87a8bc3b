"""The charts, drawn by matplotlib as SVG that goes into the page."""

import io
import re
import textwrap
from typing import Dict, List, Optional, Sequence, Tuple

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend is chosen first)
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator  # noqa: E402

from looks import FAINT, GRID, INK, SCHEME_COLOURS, Look  # noqa: E402

plt.rcParams.update(
    {
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 10.5,
        "text.color": INK,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": FAINT,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
    }
)

LOG_FROM = 6.0  # the ratio of the largest to the smallest value from which a chart's axis is logarithmic


class Line:
    """One allocator's line: points (x, median, lowest, highest)."""

    def __init__(self, label: str, look: Look, points: Sequence[Tuple[float, float, float, float]]):
        self.label = label
        self.look = look
        self.points = sorted(points)


def plain_number(value: float, _position: Optional[int] = None) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def for_page(figure: plt.Figure, salt: str, alternative: str) -> str:
    """The figure as an SVG element whose colours follow the page's scheme and whose identifiers are its own."""
    buffer = io.StringIO()
    with plt.rc_context({"svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for stand_in, variable in SCHEME_COLOURS.items():
        svg = svg.replace(stand_in, variable)
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\1{salt}-", svg)
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"|<svg ([^>]*?)height="[^"]*" ([^>]*?)width="[^"]*"', r"<svg \1\2\3", svg, count=1)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{alternative}" ', 1)


def _spread_labels(wanted: List[float], gap: float, low: float, high: float) -> List[float]:
    """Heights as near to the wanted ones as can be, at least `gap` apart, in the same order; `wanted` ascends."""
    heights = list(wanted)
    for _ in range(200):
        moved = False
        for i in range(len(heights) - 1):
            overlap = gap - (heights[i + 1] - heights[i])
            if overlap > 0.01:
                heights[i] -= overlap / 2
                heights[i + 1] += overlap / 2
                moved = True
        if heights and heights[0] < low:
            heights[0] = low
        if heights and heights[-1] > high:
            heights[-1] = high
        if not moved:
            break
    return heights


def _label_lines(axes: plt.Axes, lines: List[Line]) -> None:
    """Each line's name at its right end, moved apart where they would overlap."""
    figure = axes.figure
    figure.canvas.draw()
    ends = []
    for line in lines:
        if line.points:
            x, y = line.points[-1][0], line.points[-1][1]
            ends.append((axes.transData.transform((x, y)), line))
    ends.sort(key=lambda end: end[0][1])
    box = axes.get_window_extent()
    gap = 14.5 * figure.dpi / 72
    heights = _spread_labels([end[0][1] for end in ends], gap, box.y0, box.y1)
    for ((x, y), line), height in zip(ends, heights):
        strong = line.look.order >= 10
        axes.annotate(
            line.label,
            xy=(x, y),
            xycoords="figure pixels",
            xytext=(box.x1 + 16 * figure.dpi / 72, height),
            textcoords="figure pixels",
            va="center",
            ha="left",
            color=line.look.colour,
            fontsize=11 if strong else 10,
            fontweight="bold" if strong else "normal",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": line.look.colour,
                "linewidth": 0.7,
                "alpha": 0.7,
                "shrinkA": 1,
                "shrinkB": 3,
            },
        )


def _value_axis(axes: plt.Axes, lines: List[Line], unit: str) -> None:
    values = [point[1] for line in lines for point in line.points]
    low, high = min(values), max(values)
    if low > 0 and high / low > LOG_FROM:
        axes.set_yscale("log")
        ticks = [mantissa * 10.0**power for power in range(-6, 9) for mantissa in (1, 2, 5)]
        axes.set_ylim(low / 1.25, high * 1.25)
        axes.yaxis.set_major_locator(FixedLocator([t for t in ticks if low / 1.25 <= t <= high * 1.25]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_title(f"{unit}, logarithmic", loc="left", fontsize=10, color=FAINT, pad=8)
    else:
        axes.set_ylim(0, high * 1.12)
        axes.set_title(unit, loc="left", fontsize=10, color=FAINT, pad=8)
    axes.yaxis.set_major_formatter(FuncFormatter(plain_number))


def over_threads(lines: List[Line], unit: str, x_label: str, salt: str, alternative: str) -> str:
    """Lines over a logarithmic axis of threads, each labelled at its end, with the spread as thin bars."""
    figure, axes = plt.subplots(figsize=(7.0, 4.3))
    figure.subplots_adjust(left=0.075, right=0.735, top=0.925, bottom=0.125)
    axes.set_xscale("log")
    for line in sorted(lines, key=lambda each: each.look.order):
        xs = [point[0] for point in line.points]
        medians = [point[1] for point in line.points]
        look = line.look
        axes.vlines(
            xs, [p[2] for p in line.points], [p[3] for p in line.points], color=look.colour, alpha=0.45, linewidth=1.2,
            zorder=look.order - 0.5,
        )
        axes.plot(
            xs, medians, color=look.colour, linestyle=look.line, linewidth=look.width, marker=look.marker,
            markersize=look.marker_size, markeredgewidth=1.2 if look.marker == "x" else 0, zorder=look.order,
        )
    _value_axis(axes, lines, unit)
    counts = sorted({point[0] for line in lines for point in line.points})
    axes.set_xlim(counts[0] / 1.15, counts[-1] * 1.15)
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_major_formatter(FuncFormatter(plain_number))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(x_label)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=5)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    _label_lines(axes, lines)
    return for_page(figure, salt, alternative)


def bars(groups: List[str], labels: List[str], looks: Dict[str, Look], values: Dict[str, List[Optional[float]]], unit: str,
         salt: str, alternative: str) -> str:
    """Groups of bars, one bar per allocator (`labels` names them in the order of `looks`)."""
    figure, axes = plt.subplots(figsize=(13.0, 3.8))
    figure.subplots_adjust(left=0.035, right=0.995, top=0.86, bottom=0.15)
    width = 0.84 / max(len(looks), 1)
    ceiling = _bars_ceiling(values)
    for index, (key, look) in enumerate(looks.items()):
        for group, value in enumerate(values[key]):
            if value is None:
                continue
            x = group - 0.42 + (index + 0.5) * width
            axes.bar(x, min(value, ceiling), width * 0.88, color=look.colour,
                     alpha=1.0 if look.order >= 10 else 0.7, label=labels[index] if group == 0 else None)
            if value > ceiling:
                axes.text(x, ceiling * 1.01, f"{value:.0f}", ha="center", va="bottom", fontsize=8.5, color=look.colour)
    axes.set_xticks(range(len(groups)), [textwrap.fill(group, 16) for group in groups])
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylim(0, ceiling * 1.08)
    axes.set_title(unit, loc="left", fontsize=10, color=FAINT, pad=8)
    axes.yaxis.set_major_formatter(FuncFormatter(plain_number))
    axes.grid(True, axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=5)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1.0), ncol=len(looks), frameon=False, fontsize=10, handlelength=1)
    return for_page(figure, salt, alternative)


def _bars_ceiling(values: Dict[str, List[Optional[float]]]) -> float:
    """Where bars are cut off: far outliers would flatten all the others. They carry their value as text."""
    present = sorted(value for row in values.values() for value in row if value is not None)
    median = present[len(present) // 2]
    return min(present[-1], 3.0 * median)
