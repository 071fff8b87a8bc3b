#!/usr/bin/env bash
# Runs the stress on machines that qemu emulates, x86-64 and aarch64, with 2 and with 8 CPUs, under Debian sid's kernel,
# which enforces the newest rseq ABI: the percpu front end's restartable sequences in all modes, then the perthread front
# end, which registers nothing ("none"). The program is linked statically against Debian 12's libc, which registers rseq
# in the legacy form, and against sid's, which registers V2. With rseq switched off in libc, Tandem registers an area of
# its own: that is run too. So is, with the fewest CPUs, Debian 12's kernel, which has no mm_cid.
#
# Usage: tests/vm/run.sh [--machine x86_64|aarch64] [--cpus N] [--registration legacy|v2|own|old-kernel|none]
#                        [--operations N] [--timeout-s N] [--no-self-checks]
# Without options it runs everything, some 40 minutes on 2 cores that are idle, two hours on busy ones; the first three may
# be repeated. Installs the Debian packages that are missing (as root, or with sudo). Downloads the other releases' packages
# from the mirror that this system uses, by an apt of its own. All that it makes lies in ~/.cache/tandem/vm, or in
# $TANDEM_VM_FOLDER.
# Ends with "N passed, N failed"; the exit status says whether nothing failed.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=${TANDEM_VM_FOLDER:-${XDG_CACHE_HOME:-$HOME/.cache}/tandem/vm}
source "$root/tests/vm/machine.sh"

machines=()
cpu_counts=()
registrations=()
operations=10000000
timeout_s=3600
patience_s=300 # a machine that is busy otherwise leaves an emulated one without time for long
self_checks=yes
usage() {
    sed -n 's/^# \{0,1\}//; /^Usage/,/^Ends/p' "$0" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --machine) machines+=("${2:?}") ;;
    --cpus) cpu_counts+=("${2:?}") ;;
    --registration) registrations+=("${2:?}") ;;
    --operations) operations=${2:?} ;;
    --timeout-s) timeout_s=${2:?} ;;
    --no-self-checks) self_checks=no ;;
    *) usage ;;
    esac
    if [ "$1" != --no-self-checks ]; then shift; fi
    shift
done
[ ${#machines[@]} -gt 0 ] || machines=(x86_64 aarch64)
[ ${#cpu_counts[@]} -gt 0 ] || cpu_counts=(2 8)
[ ${#registrations[@]} -gt 0 ] || registrations=(legacy v2 own old-kernel none)
for name in "${machines[@]}"; do [[ $name =~ ^(x86_64|aarch64)$ ]] || usage; done
for name in "${registrations[@]}"; do [[ $name =~ ^(legacy|v2|own|old-kernel|none)$ ]] || usage; done

# The suites whose libc registers rseq in that form and whose kernel is booted, and what the program finds then. Sets
# `suite`, `kernel_suite`, `front_end`, `environment`, `wanted_libc`, `wanted_mode` and `wanted_index`.
registration_select() {
    environment=
    kernel_suite=sid
    front_end=percpu
    wanted_mode='rseq (glibc)'
    wanted_index=mm_cid
    case $1 in
    legacy) suite=bookworm wanted_libc=legacy ;;
    v2) suite=sid wanted_libc=V2 ;;
    old-kernel) suite=bookworm kernel_suite=bookworm wanted_libc=legacy wanted_index=cpu_id ;;
    own) suite=sid wanted_libc=none wanted_mode='rseq (own)' environment=GLIBC_TUNABLES=glibc.pthread.rseq=0 ;;
    none) suite=sid front_end=perthread wanted_libc=V2 wanted_mode=thread-local wanted_index=thread ;;
    esac
}

# What the log says between two texts, once.
log_field() {
    sed -n "s/^.*$2\(.*\)$3.*\$/\1/p" "$1" | head -n 1
}

# judge LABEL LOG EXIT_STATUS: passes only on all that has to be there.
judge() {
    local label=$1 log=$2 status=$3 libc mode index reason count
    libc=$(log_field "$log" "stress: libc's rseq: " ', [0-9]* bytes')
    mode=$(log_field "$log" 'mode "' '", index')
    index=$(log_field "$log" 'index "' '": ')
    reason=$(log_field "$log" 'index "[^"]*": ' '')
    count=$(sed -n 's/^stress: \([0-9]*\) operations, .* in signal handlers$/\1/p' "$log")
    label="$label: libc's rseq ${libc:-?}, mode ${mode:-?}, index ${index:-?} (${reason:-?}), ${count:-0} operations"
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
        fail_with "$label: no end within $timeout_s s" "$log"
    elif [ "$status" -ne 0 ] || grep -q FAILED "$log" || ! grep -q '^stress: passed$' "$log"; then
        fail_with "$label: exit status $status" "$log"
    elif [ "$libc" != "$wanted_libc" ] || [ "$mode" != "$wanted_mode" ] || [ "$index" != "$wanted_index" ]; then
        fail_with "$label: libc's rseq should be $wanted_libc, the mode $wanted_mode, the index $wanted_index" "$log"
    elif [ "${count:-0}" -lt "$operations" ]; then
        fail_with "$label: $operations operations were asked for" "$log"
    else
        pass "$label"
    fi
}

# prepare REGISTRATION: builds the program for the machine selected. Sets `program`, `initramfs` and `kernel`.
prepare() {
    registration_select "$1"
    program=$folder/stress-$machine-$suite-$front_end
    initramfs=$program.cpio.gz
    kernel_unpack "$kernel_suite" && sysroot_unpack "$suite" && stress_build "$program" "$front_end" &&
        initramfs_make "$program" "$initramfs"
}

run_registration() {
    local registration=$1 counts=("${cpu_counts[@]}") cpus log started
    if ! prepare "$registration"; then
        fail_with "$machine, $registration: no kernel, or the program does not build"
        return
    fi
    if [ "$registration" = old-kernel ]; then counts=("${cpu_counts[0]}"); fi
    for cpus in "${counts[@]}"; do
        log=$folder/$machine-$registration-$cpus.log
        started=$SECONDS
        machine_boot "$kernel" "$initramfs" "$cpus" "$log" "$timeout_s" "$environment" "--operations=$operations" \
            "--patience-s=$patience_s"
        judge "$machine, $cpus CPUs, $registration, $((SECONDS - started)) s" "$log" $?
    done
}

# expect_finding LABEL LOG PATTERN: the run that was sabotaged must have failed, and in the way that fits.
expect_finding() {
    if grep -q '^stress: passed$' "$2"; then
        fail_with "self-check, $1: passed all the same" "$2"
    elif grep -Eq "$3" "$2"; then
        pass "self-check, $1: $(grep -Em 1 "$3" "$2" | cut -c 1-150)"
    else
        fail_with "self-check, $1: nothing matches \"$3\"" "$2"
    fi
}

# Commits faults in the program and sees whether it finds them: on this machine, and where only the emulated one can.
run_self_checks() {
    local log=$folder/self-check.log fault pattern
    prepare legacy || {
        fail_with "$machine, self-checks: no kernel, or the program does not build"
        return
    }
    while read -r fault pattern; do
        if [ "$machine" = "$(uname -m)" ]; then
            # The outer redirection is for what the shell itself says of a program that aborted.
            { timeout 120 "$program" --operations=1000000 --patience-s=5 "--sabotage=$fault" >"$log" 2>&1; } 2>/dev/null
        else
            machine_boot "$kernel" "$initramfs" 2 "$log" 120 "" --operations=300000 --patience-s=5 \
                "--sabotage=$fault"
        fi
        expect_finding "$machine, fault \"$fault\"" "$log" "$pattern"
    done <<'END'
double stress: FAILED: (doubled|damaged) object|stress: FAILED: calloc gave an object
free-twice stress: FAILED: doubled object|tandem: double free
lose stress: FAILED: lost objects
corrupt stress: FAILED: (damaged object|doubled object .* damaged stamp)
hang stress: FAILED: hang
END
    prepare v2 || {
        fail_with "$machine, self-checks: no kernel, or the program does not build"
        return
    }
    machine_boot "$kernel" "$initramfs" 2 "$log" 120 "" --operations=300000 --sabotage=abi
    expect_finding "$machine, fault \"abi\", which this kernel punishes" "$log" 'FAILED: killed by signal 11'
    machine_boot "$kernel" "$initramfs" 2 "$log" 5 "" --operations=1000000000
    if [ $? -eq 124 ]; then pass "self-check, $machine: a run without end is ended"; else
        fail_with "self-check, $machine: a run without end was not ended" "$log"
    fi
}

mkdir -p "$folder" || exit 1
packages=(cpio dpkg apt debian-archive-keyring)
for name in "${machines[@]}"; do
    machine_select "$name"
    mapfile -t -O ${#packages[@]} packages < <(machine_packages)
done
install_missing "${packages[@]}" || exit 1
apt_prepare || exit 1

for name in "${machines[@]}"; do
    machine_select "$name"
    if ! kernel_unpack sid; then
        fail_with "$machine: no kernel"
        continue
    fi
    echo "$self: $machine, $(basename "$(dirname "$kernel")")"
    if [ "$self_checks" = yes ]; then run_self_checks; fi
    for registration in "${registrations[@]}"; do run_registration "$registration"; done
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
