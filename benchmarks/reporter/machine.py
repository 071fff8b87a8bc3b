"""The machine in words: what matters for the figures, and nothing that names it."""

import os
import platform
import re
import subprocess
from typing import Dict, Tuple


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def _field(text: str, label: str) -> str:
    found = re.search(rf"^{label}\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _chosen(path: str) -> str:
    """The word in brackets of a setting such as "always [madvise] never"."""
    found = re.search(r"\[(\w+)\]", _read(path))
    return found.group(1) if found else "unknown"


def _distribution() -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', _read("/etc/os-release"), re.MULTILINE)
    return found.group(1) if found else "Linux"


def _virtualization() -> str:
    cpuinfo = _read("/proc/cpuinfo")
    return "virtual machine" if re.search(r"\bhypervisor\b", cpuinfo) else "no hypervisor announced"


def _compiler() -> str:
    try:
        return subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def _cpu_model(cpuinfo: str) -> str:
    model = _field(cpuinfo, "model name")
    if model:
        family, number = _field(cpuinfo, "cpu family"), _field(cpuinfo, r"model\t")
        return f"{model} (family {family}, model {number})" if family else model
    implementer, part = _field(cpuinfo, "CPU implementer"), _field(cpuinfo, "CPU part")
    return f"implementer {implementer}, part {part}" if part else platform.machine()


def describe() -> Dict[str, str]:
    cpuinfo = _read("/proc/cpuinfo")
    memory_kib = int(_field(_read("/proc/meminfo"), "MemTotal").split()[0])
    return {
        "CPU": _cpu_model(cpuinfo),
        "CPUs": f"{len(os.sched_getaffinity(0))} usable, {os.cpu_count()} online; {_virtualization()}",
        "Memory": f"{memory_kib / 1024 / 1024:.1f} GiB",
        "Architecture": platform.machine(),
        "Kernel": platform.release(),
        "System": _distribution(),
        "C library": (os.confstr("CS_GNU_LIBC_VERSION") or "unknown"),
        "Compiler": _compiler(),
        "Transparent hugepages": _chosen("/sys/kernel/mm/transparent_hugepage/enabled"),
    }


class OtherPrograms:
    """How much of the CPUs' time others took, from when this was made until `share` is asked for."""

    def __init__(self) -> None:
        self._start = self._sample()

    @staticmethod
    def _sample() -> Tuple[float, float, float]:
        """Seconds since the start: of all CPUs, of those the busy ones, of these our own and our children's."""
        # user nice system idle iowait irq softirq steal ...
        ticks = [int(text) for text in _read("/proc/stat").splitlines()[0].split()[1:9]]
        second = os.sysconf("SC_CLK_TCK")
        own = os.times()
        ours = own.user + own.system + own.children_user + own.children_system
        return sum(ticks) / second, (sum(ticks) - ticks[3] - ticks[4]) / second, ours

    def share(self) -> float:
        """0 to 1; what a hypervisor took from this machine counts."""
        whole, busy, ours = (now - then for now, then in zip(self._sample(), self._start))
        return max(busy - ours, 0) / whole if whole > 0 else 0.0
