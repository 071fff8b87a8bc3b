"""What Tandem uses of Abseil: Bazel package, Bazel target and the package's name in pkg-config."""

ABSEIL_TARGETS = [
    struct(package = "absl/flags", target = "flag", pkg_config = "absl_flags"),
    struct(package = "absl/flags", target = "parse", pkg_config = "absl_flags_parse"),
    struct(package = "absl/flags", target = "usage", pkg_config = "absl_flags_usage"),
    struct(package = "absl/strings", target = "strings", pkg_config = "absl_strings"),
    struct(package = "absl/strings", target = "str_format", pkg_config = "absl_str_format"),
    struct(package = "absl/time", target = "time", pkg_config = "absl_time"),
    struct(package = "absl/synchronization", target = "synchronization", pkg_config = "absl_synchronization"),
    struct(package = "absl/random", target = "random", pkg_config = "absl_random_random"),
    struct(package = "absl/types", target = "span", pkg_config = "absl_span"),
]

def abseil_package():
    """The aliases of the package that calls it."""
    for entry in ABSEIL_TARGETS:
        if entry.package == native.package_name():
            native.alias(
                name = entry.target,
                actual = "@abseil_system//:" + entry.pkg_config,
                visibility = ["//visibility:public"],
            )
