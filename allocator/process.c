// What happens once in a process: options at its start, fork(2), statistics at its end, the background thread.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "allocator/allocate.h"
#include "allocator/malloc.h"
#include "allocator/options.h"
#include "allocator/statistics.h"
#include "frontends/frontend.h"

// malloc works before this has run: constructors of other libraries may come first.
__attribute__((constructor(101))) static void process_begins(void);
__attribute__((destructor(101))) static void process_ends(void);

static void *maintain_forever(void *unused) {
    (void)unused;
    const struct timespec tick = {.tv_nsec = TD_TICK_MS * 1000000L};
    for (;;) {
        nanosleep(&tick, NULL);
        td_frontend_maintain();
    }
    return NULL;
}

// No signal of the program may be handled on a thread that the program does not know.
static void start_background_thread(void) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    if (pthread_create(&thread, NULL, maintain_forever, NULL) == 0)
        pthread_detach(thread);
    else
        td_warn("no thread could be started for option background_thread");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void fork_child(void) {
    td_frontend_fork_child();
    if (td_options.has_background_thread)
        start_background_thread();
}

static void process_begins(void) {
    td_options_apply();
    // Handlers run before fork in the reverse order of their registration: this one is early, so that it is last.
    pthread_atfork(td_frontend_fork_prepare, td_frontend_fork_parent, fork_child);
    if (td_options.has_background_thread)
        start_background_thread();
}

static void process_ends(void) {
    if (td_options.prints_stats_at_exit)
        td_statistics_print();
}
