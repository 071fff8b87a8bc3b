"""The table behind many of side_by_side's: each workload's geometric means over its numbers of threads."""

from typing import Callable, List, Sequence, Tuple

from allocators import Allocator
from figures import Table, peak_mib


def print_means(allocators: List[Allocator], records: List[dict]) -> None:
    """`records` are as the report's are, with `cost_to_mean` as their results' CPU time."""
    print_ratios("CPU time", allocators, records, lambda result: result["cost_to_mean"])
    print_ratios("peak memory", allocators, records, peak_mib)


def print_ratios(title: str, allocators: List[Allocator], records: List[dict], value: Callable[[dict], float]) -> None:
    table = Table(records, value)
    keys = [allocator.key for allocator in allocators]
    peers = [allocator.key for allocator in allocators if not allocator.is_tandem]
    points = list(dict.fromkeys((record["workload"], record["threads"]) for record in records))

    def print_line(name: str, cells: Sequence[str]) -> None:
        print((f"{name:24}" + "".join(f"{cell:>{max(len(key), 6) + 2}}" for key, cell in zip(keys, cells))).rstrip())

    def means(over: List[Tuple[str, int]], chosen: List[str], against: List[str]) -> List[str]:
        return [format(table.mean_ratio(over, key, against), ".2f") if key in chosen else "" for key in keys]

    print()
    print_line(f"{title}, to the best", keys)
    for workload in dict.fromkeys(name for name, _ in points):
        print_line(workload, means([point for point in points if point[0] == workload], keys, keys))
    print_line("all", means(points, keys, keys))
    if peers:
        print_line("all, to the best peer", means(points, [key for key in keys if key not in peers], peers))
