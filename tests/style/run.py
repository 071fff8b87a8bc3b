#!/usr/bin/env python3
"""Checks how the source reads and which names the build defines.

Usage: tests/style/run.py [FOLDER]
FOLDER is where Bazel puts what it builds (bazel-bin by default). The layers must have been built by name, or else their
archives are missing or old: Bazel links the shared objects without them. Archives of targets that are no more are read
too; run-tests.sh deletes them before.
Ends with "N passed, N failed".
"""

import os
import subprocess
import sys

import source
import symbol_checks
import text_checks


def main():
    bin_folder = os.path.realpath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(source.ROOT, "bazel-bin"))
    sources = text_checks.c_sources()
    checks = [
        ("the format is clang-format's", text_checks.format_findings),
        ("no function is longer than %d lines" % text_checks.MAX_FUNCTION_LINES,
         lambda: text_checks.long_function_findings(sources)),
        ("no #if inside a function", lambda: text_checks.conditional_findings(sources)),
        ("names in comments exist", lambda: text_checks.comment_name_findings(sources)),
        ("nothing below the front ends names one", lambda: text_checks.layer_findings(sources)),
        ("shell scripts parse", text_checks.shell_findings),
        ("clang-tidy is content", text_checks.tidy_findings),
        ("archives define only our names", lambda: symbol_checks.archive_findings(bin_folder)),
        ("shared objects export what they should", lambda: symbol_checks.export_findings(bin_folder)),
        ("shared objects need only libc", lambda: symbol_checks.dynamic_findings(bin_folder)),
    ]
    failed = 0
    for name, check in checks:
        try:
            findings = check()
        except (OSError, subprocess.CalledProcessError) as error:
            findings = ["could not check: %s" % error]
        print("%s: %s" % ("FAILED" if findings else "ok", name))
        for finding in findings:
            print("    " + finding)
        failed += bool(findings)
    print("%d passed, %d failed" % (len(checks) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
