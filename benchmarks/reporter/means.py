"""The table behind many of side_by_side's: each workload's geometric means over its numbers of threads."""

from typing import Callable, List, Optional

from allocators import Allocator
from figures import Table, geometric_mean, peak_mib


def print_means(allocators: List[Allocator], records: List[dict]) -> None:
    """`records` are as the report's are, with `cost_to_mean` as their results' CPU time."""
    print_ratios("CPU time", allocators, records, lambda result: result["cost_to_mean"])
    print_ratios("peak memory", allocators, records, peak_mib)


def print_ratios(title: str, allocators: List[Allocator], records: List[dict],
                 value: Callable[[dict], Optional[float]]) -> None:
    table = Table(records, value)
    keys = [allocator.key for allocator in allocators]
    peers = [allocator.key for allocator in allocators if not allocator.is_tandem]
    rows = list(dict.fromkeys((record["workload"], record["threads"]) for record in records))

    def mean(workload: Optional[str], key: str, against: List[str]) -> Optional[float]:
        return geometric_mean(
            table.ratio(name, threads, key, against) for name, threads in rows if workload in (None, name))

    def print_line(name: str, workload: Optional[str], chosen: List[str], against: List[str]) -> None:
        cells = [format(mean(workload, key, against), ".2f") if key in chosen else "" for key in keys]
        print(f"{name:24}" + "".join(f"{cell:>{max(len(key), 6) + 2}}" for cell, key in zip(cells, keys)).rstrip())

    print(f"\n{title + ', to the best':24}" + "".join(f"{key:>{max(len(key), 6) + 2}}" for key in keys))
    for workload in dict.fromkeys(name for name, _ in rows):
        print_line(workload, workload, keys, keys)
    print_line("all", None, keys, keys)
    if peers:
        print_line("all, to the best peer", None, [key for key in keys if key not in peers], peers)
