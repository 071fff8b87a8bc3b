#include "benchmarks/harness/harness.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <vector>

#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/string_view.h"

ABSL_FLAG(uint64_t, seed, 1, "seed of the random numbers: the same seed is the same work");

namespace bench {
namespace {

constexpr size_t thread_stack_bytes = 256 << 10;
constexpr int progress_seconds = 5;

// The run that this process is. Set by `begin`, then only read.
const char *workload = "benchmark";
struct rusage usage_at_start;

std::atomic<uint64_t> operations_expected{0};
std::atomic<uint64_t> operations_done{0};

double seconds_of(const struct timeval &time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

void print_progress() {
    const uint64_t expected = operations_expected.load(std::memory_order_relaxed);
    const uint64_t done = operations_done.load(std::memory_order_relaxed);
    if (expected != 0) {
        fprintf(stderr, "%s: %.0f %% of %llu operations\n", workload,
                100.0 * static_cast<double>(done) / static_cast<double>(expected),
                static_cast<unsigned long long>(expected));
    }
}

// The number after `label` in a file of /proc, in bytes; 0 if there is none. Allocates nothing.
uint64_t proc_kib_field(const char *path, const char *label) {
    char text[8192];
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return 0;
    }
    size_t length = 0;
    ssize_t got;
    while (length < sizeof text - 1 && (got = read(file, text + length, sizeof text - 1 - length)) > 0) {
        length += static_cast<size_t>(got);
    }
    close(file);
    text[length] = '\0';
    const char *found = strstr(text, label);
    return found != nullptr ? strtoull(found + strlen(label), nullptr, 10) * 1024 : 0;
}

// The file name of the library that malloc comes from, or of the program itself.
std::string malloc_library() {
    Dl_info info;
    void *const symbol = dlsym(RTLD_DEFAULT, "malloc");
    if (symbol == nullptr || dladdr(symbol, &info) == 0 || info.dli_fname == nullptr) {
        return "unknown";
    }
    const char *const slash = strrchr(info.dli_fname, '/');
    return slash != nullptr ? slash + 1 : info.dli_fname;
}

// What Tandem says of itself, "percpu: rseq (glibc), mm_cid"; empty with any other malloc.
std::string tandem_words() {
    using text_function = const char *(*)();
    const auto front_end = reinterpret_cast<text_function>(dlsym(RTLD_DEFAULT, "tandem_front_end"));
    const auto mode = reinterpret_cast<text_function>(dlsym(RTLD_DEFAULT, "tandem_mode"));
    const auto index = reinterpret_cast<text_function>(dlsym(RTLD_DEFAULT, "tandem_index"));
    if (front_end == nullptr || mode == nullptr || index == nullptr) {
        return "";
    }
    return std::string(front_end()) + ": " + mode() + ", " + index();
}

std::string number(double value) {
    char text[64];
    snprintf(text, sizeof text, "%.9g", value);
    return text;
}

void add_field(std::string *fields, const char *name, const std::string &value) {
    *fields += (fields->empty() ? "\"" : ", \"") + std::string(name) + "\": " + value;
}

// One thread of `run_threads`. It starts at the gate, a lock that the starter holds for writing until all threads
// exist, and exits when all have come to the finish.
struct worker {
    pthread_t thread;
    pthread_rwlock_t *gate;
    meeting *finish;
    const std::function<void(uint64_t)> *body;
    uint64_t index;
};

void *worker_main(void *argument) {
    const worker *const self = static_cast<worker *>(argument);
    pthread_rwlock_rdlock(self->gate);
    pthread_rwlock_unlock(self->gate);
    (*self->body)(self->index);
    self->finish->wait();
    return nullptr;
}

void join(pthread_t thread) {
    for (;;) {
        struct timespec deadline;
        clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_sec += progress_seconds;
        if (pthread_timedjoin_np(thread, nullptr, &deadline) == 0) {
            return;
        }
        print_progress();
    }
}

[[noreturn]] void end_with(int status, const char *kind, const char *format, va_list arguments) {
    char message[512];
    vsnprintf(message, sizeof message, format, arguments);
    fprintf(stderr, "%s: %s%s\n", workload, kind, message);
    _exit(status);
}

}  // namespace

void begin(const char *name, int argc, char **argv) {
    workload = name;
    absl::FlagsUsageConfig config;
    config.contains_help_flags = [](absl::string_view file) {
        return file.find("benchmarks/") != absl::string_view::npos;
    };
    absl::SetFlagsUsageConfig(config);
    absl::SetProgramUsageMessage(
        "runs a fixed amount of work, checks it, and prints one JSON object; see benchmarks/README.md");
    if (absl::ParseCommandLine(argc, argv).size() > 1) {
        fprintf(stderr, "%s: takes flags only, see --help\n", workload);
        exit(2);
    }
    getrusage(RUSAGE_SELF, &usage_at_start);
}

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    end_with(1, "mismatch: ", format, arguments);
}

void give_up(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    end_with(2, "", format, arguments);
}

void require_flag(const char *flag, uint64_t value, uint64_t low, uint64_t high) {
    if (value < low || value > high) {
        give_up("--%s is %llu, must be between %llu and %llu", flag, static_cast<unsigned long long>(value),
                static_cast<unsigned long long>(low), static_cast<unsigned long long>(high));
    }
}

double run_threads(uint64_t threads, const std::function<void(uint64_t)> &body) {
    pthread_rwlock_t gate = PTHREAD_RWLOCK_INITIALIZER;
    meeting finish(threads);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, thread_stack_bytes);
    std::vector<worker> workers(threads);
    pthread_rwlock_wrlock(&gate);
    for (uint64_t i = 0; i < threads; i++) {
        workers[i].gate = &gate;
        workers[i].finish = &finish;
        workers[i].body = &body;
        workers[i].index = i;
        const int error = pthread_create(&workers[i].thread, &attributes, worker_main, &workers[i]);
        if (error != 0) {
            give_up("thread %llu of %llu could not be started: %s", static_cast<unsigned long long>(i + 1),
                    static_cast<unsigned long long>(threads), strerror(error));
        }
    }
    const double start = now();
    pthread_rwlock_unlock(&gate);
    for (const worker &each : workers) {
        join(each.thread);
    }
    const double end = now();
    pthread_attr_destroy(&attributes);
    pthread_rwlock_destroy(&gate);
    return end - start;
}

meeting::meeting(uint64_t threads) {
    pthread_barrier_init(&barrier_, nullptr, static_cast<unsigned>(threads));
}

meeting::~meeting() {
    pthread_barrier_destroy(&barrier_);
}

void meeting::wait() {
    pthread_barrier_wait(&barrier_);
}

double now() {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

void expect_operations(uint64_t operations) {
    operations_expected.store(operations, std::memory_order_relaxed);
}

void advance(uint64_t operations) {
    operations_done.fetch_add(operations, std::memory_order_relaxed);
}

uint64_t resident_bytes() {
    const uint64_t exact = proc_kib_field("/proc/self/smaps_rollup", "Rss:");
    return exact != 0 ? exact : proc_kib_field("/proc/self/status", "VmRSS:");
}

// Not getrusage's ru_maxrss: that one starts from the peak of the program that started this one.
uint64_t peak_resident_bytes() {
    return proc_kib_field("/proc/self/status", "VmHWM:");
}

report::report() {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    peak_bytes_ = peak_resident_bytes();
    end_bytes_ = resident_bytes();
    minor_faults_ = static_cast<uint64_t>(usage.ru_minflt - usage_at_start.ru_minflt);
    user_seconds_ = seconds_of(usage.ru_utime) - seconds_of(usage_at_start.ru_utime);
    system_seconds_ = seconds_of(usage.ru_stime) - seconds_of(usage_at_start.ru_stime);
}

void report::parameter(const char *name, uint64_t value) {
    add_field(&parameters_, name, std::to_string(value));
}

void report::figure(const char *name, double value) {
    add_field(&figures_, name, number(value));
}

void report::json(const char *name, const std::string &text) {
    add_field(&figures_, name, text);
}

void report::verified(const std::string &what) {
    verified_ = what;
}

void report::print(double seconds, uint64_t operations) {
    const double rate = seconds > 0 ? static_cast<double>(operations) / seconds : 0;
    std::string line;
    add_field(&line, "workload", "\"" + std::string(workload) + "\"");
    add_field(&line, "malloc", "\"" + malloc_library() + "\"");
    add_field(&line, "tandem", "\"" + tandem_words() + "\"");
    add_field(&line, "wall_s", number(seconds));
    add_field(&line, "operations", std::to_string(operations));
    add_field(&line, "operations_per_s", number(rate));
    add_field(&line, "rss_peak_kib", std::to_string(peak_bytes_ / 1024));
    add_field(&line, "rss_end_kib", std::to_string(end_bytes_ / 1024));
    add_field(&line, "minor_faults", std::to_string(minor_faults_));
    add_field(&line, "user_s", number(user_seconds_));
    add_field(&line, "system_s", number(system_seconds_));
    add_field(&line, "parameters", "{" + parameters_ + "}");
    add_field(&line, "figures", "{" + figures_ + "}");
    add_field(&line, "verified", "\"" + verified_ + "\"");
    printf("{%s}\n", line.c_str());
    if (fflush(stdout) != 0) {
        fprintf(stderr, "%s: could not write the results: %s\n", workload, strerror(errno));
        exit(1);
    }
}

}  // namespace bench
