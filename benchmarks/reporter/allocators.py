"""The allocators to compare: Tandem's two front ends, glibc, and every peer that is installed; all preloaded."""

import json
import os
import subprocess
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

# Shared libraries by which the peers are known, newest version first; the first one that the linker finds is taken.
KNOWN_PEERS = [
    ("jemalloc", ["libjemalloc.so.2"]),
    ("mimalloc", ["libmimalloc.so.3", "libmimalloc.so.2"]),
    ("gperftools", ["libtcmalloc_minimal.so.4", "libtcmalloc_minimal.so"]),
    ("snmalloc", ["libsnmallocshim.so"]),
    ("rpmalloc", ["librpmallocwrap.so", "librpmalloc.so"]),
]

TANDEM = [
    ("percpu", "Tandem per-CPU", "allocator/libtandem_percpu.so"),
    ("perthread", "Tandem per-thread", "allocator/libtandem_perthread.so"),
]


@dataclass
class Allocator:
    key: str
    label: str
    library: Optional[str]  # to preload; None for glibc's own malloc, and for one that is linked in
    is_tandem: bool = False
    program: Optional[str] = None  # a fastpath that has this allocator linked in
    environment: Dict[str, str] = field(default_factory=dict)
    version: str = ""
    malloc_from: str = ""  # the library in which the probe found malloc
    tandem_words: str = ""  # front end and mode, as Tandem itself says

    def run_environment(self) -> Dict[str, str]:
        """A clean environment, so that no option of the caller's reaches one allocator and not the others."""
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}
        environment.update(self.environment)
        if self.library:
            environment["LD_PRELOAD"] = self.library
        return environment

    def expected_malloc(self) -> str:
        if self.program:
            return os.path.basename(self.program)
        return os.path.basename(self.library) if self.library else "libc.so.6"


def linker_cache() -> Dict[str, str]:
    """Library names and paths as ldconfig knows them; the first path of a name wins."""
    for command in ("ldconfig", "/sbin/ldconfig", "/usr/sbin/ldconfig"):
        try:
            listing = subprocess.run([command, "-p"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        found: Dict[str, str] = {}
        for line in listing.splitlines():
            name, arrow, path = line.strip().partition(" => ")
            if arrow:
                found.setdefault(name.split(" ")[0], path)
        return found
    return {}


def package_version(path: str) -> str:
    """The upstream version of the Debian package that owns the file; empty if none does."""
    for candidate in (os.path.realpath(path), path, path.replace("/lib/", "/usr/lib/", 1)):
        owner = subprocess.run(["dpkg-query", "-S", candidate], capture_output=True, text=True, check=False)
        if owner.returncode == 0:
            package = owner.stdout.split(": ")[0].split(",")[0]
            version = subprocess.run(
                ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False
            ).stdout
            upstream = version.split(":")[-1].rsplit("-", 1)[0]
            return upstream.split("+")[0]
    return ""


def discover(root: str) -> List[Allocator]:
    """All allocators that are installed: Tandem first, then glibc, then the peers."""
    found = []
    for key, label, path in TANDEM:
        library = os.path.join(root, path)
        if os.path.exists(library):
            found.append(Allocator(key, label, os.path.abspath(library), is_tandem=True))
    glibc_version = os.confstr("CS_GNU_LIBC_VERSION") if hasattr(os, "confstr") else ""
    found.append(Allocator("glibc", "glibc", None, version=(glibc_version or "").replace("glibc ", "")))
    cache = linker_cache()
    for key, names in KNOWN_PEERS:
        path = next((cache[name] for name in names if name in cache), None)
        if path:
            found.append(Allocator(key, key, path, version=package_version(path)))
    return found


def named_peers(libraries: List[Tuple[str, str]]) -> List[Allocator]:
    return [Allocator(name, name, library) for name, library in libraries]


def discover_linked(root: str) -> List[Allocator]:
    """Tandem's front ends, each linked into a fastpath of its own."""
    found = []
    for key, label, _path in TANDEM:
        program = os.path.join(root, "benchmarks", "fastpath_" + key)
        if os.path.exists(program):
            found.append(Allocator(key + "-linked", label, None, is_tandem=True, program=os.path.abspath(program)))
    return found


def named_linked(programs: List[Tuple[str, str]]) -> List[Allocator]:
    return [Allocator(name + "-linked", name, None, program=program) for name, program in programs]


def probe(allocator: Allocator, binary: str) -> Optional[str]:
    """Runs mstress once, or the allocator's own fastpath, and looks where its malloc came from. None if that is the
    right place, else what is wrong."""
    command = [binary, "--threads=1", "--operations=1000", "--live=100"]
    if allocator.program:
        command = [allocator.program, "--operations=128", "--repetitions=1"]
    try:
        run = subprocess.run(
            command, env=allocator.run_environment(), capture_output=True, text=True, timeout=30, check=False
        )
    except subprocess.TimeoutExpired:
        return "the probe hung"
    if run.returncode != 0:
        words = (run.stderr.strip() or "no message").splitlines()[-1]
        return f"the probe exited with {run.returncode}: {words}"
    result = json.loads(run.stdout)
    allocator.malloc_from = result["malloc"]
    allocator.tandem_words = result["tandem"]
    return wrong_malloc(allocator, result)


def wrong_malloc(allocator: Allocator, result: dict) -> Optional[str]:
    """What is wrong with where a run's malloc came from; None if nothing is."""
    if result["malloc"] != allocator.expected_malloc():
        return f"malloc came from {result['malloc']}, not from {allocator.expected_malloc()}"
    return None
