#!/usr/bin/env bash
# Runs real programs with each of Tandem's libraries preloaded and compares their output, exit codes and files with those
# that they have with the C library's malloc: python3's own tests, sqlite3, gcc, clang, git, redis-server under
# redis-benchmark, xz, zstd and sort. Also tells their time and peak memory as ratios to the C library's.
#
# Usage: tests/programs/run.sh [--library PATH]... [--only NAME]...
# --library: what to preload; by default both libraries, built by Bazel. --only: a program's name or how it starts.
# Installs the Debian packages that are missing (as root, or with sudo). BAZEL names the command, with startup options if
# need be. Takes some 10 minutes on 2 cores; ends with "N passed, N failed".
set -eu
cd "$(dirname "$0")/../.."
self=tests/programs/run.sh # for install_missing
source tools/packages.sh
packages=(python3 time sqlite3 gcc clang git redis-tools xz-utils zstd coreutils)

libraries=()
options=()
while [ $# -gt 0 ]; do
    case $1 in
    --library) libraries+=("$(realpath -e "${2:?}")") ;;
    --only) options+=(--only "${2:?}") ;;
    *)
        sed -n 's/^# \{0,1\}//; /^Usage/,/^need/p' "$0" >&2
        exit 2
        ;;
    esac
    shift 2
done

install_missing "${packages[@]}"
# Python's tests are a package of the same version.
install_missing "lib$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')-testsuite"

if [ ${#libraries[@]} -eq 0 ]; then
    tools/install.sh build
    read -r -a bazel <<<"${BAZEL:-bazel}"
    "${bazel[@]}" build --noshow_progress //allocator:libtandem_percpu.so //allocator:libtandem_perthread.so
    bin=$("${bazel[@]}" info bazel-bin 2>/dev/null)
    libraries=("$bin/allocator/libtandem_percpu.so" "$bin/allocator/libtandem_perthread.so")
fi
exec /usr/bin/python3 tests/programs/compare.py ${options[@]+"${options[@]}"} "${libraries[@]}"
