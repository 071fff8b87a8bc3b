"""Tests that are compiled once and linked for every variant, and for every mode of the per-CPU front end."""

load("@rules_cc//cc:defs.bzl", "cc_library")
load("//build_defs:copts.bzl", "TEST_COPTS")
load("//build_defs:variants.bzl", "tandem_cc_test")

# Environment variables that bring the per-CPU front end into a mode that it does not choose by itself.
# tests/process/child.cc knows those that begin with TEST_.
_MODES = {
    "own_rseq": {
        "GLIBC_TUNABLES": "glibc.pthread.rseq=0",
        "TEST_EXPECT_MODE": "rseq (own)",
    },
    "locked": {
        "TEST_FORBID_RSEQ": "1",
        "TEST_EXPECT_MODE": "locked",
    },
}

def _stamp(name, code, **kwargs):
    tandem_cc_test(
        name = name,
        srcs = ["//tests/process:variant"],
        copts = select({
            "//build_defs:debug": ["-DTEST_DEBUG=1"],
            "//conditions:default": [],
        }),
        gtest = False,
        deps = [
            code,
            "//tests/process:child",
        ],
        **kwargs
    )

def stamped_test(name, srcs, deps = [], copts = [], tiny = True, modes = False, linkopts = [], **kwargs):
    """tandem_cc_test of sources that ask tests/process/variant.h, not the preprocessor, which variant they are in.

    Their main() is that of //tests/process:child.

    Args:
      name: without "_test".
      srcs: as in cc_test.
      deps: as in cc_test.
      copts: after the project's own.
      tiny: whether to stamp the tiny variants too.
      modes: whether to stamp `<name>_own_rseq_percpu_test` and `<name>_locked_percpu_test` too.
      linkopts: as in cc_test.
      **kwargs: as in tandem_cc_test.
    """
    code = name + "_code"
    cc_library(
        name = code,
        testonly = True,
        srcs = srcs,
        copts = TEST_COPTS + [
            "-O2",
            # clang before 19 declares no sized operator delete without being told.
            "-fsized-deallocation",
        ] + copts,
        linkopts = linkopts,
        linkstatic = True,
        deps = deps + [
            "//allocator:tandem",
            "//tests/api:opaque",
            "//tests/process:child",
        ],
        alwayslink = True,
    )
    _stamp(name, code, tiny = tiny, **kwargs)
    if modes:
        for mode, environment in _MODES.items():
            _stamp(name + "_" + mode, code, env = environment, front_ends = ["percpu"], **kwargs)
