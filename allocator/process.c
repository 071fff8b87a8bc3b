// What happens once in a process: options at its start, fork(2), statistics at its end, the background thread.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "allocator/allocate.h"
#include "allocator/operators.h"
#include "allocator/options.h"
#include "allocator/process.h"
#include "allocator/statistics.h"
#include "backend/backend.h"
#include "base/atomic.h"
#include "frontends/frontend.h"

// malloc works before this has run: constructors of other libraries may come first.
__attribute__((constructor(101))) static void process_begins(int count, char **arguments, char **environment);
__attribute__((destructor(101))) static void process_ends(void);

static void *maintain_forever(void *unused) {
    (void)unused;
    const struct timespec tick = {.tv_nsec = TD_TICK_MS * 1000000L};
    // Where the system refuses the call the thread would never rest: it ends.
    while (nanosleep(&tick, NULL) == 0 || errno == EINTR)
        td_frontend_maintain();
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

// glibc's fork waits for its list of streams behind the handlers, and locks its own malloc behind that: who flushes
// them all holds the list while he waits for a stream, whose owner may be allocating. In the child it
// unlocks the list if it saw several threads before the handlers ran, which may have started the second. Weak: other C
// libraries have no such list, and older glibcs do not tell how many threads there are.
extern void _IO_list_lock(void) __attribute__((weak, visibility("default")));
extern void _IO_list_unlock(void) __attribute__((weak, visibility("default")));
extern void _IO_list_resetlock(void) __attribute__((weak, visibility("default")));
extern char __libc_single_threaded __attribute__((weak, visibility("default")));

// Written by the thread that forks, which holds all locks, or is the only one.
static bool is_only_thread;
static bool holds_streams;

// fork(2) is async-signal-safe, and a handler may have interrupted whoever holds a lock. In a process with one thread
// that is the thread itself: it takes none, and whoever was interrupted lets go of his in both processes.
static void fork_prepare(void) {
    bool knows_threads = &__libc_single_threaded != NULL;
    bool is_only = knows_threads && __libc_single_threaded;
    bool has_list = &_IO_list_lock != NULL && &_IO_list_unlock != NULL && &_IO_list_resetlock != NULL;
    bool takes_streams = knows_threads && has_list && !is_only;
    if (takes_streams)
        _IO_list_lock();
    if (is_only)
        td_backend_note_fork();
    else
        td_frontend_fork_prepare();
    is_only_thread = is_only;
    holds_streams = takes_streams;
}

static void fork_parent(void) {
    if (is_only_thread)
        return;
    bool held_streams = holds_streams;
    td_frontend_fork_parent();
    if (held_streams)
        _IO_list_unlock();
}

static void fork_child(void) {
    if (is_only_thread)
        return;
    if (holds_streams)
        _IO_list_resetlock();
    td_frontend_fork_child();
    if (td_options.has_background_thread)
        start_background_thread();
}

void td_process_register_fork_handlers(void) {
    static bool is_done;  // atomic, any thread
    if (!td_exchange_acquire(&is_done, true))
        pthread_atfork(fork_prepare, fork_parent, fork_child);
}

// What a program that began without stderr opens as descriptor 2 is a file of its own. One that puts a file in the
// place of stderr later may want its messages there.
static bool is_stderr_open(void) {
    int saved_errno = errno;
    bool is_open = fcntl(STDERR_FILENO, F_GETFD) != -1;
    errno = saved_errno;
    return is_open;
}

// The arguments are glibc's. What comes before its own constructor, as -z initfirst does, finds no environment yet.
static void process_begins(int count, char **arguments, char **environment) {
    (void)count;
    (void)arguments;
    td_process_register_fork_handlers();
    td_operators_begin();
    char **own = environ;
    environ = own != NULL ? own : environment;
    td_options_apply();
    environ = own;
    td_options.prints_stats_at_exit = td_options.prints_stats_at_exit && is_stderr_open();
    if (td_options.has_background_thread)
        start_background_thread();
}

static void process_ends(void) {
    if (td_options.prints_stats_at_exit)
        td_statistics_print();
}
