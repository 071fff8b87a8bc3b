"""The programs: what each is run with, and what of its behaviour must be the same with every allocator.

A program has a `name`; `prepare(folder)` makes its inputs once; `run(launcher, folder)` runs it in an empty folder and
returns its evidence, a dictionary. `executables` are checked to call the preloaded malloc.
"""

import hashlib
import os
import shutil
import socket
import time
import xml.etree.ElementTree

import inputs
import launch

_TEXT_LINES = 300000
_C_FUNCTIONS = 700
_COMMITS = 1200
_SQLITE_ROWS = 1000000
_REDIS_KEYS = 40000
_REDIS_REQUESTS = 60000
_START_TIMEOUT_S = 60

# Modules that start threads and processes, and that allocate much and variously.
_PYTHON_MODULES = (
    "test_threading", "test_thread", "test_threading_local", "test_queue", "test_threadsignals", "test_fork1",
    "test_wait4", "test_subprocess", "test_multiprocessing_main_handling", "test_posix", "test_os", "test_httpservers",
    "test_gc", "test_weakref", "test_pickle", "test_json", "test_decimal", "test_lzma", "test_bz2", "test_ctypes")


def _digest(path):
    """What stands for a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return "%d bytes, SHA-256 %s" % (os.path.getsize(path), digest.hexdigest())


def _succeed(result, what):
    """The result's output, if it is a success: two allocators that fail alike show nothing."""
    if result.exit_code != 0:
        errors = result.stderr.decode(errors="replace")[-500:]
        raise launch.Failure("%s ended with %d: %s" % (what, result.exit_code, " / ".join(errors.splitlines())))
    return result.stdout.decode(errors="replace")


class PythonModule:
    """One module of Python's own tests, every object of which comes from malloc."""

    executables = ("/usr/bin/python3",)

    def __init__(self, module):
        self.name = "python " + module
        self._module = module

    def prepare(self, folder):
        pass

    def run(self, launcher, folder):
        result = launcher.run(["/usr/bin/python3", "-m", "test", "--junit-xml=results.xml", self._module], folder,
                              {"PYTHONMALLOC": "malloc"})
        _succeed(result, self.name)
        # Not the output itself, which has times in it and the modules' warnings in any order.
        cases = xml.etree.ElementTree.parse(folder + "/results.xml").iter("testcase")
        verdicts = sorted("%s: %s" % (case.get("name"), " ".join([case.get("result")] + [part.tag for part in case]))
                          for case in cases)
        if not verdicts:
            raise launch.Failure("no test ran")
        return {"exit code": result.exit_code, "verdicts": verdicts}


class Sqlite:
    """A million rows loaded, changed and queried."""

    name = "sqlite3"
    executables = ("/usr/bin/sqlite3",)

    def prepare(self, folder):
        with open(folder + "/script.sql", "w", encoding="ascii") as file:
            file.write(inputs.sqlite_script(_SQLITE_ROWS))

    def run(self, launcher, folder):
        with open(folder + "/script.sql", "rb") as script:
            result = launcher.run(["/usr/bin/sqlite3", "-batch", "-bail", "items.db"], folder, stdin=script)
        if not _succeed(result, self.name).endswith("ok\n"):
            raise launch.Failure("sqlite3 finds its data base damaged")
        return dict(result.evidence(), data_base=_digest(folder + "/items.db"))


class Compiler:
    """A large C file, compiled with optimisation."""

    def __init__(self, name):
        self.name = name
        self.executables = ("/usr/bin/" + name,)

    def prepare(self, folder):
        inputs.write_c(folder + "/large.c", _C_FUNCTIONS)

    def run(self, launcher, folder):
        result = launcher.run(list(self.executables) + ["-O2", "-g", "-c", "large.c", "-o", "large.o"], folder)
        _succeed(result, self.name)
        return dict(result.evidence(), object=_digest(folder + "/large.o"))


class Filter:
    """A program with several threads that makes one file of another."""

    def __init__(self, name, *arguments):
        self.name = name
        self.executables = ("/usr/bin/" + name,)
        self._arguments = arguments

    def prepare(self, folder):
        inputs.write_text(folder + "/text", _TEXT_LINES)

    def run(self, launcher, folder):
        result = launcher.run(list(self.executables) + list(self._arguments), folder)
        _succeed(result, self.name)
        result.stdout = hashlib.sha256(result.stdout).hexdigest() + " of %d bytes" % len(result.stdout)
        return result.evidence()


class Git:
    """A history that is imported, repacked with one thread and with two, and verified."""

    name = "git"
    executables = ("/usr/bin/git",)

    def prepare(self, folder):
        inputs.write_git_history(folder + "/history", _COMMITS)

    def run(self, launcher, folder):
        repository = folder + "/repository"
        os.mkdir(repository)

        def git(*arguments, stdin=launch.subprocess.DEVNULL):
            env = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
            return _succeed(launcher.run(["/usr/bin/git"] + list(arguments), repository, env, stdin), "git " + arguments[0])

        git("init", "--quiet", "--bare", "--initial-branch=main")
        with open(folder + "/history", "rb") as history:
            git("fast-import", "--quiet", stdin=history)
        evidence = {"head": git("rev-parse", "main")}
        # With one thread, which deltas are found does not depend on who is faster.
        git("-c", "pack.threads=1", "repack", "-a", "-d", "-f", "--quiet", "--window=20")
        evidence["packs of one thread"] = [_digest(path) for path in _packs(repository)]
        git("-c", "pack.threads=2", "repack", "-a", "-d", "-f", "--quiet", "--window=40", "--depth=60")
        for pack in _packs(repository):
            git("verify-pack", pack)
        evidence["fsck"] = git("fsck", "--full", "--strict", "--no-dangling")
        evidence["objects"] = git("cat-file", "--batch-all-objects", "--batch-check")
        evidence["log"] = git("log", "--stat", "--format=fuller")
        return evidence


def _packs(repository):
    folder = repository + "/objects/pack"
    return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".pack"))


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Redis:
    """A server on loopback, filled, put under redis-benchmark's load, saved and reloaded."""

    name = "redis"
    # Debian's redis-server is this file under another name; the package redis-server would start a service.
    _SERVER = "/usr/bin/redis-check-rdb"
    executables = ()

    def prepare(self, folder):
        inputs.write_redis_commands(folder + "/commands", _REDIS_KEYS)
        os.symlink(self._SERVER, folder + "/redis-server")

    def run(self, launcher, folder):
        port = str(_free_port())
        launcher.verify_binding(folder + "/redis-server", folder)
        server = launcher.start([folder + "/redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "",
                                 "--io-threads", "2", "--enable-debug-command", "yes", "--dir", folder], folder)

        def ask(*words):
            return _succeed(launcher.run(["/usr/bin/redis-cli", "-p", port] + list(words), folder), "redis-cli").strip()

        self._wait_until(lambda: self._answers(launcher, port, folder), server, "redis-server does not answer")
        with open(folder + "/commands", "rb") as commands:
            loading = launcher.run(["/usr/bin/redis-cli", "-p", port, "--pipe"], folder, stdin=commands)
        evidence = {"loading": _succeed(loading, "redis-cli --pipe"), "digest of the load": ask("DEBUG", "DIGEST")}
        benchmark = launcher.run(["/usr/bin/redis-benchmark", "-h", "127.0.0.1", "-p", port, "-n", str(_REDIS_REQUESTS),
                                  "-c", "50", "-P", "16", "-d", "200", "-r", "100000", "--dbnum", "1", "--threads", "2",
                                  "-q", "-t", "set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,mset"],
                                 folder)
        evidence["benchmark"] = self._tests(_succeed(benchmark, "redis-benchmark"))
        evidence["flush"] = ask("-n", "1", "FLUSHDB", "ASYNC")
        evidence["background save"] = ask("BGSAVE")
        self._wait_until(lambda: "rdb_bgsave_in_progress:0" in ask("INFO", "persistence"), server,
                         "BGSAVE does not end")
        evidence["saved"] = "rdb_last_bgsave_status:ok" in ask("INFO", "persistence")
        evidence["reload"] = ask("DEBUG", "RELOAD")
        evidence["keys"] = ask("DBSIZE")
        evidence["digest at the end"] = ask("DEBUG", "DIGEST")
        ask("SHUTDOWN", "NOSAVE")
        evidence["exit code of the server"] = launcher.account(server.wait(_START_TIMEOUT_S)).exit_code
        return evidence

    @staticmethod
    def _answers(launcher, port, folder):
        return launcher.run(["/usr/bin/redis-cli", "-p", port, "PING"], folder).stdout == b"PONG\n"

    @staticmethod
    def _wait_until(condition, server, otherwise):
        end = time.monotonic() + _START_TIMEOUT_S
        while not condition():
            if server.process.poll() is not None or time.monotonic() > end:
                raise launch.Failure(otherwise)
            time.sleep(0.1)

    @staticmethod
    def _tests(output):
        """The names of the tests that ran to their end, without their figures."""
        lines = output.replace("\r", "\n").splitlines()
        return [line.split(":")[0] for line in lines if "requests per second" in line]


def programs():
    """All programs, the quick ones first."""
    return [
        Filter("xz", "-T", "2", "-2", "--block-size=4MiB", "--stdout", "text"),
        Filter("zstd", "-T2", "-9", "--stdout", "--quiet", "text"),
        Filter("sort", "--parallel=2", "--buffer-size=24M", "--key=2", "text"),
        Sqlite(),
        Compiler("gcc"),
        Compiler("clang"),
        Git(),
        Redis(),
    ] + [PythonModule(module) for module in _PYTHON_MODULES]


def copy_inputs(prepared, folder):
    """A fresh working folder with the inputs, which the run may change."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(prepared, folder, symlinks=True)
