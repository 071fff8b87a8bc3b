#!/usr/bin/env bash
# Installs what is missing and runs all tests: with GCC, with assertions, with clang,
# under the sanitizers, as an external repository of another workspace, and how the source reads.
# Ends with a line "N passed, N failed"; the exit status says whether nothing failed.
# Usage: ./run-tests.sh
# BAZEL names the command, with startup options if need be.
set -u
if [ $# -ne 0 ]; then
    echo "run-tests.sh: takes no arguments; for single tests: bazel test //tests/..." >&2
    exit 2
fi
cd "$(dirname "$0")"
tools/install.sh build test || exit 1

source tools/phases.sh

style() {
    local bin_folder
    bin_folder=$("${bazel[@]}" info bazel-bin 2>/dev/null) || return 1
    # Bazel leaves what it built of targets that are no more. What is deleted here it links anew.
    find "$bin_folder"/{allocator,frontends,middle,backend,base} -name 'lib*' -type f -delete
    "${bazel[@]}" build --noshow_progress //allocator/... //frontends/... //middle/... //backend/... //base/... || true
    python3 tests/style/run.py "$bin_folder"
}

instructions() { # instructions OPTION...: of the fast paths, against those of the golden file
    "${bazel[@]}" build --noshow_progress "$@" //allocator/... || true
    python3 tests/instructions/run.py "$("${bazel[@]}" info "$@" bazel-bin 2>/dev/null)"
}

# The tests that do not replace malloc: a sanitizer brings its own.
layers=(//tests/base/... //tests/backend/... //tests/middle/...
    //tests/frontends:{bin,locked_slab,registry,slab,stash}{,_tiny}_test)

# Builds of the same code need no more than a new seed each.
new_seed=--test_env=TANDEM_FUZZ_SEED=0

phase "GCC" bazel_test //...
phase "style" style
phase "instructions" instructions
phase "GCC, assertions on" bazel_test --compilation_mode=dbg "$new_seed" //...
phase "ThreadSanitizer" bazel_test --config=tsan "${layers[@]}"
phase "AddressSanitizer and UndefinedBehaviorSanitizer" bazel_test --config=asan "${layers[@]}"
phase "clang" bazel_test --config=clang "$new_seed" //...
phase "instructions, clang" instructions --config=clang
phase "another workspace" tests/consumer/run.sh --noshow_progress
phase "another workspace, optimised as a whole" tests/consumer/run.sh --noshow_progress -c opt --copt=-flto --linkopt=-flto

end_of_phases
