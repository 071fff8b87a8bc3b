#define _GNU_SOURCE

#include "tests/vm/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "allocator/tandem.h"
#include "tests/vm/affinity.h"
#include "tests/vm/mailbox.h"
#include "tests/vm/sabotage.h"
#include "tests/vm/sequence.h"
#include "tests/vm/verdict.h"

enum {
    STACK_BYTES = 256 * 1024,
    HANDLER_OWNER_BIT = 0x8000,
    BATCH_OBJECTS = 96,
    STEPS_PER_FLUSH = 8192,
    STEPS_PER_RELEASE = 4096,
    RELEASE_BYTES = 4096,
    STEPS_PER_AFFINITY_CHANGE = 2048,
    STEPS_PER_BATCH = 512,
    MAX_SIGNAL_DELAY_NS = 50000,
};

static _Thread_local struct worker *self;

static void *volatile lost_object;  // of SABOTAGE_LOSE

static int storm_signal(void) {
    return SIGRTMIN;
}

static void add(uint64_t *count, uint64_t increment) {
    // Only the owner writes; relaxed: a statistic.
    __atomic_store_n(count, __atomic_load_n(count, __ATOMIC_RELAXED) + increment, __ATOMIC_RELAXED);
}

// Mostly small, some of a few pages, few that are a mapping of their own.
static size_t random_size(struct random *random) {
    static const struct {
        unsigned until_permille;
        size_t max_bytes;
    } kinds[] = {{700, 128}, {920, 1024}, {990, 8192}, {999, 65536}, {1000, 1048576}};
    uint64_t permille = random_below(random, 1000);
    size_t kind = 0;
    while (permille >= kinds[kind].until_permille)
        kind++;
    return OBJECT_MIN_BYTES + random_below(random, kinds[kind].max_bytes - OBJECT_MIN_BYTES + 1);
}

static enum object_origin random_origin(struct random *random) {
    uint64_t percent = random_below(random, 100);
    if (percent < 80)
        return OBJECT_FROM_MALLOC;
    return percent < 90 ? OBJECT_FROM_CALLOC : OBJECT_FROM_ALIGNED_ALLOC;
}

static void commit_sabotage(struct object *object) {
    switch (sabotage) {
    case SABOTAGE_FREE_TWICE: {
        struct object same = *object;
        if (mailbox_try_put(&same, self->owner))
            free(object->memory);
        break;
    }
    case SABOTAGE_LOSE:
        lost_object = malloc(object->size);
        break;
    case SABOTAGE_CORRUPT:
        object->memory[object->size / sizeof(uint64_t) - 1] ^= 1;
        break;
    case SABOTAGE_HANG:
        for (;;)
            pause();
    default:
        break;
    }
}

static void make_object_from(enum object_origin origin, struct object *object, size_t size) {
    object_create(object, origin, size, self->owner, ++self->last_number);
    if (self->last_number == SABOTAGE_DELAY)
        commit_sabotage(object);
    add(&self->counts.operations, 1);
}

static void make_object(struct object *object, size_t size) {
    make_object_from(random_origin(&self->random), object, size);
}

static void drop_object(struct object *object) {
    if (object->memory == NULL)
        return;
    object_destroy(object);
    add(&self->counts.operations, 1);
}

static void resize_object(struct object *object) {
    object_resize(object, random_size(&self->random));
    add(&self->counts.operations, 1);
}

static void swap_with_mailbox(struct object *object, struct random *random) {
    if (object->memory != NULL) {
        object_verify(object, "before it is handed over");
        if (!mailbox_try_put(object, random_next(random)))
            return;
    }
    if (mailbox_try_take(object, random_next(random)))
        object_verify(object, "after it was handed over");
}

// Many objects of one size at once, so that caches run empty and full.
static void make_and_drop_batch(void) {
    struct object batch[BATCH_OBJECTS] = {{0}};
    size_t size = random_size(&self->random) % 4096 + OBJECT_MIN_BYTES;
    for (int i = 0; i < BATCH_OBJECTS; i++)
        make_object(&batch[i], size);
    for (int i = 0; i < BATCH_OBJECTS; i++) {
        if (!mailbox_try_put(&batch[i], random_next(&self->random)))
            drop_object(&batch[i]);
    }
}

static void flush_cache(void) {
    allocator_call = "tandem_flush";
    tandem_flush();
    allocator_call = NULL;
    add(&self->counts.flushes, 1);
}

// Little memory, but all caches are emptied for it: those of other CPUs too, on which sequences are under way.
static void release_memory(void) {
    allocator_call = "tandem_release_memory";
    tandem_release_memory(RELEASE_BYTES);
    allocator_call = NULL;
    add(&self->counts.releases, 1);
}

// Little but sequences on two bins of a slab, and the emptying of slabs: what a sequence could be late for.
static void take_dense_step(void) {
    struct object batch[BATCH_OBJECTS] = {{0}};
    int count = 1 + (int)random_below(&self->random, BATCH_OBJECTS);
    size_t size = OBJECT_MIN_BYTES << random_below(&self->random, 2);
    for (int i = 0; i < count; i++)
        make_object_from(OBJECT_FROM_MALLOC, &batch[i], size);
    for (int i = 0; i < count; i++)
        drop_object(&batch[i]);
    release_memory();
}

static void take_mixed_step(uint64_t step) {
    struct object *object = &self->objects[random_below(&self->random, WORKER_OBJECTS)];
    uint64_t percent = random_below(&self->random, 100);
    if (object->memory == NULL) {
        if (percent < 75) {
            make_object(object, random_size(&self->random));
        } else {
            swap_with_mailbox(object, &self->random);
        }
    } else if (percent < 60) {
        drop_object(object);
    } else if (percent < 90) {
        swap_with_mailbox(object, &self->random);
    } else {
        resize_object(object);
    }
    if (step % STEPS_PER_BATCH == 0)
        make_and_drop_batch();
    if (step % STEPS_PER_FLUSH == 0)
        flush_cache();
    if (step % STEPS_PER_RELEASE == 0)
        release_memory();
    if (step % STEPS_PER_AFFINITY_CHANGE == 0) {
        affinity_shuffle(0, &self->random);
        add(&self->counts.affinity_changes, 1);
    }
}

static void handler_step(void) {
    struct random *random = &self->handler_random;
    struct object *object = &self->handler_objects[random_below(random, HANDLER_OBJECTS)];
    if (random_below(random, 4) == 0) {
        swap_with_mailbox(object, random);
        return;
    }
    if (object->memory != NULL) {
        object_destroy(object);
    } else {
        object_create(object, random_origin(random), random_size(random), self->owner | HANDLER_OWNER_BIT,
                      ++self->handler_last_number);
    }
    add(&self->counts.handler_operations, 1);
}

// A handler may allocate where the interrupted thread was in a restartable sequence or not in the allocator at all.
static void handle_storm(int signal_number, siginfo_t *information, void *context) {
    (void)signal_number;
    (void)information;
    int kept_errno = errno;
    bool in_sequence = sequence_was_interrupted(context);
    self->signal_is_due = false;
    add(&self->counts.signals, 1);
    if (in_sequence)
        add(&self->counts.signals_in_sequences, 1);
    if (allocator_call == NULL || in_sequence) {
        for (uint64_t steps = 1 + random_below(&self->handler_random, 4); steps > 0; steps--)
            handler_step();
    } else {
        add(&self->counts.signals_in_allocator, 1);
    }
    errno = kept_errno;
}

static void start_storm(void) {
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = storm_signal()};
    event._sigev_un._tid = gettid();
    if (timer_create(CLOCK_MONOTONIC, &event, &self->timer) != 0)
        fail("timer_create: %s", strerror(errno));
}

// Orders the next signal, unless the last one is still to come. A thread that makes no steps gets no signals either:
// with a period in place of that, an emulated machine would have time for nothing but handlers.
static void order_signal(void) {
    if (self->signal_is_due)
        return;
    self->signal_is_due = true;
    struct itimerspec setting = {.it_value.tv_nsec = 1 + (long)random_below(&self->random, MAX_SIGNAL_DELAY_NS)};
    if (timer_settime(self->timer, 0, &setting, NULL) != 0)
        fail("timer_settime: %s", strerror(errno));
}

static void stop_storm(void) {
    sigset_t storm;
    sigemptyset(&storm);
    sigaddset(&storm, storm_signal());
    pthread_sigmask(SIG_BLOCK, &storm, NULL);
    timer_delete(self->timer);
}

static void *run(void *argument) {
    self = argument;
    self->call = &allocator_call;
    __atomic_store_n(&self->tid, gettid(), __ATOMIC_RELEASE);  // pairs with `worker_is_running`
    start_storm();
    for (uint64_t step = 0; self->counts.operations < self->goal; step++) {
        if (step % self->steps_per_signal == 0)
            order_signal();
        if (self->is_dense)
            take_dense_step();
        else
            take_mixed_step(step);
    }
    stop_storm();
    for (int i = 0; i < WORKER_OBJECTS; i++)
        drop_object(&self->objects[i]);
    for (int i = 0; i < HANDLER_OBJECTS; i++)
        drop_object(&self->handler_objects[i]);
    __atomic_store_n(&self->tid, 0, __ATOMIC_RELEASE);
    return NULL;
}

void worker_init_process(void) {
    struct sigaction action = {.sa_sigaction = handle_storm, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (sigaction(storm_signal(), &action, NULL) != 0)
        fail("sigaction: %s", strerror(errno));
}

void worker_start(struct worker *worker, unsigned owner, uint64_t goal, uint64_t steps_per_signal, uint64_t seed) {
    worker->owner = owner;
    worker->goal = goal;
    worker->steps_per_signal = steps_per_signal;
    worker->random.state = seed;
    worker->handler_random.state = ~seed;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    int error = pthread_create(&worker->thread, &attributes, run, worker);
    pthread_attr_destroy(&attributes);
    if (error != 0)
        fail("pthread_create: %s", strerror(error));
}

void worker_join(struct worker *worker) {
    pthread_join(worker->thread, NULL);
}

bool worker_is_running(const struct worker *worker) {
    return __atomic_load_n(&worker->tid, __ATOMIC_ACQUIRE) != 0;
}
