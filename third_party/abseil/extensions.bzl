"""For MODULE.bazel; apart from pkg_config.bzl since Bazel 4 knows no module extensions."""

load("//:pkg_config.bzl", "pkg_config_repository")

def _system_impl(_module_ctx):
    pkg_config_repository(name = "abseil_system")

system = module_extension(implementation = _system_impl)
