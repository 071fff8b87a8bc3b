// What every workload needs: its flags, its threads, its measurements and its results line.
//
//     int main(int argc, char **argv) {
//         bench::begin("mstress", argc, argv);              // flags read, counters noted
//         double seconds = bench::run_threads(n, work);     // fixed work, spread over the threads
//         bench::report report;                             // counters read
//         report.verified("...");
//         report.print(seconds, operations);                // one JSON object on stdout
//     }
#ifndef BENCHMARKS_HARNESS_HARNESS_H_
#define BENCHMARKS_HARNESS_HARNESS_H_

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include <functional>
#include <string>

#include "absl/flags/declare.h"
#include "absl/flags/flag.h"

ABSL_DECLARE_FLAG(uint64_t, seed);

namespace bench {

// Parses the flags, notes the counters and the name. The first call of every `main`.
void begin(const char *workload, int argc, char **argv);

// "<workload>: mismatch: <message>" on stderr, and the program ends with exit code 1. Any thread.
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// "<workload>: <message>" on stderr, and the program ends with exit code 2: it was asked for what it, or the machine,
// cannot do. Any thread.
[[noreturn]] void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Gives up unless low <= value <= high.
void require_flag(const char *flag, uint64_t value, uint64_t low, uint64_t high);

// Calls body(0) to body(threads - 1), each on a thread of its own. All threads live from before the first call until
// after the last one. Returns the seconds from the first call until the last thread has exited.
double run_threads(uint64_t threads, const std::function<void(uint64_t)> &body);

// Where a fixed number of threads meet: none leaves before all have come. For phases that end together.
class meeting {
  public:
    explicit meeting(uint64_t threads);
    ~meeting();
    meeting(const meeting &) = delete;
    meeting &operator=(const meeting &) = delete;
    void wait();

  private:
    pthread_barrier_t barrier_;
};

// Seconds on the monotonic clock.
double now();

// Progress for the reader at the terminal, on stderr every few seconds: workers add what they have done.
void expect_operations(uint64_t operations);
void advance(uint64_t operations);

// Resident bytes of the process now, exactly (this takes the kernel a while), and the peak so far.
uint64_t resident_bytes();
uint64_t peak_resident_bytes();

// Reads the counters when it is made; prints them. Make it when the workload's objects are freed and before its own
// tables go.
class report {
  public:
    report();

    // The object's own fields: parameters are what was asked for, figures what came of it.
    void parameter(const char *name, uint64_t value);
    void figure(const char *name, double value);
    void json(const char *name, const std::string &text);

    // One clause on what was checked.
    void verified(const std::string &what);

    // Writes the results as one line of JSON on stdout.
    void print(double seconds, uint64_t operations);

  private:
    uint64_t peak_bytes_;
    uint64_t end_bytes_;
    uint64_t minor_faults_;
    double user_seconds_;
    double system_seconds_;
    std::string parameters_;
    std::string figures_;
    std::string verified_;
};

}  // namespace bench

#endif  // BENCHMARKS_HARNESS_HARNESS_H_
