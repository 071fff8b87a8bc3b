"""One layer of the allocator: what the layer above may see, and what the linker gets."""

load("@rules_cc//cc:defs.bzl", "cc_library")
load(":copts.bzl", "ALLOCATOR_COPTS")

# The tiny variant has bins of two objects and batches of one, which forces every slow path. The whole stack is compiled
# again for it, under names that end so.
TINY_SUFFIX = "_tiny"
TINY_DEFINES = ["TD_TINY=1"]

def tiny_label(label):
    """The tiny form of a label: "//middle" is "//middle:middle_tiny"."""
    if ":" not in label:
        label = label + ":" + label.split("/")[-1]
    return label + TINY_SUFFIX

def tandem_layer(
        name,
        header,
        srcs,
        internal_headers = [],
        below = [],
        header_deps = [],
        header_includes = [],
        alwayslink = False,
        visibility = None):
    """Three libraries, each also in its tiny form (`_tiny` at the end of its name).

    `<name>_headers` is the contract: all that the layer above compiles against. `<name>_alone` is the layer's code
    without the code of the layers below, so that a test can link a fake in their place; it shows the internal headers
    too. `<name>` is the code with all that it stands on.

    Args:
      name: the layer's name.
      header: list of the headers that the layer above may include; one, as a rule.
      srcs: C files.
      internal_headers: for the layer itself and its tests.
      below: labels of the layers it calls; a layer called X offers X_headers.
      header_deps: labels of the layers that `header` itself includes (their `_headers` are taken).
      header_includes: folders that whoever sees `header` searches, as `includes` in cc_library.
      alwayslink: as in cc_library.
      visibility: of all three; tests see them anyway.
    """
    for tiny in [False, True]:
        suffix = TINY_SUFFIX if tiny else ""
        below_labels = [tiny_label(label) if tiny else label for label in below]
        cc_library(
            name = name + "_headers" + suffix,
            hdrs = header,
            includes = header_includes,
            testonly = tiny,
            defines = TINY_DEFINES if tiny else [],
            visibility = (visibility or []) + ["//tests:__subpackages__"],
            deps = [_headers_label(label, tiny) for label in header_deps],
        )
        cc_library(
            name = name + "_alone" + suffix,
            srcs = srcs,
            hdrs = header + [file for file in internal_headers if file not in header],
            testonly = tiny,
            alwayslink = alwayslink,
            copts = ALLOCATOR_COPTS,
            linkstatic = True,
            visibility = ["//tests:__subpackages__"],
            deps = [":" + name + "_headers" + suffix] + [_headers_label(label, tiny) for label in below],
        )
        cc_library(
            name = name + suffix,
            testonly = tiny,
            visibility = (visibility or []) + ["//tests:__subpackages__"],
            deps = [":" + name + "_alone" + suffix] + below_labels,
        )

def _headers_label(label, tiny):
    if ":" not in label:
        label = label + ":" + label.split("/")[-1]
    return label + "_headers" + (TINY_SUFFIX if tiny else "")
