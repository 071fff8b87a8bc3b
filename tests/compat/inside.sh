#!/usr/bin/env bash
# The part of tests/compat/run.sh that runs in the folder of Debian sid, on a copy of the tree.
#
# Bazel asks the central registry even for modules that it brings along. Without one, each module has to be named: those
# that Debian packages, those that this repository wraps, and four that nothing here uses, for which a stub does.
set -u
cd "$(dirname "$0")/../.."
root=$PWD
BAZEL="bazel --output_user_root=/var/cache/tandem-bazel"
source tools/phases.sh
work=$phases_folder/modules
mkdir "$work"

debian=/usr/share/bazel
modules=(
    "rules_cc=$debian/rules/cc"
    "rules_java=$debian/rules/java"
    "rules_license=$debian/rules/license"
    "rules_proto=$debian/rules/proto"
    "rules_python=$debian/rules/python"
    "platforms=$debian/tools/platforms"
    "bazel_features=$debian/tools/features"
    "bazel_skylib=$debian/tools/skylib"
)

make_stub() {
    mkdir -p "$work/$1"
    echo "module(name = \"$1\")" >"$work/$1/MODULE.bazel"
    : >"$work/$1/BUILD"
    modules+=("$1=$work/$1")
}

for name in protobuf zlib apple_support buildozer; do
    make_stub "$name"
done
cat >"$work/buildozer/buildozer_binary.bzl" <<'END'
def _empty_repository_impl(repository_ctx):
    repository_ctx.file("BUILD", "")

_empty_repository = repository_rule(implementation = _empty_repository_impl)

def _buildozer_binary_impl(_module_ctx):
    _empty_repository(name = "buildozer_binary")

buildozer_binary = module_extension(implementation = _buildozer_binary_impl)
END

mkdir "$work/registry"
options=(--enable_bzlmod --noenable_workspace "--registry=file://$work/registry" --lockfile_mode=off --noshow_progress)
for module in "${modules[@]}"; do
    options+=("--override_module=$module")
done
# A workspace that uses Tandem does not get its development dependencies, and Bazel would refuse to override them there.
development=("--override_module=googletest=$root/third_party/googletest"
    "--override_module=abseil-cpp=$root/third_party/abseil")

gcc --version | head -n 1
clang --version | head -n 1
ldd --version | head -n 1

phase "GCC" bazel_test "${options[@]}" "${development[@]}" //...
phase "another workspace, GCC" tests/consumer/run.sh "${options[@]}"
phase "clang" bazel_test "${options[@]}" "${development[@]}" --config=clang //...
phase "another workspace, clang" tests/consumer/run.sh "${options[@]}" --repo_env=CC=clang

end_of_phases
