"""Tests of processes: with a main() that may be a child's, and in every mode of the per-CPU front end."""

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

def stamped_test(name, srcs, deps = [], copts = [], tiny = True, modes = False, **kwargs):
    """tandem_cc_test with the main() of //tests/process:child.

    Args:
      name: without "_test".
      srcs: as in cc_test.
      deps: as in cc_test.
      copts: after the project's own.
      tiny: whether to stamp the tiny variants too.
      modes: whether to stamp `<name>_own_rseq_percpu_test` and `<name>_locked_percpu_test` too.
      **kwargs: as in tandem_cc_test.
    """
    tandem_cc_test(
        name = name,
        srcs = srcs,
        copts = [
            # clang before 19 declares no sized operator delete without being told.
            "-fsized-deallocation",
        ] + copts,
        gtest = False,
        modes = _MODES if modes else {},
        tiny = tiny,
        deps = deps + [
            "//allocator:tandem",
            "//tests/api:opaque",
            "//tests/process:child",
        ],
        **kwargs
    )
