#!/usr/bin/env bash
# Installs the Debian packages that Tandem's build, tests and benchmarks need and that this machine lacks.
# Usage: tools/install.sh [build] [test] [benchmarks]   (all three by default)
# Runs as root, or as a user who may use sudo. Made for Debian 12; changes nothing when nothing is missing.
set -eu

# Bazel and what it downloads elsewhere, two compilers, googletest, abseil.
build=(bazel-bootstrap bazel-platforms bazel-rules-java bazel-rules-proto bazel-skylib
    g++ clang binutils libc6-dev libgtest-dev libgmock-dev libabsl-dev pkg-config python3 ca-certificates)
# The style checks, and the sanitizers' runtime for clang.
test=(clang-format clang-tidy libclang-rt-dev valgrind)
# The peers to compare with, and what draws the report's charts.
benchmarks=(libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4 python3-matplotlib)

groups=("$@")
[ ${#groups[@]} -gt 0 ] || groups=(build test benchmarks)

wanted=()
for group in "${groups[@]}"; do
    case $group in
    build) wanted+=("${build[@]}") ;;
    test) wanted+=("${test[@]}") ;;
    benchmarks) wanted+=("${benchmarks[@]}") ;;
    *)
        echo "tools/install.sh: no group \"$group\"; there are build, test and benchmarks" >&2
        exit 2
        ;;
    esac
done

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=()
for package in "${wanted[@]}"; do
    is_installed "$package" || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "tools/install.sh: everything for ${groups[*]} is installed"
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "tools/install.sh: to install ${missing[*]}, run it as root, or install sudo" >&2
        exit 1
    fi
    as_root=(sudo)
fi

echo "tools/install.sh: installing with apt-get: ${missing[*]}"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
