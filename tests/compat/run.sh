#!/usr/bin/env bash
# Builds and tests Tandem in a folder of Debian sid: Bazel 7 through MODULE.bazel, the newest GCC and clang, the newest
# glibc, googletest and abseil. Then the consumer workspace, with both compilers.
# Usage: tests/compat/run.sh [FOLDER]
# FOLDER (by default ~/.cache/tandem/sid, 3 GiB) is made at the first run and brought up to date at every further one.
# Needs root, for debootstrap and chroot, and a Debian mirror. Ends with "N passed, N failed".
set -eu
cd "$(dirname "$0")/../.."

folder=${1:-$HOME/.cache/tandem/sid}
mirror=http://deb.debian.org/debian
packages=(bazel-bootstrap bazel-rules-cc bazel-rules-java bazel-rules-license bazel-rules-proto bazel-rules-python
    bazel-rules-shell bazel-platforms bazel-skylib bazel-features bazel-java-tools
    g++ clang libgtest-dev libgmock-dev libabsl-dev pkg-config python3)

if [ "$(id -u)" -ne 0 ]; then
    echo "tests/compat/run.sh: needs root, for debootstrap and chroot" >&2
    exit 1
fi

# Runs a command in the folder, with mounts and processes that are gone when it ends.
inside() {
    unshare --mount --pid --fork bash -c '
        set -eu
        folder=$1
        shift
        mount --make-rprivate /
        mount -t proc proc "$folder/proc"
        mount --rbind /dev "$folder/dev"
        exec chroot "$folder" "$@"' inside "$folder" "$@"
}

if [ ! -e "$folder/etc/debian_version" ]; then
    if ! command -v debootstrap >/dev/null; then
        echo "tests/compat/run.sh: installing debootstrap with apt-get"
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends debootstrap
    fi
    echo "tests/compat/run.sh: making Debian sid in $folder"
    mkdir -p "$folder"
    debootstrap --variant=minbase sid "$folder" "$mirror"
fi
echo "tests/compat/run.sh: bringing $folder up to date"
# A mirror may lag behind: an index that is past its date will do.
inside apt-get update -q -o Acquire::Check-Valid-Until=false
inside env DEBIAN_FRONTEND=noninteractive apt-get upgrade -q -y --no-install-recommends
inside env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"

rm -rf "$folder/tandem"
mkdir "$folder/tandem"
tar -c --exclude='./bazel-*' --exclude='./tests/consumer/bazel-*' --exclude=./.git . | tar -x -C "$folder/tandem"
inside /tandem/tests/compat/inside.sh
