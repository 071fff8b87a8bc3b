"""A repository with one cc_library per Abseil target, linked with what pkg-config says."""

load("//:targets.bzl", "ABSEIL_TARGETS")

_BUILD_HEADER = """load("@rules_cc//cc:defs.bzl", "cc_library")

package(default_visibility = ["//visibility:public"])
"""

_BUILD_LIBRARY = """
cc_library(
    name = "{name}",
    linkopts = {linkopts},
)
"""

def _pkg_config_repository_impl(repository_ctx):
    build = _BUILD_HEADER
    for entry in ABSEIL_TARGETS:
        result = repository_ctx.execute(["pkg-config", "--libs", entry.pkg_config])
        if result.return_code != 0:
            fail("pkg-config does not find %s (is libabsl-dev installed?): %s" % (entry.pkg_config, result.stderr))
        build += _BUILD_LIBRARY.format(
            name = entry.pkg_config,
            linkopts = repr([option.strip() for option in result.stdout.split(" ") if option.strip()]),
        )
    repository_ctx.file("BUILD", build)
    repository_ctx.file("WORKSPACE", "")

pkg_config_repository = repository_rule(
    implementation = _pkg_config_repository_impl,
    environ = ["PKG_CONFIG_PATH"],
    local = True,
)
