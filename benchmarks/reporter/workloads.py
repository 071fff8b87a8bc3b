"""The workloads: their binaries, what they are about, and how much work the quick and the full report give them."""

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

SWEEP_QUICK = [1, 2, 8, 64, 500, 2000]
SWEEP_FULL = [1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000, 2000]


@dataclass(frozen=True)
class Figure:
    """A further column: a name in the results' "figures", and how to show it."""

    name: str
    title: str
    unit: str
    divide_by: float = 1.0
    is_judged: bool = True  # has a ratio to the best peer's


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    about: str
    quick: Dict[str, int]  # flags that fix the work
    full: Dict[str, int]
    threads_quick: Optional[List[int]] = None  # None: the workload has no such flag
    threads_full: Optional[List[int]] = None
    sweep: bool = False  # shown as lines over threads
    in_turns: bool = False  # all allocators' processes live at once, and take turns at each repetition: see runner.py
    figures: Tuple[Figure, ...] = field(default=())

    def flags(self, quick: bool) -> Dict[str, int]:
        return self.quick if quick else self.full

    def threads(self, quick: bool) -> List[Optional[int]]:
        chosen = self.threads_quick if quick else self.threads_full
        return list(chosen) if chosen else [None]


CLASSIC = [
    Workload(
        "mstress",
        "mstress",
        "Threads allocate, keep, hand over and free objects of many sizes, 8 bytes to 256 KiB. All threads together do "
        "the same number of operations and keep the same number of objects, however many they are: a flat line is "
        "perfect, and memory above the leftmost point is the allocator’s and the threads’ stacks.",
        quick={"operations": 400_000},
        full={"operations": 2_000_000},
        threads_quick=SWEEP_QUICK,
        threads_full=SWEEP_FULL,
        sweep=True,
    ),
    Workload(
        "cache_scratch",
        "cache_scratch",
        "The main thread deals 8-byte objects that lie side by side out to the threads, who free them, allocate again and "
        "write to what they get 200 times, through volatile. An allocator that now gives two threads objects in one "
        "cache line makes each wait for the other.",
        quick={"iterations": 1_000_000},
        full={"iterations": 4_000_000},
        threads_quick=SWEEP_QUICK,
        threads_full=SWEEP_FULL,
        sweep=True,
        figures=(Figure("sharing_percent", "objects in a cache line with another thread’s", "%"),),
    ),
    Workload(
        "mpsc",
        "mpsc",
        "An unbounded queue: the threads are producers, whose messages of 32 to 256 bytes one further thread, the "
        "consumer, checks and frees. The number of messages is the same for every number of producers. How long the "
        "queue grows, and so the memory, depends on how the kernel shares the CPUs out.",
        quick={"operations": 500_000},
        full={"operations": 2_000_000},
        threads_quick=SWEEP_QUICK,
        threads_full=SWEEP_FULL,
        sweep=True,
    ),
]

FASTPATH = Workload(
    "fastpath",
    "fastpath",
    "One thread, everything in the cache: nanoseconds for one allocation and its free. For the kernels with batches, 128 "
    "objects are allocated, then freed newest first (LIFO) or oldest first (FIFO); the ring replaces objects of random "
    "sizes up to 1,000 bytes in a random one of 4,096 places; realloc doubles an object four times. The empty calls are "
    "pairs without an allocator: two functions that do nothing, reached as a preloaded library’s are.",
    quick={"repetitions": 21},
    full={"repetitions": 205},
    in_turns=True,
)

REPORT = CLASSIC + [FASTPATH]


def _percentiles(of: str, words: str, is_judged: bool = True) -> Tuple[Figure, ...]:
    return tuple(
        Figure(f"{of}_{name}_ns", f"{words}, {title}", unit, divide, is_judged)
        for name, title, unit, divide in (
            ("p50", "median", "ns", 1),
            ("p99", "99 %", "ns", 1),
            ("p99_9", "99.9 %", "ns", 1),
            ("p99_99", "99.99 %", "µs", 1e3),
            ("max", "longest", "ms", 1e6),
        )
    )


FURTHER = [
    Workload(
        "threads",
        "threads",
        "Short threads, eight at a time, that allocate 64 small objects, free half of them and what their predecessor left "
        "behind, and exit: that is the time. Then 1,000 threads that have each used and freed 64 small objects and "
        "sleep: what do their caches hold?",
        quick={"short_threads": 3000},
        full={"short_threads": 10000},
        threads_quick=[8],
        threads_full=[8],
        figures=(
            Figure("idle_rss_mib", "memory with 1,000 idle threads", "MiB"),
            Figure("idle_kib_per_thread", "memory added by each idle thread", "KiB"),
        ),
    ),
    Workload(
        "large",
        "large",
        "Blocks of 64 KiB to 64 MiB that realloc grows by halves, written in every 4 KiB.",
        quick={"operations": 40},
        full={"operations": 200},
        threads_quick=[1, 8],
        threads_full=[1, 8],
    ),
    Workload(
        "server",
        "server",
        "Workers that come and go serve requests: an arena of 8 to 64 objects with sizes recorded from real programs, an "
        "object to remember, and a reply that one of two writers frees.",
        quick={"requests": 10000},
        full={"requests": 100000},
        threads_quick=[16, 200],
        threads_full=[4, 16, 64, 200, 1000],
        figures=(),
    ),
    Workload(
        "pipeline",
        "pipeline",
        "Producers fill batches of 64 objects, as many consumers empty and free them; the channel between them holds 64 "
        "batches.",
        quick={"operations": 500_000},
        full={"operations": 4_000_000},
        threads_quick=[1, 8],
        threads_full=[1, 2, 8, 32],
    ),
    Workload(
        "churn",
        "churn",
        "A heap of 64 MiB with sizes recorded from a compiler, an interpreter and a database, churned, cut down to a "
        "quarter at random, and churned again with another program’s sizes. The last two lines are resident bytes over "
        "bytes asked for: 1.00 would be a heap without loss.",
        quick={"operations": 500_000},
        full={"operations": 4_000_000},
        threads_quick=[4],
        threads_full=[1, 4, 32],
        figures=(
            Figure("rss_per_live_full", "resident over live bytes, full heap", ""),
            Figure("rss_per_live_quarter", "resident over live bytes, at a quarter", ""),
        ),
    ),
    Workload(
        "burst",
        "burst",
        "A peak of 256 MiB, then a trough with 5 % of it and little work, then the same peak again. The time is that of "
        "the two bursts.",
        quick={"trough_ms": 2000},
        full={"trough_ms": 10000},
        threads_quick=[4],
        threads_full=[4],
        figures=(
            Figure("live_mib", "live in the trough", "MiB", 1.0, False),
            Figure("trough_mib_after_0s", "resident when the trough starts", "MiB"),
            Figure("trough_mib_after_0.5s", "resident after 0.5 s", "MiB"),
            Figure("trough_mib_after_1s", "resident after 1 s", "MiB"),
            Figure("trough_mib_after_2s", "resident after 2 s", "MiB"),
            Figure("trough_mib_after_5s", "resident after 5 s", "MiB"),
            Figure("trough_mib_after_10s", "resident after 10 s", "MiB"),
            Figure("second_over_first", "time of the second burst over the first’s", ""),
        ),
    ),
    Workload(
        "latency",
        "latency",
        "Every call of malloc and free timed on its own, with more threads than CPUs. The clock’s figures time nothing at "
        "all, as often: they are what the clock costs and what the scheduler does to a running thread.",
        quick={"operations": 500_000},
        full={"operations": 4_000_000},
        threads_quick=[8],
        threads_full=[8],
        figures=_percentiles("malloc", "malloc") + _percentiles("free", "free") + _percentiles("clock", "the clock", False),
    ),
]

SUITE = CLASSIC + [FASTPATH] + FURTHER
