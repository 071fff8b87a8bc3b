// A stress of the allocator: more threads than CPUs, under signals and changes of affinity, with objects handed between
// them, while a disturber moves the threads and has the allocator empty caches from outside. Ends with the line
// "stress: passed", or with "stress: FAILED: " and what was found: an object handed out twice, damaged or lost, a hang.
// Rounds of objects of all kinds, then a dense one: small objects only, and caches emptied all the time.
//
// An ordinary program; as process 1 of a machine it also mounts what it needs and switches the machine off.
//
//     stress [--operations=N] [--threads-per-cpu=N] [--rounds=N] [--steps-per-signal=N] [--disturb-us=N]
//     [--patience-s=N]
//            [--seed=N] [--sabotage=NAME]
#define _GNU_SOURCE

#include <errno.h>
#include <gnu/libc-version.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/vm/affinity.h"
#include "tests/vm/init.h"
#include "tests/vm/mailbox.h"
#include "tests/vm/sabotage.h"
#include "tests/vm/sequence.h"
#include "tests/vm/verdict.h"
#include "tests/vm/worker.h"

enum {
    MAX_WORKERS = 512,
    POLL_MS = 50,
    PROGRESS_S = 10,
    RELEASE_BYTES = 1 << 20,
    STATISTICS_BYTES = 16384,
    RSEQ_LEGACY_BYTES = 32,
    AUX_RSEQ_FEATURE_SIZE = 27,
    NS_PER_MS = 1000000,
    NS_PER_US = 1000,
    US_PER_S = 1000000,
};

extern const unsigned int __rseq_size __attribute__((weak));

// Immutable once the arguments are read.
static struct {
    uint64_t operations;
    uint64_t threads_per_cpu;
    uint64_t rounds;
    uint64_t steps_per_signal;
    uint64_t disturb_us;  // time between two acts of the disturber
    uint64_t patience_s;  // so long without any operation is a hang
    uint64_t seed;
} options = {
    .operations = 10000000,
    .threads_per_cpu = 3,
    .rounds = 4,
    .steps_per_signal = 32,
    .disturb_us = 500,
    .patience_s = 60,
};

static struct worker workers[MAX_WORKERS];
static unsigned worker_count;
static struct worker_counts totals;  // of the rounds that have ended; main thread's

// The disturber's.
static int disturber_must_end;  // atomic, any thread
static uint64_t disturber_moves;
static uint64_t disturber_releases;

static void sleep_us(uint64_t us) {
    struct timespec time = {.tv_sec = (time_t)(us / US_PER_S), .tv_nsec = (long)(us % US_PER_S) * NS_PER_US};
    nanosleep(&time, NULL);
}

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS;
}

static uint64_t read_number(const char *text, const char *argument) {
    char *end = NULL;
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        fail("bad number in %s", argument);
    return number;
}

static void read_argument(const char *argument) {
    const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {
        {"--operations=", &options.operations},
        {"--threads-per-cpu=", &options.threads_per_cpu},
        {"--rounds=", &options.rounds},
        {"--steps-per-signal=", &options.steps_per_signal},
        {"--disturb-us=", &options.disturb_us},
        {"--patience-s=", &options.patience_s},
        {"--seed=", &options.seed},
    };
    static const char sabotage_option[] = "--sabotage=";
    if (strncmp(argument, sabotage_option, strlen(sabotage_option)) == 0) {
        sabotage = sabotage_by_name(argument + strlen(sabotage_option));
        if (sabotage == SABOTAGE_COUNT)
            fail("unknown sabotage in %s", argument);
        return;
    }
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        size_t length = strlen(numbers[i].name);
        if (strncmp(argument, numbers[i].name, length) == 0) {
            *numbers[i].value = read_number(argument + length, argument);
            return;
        }
    }
    fail("unknown argument %s", argument);
}

static void read_arguments(int argc, char **argv) {
    options.seed = now_ms() * 1000003 + (uint64_t)getpid();
    for (int i = 1; i < argc; i++)
        read_argument(argv[i]);
    if (options.rounds == 0 || options.threads_per_cpu == 0 || options.steps_per_signal == 0)
        fail("nothing to do");
}

static const char *registration(void) {
    if (&__rseq_size == NULL || __rseq_size == 0)
        return "none";
    return __rseq_size <= RSEQ_LEGACY_BYTES ? "legacy" : "V2";
}

static void say_where(unsigned cpus) {
    struct utsname system;
    uname(&system);
    say("kernel %s %s, glibc %s, %u CPUs, %u threads, seed %" PRIu64, system.release, system.machine,
        gnu_get_libc_version(), cpus, worker_count, options.seed);
    say("libc's rseq: %s, %u bytes; kernel's feature size %lu", registration(), &__rseq_size == NULL ? 0 : __rseq_size,
        getauxval(AUX_RSEQ_FEATURE_SIZE));
    say("front end \"%s\", mode \"%s\", index \"%s\": %s", tandem_front_end(), tandem_mode(), tandem_index(),
        tandem_mode_reason());
}

static void disturb_once(uint64_t act, struct random *random) {
    static char text[STATISTICS_BYTES];
    struct worker *worker = &workers[random_below(random, worker_count)];
    pid_t tid = __atomic_load_n(&worker->tid, __ATOMIC_ACQUIRE);  // pairs with the worker's release
    if (tid != 0) {
        affinity_shuffle(tid, random);
        disturber_moves++;
    }
    if (act % 16 == 0) {
        tandem_release_memory(act % 64 == 0 ? SIZE_MAX : RELEASE_BYTES);
        disturber_releases++;
    }
    if (act % 32 == 0)
        tandem_stats_json(text, sizeof(text));
}

static void *run_disturber(void *argument) {
    struct random random = {.state = options.seed ^ (uint64_t)(uintptr_t)argument};
    for (uint64_t act = 1; __atomic_load_n(&disturber_must_end, __ATOMIC_RELAXED) == 0; act++) {
        disturb_once(act, &random);
        sleep_us(options.disturb_us);
    }
    return NULL;
}

static uint64_t read_count(const uint64_t *count) {
    return __atomic_load_n(count, __ATOMIC_RELAXED);
}

static void add_counts(struct worker_counts *sum, const struct worker_counts *counts) {
    sum->operations += read_count(&counts->operations);
    sum->affinity_changes += read_count(&counts->affinity_changes);
    sum->flushes += read_count(&counts->flushes);
    sum->releases += read_count(&counts->releases);
    sum->handler_operations += read_count(&counts->handler_operations);
    sum->signals += read_count(&counts->signals);
    sum->signals_in_sequences += read_count(&counts->signals_in_sequences);
    sum->signals_in_allocator += read_count(&counts->signals_in_allocator);
}

static struct worker_counts counts_so_far(void) {
    struct worker_counts sum = totals;
    for (unsigned i = 0; i < worker_count; i++)
        add_counts(&sum, &workers[i].counts);
    return sum;
}

static bool is_any_running(void) {
    for (unsigned i = 0; i < worker_count; i++) {
        if (worker_is_running(&workers[i]))
            return true;
    }
    return false;
}

__attribute__((noreturn)) static void fail_for_hang(void) {
    for (unsigned i = 0; i < worker_count; i++) {
        if (!worker_is_running(&workers[i]))
            continue;
        const char *call = *workers[i].call;
        say("thread %u of %" PRIu64 " operations is in %s", workers[i].owner, workers[i].counts.operations,
            call == NULL ? "no call of the allocator" : call);
    }
    fail("hang: no operation for %" PRIu64 " s", options.patience_s);
}

// Waits for the end of all workers, says how far they are and ends the process if they get no further.
static void watch_workers(void) {
    uint64_t last_operations = 0;
    uint64_t last_change_ms = now_ms();
    uint64_t last_progress_ms = last_change_ms;
    while (is_any_running()) {
        sleep_us(POLL_MS * 1000);
        uint64_t operations = counts_so_far().operations;
        uint64_t now = now_ms();
        if (operations != last_operations)
            last_change_ms = now;
        last_operations = operations;
        if (now - last_change_ms > options.patience_s * 1000)
            fail_for_hang();
        if (now - last_progress_ms > PROGRESS_S * 1000) {
            say("%" PRIu64 " operations", operations);
            last_progress_ms = now;
        }
    }
}

static void wait_for_start(const struct worker *worker) {
    // A worker with very little to do may have run and ended.
    while (!worker_is_running(worker) && read_count(&worker->counts.operations) == 0)
        sleep_us(NS_PER_US / 10);
}

static void empty_mailboxes(void) {
    struct object object = {0};
    for (uint64_t i = 0; i < MAILBOX_COUNT; i++) {
        if (!mailbox_try_take(&object, i))
            continue;
        object_destroy(&object);
        totals.operations++;
    }
}

// One round: threads that start, do `operations` in all and end; nothing is live afterwards. The one behind the last is
// dense.
static void run_round(uint64_t operations, uint64_t round) {
    memset(workers, 0, sizeof(workers));
    for (unsigned i = 0; i < worker_count; i++) {
        uint64_t seed = options.seed + round * MAX_WORKERS + i;
        workers[i].is_dense = round > options.rounds;
        worker_start(&workers[i], i + 1, operations / worker_count + 1, options.steps_per_signal, seed);
    }
    for (unsigned i = 0; i < worker_count; i++)
        wait_for_start(&workers[i]);
    pthread_t disturber;
    __atomic_store_n(&disturber_must_end, 0, __ATOMIC_RELAXED);
    int error = pthread_create(&disturber, NULL, run_disturber, &workers[round]);
    if (error != 0)
        fail("pthread_create: %s", strerror(error));
    watch_workers();
    __atomic_store_n(&disturber_must_end, 1, __ATOMIC_RELAXED);
    pthread_join(disturber, NULL);
    for (unsigned i = 0; i < worker_count; i++)
        worker_join(&workers[i]);
    totals = counts_so_far();
    memset(workers, 0, sizeof(workers));
    empty_mailboxes();
}

static struct tandem_stats stats_at_rest(void) {
    struct tandem_stats stats;
    tandem_get_stats(&stats, sizeof stats);
    uint64_t sum = stats.live_bytes + stats.cached_bytes + stats.free_bytes + stats.fresh_bytes + stats.waste_bytes +
                   stats.metadata_bytes;
    if (sum != stats.mapped_bytes) {
        fail("unaccounted memory: the parts add up to %" PRIu64 " bytes, %" PRIu64 " are mapped", sum,
             stats.mapped_bytes);
    }
    return stats;
}

// Every object was freed, so what lives now is what lived before: libc's memory for threads.
static void verify_live_bytes(uint64_t baseline, uint64_t round) {
    uint64_t live = stats_at_rest().live_bytes;
    if (live != baseline) {
        fail("lost objects: %" PRIu64 " bytes live after round %" PRIu64 ", %" PRIu64 " before", live, round, baseline);
    }
    say("round %" PRIu64 ": %" PRIu64 " bytes live, as before", round, live);
}

static void say_totals(void) {
    struct tandem_stats stats = stats_at_rest();
    say("%" PRIu64 " operations, %" PRIu64 " more in signal handlers", totals.operations, totals.handler_operations);
    say("%" PRIu64 " signals: %" PRIu64 " in restartable sequences, %" PRIu64 " elsewhere in the allocator",
        totals.signals, totals.signals_in_sequences, totals.signals_in_allocator);
    say("%" PRIu64 " changes of affinity by threads, %" PRIu64 " by the disturber; %" PRIu64 " flushes, %" PRIu64
        " releases",
        totals.affinity_changes, disturber_moves, totals.flushes, totals.releases + disturber_releases);
    say("%" PRIu64 " slabs, %" PRIu64 " refills, %" PRIu64 " flushes, %" PRIu64 " remote fences, %" PRIu64
        " contended locks",
        stats.slabs, stats.refills, stats.flushes, stats.remote_fences, stats.locks_contended);
}

// A run that did not reach what it is for has shown nothing.
static void verify_coverage(void) {
    bool rseq = strncmp(tandem_mode(), "rseq", strlen("rseq")) == 0;
    if (totals.operations < options.operations)
        fail("only %" PRIu64 " operations", totals.operations);
    if (totals.signals == 0)
        fail("no signal arrived");
    if (!rseq)
        return;
    if (sequence_is_known() && totals.signals_in_sequences == 0) {
        fail("no signal interrupted a restartable sequence");
    }
    if (stats_at_rest().remote_fences == 0)
        fail("no cache was emptied from outside");
}

int main(int argc, char **argv) {
    init_run_in_child();
    read_arguments(argc, argv);
    unsigned cpus = affinity_init();
    uint64_t threads = cpus * options.threads_per_cpu;
    worker_count = (unsigned)(threads < MAX_WORKERS ? threads : MAX_WORKERS);
    say_where(cpus);
    if (sabotage == SABOTAGE_ABI)
        sabotage_rseq_ids();
    worker_init_process();
    run_round(options.operations / 100, 0);
    uint64_t baseline = stats_at_rest().live_bytes;
    for (uint64_t round = 1; round <= options.rounds + 1; round++) {
        run_round(options.operations / options.rounds, round);
        verify_live_bytes(baseline, round);
    }
    say_totals();
    verify_coverage();
    say("passed");
    return 0;
}
