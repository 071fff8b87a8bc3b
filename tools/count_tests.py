#!/usr/bin/env python3
"""Counts the test cases of one `bazel test` from its build events and the tests' own XML files.

Usage: tools/count_tests.py EVENTS.json EXIT_CODE
EVENTS.json is what --build_event_json_file wrote, EXIT_CODE is Bazel's. Names what failed; ends with
"N passed, N failed".

A test target that did not build or run, that timed out, or that failed outside its test cases counts as one failure.
"""

import json
import sys
import urllib.parse
import xml.etree.ElementTree


class Target:
    """What is known of one test target."""

    def __init__(self):
        self.status = None  # Bazel's verdict; None if the test never ran
        self.passed = 0
        self.failed = []  # names of test cases
        self.skipped = 0


def case_failed(case):
    return case.find("failure") is not None or case.find("error") is not None


def case_skipped(case):
    return case.find("skipped") is not None or case.get("status") == "notrun" or case.get("result") == "skipped"


def add_cases(target, xml_path):
    for case in xml.etree.ElementTree.parse(xml_path).iter("testcase"):
        if case_failed(case):
            target.failed.append("%s.%s" % (case.get("classname"), case.get("name")))
        elif case_skipped(case):
            target.skipped += 1
        else:
            target.passed += 1


def read_events(path):
    """Test targets by label."""
    targets = {}
    with open(path, encoding="utf-8") as file:
        events = [json.loads(line) for line in file if line.strip()]
    for event in events:
        name = event.get("id", {})
        if "targetConfigured" in name and "testSize" in event.get("configured", {}):
            targets.setdefault(name["targetConfigured"]["label"], Target())
        elif "testSummary" in name:
            target = targets.setdefault(name["testSummary"]["label"], Target())
            target.status = event.get("testSummary", {}).get("overallStatus")
        elif "testResult" in name:
            target = targets.setdefault(name["testResult"]["label"], Target())
            for output in event.get("testResult", {}).get("testActionOutput", []):
                if output["name"] == "test.xml":
                    add_cases(target, urllib.parse.unquote(urllib.parse.urlparse(output["uri"]).path))
    return targets


def main():
    targets = read_events(sys.argv[1])
    exit_code = int(sys.argv[2])
    passed = failed = skipped = 0
    for label, target in sorted(targets.items()):
        failures = list(target.failed)
        if target.status not in ("PASSED", "FLAKY") and not failures:
            failures = [target.status or "did not build"]
        for failure in failures:
            print("FAILED: %s: %s" % (label, failure))
        passed += target.passed
        failed += len(failures)
        skipped += target.skipped
    if exit_code != 0 and failed == 0:
        print("FAILED: bazel ended with exit code %d" % exit_code)
        failed = 1
    if passed == 0 and failed == 0:
        print("FAILED: no test ran")
        failed = 1
    if skipped:
        print("%d skipped" % skipped)
    print("%d passed, %d failed" % (passed, failed))


if __name__ == "__main__":
    main()
