"""Compiler options, in one place."""

_WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wundef",
    "-Wshadow",
    "-Wvla",
]

# The allocator is always optimised: only its assertions depend on the compilation mode. They come last on the command
# line, so that they win over Bazel's own options.
_ALLOCATOR = [
    "-O2",
    # malloc and free are fetched in as few blocks as they fit in: 0.4 ns of a pair.
    "-falign-functions=64",
    # std::bad_alloc is thrown through malloc's slow paths.
    "-funwind-tables",
    "-fomit-frame-pointer",
    "-fno-stack-protector",
    "-fno-plt",
    "-fvisibility=hidden",
    # Compilers that optimise whole programs do not see what assembly refers to, and take it for code that throws nothing.
    "-fno-lto",
    "-ftls-model=initial-exec",
    # Else a compiler may turn the body of calloc into a call of calloc.
    "-fno-builtin-malloc",
    "-fno-builtin-calloc",
    "-fno-builtin-realloc",
    "-fno-builtin-free",
] + select({
    "//build_defs:debug": ["-UNDEBUG"],
    "//conditions:default": ["-DNDEBUG"],
})

# The allocator's C sources.
ALLOCATOR_COPTS = ["-std=gnu11"] + _WARNINGS + [
    "-Wconversion",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
] + _ALLOCATOR

# operator new and delete. Exceptions stay on (bad_alloc passes through); thread-safe statics and type information would
# ask for libstdc++.
ALLOCATOR_CXXOPTS = ["-std=gnu++17"] + _WARNINGS + [
    # In C a function may be called like a structure; in C++ that hides a constructor.
    "-Wno-shadow",
    "-fno-rtti",
    "-fno-threadsafe-statics",
] + _ALLOCATOR

# Tests and benchmarks, in C or C++. A compiler that sees malloc and free as builtins may leave a pair out, and then a
# test tests nothing.
TEST_COPTS = _WARNINGS + [
    "-fno-builtin-malloc",
    "-fno-builtin-calloc",
    "-fno-builtin-realloc",
    "-fno-builtin-free",
]
