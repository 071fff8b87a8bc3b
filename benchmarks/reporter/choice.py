"""What both tools that compare allocators are told on the command line, and which allocators that makes."""

import argparse
import os
import sys
from typing import Dict, List, Optional, Sequence, Tuple

from allocators import Allocator, discover, discover_linked, named_linked, named_peers, probe

PROGRAM = os.path.splitext(os.path.basename(sys.argv[0]))[0]


def positive(text: str, kind: type) -> object:
    """An argument that is a number above 0."""
    try:
        value = kind(text)
    except ValueError:
        value = 0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def count(text: str) -> int:
    return positive(text, int)


def counts(text: str) -> List[int]:
    return [count(part) for part in text.split(",")]


def seconds(text: str) -> float:
    return positive(text, float)


def add_allocator_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--allocators",
                        help="a selection: percpu,perthread,glibc,jemalloc,...; what other options name comes in any case")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=LIBRARY",
                        help="a further allocator to preload; may be given more than once")
    parser.add_argument("--peer-env", action="append", default=[], metavar="NAME:VARIABLE=VALUE",
                        help="an environment variable for one allocator; may be given more than once")


def fail(message: str) -> None:
    sys.exit(f"{PROGRAM}: {message}")


def say(message: str) -> None:
    print(f"{PROGRAM}: {message}", file=sys.stderr, flush=True)


def select(wanted: Optional[str], present: Dict[str, object], what: str, elsewhere: Sequence[str] = ()) -> List:
    """Those of `present` that are wanted, in its order; all if nothing is said. What is `elsewhere` may be named too."""
    if wanted is None:
        return list(present.values())
    names = wanted.split(",")
    unknown = [name for name in names if name not in present and name not in elsewhere]
    if unknown:
        fail(f"no {what} \"{unknown[0]}\"; there are {', '.join(present)}")
    return [value for name, value in present.items() if name in names]


def named_files(texts: List[str], flag: str) -> List[Tuple[str, str]]:
    files = []
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            fail(f"{flag} takes NAME=FILE, not \"{text}\"")
        if not os.path.isfile(absolute(path)):
            fail(f"{flag}={text}: there is no file {absolute(path)}")
        files.append((name, absolute(path)))
    return files


def peer_environments(texts: List[str]) -> Dict[str, Dict[str, str]]:
    environments: Dict[str, Dict[str, str]] = {}
    for text in texts:
        name, colon, assignment = text.partition(":")
        variable, equals, value = assignment.partition("=")
        if not (name and colon and variable and equals):
            fail(f"--peer-env takes NAME:VARIABLE=VALUE, not \"{text}\"")
        environments.setdefault(name, {})[variable] = value
    return environments


def runfiles_root() -> str:
    """Where benchmarks/ and allocator/ lie, as built."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if os.path.exists(os.path.join(root, "benchmarks", "mstress_system")):
        return root
    return os.path.join(root, "bazel-bin")


def find_allocators(
    arguments: argparse.Namespace, root: str, linked: Optional[List[Tuple[str, str]]] = None
) -> Tuple[List[Allocator], List[str]]:
    """The allocators that are to be measured and can be, and why others cannot; with a list of fastpath's builds, of
    which more may be named than there are here, those too."""
    peers = named_peers(named_files(arguments.peer, "--peer"))
    installed = {allocator.key: allocator for allocator in discover(root)}
    chosen = select(arguments.allocators, installed, "allocator", [peer.key for peer in peers]) + peers
    if linked is not None:
        chosen += discover_linked(root) if arguments.allocators is None else []
        chosen += named_linked(linked)
    keys = [allocator.key for allocator in chosen]
    for key in keys:
        if keys.count(key) > 1:
            fail(f"there are two allocators \"{key}\"")
    for key, variables in peer_environments(arguments.peer_env).items():
        if key not in keys:
            fail(f"--peer-env names no allocator that is measured: \"{key}\"; there are {', '.join(keys)}")
        chosen[keys.index(key)].environment.update(variables)
    usable, left_out = [], []
    for allocator in chosen:
        wrong = probe(allocator, os.path.join(root, "benchmarks", "mstress_system"))
        if wrong:
            left_out.append(f"{allocator.label}: {wrong}")
            say(f"left out: {left_out[-1]}")
            continue
        usable.append(allocator)
        words = f" ({allocator.tandem_words})" if allocator.tandem_words else ""
        name = f"{allocator.label} {allocator.version}".strip() + (", linked in" if allocator.program else "")
        say(f"{name}: malloc comes from {allocator.malloc_from}{words}")
    return usable, left_out


def absolute(path: str) -> str:
    """A path as the user meant it: Bazel starts programs in a folder of its own."""
    return os.path.abspath(os.path.join(os.environ.get("BUILD_WORKING_DIRECTORY", os.getcwd()), path))
