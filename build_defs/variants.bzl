"""The front ends, in one list, and the macros that stamp tests, benchmarks and libraries once for each."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")
load(":copts.bzl", "TEST_COPTS")
load(":layer.bzl", "TINY_SUFFIX", "tiny_label")

# A front end is a folder //frontends/<name> that implements frontends/frontend.h, and a line here.
FRONT_ENDS = [
    "percpu",
    "perthread",
]

def tandem_malloc_libraries(api, exports, preinit):
    """For allocator/BUILD: `<front end>`, `<front end>_tiny` and `libtandem_<front end>.so` for each front end.

    The front end is chosen by the linker: they all define the same symbols, and alwayslink makes two of them in one
    binary a "multiple definition".

    Args:
      api: label of the library that has the functions of tandem.h; the shared objects bring it along.
      exports: version script with the symbols that the shared objects export.
      preinit: label of what programs have and shared objects may not.
    """
    for front_end in FRONT_ENDS:
        malloc = ":malloc_" + front_end
        code = "//frontends/" + front_end
        cc_library(
            name = front_end,
            visibility = ["//visibility:public"],
            deps = [malloc, code, preinit],
        )
        cc_library(
            name = front_end + TINY_SUFFIX,
            testonly = True,
            visibility = ["//visibility:public"],
            deps = [tiny_label(malloc), tiny_label(code), preinit],
        )
        cc_binary(
            name = "libtandem_%s.so" % front_end,
            additional_linker_inputs = [exports],
            linkopts = [
                "-Wl,--version-script=$(location %s)" % exports,
                "-Wl,-soname,libtandem_%s.so" % front_end,
                # Threads that exit after a dlclose still come here.
                "-Wl,-z,nodelete",
                # Its fork handlers are to be registered first: allocator/process.h.
                "-Wl,-z,initfirst",
                "-Wl,-z,defs",
                # Bazel adds -lstdc++ and -lm at the end; nothing here needs them.
                "-Wl,--as-needed",
                "-lpthread",
            ],
            linkshared = True,
            visibility = ["//visibility:public"],
            deps = [malloc, code, api],
        )

def tandem_cc_test(
        name,
        srcs,
        deps = [],
        tiny = False,
        gtest = True,
        copts = [],
        local_defines = [],
        tags = [],
        size = "medium",
        front_ends = FRONT_ENDS,
        **kwargs):
    """`<name>_<front end>_test` for each front end, and with `tiny` also `<name>_<front end>_tiny_test`.

    The sources may ask TEST_FRONT_END (a string) and TEST_TINY (0 or 1) which of them they are in.

    Args:
      name: without "_test".
      srcs: as in cc_test.
      deps: as in cc_test; googletest and its main come by themselves.
      tiny: whether to stamp the tiny variants too.
      gtest: False for a test with a main of its own, or in C.
      copts: after the project's own.
      local_defines: beside the two named above.
      tags: beside the front end's name and "tiny".
      size: as in cc_test.
      front_ends: where a test is about one front end alone.
      **kwargs: as in cc_test.
    """
    for front_end in front_ends:
        for is_tiny in ([False, True] if tiny else [False]):
            suffix = TINY_SUFFIX if is_tiny else ""
            cc_test(
                name = name + "_" + front_end + suffix + "_test",
                size = size,
                srcs = srcs,
                copts = TEST_COPTS + copts,
                linkstatic = True,
                local_defines = [
                    "TEST_FRONT_END=\\\"%s\\\"" % front_end,
                    "TEST_TINY=%d" % (1 if is_tiny else 0),
                ] + local_defines,
                malloc = "//allocator:" + front_end + suffix,
                tags = tags + [front_end] + (["tiny"] if is_tiny else []),
                deps = deps + (["@googletest//:gtest_main"] if gtest else []),
                **kwargs
            )

def tandem_cc_benchmark(name, srcs, deps = [], copts = [], tags = [], **kwargs):
    """`<name>_<front end>` for each front end, and `<name>_system` with the C library's malloc (or a preloaded one)."""
    for variant in FRONT_ENDS + ["system"]:
        cc_binary(
            name = name + "_" + variant,
            testonly = True,
            srcs = srcs,
            copts = TEST_COPTS + ["-O2"] + copts,
            linkstatic = True,
            malloc = "@bazel_tools//tools/cpp:malloc" if variant == "system" else "//allocator:" + variant,
            tags = tags + [variant],
            deps = deps,
            **kwargs
        )
