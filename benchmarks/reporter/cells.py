"""Numbers and tables as HTML."""

from html import escape
from typing import List, Optional, Sequence

from allocators import Allocator


def number(value: Optional[float]) -> str:
    """Three significant digits, never an exponent."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 1 or value == 0:
        return f"{value:.2f}"
    return f"{value:.3f}"


def ratio_text(ratio: Optional[float]) -> str:
    return "" if ratio is None else f"×{ratio:.2f}"


def ratio_class(ratio: Optional[float]) -> str:
    """Only Tandem's own ratios are judged: at most the best peer's is good, a tenth above it is bad."""
    if ratio is None:
        return "ratio"
    if ratio <= 1.005:
        return "ratio good"
    return "ratio bad" if ratio > 1.10 else "ratio"


def css_of(allocator: Allocator) -> str:
    """The class of Tandem's front ends, linked in or preloaded."""
    return allocator.key.replace("-linked", "")


def cell(allocator: Allocator, text: str, ratio: Optional[float], title: str = "") -> str:
    css = f' class="{css_of(allocator)}-cell"' if allocator.is_tandem else ""
    ratio_css = ratio_class(ratio) if allocator.is_tandem else "ratio"
    hint = f' title="{escape(title)}"' if title else ""
    separator = " " if text else ""
    return f'<td{css}{hint}>{text}{separator}<span class="{ratio_css}">{ratio_text(ratio)}</span></td>'


def header_row(first: str, allocators: Sequence[Allocator], last: Sequence[str] = ()) -> str:
    cells = [f'<th scope="col">{escape(first)}</th>']
    for allocator in allocators:
        css = f' class="{css_of(allocator)}"' if allocator.is_tandem else ""
        cells.append(f'<th scope="col"{css}>{escape(allocator.label)}</th>')
    cells += [f'<th scope="col">{escape(title)}</th>' for title in last]
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def row(first: str, cells: Sequence[str], css: str = "") -> str:
    kind = f' class="{css}"' if css else ""
    return f'<tr{kind}><th scope="row">{first}</th>{"".join(cells)}</tr>'


def table(caption: str, note: str, header: str, rows: List[str]) -> str:
    return (
        f'<div class="scroll"><table><caption>{escape(caption)} <span>{escape(note)}</span></caption>'
        f"{header}<tbody>{''.join(rows)}</tbody></table></div>"
    )
