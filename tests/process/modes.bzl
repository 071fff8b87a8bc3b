"""Tests of the per-CPU front end in the modes that a machine does not choose by itself."""

load("//build_defs:variants.bzl", "tandem_cc_test")

# Environment variables that bring a test into a mode; tests/process/child.cc knows the last two.
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

def tandem_cc_test_in_every_mode(name, deps = [], **kwargs):
    """tandem_cc_test, and for the per-CPU front end `<name>_own_rseq_percpu_test` and `<name>_locked_percpu_test`.

    The test gets its main() from //tests/process:child.

    Args:
      name: as in tandem_cc_test.
      deps: as in tandem_cc_test.
      **kwargs: as in tandem_cc_test.
    """
    tandem_cc_test(name = name, gtest = False, deps = deps + ["//tests/process:child"], **kwargs)
    for mode, environment in _MODES.items():
        tandem_cc_test(
            name = name + "_" + mode,
            gtest = False,
            deps = deps + ["//tests/process:child"],
            env = environment,
            front_ends = ["percpu"],
            **kwargs
        )
