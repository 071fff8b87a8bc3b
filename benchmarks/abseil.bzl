"""The C++ standard that the installed Abseil was compiled for."""

def abseil_copts():
    """Options for whatever includes Abseil; to be called from a BUILD file.

    Debian 12's Abseil is compiled as C++14, and its string_view is another type in C++17. Debian 12's Bazel is from
    before modules. Later ones use an Abseil that is compiled as .bazelrc says.
    """
    return [] if hasattr(native, "module_name") else ["-std=c++14"]
