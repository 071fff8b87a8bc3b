# shellcheck shell=bash
# To be sourced by run.sh and scale.sh: what differs between the two architectures, Debian's packages for them,
# building, booting, and counting what passed.
: "${folder:?the build folder}" "${root:?the root of the repository}"
self=tests/vm/$(basename "$0")
source "$root/tools/packages.sh"

passed=0
failed=0
pass() {
    passed=$((passed + 1))
    echo "passed: $*"
}
# fail_with TEXT [LOG]: counts a failure and shows how the log ends.
fail_with() {
    failed=$((failed + 1))
    echo "FAILED: $1"
    if [ -n "${2:-}" ]; then tail -n 30 "$2" | sed 's/^/    /'; fi
}

# machine_select x86_64|aarch64: sets the variables that the functions below use.
machine_select() {
    machine=$1
    case $machine in
    x86_64)
        deb_arch=amd64
        triplet=x86_64-linux-gnu
        console=ttyS0
        emulator=(qemu-system-x86_64 -machine q35 -cpu max)
        ;;
    aarch64)
        deb_arch=arm64
        triplet=aarch64-linux-gnu
        console=ttyAMA0
        emulator=(qemu-system-aarch64 -machine virt -cpu cortex-a72)
        ;;
    esac
    if [ "$machine" = "$(uname -m)" ]; then cc=gcc cxx=g++; else cc=$triplet-gcc cxx=$triplet-g++; fi
}

# One Debian package a line.
machine_packages() {
    case $machine in
    x86_64) printf '%s\n' qemu-system-x86 seabios ;;
    aarch64) printf '%s\n' qemu-system-arm ;;
    esac
    if [ "$machine" = "$(uname -m)" ]; then
        printf '%s\n' gcc g++
    else
        printf '%s\n' "gcc-${triplet/_/-}" "g++-${triplet/_/-}"
    fi
}

# --- Debian's packages of other releases and architectures, by an apt whose lists and cache lie in the build folder.

apt_private() {
    local command=$1
    shift
    # A mirror may lag behind: an index that is past its date will do.
    "$command" -q -o Dir::State="$folder/apt/state" -o Dir::State::status="$folder/apt/status" \
        -o Dir::Cache="$folder/apt/cache" -o Dir::Etc::sourcelist=/dev/null \
        -o Dir::Etc::sourceparts="$folder/apt/sources" -o APT::Architectures=amd64,arm64 \
        -o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none "$@"
}

# The mirror that this system itself uses for Debian.
debian_mirror() {
    # shellcheck disable=SC2016  # the dollar signs are apt's
    apt-get indextargets --format '$(CREATED_BY)|$(ORIGIN)|$(LABEL)|$(REPO_URI)' |
        sed -n 's/^Packages|Debian|Debian|//p' | sort -u | head -n 1
}

apt_prepare() {
    local mirror
    mirror=$(debian_mirror)
    if [ -z "$mirror" ]; then
        echo "$self: apt has no Debian mirror configured, or was never updated" >&2
        return 1
    fi
    mkdir -p "$folder"/apt/{state/lists/partial,cache/archives/partial,sources}
    : >"$folder/apt/status"
    cat >"$folder/apt/sources/debian.sources" <<END
Types: deb
URIs: $mirror
Suites: bookworm sid
Components: main
Architectures: amd64 arm64
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
    apt_private apt-get update >"$folder/apt/update.log" 2>&1 || {
        cat "$folder/apt/update.log" >&2
        return 1
    }
}

# unpack FOLDER PACKAGE...: downloads the packages (NAME:ARCH/SUITE) and unpacks them into the folder, unless just these
# versions lie there.
unpack() {
    local target=$1
    shift
    local versions
    versions=$(apt_private apt-get download --print-uris "$@" | awk '{ print $2 }' | sort)
    [ -n "$versions" ] || return 1
    [ "$versions" = "$(cat "$target/versions" 2>/dev/null)" ] && return 0
    rm -rf "$target"
    mkdir -p "$target/packages"
    (cd "$target/packages" && apt_private apt-get download "$@") >"$target/download.log" 2>&1 || {
        cat "$target/download.log" >&2
        return 1
    }
    local package
    for package in "$target"/packages/*.deb; do dpkg-deb --extract "$package" "$target" || return 1; done
    rm -r "$target/packages"
    echo "$versions" >"$target/versions"
}

# kernel_unpack SUITE: that release's newest kernel that is made for virtual machines. Sets `kernel`, the path of its
# image.
kernel_unpack() {
    local target=$folder/kernel/$1-$machine package names image
    case $1 in
    sid) names="^linux-binary-[0-9].*-cloud-$deb_arch\$" image='usr/lib/modules/*/vmlinuz' ;;
    bookworm) names="^linux-image-6\.1\..*-cloud-$deb_arch-unsigned\$" image='boot/vmlinuz-*' ;;
    esac
    package=$(apt_private apt-cache search --names-only "$names" | awk '{ print $1 }' | sort -V | tail -n 1)
    [ -n "$package" ] || return 1
    unpack "$target" "$package:$deb_arch/$1" || return 1
    # shellcheck disable=SC2086  # a pattern
    kernel=$(ls "$target"/$image)
}

# sysroot_unpack SUITE: libc, its headers and the kernel's of that release. Sets `sysroot`.
sysroot_unpack() {
    local kernel_headers=linux-libc-dev:$deb_arch/$1
    # There one package has the headers of all architectures.
    if [ "$1" = sid ]; then kernel_headers=linux-libc-dev/sid; fi
    sysroot=$folder/sysroot/$1-$machine
    unpack "$sysroot" "libc6:$deb_arch/$1" "libc6-dev:$deb_arch/$1" "$kernel_headers"
}

# stress_build OUTPUT FRONT_END: the stress with that front end, linked statically against `sysroot`.
stress_build() {
    local output=$1 front_end=$2 compiler_headers sources options
    sources=("$root"/{base,backend,middle,frontends,"frontends/$front_end",allocator,tests/vm}/*.c)
    options=(-O2 -g -Wall -Wextra -DNDEBUG -I"$root" -I"$root/frontends/$front_end" -fno-builtin-malloc
        -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free)
    compiler_headers=$("$cc" -print-file-name=include)
    # operator new refers to a C++ library only weakly: none is linked.
    "$cxx" -std=gnu++17 -fno-rtti "${options[@]}" -c -o "$output.operator_new.o" "$root/allocator/operator_new.cc" &&
        "$cc" -std=gnu11 "${options[@]}" -static -pthread -nostdinc -isystem "$compiler_headers" \
            -isystem "$sysroot/usr/include/$triplet" -isystem "$sysroot/usr/include" \
            -B"$sysroot/usr/lib/$triplet" -L"$sysroot/usr/lib/$triplet" \
            -o "$output" "${sources[@]}" "$output.operator_new.o"
}

# initramfs_make PROGRAM OUTPUT: a file system with nothing in it but the program as /init.
initramfs_make() {
    local staging=$folder/staging
    rm -rf "$staging"
    mkdir -p "$staging"
    cp "$1" "$staging/init"
    folder_pack "$staging" "$2"
}

# folder_pack FOLDER OUTPUT: all that lies in the folder, as an initramfs.
folder_pack() {
    (cd "$1" && find . -mindepth 1 | cpio --quiet --create --format=newc) | gzip >"$2"
}

# What `machine_boot` gives every machine; scripts may set them.
memory_mib=2048
# Threads that emulate: "multi", one for each emulated CPU; "single", one for all; "fitting", one for all if there are
# more emulated CPUs than real ones. An emulated CPU that waits for another burns the time that the other needs, if both
# are threads that share a real one: one thread for all, which runs them in turn, is faster. But it hardly ever stops a
# CPU that holds a lock. Either way qemu interrupts a sequence behind its branches only; that every point is one where
# it may be interrupted, the stress shows on a real machine.
emulation_threads=fitting

# machine_boot KERNEL INITRAMFS CPUS LOG TIMEOUT_S ENVIRONMENT ARGUMENT...: boots and writes what the serial line says
# to LOG, without carriage returns. The program gets the arguments, and the environment (NAME=VALUE, or "").
machine_boot() {
    local kernel=$1 initramfs=$2 cpus=$3 log=$4 timeout_s=$5 environment=$6 threads=$emulation_threads
    shift 6
    if [ "$threads" = fitting ]; then
        if [ "$cpus" -gt "$(nproc)" ]; then threads=single; else threads=multi; fi
    fi
    timeout --kill-after=10 "$timeout_s" "${emulator[@]}" -accel "tcg,thread=$threads" -smp "$cpus" -m "$memory_mib" \
        -nic none -display none -monitor none -serial stdio -no-reboot -kernel "$kernel" -initrd "$initramfs" \
        -append "console=$console quiet panic=-1 $environment -- $*" </dev/null 2>&1 | sed -u 's|\r$||' >"$log"
    return "${PIPESTATUS[0]}"
}
