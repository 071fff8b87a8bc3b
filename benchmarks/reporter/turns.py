"""Runs programs side by side that take turns: each does one repetition while the others wait.

What a machine does to one of them for some milliseconds, a busy neighbour on the core's other thread above all, it then
does to all, so that medians compare like with like. A program prints an empty line when it is ready for its next turn,
waits for a line on stdin, and ends with its results.
"""

import os
import select
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import Dict, List, Optional


@dataclass(frozen=True)
class Outcome:
    exit_code: Optional[int]  # None: it ran out of time and was killed
    stdout: str
    stderr: str


class Player:
    """One of the programs. All share a CPU, and so what happens to it."""

    def __init__(self, command: List[str], environment: Dict[str, str], timeout_s: float, cpu: int):
        self._stderr = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command + ["--in_turns"],
            env=environment,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            preexec_fn=lambda: os.sched_setaffinity(0, [cpu]),
        )
        self._left_s = timeout_s
        self._stdout = b""
        self.is_ready = self._wait()

    def take_turn(self) -> None:
        try:
            self._process.stdin.write(b"\n")
        except BrokenPipeError:
            pass  # how it ended is read below
        self.is_ready = self._wait()

    def _wait(self) -> bool:
        """Until it is ready for a turn; False if it has ended or is out of time."""
        start = time.monotonic()
        output = self._process.stdout.fileno()
        try:
            while select.select([output], [], [], max(self._left_s - (time.monotonic() - start), 0))[0]:
                read = os.read(output, 1 << 16)
                self._stdout += read
                if not read or read == b"\n":
                    return bool(read)
        finally:
            self._left_s -= time.monotonic() - start
        self._process.kill()
        return False

    def outcome(self) -> Outcome:
        is_killed = self._left_s <= 0
        exit_code = self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._stderr.seek(0)
        with self._stderr:
            return Outcome(None if is_killed else exit_code, self._stdout.decode(), self._stderr.read().decode())


def run(commands: List[List[str]], environments: List[Dict[str, str]], timeout_s: float) -> List[Outcome]:
    """`timeout_s` is what each program's own turns may take together."""
    cpu = min(os.sched_getaffinity(0))
    players = [Player(*each, timeout_s, cpu) for each in zip(commands, environments)]
    while any(player.is_ready for player in players):
        for player in players:
            if player.is_ready:
                player.take_turn()
    return [player.outcome() for player in players]
