"""What was measured, as the page tells it."""

from dataclasses import dataclass
from typing import Dict, List, Optional

from allocators import Allocator
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
    allocators: List[Allocator]  # preloaded, and glibc
    linked: List[Allocator]  # linked into a fastpath
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
        labels = {allocator.key: allocator.label for allocator in self.allocators + self.linked}
        return [
            f"{labels[record['allocator']]}, {record['workload']}"
            + (f", {record['threads']} threads" if record["threads"] else "")
            + f": {record['error']}"
            for record in self.records
            if "error" in record
        ]
