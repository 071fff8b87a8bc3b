#!/usr/bin/env bash
# Installs what is missing, builds the benchmarks, runs the quick report (two minutes) and says where its page is.
# Usage: ./run-benchmarks.sh [option of //benchmarks:report]...
# BAZEL names the command, with startup options if need be.
set -eu
cd "$(dirname "$0")"
read -r -a bazel <<<"${BAZEL:-bazel}"

tools/install.sh build benchmarks
exec "${bazel[@]}" run --compilation_mode=opt //benchmarks:report -- --quick "$@"
