#!/usr/bin/env bash
# Installs what is missing and runs all tests: with GCC, with assertions, with clang, without the C library's rseq, under the
# sanitizers, as an external repository of another workspace, and how the source reads.
# Ends with a line "N passed, N failed"; the exit status says whether nothing failed.
# BAZEL names the command, with startup options if need be.
set -u
cd "$(dirname "$0")"
read -r -a bazel <<<"${BAZEL:-bazel}"
export BAZEL="${BAZEL:-bazel}"

tools/install.sh build test || exit 1

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
passed=0
failed=0

phase() { # phase NAME COMMAND...: runs a command whose last line is "N passed, N failed" and adds these up
    local name=$1 last
    shift
    printf '\n== %s\n' "$name"
    "$@" 2>&1 | tee "$logs/phase.log"
    last=$(tail -n 1 "$logs/phase.log")
    if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
    else
        echo "FAILED: $name did not end"
        failed=$((failed + 1))
    fi
}

bazel_test() { # bazel_test OPTION_OR_TARGET...
    local status=0
    rm -f "$logs/events.json"
    "${bazel[@]}" test --keep_going --noshow_progress --build_event_json_file="$logs/events.json" "$@" || status=$?
    python3 tools/count_tests.py "$logs/events.json" "$status"
}

style() {
    "${bazel[@]}" build --noshow_progress //allocator/... || true
    python3 tests/style/run.py "$("${bazel[@]}" info bazel-bin 2>/dev/null)"
}

# The tests that do not replace malloc: a sanitizer brings its own.
layers=(//tests/base/... //tests/backend/... //tests/middle/...)

phase "GCC" bazel_test //...
phase "style" style
phase "GCC, rseq not registered by the C library" bazel_test --test_tag_filters=percpu \
    --test_env=GLIBC_TUNABLES=glibc.pthread.rseq=0 //tests/...
phase "GCC, assertions on" bazel_test --compilation_mode=dbg //...
phase "ThreadSanitizer" bazel_test --config=tsan "${layers[@]}"
phase "AddressSanitizer and UndefinedBehaviorSanitizer" bazel_test --config=asan "${layers[@]}"
phase "clang" bazel_test --config=clang //...
phase "another workspace" tests/consumer/run.sh --noshow_progress

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
