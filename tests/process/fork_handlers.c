// A library that guards itself with a lock which its fork handlers take, as many do. Its constructor registers them.
#include <pthread.h>

#include "tests/process/fork_handlers.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void guarded_begin(void) {
    pthread_mutex_lock(&lock);
}

void guarded_end(void) {
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void register_handlers(void) {
    pthread_atfork(guarded_begin, guarded_end, guarded_end);
}
