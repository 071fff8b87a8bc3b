// A program that forks while other threads allocate, holding a lock that fork waits for: a library's, or glibc's list
// of streams. In C, and without the C++ library: nothing allocates before the library's constructor has run.
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/process/fork_handlers.h"

#define FORKS 100
#define LINES 20
#define LINE_BYTES ((size_t)200000)

// Not through a stream: another thread may hold their list.
static void fail(const char *call) {
    dprintf(STDERR_FILENO, "%s: %s\n", call, strerror(errno));
    _exit(EXIT_FAILURE);
}

static void *allocate_guarded(void *unused) {
    void *objects[200];
    for (;;) {
        guarded_begin();
        for (size_t i = 0; i < 200; i++) {
            objects[i] = malloc(i % 50 == 0 ? 100000 : 700);
        }
        for (size_t i = 0; i < 200; i++) {
            free(objects[i]);
        }
        guarded_end();
        usleep(100);
    }
    return unused;
}

static void *flush_streams(void *unused) {
    for (;;) {
        fflush(NULL);
        usleep(20);
    }
    return unused;
}

// getline allocates while it has the stream.
static void *read_lines(void *stream) {
    for (;;) {
        rewind(stream);
        for (int i = 0; i < LINES; i++) {
            char *line = NULL;
            size_t capacity = 0;
            if (getline(&line, &capacity, stream) < 0) {
                fail("getline");
            }
            free(line);
        }
    }
    return stream;
}

static FILE *make_lines(void) {
    FILE *stream = tmpfile();
    if (stream == NULL) {
        fail("tmpfile");
    }
    char *line = malloc(LINE_BYTES);
    memset(line, 'x', LINE_BYTES);
    line[LINE_BYTES - 1] = '\n';
    for (int i = 0; i < LINES; i++) {
        fwrite(line, 1, LINE_BYTES, stream);
    }
    free(line);
    // Nothing pending: a child's fflush would write it where the parent reads.
    if (fflush(stream) != 0) {
        fail("fflush");
    }
    return stream;
}

static void start(void *(*function)(void *), void *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, function, argument) != 0) {
        fail("pthread_create");
    }
}

static void expect_success_of(pid_t pid) {
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        fail("fork");
    }
    if (status != 0) {
        dprintf(STDERR_FILENO, "the child's status is %#x\n", status);
        _exit(EXIT_FAILURE);
    }
}

static void fork_and_wait(void) {
    pid_t pid = fork();
    if (pid == 0) {
        void *object = malloc(1000);
        fflush(NULL);
        _exit(object != NULL ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    expect_success_of(pid);
}

static void *sleep_for_ever(void *unused) {
    for (;;) {
        pause();
    }
    return unused;
}

static void start_first_thread(void) {
    static bool is_started;
    if (!is_started) {
        is_started = true;
        start(sleep_for_ever, NULL);
    }
}

static void *open_stream(void *is_opened) {
    FILE *stream = fopen("/dev/null", "r");
    *(bool *)is_opened = stream != NULL && fclose(stream) == 0;
    return NULL;
}

// Forks with one thread, to which a handler adds another. The child uses streams in one of its own.
static void fork_while_a_thread_starts(void) {
    pthread_atfork(start_first_thread, NULL, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        bool is_opened = false;
        alarm(10);
        _exit(pthread_create(&thread, NULL, open_stream, &is_opened) != 0 || pthread_join(thread, NULL) != 0 ||
              !is_opened);
    }
    expect_success_of(pid);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        return EXIT_FAILURE;
    }
    fork_and_wait();  // with one thread
    if (strcmp(argv[1], "first thread") == 0) {
        fork_while_a_thread_starts();
    } else if (strcmp(argv[1], "library") == 0) {
        start(allocate_guarded, NULL);
    } else {
        start(read_lines, make_lines());
        start(flush_streams, NULL);
        start(flush_streams, NULL);
    }
    for (int i = 0; i < FORKS; i++) {
        fork_and_wait();
        usleep(100);
    }
    _exit(write(STDOUT_FILENO, "done\n", 5) != 5);
}
