"""Free memory that a virtual machine really has.

Such a machine may tell its host which pages are free, and loses them within seconds. Whoever is given one again waits for
the host: 7 ms for a hugepage were seen where 0.2 are the rule. An allocator's time would then tell how much of its memory
the run before it happened to leave. So just before a run, memory is touched and given back, which the kernel hands out next.
"""

import mmap
import os
import time

REPORTING = "/sys/module/page_reporting"
BYTES = 400 << 20  # more than nearly all runs take
PAGE = 4096
LASTS_S = 0.7  # the kernel waits two seconds before it reports


class WarmMemory:
    def __init__(self) -> None:
        self._last = 0.0
        self._is_needed = os.path.isdir(REPORTING)

    def prepare(self, wanted: int = BYTES) -> None:
        if not self._is_needed or time.monotonic() - self._last < LASTS_S:
            return
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        with mmap.mmap(-1, min(wanted, free // 4) // PAGE * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            if hasattr(mmap, "MADV_HUGEPAGE"):
                memory.madvise(mmap.MADV_HUGEPAGE)
            for offset in range(0, len(memory), PAGE):
                memory[offset] = 1
        self._last = time.monotonic()
