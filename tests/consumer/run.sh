#!/usr/bin/env bash
# Builds this workspace, which uses Tandem as an external repository, and checks what its programs say.
# Usage: tests/consumer/run.sh [option of `bazel build`]...
# BAZEL names the command, with startup options if need be. Ends with "N passed, N failed".
set -u
cd "$(dirname "$0")"
read -r -a bazel <<<"${BAZEL:-bazel}"
options=("$@")
passed=0
failed=0

check() { # check NAME COMMAND...: counts the command's success
    local name=$1
    shift
    if "$@"; then
        echo "ok: $name"
        passed=$((passed + 1))
    else
        echo "FAILED: $name"
        failed=$((failed + 1))
    fi
}

build() {
    "${bazel[@]}" build "${options[@]}" "$@"
}

says() { # says WORD COMMAND...: whether the command succeeds and prints WORD and nothing else
    local expected=$1 printed
    shift
    printed=$("$@") || return 1
    [ "$printed" = "$expected" ] || { echo "expected \"$expected\", but $* printed \"$printed\""; return 1; }
}

bin() {
    echo "bazel-bin/$1"
}

both_front_ends_do_not_link() {
    local log
    if log=$(build //:c_program_both 2>&1); then
        echo "it linked"
        return 1
    fi
    grep -q -e "multiple definition" -e "duplicate symbol" <<<"$log" || { echo "$log"; return 1; }
}

check "everything builds" build //...
for program in c_program cc_program; do
    for front_end in percpu perthread; do
        check "$program with malloc = $front_end" says "$front_end" "$(bin "${program}_$front_end")"
    done
done
check "the short name //:percpu" says percpu "$(bin c_program_short)"
check "no Tandem without malloc =" says none "$(bin c_program_system)"

for front_end in percpu perthread; do
    library=$PWD/$(bin "external/tandem/allocator/libtandem_$front_end.so")
    [ -e "$library" ] || library=$(find -L bazel-bin/external -name "libtandem_$front_end.so" 2>/dev/null | head -n 1)
    check "preloading $front_end" says "$front_end" env LD_PRELOAD="$(realpath "$library")" "$(bin c_program_system)"
done

check "both front ends in one binary do not link" both_front_ends_do_not_link

for front_end in percpu perthread; do
    check "--custom_malloc=$front_end builds" build "--custom_malloc=@tandem//allocator:$front_end" //:c_program_system
    check "--custom_malloc=$front_end" says "$front_end" "$(bin c_program_system)"
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
