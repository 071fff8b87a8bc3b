"""Starts programs with an allocator preloaded, measures them, and finds out whether it was really loaded into them."""

import glob
import os
import re
import shutil
import signal
import subprocess
import tempfile

TIMEOUT_S = 900


class Failure(Exception):
    """What keeps a run from being judged equal."""


class Result:
    """How one program ended."""

    def __init__(self, exit_code, stdout, stderr, seconds, peak_kib):
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr
        self.seconds = seconds
        self.peak_kib = peak_kib

    def evidence(self):
        return {"exit code": self.exit_code, "stdout": self.stdout, "stderr": self.stderr}


class Running:
    """A program that was started: `wait` for it."""

    def __init__(self, process, measure_path):
        self.process = process
        self._measure_path = measure_path

    def wait(self, timeout_s=TIMEOUT_S):
        try:
            stdout, stderr = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure("no end within %d s" % timeout_s) from None
        with open(self._measure_path, encoding="utf-8") as file:
            seconds, peak_kib = file.read().splitlines()[-1].split()
        return Result(self.process.returncode, stdout, stderr, float(seconds), int(peak_kib))

    def kill(self):
        """Ends the program and all that it started, if it still runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()


def build_witness(folder):
    """Compiles witness.c. Returns the path of the library."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "witness.c")
    witness = os.path.join(folder, "witness.so")
    subprocess.run(["/usr/bin/gcc", "-O2", "-fPIC", "-shared", "-o", witness, source], check=True)
    return witness


class Launcher:
    """Starts programs with one library preloaded. A context manager: what it started is gone at its end."""

    def __init__(self, library, witness):
        self.library = os.path.realpath(library)
        self._preload = "LD_PRELOAD=%s:%s" % (witness, self.library)
        self.seconds = 0.0
        self.peak_kib = 0
        self._folder = tempfile.mkdtemp(prefix="launch")
        self._testimony = os.path.join(self._folder, "testimony")
        self._count = 0
        self._started = []

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for running in self._started:
            running.kill()
        shutil.rmtree(self._folder)

    def start(self, arguments, cwd, env=None, stdin=subprocess.DEVNULL):
        """Starts a program in an environment of a few fixed variables and `env`. Returns a `Running`."""
        self._count += 1
        measure_path = os.path.join(self._folder, "measure%d" % self._count)
        # GNU time is small, so the peak that it reports is not the one of this script, which a child inherits.
        # Signals as by default: a shell's background job, as this may be, has SIGINT ignored, and so would the program.
        wrapper = ["/usr/bin/time", "--quiet", "--format=%e %M", "--output=" + measure_path, "/usr/bin/env",
                   "--default-signal", self._preload, "WITNESS_FILE=" + self._testimony]
        process = subprocess.Popen(wrapper + arguments, cwd=cwd, env=environment(cwd, env), stdin=stdin,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        running = Running(process, measure_path)
        self._started.append(running)
        return running

    def account(self, result):
        """Adds a result to what the run as a whole took."""
        self.seconds += result.seconds
        self.peak_kib = max(self.peak_kib, result.peak_kib)
        return result

    def run(self, arguments, cwd, env=None, stdin=subprocess.DEVNULL):
        """Runs a program to its end. A program that a signal ends, or that exits with an error, is no exception."""
        return self.account(self.start(arguments, cwd, env, stdin).wait())

    def loaded(self):
        """How many programs were executed, and the names of those whose malloc was another than the library's."""
        with open(self._testimony, encoding="utf-8") as file:
            lines = [line.rstrip("\n").split("\t") for line in file]
        return len(lines), [program for library, program in lines if os.path.realpath(library) != self.library]

    def verify_binding(self, program, cwd):
        """Raises `Failure` unless every call of malloc in the program, and in its libraries, goes to the library."""
        output = os.path.join(self._folder, "bindings")
        subprocess.run(["/usr/bin/env", self._preload, "LD_DEBUG=bindings", "LD_BIND_NOW=1",
                        "LD_DEBUG_OUTPUT=" + output, program, "--version"], cwd=cwd, env=environment(cwd),
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        bindings = set()
        for path in glob.glob(output + ".*"):
            with open(path, encoding="utf-8", errors="replace") as file:
                bindings |= set(re.findall(r"binding file (\S+) \[\d+\] to (\S+) \[\d+\]: normal symbol `malloc'",
                                           file.read()))
            os.remove(path)
        # A program that takes malloc's address stands in for it (its PLT entry), and is bound like everybody else.
        others = sorted({to for _, to in bindings if to != program and os.path.realpath(to) != self.library})
        if others or program not in (source for source, to in bindings if os.path.realpath(to) == self.library):
            raise Failure("%s: malloc is bound to %s, not to %s" % (program, others or "nothing", self.library))


def environment(cwd, env=None):
    """The same few variables for every program, whoever runs this."""
    fixed = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC",
             "HOME": cwd, "TMPDIR": cwd}
    fixed.update(env or {})
    return fixed
