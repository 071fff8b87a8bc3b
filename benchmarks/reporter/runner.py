"""Runs every allocator on every workload, interleaved: each round runs all of them once, side by side in time."""

import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

import turns
from allocators import Allocator, wrong_malloc
from warm import WarmMemory
from workloads import Workload


@dataclass(frozen=True)
class Task:
    """One process to run in each round."""

    workload: Workload
    threads: Optional[int]
    allocator: Allocator

    def key(self) -> Tuple[str, Optional[int], str]:
        return (self.workload.name, self.threads, self.allocator.key)


@dataclass
class Plan:
    binaries: Dict[str, str]  # by workload
    quick: bool
    rounds: int
    budget_s: Optional[float]  # no round starts that would end after it
    timeout_s: float
    seed: int = 1


class Progress:
    """How far we are and how long it will take, on stderr."""

    def __init__(self, rounds: int, tasks: int, budget_s: Optional[float]):
        self.rounds = rounds
        self.tasks = tasks
        self.budget_s = budget_s
        self.start = time.monotonic()
        self.costs: Dict[Tuple, float] = {}
        self.last_line = 0.0
        self.on_terminal = sys.stderr.isatty()

    def elapsed(self) -> float:
        return time.monotonic() - self.start

    def note(self, key: Tuple, seconds: float) -> None:
        self.costs[key] = seconds

    def round_seconds(self) -> float:
        return sum(self.costs.values())

    def remaining(self, round_index: int, left_in_round: List[Task]) -> float:
        """From what each task took before; a task not yet seen counts as its workload's mean so far."""
        mean = self.round_seconds() / len(self.costs) if self.costs else 0.5
        of_workload: Dict[str, List[float]] = {}
        for key, cost in self.costs.items():
            of_workload.setdefault(key[0], []).append(cost)
        seconds = 0.0
        for task in left_in_round:
            seen = of_workload.get(task.workload.name)
            seconds += self.costs.get(task.key(), sum(seen) / len(seen) if seen else mean)
        full_round = self.round_seconds() if len(self.costs) == self.tasks else mean * self.tasks
        return seconds + full_round * self._rounds_to_come(round_index, self.elapsed() + seconds, full_round)

    def _rounds_to_come(self, round_index: int, round_end: float, full_round: float) -> int:
        """How many rounds will start after this one."""
        asked = self.rounds - 1 - round_index
        if self.budget_s is None or full_round <= 0:
            return asked
        return max(min(asked, int((self.budget_s - round_end) / full_round)), 0)

    def show(self, round_index: int, done: int, task: Task, left_in_round: List[Task]) -> None:
        if not self.on_terminal and time.monotonic() - self.last_line < 5:
            return
        self.last_line = time.monotonic()
        left = f"about {duration_words(self.remaining(round_index, left_in_round))} left"
        threads = f" --threads={task.threads}" if task.threads else ""
        rounds = f"of up to {self.rounds}" if self.budget_s is not None else f"of {self.rounds}"
        line = (
            f"round {round_index + 1} {rounds}, run {done + 1} of {self.tasks}: "
            f"{task.workload.name}{threads}, {task.allocator.label}; {left}"
        )
        sys.stderr.write(f"\r\x1b[2K{line}" if self.on_terminal else line + "\n")
        sys.stderr.flush()

    def end(self) -> None:
        if self.on_terminal:
            sys.stderr.write("\r\x1b[2K")


def duration_words(seconds: float) -> str:
    whole = int(seconds + 0.5)
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def command_of(task: Task, plan: Plan) -> List[str]:
    flags = [f"--{name}={value}" for name, value in task.workload.flags(plan.quick).items()]
    if task.threads is not None:
        flags.append(f"--threads={task.threads}")
    return [task.allocator.program or plan.binaries[task.workload.name]] + flags


def run_together(tasks: List[Task], plan: Plan) -> List[turns.Outcome]:
    """Runs the tasks, one or several that take turns, to their ends."""
    commands = [command_of(task, plan) for task in tasks]
    environments = [task.allocator.run_environment() for task in tasks]
    if tasks[0].workload.in_turns:
        return turns.run(commands, environments, plan.timeout_s)
    try:
        run = subprocess.run(
            commands[0], env=environments[0], capture_output=True, text=True, timeout=plan.timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return [turns.Outcome(None, "", "")]
    return [turns.Outcome(run.returncode, run.stdout, run.stderr)]


def record_of(task: Task, outcome: turns.Outcome, plan: Plan) -> dict:
    """One run's record: the results line, or why there is none."""
    record = {
        "allocator": task.allocator.key,
        "workload": task.workload.name,
        "threads": task.threads,
    }
    if outcome.exit_code is None:
        return {**record, "error": f"took more than {plan.timeout_s:.0f} s"}
    if outcome.exit_code != 0:
        words = (outcome.stderr.strip() or "no message").splitlines()[-1]
        return {**record, "error": f"exit code {outcome.exit_code}: {words}"}
    result = json.loads(outcome.stdout)
    wrong = wrong_malloc(task.allocator, result)
    if wrong:
        return {**record, "error": wrong}
    return {**record, "result": result}


def groups_of(tasks: List[Task]) -> List[List[Task]]:
    """The tasks, those together that take turns."""
    groups: List[List[Task]] = []
    for task in tasks:
        if groups and task.workload.in_turns and groups[-1][0].workload is task.workload:
            groups[-1].append(task)
        else:
            groups.append([task])
    return groups


def tasks_of_round(workloads: List[Workload], threads_of, allocators: List[Allocator], order: random.Random) -> List[Task]:
    """All tasks, those of one workload and thread count together, in an order of allocators that is new each time.
    Allocators that are linked in have a fastpath only."""
    tasks = []
    for workload in workloads:
        for threads in threads_of(workload):
            shuffled = [each for each in allocators if each.program is None or workload.name == "fastpath"]
            order.shuffle(shuffled)
            tasks += [Task(workload, threads, allocator) for allocator in shuffled]
    return tasks


def run_all(workloads: List[Workload], threads_of, allocators: List[Allocator], plan: Plan) -> Tuple[List[dict], int]:
    """The records of all runs, and how many rounds they are."""
    order = random.Random(plan.seed)
    count = len(tasks_of_round(workloads, threads_of, allocators, random.Random(0)))
    progress = Progress(plan.rounds, count, plan.budget_s)
    records: List[dict] = []
    hopeless = set()  # a task that ran into the time limit is not tried again
    memory = WarmMemory()
    rounds_done = 0
    for round_index in range(plan.rounds):
        out_of_time = (
            plan.budget_s is not None
            and round_index > 0
            and progress.elapsed() + progress.round_seconds() > plan.budget_s
        )
        if out_of_time:
            break
        tasks = tasks_of_round(workloads, threads_of, allocators, order)
        for group in groups_of([task for task in tasks if task.key() not in hopeless]):
            done = tasks.index(group[0])
            progress.show(round_index, done, group[0], tasks[done:])
            start = time.monotonic()
            memory.prepare()
            outcomes = run_together(group, plan)
            seconds = time.monotonic() - start
            for task, outcome in zip(group, outcomes):
                record = record_of(task, outcome, plan)
                progress.note(task.key(), seconds / len(group))
                if "error" in record:
                    hopeless.add(task.key())
                records.append({**record, "round": round_index})
        rounds_done += 1
    progress.end()
    return records, rounds_done
