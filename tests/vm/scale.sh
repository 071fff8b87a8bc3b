#!/usr/bin/env bash
# How often the slow paths are walked on machines with few CPUs and with many: runs benchmarks with both front ends on
# machines that qemu emulates, x86-64 with 2, 8 and 64 CPUs, under Debian sid's kernel, and prints the counters of
# Tandem's statistics per million operations. With the most CPUs each may be 1.5 times what it is with the fewest.
#
# A thread for each emulated CPU shares this machine's few: a CPU that holds a lock is stopped, as a thread is whose
# time is up, and others find the lock held. So contention shows, but as on an overcommitted machine, not as where 64
# CPUs really run at once. And what Tandem does by the clock, ten times a second, it does for fewer operations: where 64
# CPUs really run at once there are more of them in a second, here there are less. The last column shows by how much.
#
# Usage: tests/vm/scale.sh [--cpus N] [--workload server|mstress|pipeline] [--front-end percpu|perthread]
#                          [--operations N] [--timeout-s N]
# Without options it runs everything, some 5 minutes on 2 cores that are idle; the first three may be repeated.
# --operations is for each thread, --timeout-s for each machine. What it installs and where it puts what it makes is as
# for run.sh.
# Ends with "N passed, N failed"; the exit status says whether nothing failed.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=${TANDEM_VM_FOLDER:-${XDG_CACHE_HOME:-$HOME/.cache}/tandem/vm}
source "$root/tests/vm/machine.sh"
# The bound leaves room for noise and for slow paths that grow a little, if not with the CPUs: from 2 to 64 that would
# be 32 times. The slack is for counters that are nearly 0: as many events of 10 microseconds would make an operation
# 0.3 ns longer.
bound=1.5
slack_per_million=30
# The maintenance locks the central lists ten times a second, up to twice each of 80, and a machine of 64 CPUs needs
# longer for its work.
central_locks_per_second=1600
# Of the slow paths, that is refills and flushes. All that come to a lock while the CPU that holds it is stopped find it
# held, so the more CPUs share this machine's, the more do; there are few enough if they are one in twenty.
contended_share=0.05
read -r -a bazel <<<"${BAZEL:-bazel}"

cpu_counts=()
workloads=()
front_ends=()
operations=150000
timeout_s=900
usage() {
    sed -n 's/^# \{0,1\}//; /^Usage/,/^Ends/p' "$0" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --cpus) cpu_counts+=("${2:?}") ;;
    --workload) workloads+=("${2:?}") ;;
    --front-end) front_ends+=("${2:?}") ;;
    --operations) operations=${2:?} ;;
    --timeout-s) timeout_s=${2:?} ;;
    *) usage ;;
    esac
    shift 2
done
[ ${#cpu_counts[@]} -gt 0 ] || cpu_counts=(2 8 64)
[ ${#workloads[@]} -gt 0 ] || workloads=(server mstress pipeline)
[ ${#front_ends[@]} -gt 0 ] || front_ends=(percpu perthread)
for name in "${workloads[@]}"; do [[ $name =~ ^(server|mstress|pipeline)$ ]] || usage; done
for name in "${front_ends[@]}"; do [[ $name =~ ^(percpu|perthread)$ ]] || usage; done

counters=(refills flushes central_locks locks_contended remote_fences system_calls)
# Printed behind the counters, not judged: how long the machine took, by its own clock.
duration=seconds
mapfile -t cpu_counts < <(printf '%s\n' "${cpu_counts[@]}" | sort -n -u)
if [ ${#cpu_counts[@]} -lt 2 ] || [ "${cpu_counts[0]}" -lt 2 ]; then usage; fi

# workload_flags WORKLOAD CPUS: two threads for each CPU. The work and what is live at once grow with the threads: each
# thread does the same on every machine.
workload_flags() {
    local cpus=$2 all=$((2 * $2 * operations))
    case $1 in
    server) # a request is some 38 operations
        echo "--threads=$((cpus + cpus / 2)) --writers=$((cpus / 2)) --requests=$((all / 38))"
        ;;
    mstress) echo "--threads=$((2 * cpus)) --operations=$all --live=$((2000 * cpus))" ;;
    pipeline) echo "--threads=$cpus --consumers=$cpus --operations=$all --places=$((16 * cpus))" ;;
    esac
}

# staging_make PROGRAM...: the init, the programs and their libraries, as a machine is to find them. Sets `staging`.
staging_make() {
    local programs=("${@/#/$bin/benchmarks/}") library libraries
    staging=$folder/scale-staging
    rm -rf "$staging"
    install -D -m 755 "$root/tests/vm/scale_init.sh" "$staging/init" &&
        install -D -m 755 -t "$staging/bin" "${programs[@]}" /bin/busybox || return 1
    # The loader too, and each at the path where it lies here.
    mapfile -t libraries < <(ldd "${programs[@]}" | sed -n 's|^[^/]*\(/[^ ]*\) (0x.*|\1|p' | sort -u)
    for library in "${libraries[@]}"; do install -D -m 755 "$library" "$staging$library" || return 1; done
}

# How often the machine runs each program: more often where a run does little, so that what is rare is counted well.
rounds_for() {
    echo $(($1 >= 16 ? 1 : 16 / $1))
}

# run_machine CPUS LOG: everything on a machine with so many CPUs.
run_machine() {
    local cpus=$1 log=$2 front_end workload round started=$SECONDS try status
    for front_end in "${front_ends[@]}"; do
        for workload in "${workloads[@]}"; do
            for ((round = 1; round <= $(rounds_for "$cpus"); round++)); do
                echo "$front_end:$workload ${workload}_$front_end --seed=$round $(workload_flags "$workload" "$cpus")"
            done
        done
    done >"$staging/commands"
    rm -f "$log"
    folder_pack "$staging" "$folder/scale.cpio.gz" || return 1
    # Now and then an emulated CPU executes, at a timer's interrupt, code of the kernel that another one has patched:
    # the kernel panics while it starts. That machine is booted again; one that ran a program is not.
    for try in 1 2 3; do
        # Measuring how long a loop takes is what Linux does longest at its start, if many CPUs share one: it is told.
        # And it would take a CPU that is not running for one that hangs.
        machine_boot "$kernel" "$folder/scale.cpio.gz" "$cpus" "$log" "$timeout_s" \
            "lpj=4000000 rcupdate.rcu_cpu_stall_suppress=1 nowatchdog"
        status=$?
        if grep -q '^run: ' "$log" || ! grep -q 'Kernel panic' "$log"; then break; fi
        echo "$self: $cpus CPUs: the kernel panicked while it started (try $try)"
    done
    echo "$self: $cpus CPUs, $((SECONDS - started)) s"
    if [ "$status" -ne 0 ]; then fail_with "$cpus CPUs: exit status $status, 124 after $timeout_s s" "$log"; fi
}

# rates_of LOG FRONT_END WORKLOAD CPUS: how many runs were as they should be, and behind it the counters per million
# operations, over all of them together.
rates_of() {
    awk -v label="$2:$3" -v cpus="$4" -v front_end="$2" -v names="${counters[*]} $duration" '
        function number_behind(text) { return match($0, text) > 0 ? substr($0, RSTART + RLENGTH) + 0 : 0 }
        $1 == "run:" {
            is_ours = $2 == label && $3 == cpus
            operations = 0
            is_meant = 0
            split("", value)
        }
        # Where the operations that it counts are requests, the workload says how many objects there were.
        /^{"workload"/ { operations = number_behind("\"objects\": ") }
        /^{"workload"/ && operations == 0 { operations = number_behind("\"operations\": ") }
        /^{"workload"/ { value["seconds"] = number_behind("\"wall_s\": ") }
        /^tandem / { is_meant = front_end == "perthread" || /mode rseq \(glibc\), index mm_cid/ }
        /^[a-z_]+: [0-9]+$/ { value[substr($1, 1, length($1) - 1)] = $2 }
        is_ours && $1 == "status:" && $2 == 0 && is_meant && operations > 0 && "refills" in value {
            runs++
            total += operations
            for (name in value) sum[name] += value[name]
        }
        END {
            printf "%d", runs
            count = split(names, name_at, " ")
            for (i = 1; i <= count; i++) printf " %.2f", (total > 0 ? 1000000 * sum[name_at[i]] / total : 0)
            print ""
        }' "$1"
}

# judge FRONT_END WORKLOAD LEAST MOST: prints the rates on every machine and how those with MOST CPUs compare with those
# with LEAST.
judge() {
    local front_end=$1 workload=$2 least=$3 most=$4 cpus rates few many grown
    for cpus in "${cpu_counts[@]}"; do
        read -r -a rates < <(rates_of "$folder/scale-$cpus.log" "$front_end" "$workload" "$cpus")
        if [ "${#rates[@]}" -ne $((2 + ${#counters[@]})) ] || [ "${rates[0]}" != "$(rounds_for "$cpus")" ]; then
            fail_with "$front_end, $workload, $cpus CPUs: a run failed or is missing, see $folder/scale-$cpus.log"
            return
        fi
        row "$front_end" "$workload" "$cpus" "${rates[@]:1}"
        if [ "$cpus" = "$least" ]; then few="${rates[*]:1}"; fi
        if [ "$cpus" = "$most" ]; then many="${rates[*]:1}"; fi
    done
    # shellcheck disable=SC2046  # one word for each counter
    row "$front_end" "$workload" "$most:$least" $(awk -v few="$few" -v many="$many" 'BEGIN {
        count = split(few, a, " ")
        split(many, b, " ")
        for (i = 1; i <= count; i++) print (a[i] > 0 ? sprintf("%.2f", b[i] / a[i]) : "-")
    }')
    grown=$(awk -v few="$few" -v many="$many" -v names="${counters[*]}" -v bound="$bound" \
        -v slack="$slack_per_million" -v per_second="$central_locks_per_second" -v share="$contended_share" 'BEGIN {
        split(few, a, " ")
        split(many, b, " ")
        count = split(names, name, " ")
        for (i = 1; i <= count; i++) {
            most = bound * a[i] + slack
            if (name[i] == "central_locks") most += per_second * (b[count + 1] - a[count + 1])
            if (name[i] == "locks_contended") most = share * (b[1] + b[2]) + slack
            if (b[i] > most) printf "%s%s %s to %s", (separator++ ? ", " : ""), name[i], a[i], b[i]
        }
    }')
    # Below the table.
    verdicts+=("$front_end, $workload, $least to $most CPUs: $grown")
}

row() {
    printf '%-10s%-10s%6s' "$1" "$2" "$3"
    shift 3
    printf ' %15s' "$@"
    echo
}

mkdir -p "$folder" || exit 1
machine_select x86_64
# shellcheck disable=SC2034  # for machine.sh
emulation_threads=multi memory_mib=8192
mapfile -t packages < <(machine_packages)
install_missing "${packages[@]}" busybox-static cpio dpkg apt debian-archive-keyring || exit 1
"$root/tools/install.sh" build benchmarks || exit 1
apt_prepare && kernel_unpack sid || exit 1
programs=()
for front_end in "${front_ends[@]}"; do programs+=("${workloads[@]/%/_$front_end}"); done
cd "$root" && "${bazel[@]}" build --compilation_mode=opt "${programs[@]/#///benchmarks:}" &&
    bin=$("${bazel[@]}" info --compilation_mode=opt bazel-bin) && staging_make "${programs[@]}" || exit 1

for cpus in "${cpu_counts[@]}"; do run_machine "$cpus" "$folder/scale-$cpus.log"; done
verdicts=()
echo "per million operations:"
row "" "" CPUs "${counters[@]}" "$duration"
for front_end in "${front_ends[@]}"; do
    for workload in "${workloads[@]}"; do judge "$front_end" "$workload" "${cpu_counts[0]}" "${cpu_counts[-1]}"; done
done
for verdict in "${verdicts[@]}"; do
    case $verdict in
    *': ') pass "${verdict}no counter grows" ;;
    *) fail_with "$verdict per million operations" ;;
    esac
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
