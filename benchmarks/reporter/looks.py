"""Colours and marks: the two front ends strong and unlike each other, the peers muted."""

from dataclasses import dataclass
from typing import Dict, List

# Stand-ins in the charts for colours that follow the page's light or dark scheme (see `charts.for_page`).
INK = "#010203"
FAINT = "#010204"
GRID = "#010205"
PERCPU = "#010206"
PERTHREAD = "#010207"
SCHEME_COLOURS = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    GRID: "var(--grid)",
    PERCPU: "var(--percpu)",
    PERTHREAD: "var(--perthread)",
}


@dataclass(frozen=True)
class Look:
    colour: str
    marker: str
    line: object  # matplotlib's line style
    width: float
    marker_size: float
    order: int  # drawn later is drawn above


_FRONT_ENDS = {
    "percpu": Look(PERCPU, "o", "-", 2.6, 6.5, 11),
    "perthread": Look(PERTHREAD, "s", "-", 2.6, 6.0, 10),
}
_PEERS = [
    Look("#8a8f98", "x", "-", 1.3, 4.5, 3),
    Look("#8f9a5b", "^", (0, (5, 1.5)), 1.3, 4.0, 3),
    Look("#5d9a97", "v", (0, (2, 1.2)), 1.3, 4.0, 3),
    Look("#a07fa8", "D", (0, (6, 1.5, 1.5, 1.5)), 1.3, 3.4, 3),
    Look("#b0846a", "P", (0, (1, 1)), 1.3, 4.5, 3),
    Look("#6f8fb5", "*", (0, (3, 1, 1, 1, 1, 1)), 1.3, 5.0, 3),
]


def looks_of(keys: List[str]) -> Dict[str, Look]:
    """A look for each allocator; the peers' depend on their order only."""
    looks = {}
    peers = 0
    for key in keys:
        if key in _FRONT_ENDS:
            looks[key] = _FRONT_ENDS[key]
        else:
            looks[key] = _PEERS[peers % len(_PEERS)]
            peers += 1
    return looks
