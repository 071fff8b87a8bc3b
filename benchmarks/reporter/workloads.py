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
    smaller_is_better: bool = True


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
        figures=(Figure("objects_sharing_lines", "objects in a line with another thread’s", ""),),
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
    "sizes up to 1,000 bytes in a random one of 4,096 places; realloc doubles an object four times.",
    quick={"repetitions": 9},
    full={"repetitions": 41},
)

REPORT = CLASSIC + [FASTPATH]
