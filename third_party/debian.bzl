"""Repositories for a WORKSPACE build on Debian without a network."""

def debian_bazel_repositories(tandem = ""):
    """Maps what Bazel's own rules would download to Debian's packages and to stand-ins.

    Args:
      tandem: where Tandem's root lies, relative to the workspace that calls this; empty in Tandem's own.
    """
    prefix = tandem + "/" if tandem else ""
    native.local_repository(
        name = "bazel_skylib",
        path = "/usr/share/bazel/tools/skylib",
    )
    native.local_repository(
        name = "platforms",
        path = "/usr/share/bazel/tools/platforms",
    )
    native.local_repository(
        name = "rules_java",
        path = "/usr/share/bazel/rules/java",
    )
    native.local_repository(
        name = "rules_proto",
        path = "/usr/share/bazel/rules/proto",
    )

    # Debian 12's bazel-rules-cc does not load in Debian 12's Bazel.
    native.local_repository(
        name = "rules_cc",
        path = prefix + "third_party/rules_cc",
    )

    # Every cc_test names it; it is used for coverage reports only.
    native.local_repository(
        name = "remote_coverage_tools",
        path = prefix + "third_party/remote_coverage_tools",
    )

def debian_development_repositories():
    """googletest and abseil from libgtest-dev and libabsl-dev, for Tandem's tests and benchmarks."""
    native.local_repository(
        name = "googletest",
        path = "third_party/googletest",
    )
    native.local_repository(
        name = "abseil-cpp",
        path = "third_party/abseil",
    )
