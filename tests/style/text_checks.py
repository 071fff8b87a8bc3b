"""Checks that read the source: format, functions, names in comments, layers. Each returns a list of findings."""

import ast
import glob
import os
import re
import subprocess

import source

MAX_FUNCTION_LINES = 60

LAYERS = ("allocator/", "frontends/", "middle/", "backend/", "base/")
BELOW_THE_FRONT_ENDS = ("middle/", "backend/", "base/")

# Where names that are not ours come from: the C library's headers and the kernel's.
_SYSTEM_HEADERS = ["/usr/include/*.h", "/usr/include/linux/*.h", "/usr/include/*-linux-gnu/*/*.h"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYWORDS = frozenset("""alignas auto bool break case char const continue default do double else enum extern false float
    for goto if inline int long nullptr register return short signed sizeof static struct switch true typedef union
    unsigned void volatile while NULL""".split())


def c_sources():
    return [source.Source(path) for path in source.paths(".c", ".h", ".cc")]


def format_findings():
    """Files that clang-format would change."""
    files = source.paths(".c", ".h", ".cc")
    result = subprocess.run(["clang-format", "--dry-run", "--Werror"] + files, cwd=source.ROOT, check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    findings = [line for line in result.stdout.splitlines() if "error:" in line]
    if result.returncode != 0 and not findings:
        findings = ["clang-format: " + result.stdout]
    return findings


def long_function_findings(sources):
    """Functions longer than `MAX_FUNCTION_LINES`, in C, C++ and Python."""
    found = []
    for file in sources:
        found += [(file.path, function.first_line, function.name, function.lines) for function in file.functions]
    for path in source.paths(".py"):
        for node in ast.walk(ast.parse(source.read(path))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found.append((path, node.lineno, node.name, node.end_lineno - node.lineno + 1))
    return ["%s:%d: `%s` has %d lines" % entry for entry in found if entry[3] > MAX_FUNCTION_LINES]


def conditional_findings(sources):
    """`#if` in the body of a function."""
    return ["%s:%d: #if inside a function" % (file.path, line)
            for file in sources for line in file.conditionals_in_functions]


def _names_in_code(sources):
    names = set(_KEYWORDS)
    for file in sources:
        names.update(_NAME.findall(file.code))
        names.update(_NAME.findall(" ".join(re.findall(r'"(?:\\.|[^"\\\n])*"', file.text))))
    for path in source.paths("BUILD", ".bzl", ".sh", ".py", ".lds", ".bazelrc"):
        names.update(_NAME.findall(re.sub(r"(^|\s)#[^\n]*", " ", source.read(path))))
    return names


def _system_names():
    names = set()
    for pattern in _SYSTEM_HEADERS:
        for path in glob.glob(pattern):
            with open(path, encoding="utf-8", errors="replace") as file:
                names.update(_NAME.findall(file.read()))
    return names


def comment_name_findings(sources):
    """Names in backticks, in comments, that are neither in the code nor in the system's headers."""
    files = source.paths("")
    known = _names_in_code(sources) | {component for path in files for component in path.split("/")}
    unknown = []
    for file in sources:
        for line, comment in file.comments:
            for quoted in re.findall(r"`([^`\n]+)`", comment):
                if quoted in known or any((path + "/").startswith(quoted.rstrip("/") + "/") for path in files):
                    continue
                names = _NAME.findall(re.sub(r"\bstd::\w+", " ", quoted))
                unknown += [(file.path, line, quoted, name) for name in names if name not in known]
    system = _system_names() if unknown else set()
    return ["%s:%d: `%s` names %s, which is nowhere in the code" % entry
            for entry in unknown if entry[3] not in system]


def layer_findings(sources):
    """Code below the front ends that names one of them. (Who may include what is in the BUILD files.)"""
    return ["%s:%d: a layer below the front ends names `%s`" % (file.path, file.line_at(match.start()), match.group())
            for file in sources if file.path.startswith(BELOW_THE_FRONT_ENDS)
            for match in re.finditer(r"\w*(percpu|perthread)\w*", file.code)]


def shell_findings():
    """Shell scripts that bash cannot parse."""
    findings = []
    for path in source.paths(".sh") + [path for path in [".ci/run"] if os.path.exists(os.path.join(source.ROOT, path))]:
        result = subprocess.run(["bash", "-n", path], cwd=source.ROOT, check=False, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, universal_newlines=True)
        if result.returncode != 0:
            findings.append(result.stdout.strip())
    return findings


def _front_ends():
    return sorted(entry.name for entry in os.scandir(os.path.join(source.ROOT, "frontends")) if entry.is_dir())


def _tidy(path, include):
    """Findings in one file; with `include` as a further folder to find headers in, if it is not None."""
    options = ["-std=gnu11", "-I."] + (["-I" + include] if include else [])
    result = subprocess.run(["clang-tidy", "--quiet", "--warnings-as-errors=*", path, "--"] + options, cwd=source.ROOT,
                            check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    lines = [line for line in result.stdout.splitlines() if re.search(r": (error|warning):", line)]
    if result.returncode != 0 and not lines:
        lines = [path + ": " + result.stderr.strip()]
    return [os.path.relpath(line, source.ROOT) if line.startswith("/") else line for line in lines]


def tidy_findings():
    """What clang-tidy says of the allocator's C files; of malloc with each front end's fast path inlined."""
    findings = set()
    for path in source.paths(".c"):
        if path.startswith("allocator/"):
            for front_end in _front_ends():
                findings.update(_tidy(path, "frontends/" + front_end))
        elif path.startswith(LAYERS):
            findings.update(_tidy(path, None))
    return sorted(findings)
