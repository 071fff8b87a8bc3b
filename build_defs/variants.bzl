"""The front ends, in one list, and the macros that stamp tests, benchmarks and libraries once for each."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")
load(":copts.bzl", "ALLOCATOR_CXXOPTS", "TEST_COPTS")
load(":layer.bzl", "TINY_SUFFIX", "tiny_label")

# A front end is a folder //frontends/<name> that implements frontends/frontend.h, and a line here.
FRONT_ENDS = [
    "percpu",
    "perthread",
]

def tandem_malloc_libraries(api, operators, exports, preinit):
    """For allocator/BUILD: `<front end>`, `<front end>_tiny` and `libtandem_<front end>.so` for each front end.

    The front end is chosen by the linker: they all define the same symbols, and alwayslink makes two of them in one
    binary a "multiple definition".

    Args:
      api: label of the library that has the functions of tandem.h; the shared objects bring it along.
      operators: C++ files, operator new and delete.
      exports: version script with the symbols that the shared objects export.
      preinit: label of what programs have and shared objects may not.
    """
    for front_end in FRONT_ENDS:
        malloc = ":malloc_" + front_end
        forms = "operators_" + front_end
        _operators_library(forms, operators, malloc + "_alone")
        _operators_library(forms + "_shared", operators, malloc + "_alone", local_defines = ["TD_SHARED=1"])
        _operators_library(forms + TINY_SUFFIX, operators, tiny_label(malloc + "_alone"), testonly = True)
        code = "//frontends/" + front_end
        cc_library(
            name = front_end,
            visibility = ["//visibility:public"],
            deps = [forms, malloc, code, preinit],
        )
        cc_library(
            name = front_end + TINY_SUFFIX,
            testonly = True,
            visibility = ["//visibility:public"],
            deps = [forms + TINY_SUFFIX, tiny_label(malloc), tiny_label(code), preinit],
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
            deps = [forms + "_shared", malloc, code, api],
        )

def _operators_library(name, srcs, malloc, **kwargs):
    """operator new and delete for one front end: linked in, in a shared object, or tiny."""
    cc_library(
        name = name,
        srcs = srcs,
        alwayslink = True,
        copts = ALLOCATOR_CXXOPTS,
        linkstatic = True,
        visibility = ["//visibility:private"],
        deps = [malloc],
        **kwargs
    )

def _each_variant(front_ends, tiny):
    return [(front_end, suffix) for front_end in front_ends for suffix in (["", TINY_SUFFIX] if tiny else [""])]

def variant_libraries(srcs, copts, deps):
    """For tests/variant/BUILD: `<front end>` and `<front end>_tiny`, which tell a test what it is linked with.

    Args:
      srcs: what asks TEST_FRONT_END (a string) and TEST_TINY (0 or 1).
      copts: as in cc_library.
      deps: as in cc_library.
    """
    for front_end, suffix in _each_variant(FRONT_ENDS, tiny = True):
        cc_library(
            name = front_end + suffix,
            testonly = True,
            srcs = srcs,
            copts = copts,
            linkstatic = True,
            local_defines = [
                "TEST_FRONT_END=\\\"%s\\\"" % front_end,
                "TEST_TINY=%d" % (1 if suffix else 0),
            ],
            visibility = ["//tests:__subpackages__"],
            deps = deps,
        )

def _code_library(name, srcs, copts, linkopts, deps):
    """What all variants of a test or a benchmark are linked with."""
    cc_library(
        name = name,
        testonly = True,
        srcs = srcs,
        alwayslink = True,
        copts = TEST_COPTS + copts,
        linkopts = linkopts,
        linkstatic = True,
        deps = deps,
    )

def tandem_cc_test(
        name,
        srcs,
        deps = [],
        tiny = False,
        modes = {},
        gtest = True,
        copts = [],
        linkopts = [],
        tags = [],
        size = "medium",
        front_ends = FRONT_ENDS,
        **kwargs):
    """`<name>_<front end>_test` for each front end, and with `tiny` also `<name>_<front end>_tiny_test`.

    The sources are compiled once. Which variant they are in they may ask tests/variant/variant.h.

    Args:
      name: without "_test".
      srcs: as in cc_test.
      deps: as in cc_test; googletest and its main come by themselves.
      tiny: whether to stamp the tiny variants too.
      modes: for each of these names `<name>_<mode>_percpu_test` too, with the environment variables that bring the
        per-CPU front end into a mode that it does not choose by itself.
      gtest: False for a test with a main of its own, or in C.
      copts: after the project's own.
      linkopts: as in cc_test.
      tags: beside the front end's name and "tiny".
      size: as in cc_test.
      front_ends: where a test is about one front end alone.
      **kwargs: as in cc_test.
    """
    code = name + "_test_code"
    harness = ["//tests/variant"] + (["@googletest//:gtest_main"] if gtest else [])
    _code_library(code, srcs, copts, linkopts, deps + harness)
    for front_end, suffix in _each_variant(front_ends, tiny):
        _stamp_test(name, code, front_end, suffix, tags = tags, size = size, **kwargs)
    for mode, env in modes.items():
        _stamp_test(name + "_" + mode, code, "percpu", "", env = env, tags = tags, size = size, **kwargs)

def _stamp_test(name, code, front_end, suffix, tags, **kwargs):
    cc_test(
        name = name + "_" + front_end + suffix + "_test",
        linkstatic = True,
        malloc = "//allocator:" + front_end + suffix,
        tags = tags + [front_end] + (["tiny"] if suffix else []),
        deps = [
            code,
            "//tests/variant:" + front_end + suffix,
        ],
        **kwargs
    )

def tandem_cc_benchmark(name, srcs, deps = [], copts = [], linkopts = [], tags = []):
    """`<name>_<front end>` for each front end, and `<name>_system` with the C library's malloc (or a preloaded one).

    The sources are compiled once.

    Args:
      name: without the variant.
      srcs: as in cc_binary.
      deps: as in cc_binary.
      copts: after the project's own.
      linkopts: as in cc_binary.
      tags: beside the variant's name.
    """
    code = name + "_code"
    _code_library(code, srcs, ["-O2"] + copts, linkopts, deps)
    for variant in FRONT_ENDS + ["system"]:
        cc_binary(
            name = name + "_" + variant,
            testonly = True,
            linkstatic = True,
            malloc = "@bazel_tools//tools/cpp:malloc" if variant == "system" else "//allocator:" + variant,
            tags = tags + [variant],
            deps = [code],
        )
