"""Medians, spreads and ratios, computed from the runs' records."""

import math
import statistics
from typing import Callable, Dict, Iterable, List, Optional, Tuple

Key = Tuple[str, Optional[int], str]  # workload, threads, allocator


class Table:
    """One number per workload, thread count and allocator: the median over the rounds, with the spread."""

    def __init__(self, records: Iterable[dict], value: Callable[[dict], Optional[float]]):
        samples: Dict[Key, List[float]] = {}
        for record in records:
            if "result" in record:
                number = value(record["result"])
                if number is not None:
                    key = (record["workload"], record["threads"], record["allocator"])
                    samples.setdefault(key, []).append(number)
        self.samples = samples
        self.medians = {key: statistics.median(numbers) for key, numbers in samples.items()}

    def median(self, workload: str, threads: Optional[int], allocator: str) -> Optional[float]:
        return self.medians.get((workload, threads, allocator))

    def spread(self, workload: str, threads: Optional[int], allocator: str) -> Optional[Tuple[float, float]]:
        numbers = self.samples.get((workload, threads, allocator))
        return (min(numbers), max(numbers)) if numbers else None

    def best(self, workload: str, threads: Optional[int], allocators: Iterable[str]) -> Optional[float]:
        numbers = [self.median(workload, threads, allocator) for allocator in allocators]
        present = [number for number in numbers if number is not None]
        return min(present) if present else None

    def ratio(self, workload: str, threads: Optional[int], allocator: str, against: Iterable[str]) -> Optional[float]:
        """The allocator's median over the best of the others' medians."""
        mine = self.median(workload, threads, allocator)
        best = self.best(workload, threads, against)
        return mine / best if mine is not None and best else None

    def mean_ratio(self, points: Iterable[Tuple[str, Optional[int]]], allocator: str,
                   against: Iterable[str]) -> Optional[float]:
        """The geometric mean of `ratio` over the points, each a workload and a number of threads."""
        return geometric_mean(self.ratio(workload, threads, allocator, against) for workload, threads in points)


def geometric_mean(numbers: Iterable[Optional[float]]) -> Optional[float]:
    """None if any of them is missing: a mean over fewer runs than the neighbour's would compare unlike things."""
    present = list(numbers)
    if not present or any(number is None or number <= 0 for number in present):
        return None
    return math.exp(sum(math.log(number) for number in present) / len(present))


def wall_seconds(result: dict) -> float:
    return result["wall_s"]


def peak_mib(result: dict) -> float:
    return result["rss_peak_kib"] / 1024


def end_mib(result: dict) -> float:
    return result["rss_end_kib"] / 1024


def faults(result: dict) -> float:
    return result["minor_faults"]


def named_figure(name: str, divide_by: float = 1.0) -> Callable[[dict], Optional[float]]:
    def value(result: dict) -> Optional[float]:
        number = result["figures"].get(name)
        return number / divide_by if number is not None else None

    return value


def kernel_nanoseconds(records: Iterable[dict]) -> Dict[Tuple[str, int], Dict[str, Tuple[float, float]]]:
    """For each of fastpath's kernels and sizes, each allocator's fastest and median nanoseconds: the minimum over all
    rounds' minima, and the median of their medians."""
    fastest: Dict[Tuple[str, int], Dict[str, List[float]]] = {}
    medians: Dict[Tuple[str, int], Dict[str, List[float]]] = {}
    for record in records:
        if "result" not in record or record["workload"] != "fastpath":
            continue
        for kernel in record["result"]["figures"]["kernels"]:
            key = (kernel["kernel"], kernel["size"])
            fastest.setdefault(key, {}).setdefault(record["allocator"], []).append(kernel["min_ns"])
            medians.setdefault(key, {}).setdefault(record["allocator"], []).append(kernel["median_ns"])
    return {
        key: {
            allocator: (min(numbers), statistics.median(medians[key][allocator]))
            for allocator, numbers in by_allocator.items()
        }
        for key, by_allocator in fastest.items()
    }


Repetitions = Dict[Tuple[str, int], Dict[str, Dict[int, List[float]]]]  # by kernel and size, allocator, and round


def kernel_repetitions(records: Iterable[dict]) -> Repetitions:
    """All repetitions of fastpath's kernels, in nanoseconds, in the order in which they ran; none from older reports."""
    repetitions: Repetitions = {}
    for record in records:
        if "result" not in record or record["workload"] != "fastpath":
            continue
        for kernel in record["result"]["figures"]["kernels"]:
            by_allocator = repetitions.setdefault((kernel["kernel"], kernel["size"]), {})
            by_allocator.setdefault(record["allocator"], {})[record["round"]] = kernel.get("repetitions_ns", [])
    return repetitions


def paired_ratio(by_allocator: Dict[str, Dict[int, List[float]]], own: str, others: Iterable[str]) -> Optional[float]:
    """An allocator's nanoseconds over those of the best of the others: the median, over the repetitions, of the ratio
    between two that ran one right after the other, so that what slowed the one slowed the other."""
    rounds = by_allocator.get(own, {})
    ratios = []
    for other in others:
        pairs = [
            mine / theirs
            for number, repetitions in rounds.items()
            for mine, theirs in zip(repetitions, by_allocator.get(other, {}).get(number, []))
        ]
        if pairs:
            ratios.append(statistics.median(pairs))
    return max(ratios) if ratios else None
