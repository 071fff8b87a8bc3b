// mpsc: an unbounded queue with many producers and one consumer, who frees what the producers allocated.
//
// The queue is a chain of nodes through the messages themselves. A producer swaps the head for its node and then links
// its predecessor to it; the consumer follows the links from the tail, one message behind, and frees what it leaves.
//
//     tail -> [read] -> [message] -> [message] -> [newest] <- head
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "benchmarks/harness/harness.h"
#include "benchmarks/harness/object.h"
#include "benchmarks/harness/random.h"

ABSL_FLAG(uint64_t, threads, 4, "producers; the consumer comes on top");
ABSL_FLAG(uint64_t, operations, 1000000, "messages in all, spread over the producers");
ABSL_FLAG(uint64_t, min_size, 32, "size of the smallest message, bytes");
ABSL_FLAG(uint64_t, max_size, 256, "size of the largest message, bytes");

namespace {

constexpr uint64_t chunk = 1024;  // messages between two notes on the progress

struct message {
    std::atomic<message *> next;  // atomic, any thread: written once, by the next message's producer
    uint32_t producer;
    uint32_t size;    // bytes, this header included
    uint64_t number;  // counts the producer's messages
    // then words of `payload_word`
};
static_assert(sizeof(message) == 24, "the payload starts at a multiple of 8 bytes");

uint64_t payload_word(const message *node, size_t index) {
    return (node->number << 20) ^ (static_cast<uint64_t>(node->producer) << 8) ^ index;
}

volatile uint64_t *payload_of(message *node) {
    return reinterpret_cast<volatile uint64_t *>(node + 1);
}

size_t payload_words(const message *node) {
    return (node->size - sizeof(message)) / 8;
}

message *message_new(size_t size, uint32_t producer, uint64_t number) {
    message *const node = static_cast<message *>(malloc(size));
    if (node == nullptr) {
        bench::fail("malloc(%zu) gave NULL", size);
    }
    node->next.store(nullptr, std::memory_order_relaxed);  // published by `queue_push`
    node->producer = producer;
    node->size = static_cast<uint32_t>(size);
    node->number = number;
    for (size_t i = 0; i < payload_words(node); i++) {
        payload_of(node)[i] = payload_word(node, i);
    }
    return node;
}

void message_check(message *node) {
    for (size_t i = 0; i < payload_words(node); i++) {
        if (payload_of(node)[i] != payload_word(node, i)) {
            bench::fail("message %llu of producer %u: word %zu is not what the producer wrote",
                        static_cast<unsigned long long>(node->number), node->producer, i);
        }
    }
}

struct queue {
    alignas(64) std::atomic<message *> head;  // atomic, any thread: the newest message
    alignas(64) message *tail;                // consumer only: read already, still linked
};

// The exchange orders producers among themselves; the release store pairs with the acquire load in `queue_pop`.
void queue_push(queue *messages, message *node) {
    message *const previous = messages->head.exchange(node, std::memory_order_acq_rel);
    previous->next.store(node, std::memory_order_release);
}

// The next message, or NULL if there is none yet; the one before it is freed. The message stays linked until the next
// call.
message *queue_pop(queue *messages) {
    message *const next = messages->tail->next.load(std::memory_order_acquire);  // pairs with `queue_push`
    if (next != nullptr) {
        free(messages->tail);
        messages->tail = next;
    }
    return next;
}

void produce(queue *messages, uint32_t producer, uint64_t count, size_t min_size, size_t max_size) {
    bench::random_source random(absl::GetFlag(FLAGS_seed) * 1000003 + producer);
    for (uint64_t number = 1; number <= count; number++) {
        queue_push(messages, message_new(random.between(min_size, max_size), producer, number));
    }
}

// Takes `operations` messages and checks that each producer's arrive whole and in order. Returns how often the queue
// was empty.
uint64_t consume(queue *messages, uint64_t producers, uint64_t operations) {
    std::vector<uint64_t> received(producers + 1);
    uint64_t empty = 0;
    for (uint64_t taken = 0; taken < operations;) {
        message *const node = queue_pop(messages);
        if (node == nullptr) {
            empty++;
            sched_yield();
            continue;
        }
        message_check(node);
        if (node->producer >= producers || node->number != ++received[node->producer]) {
            bench::fail("producer %u: message %llu came where %llu was due", node->producer,
                        static_cast<unsigned long long>(node->number),
                        static_cast<unsigned long long>(received[std::min<uint64_t>(node->producer, producers)]));
        }
        if (++taken % chunk == 0) {
            bench::advance(chunk);
        }
    }
    return empty;
}

}  // namespace

int main(int argc, char **argv) {
    bench::begin("mpsc", argc, argv);
    const uint64_t producers = absl::GetFlag(FLAGS_threads);
    const uint64_t operations = absl::GetFlag(FLAGS_operations);
    const uint64_t min_size = absl::GetFlag(FLAGS_min_size);
    const uint64_t max_size = absl::GetFlag(FLAGS_max_size);
    bench::require_flag("threads", producers, 1, 100000);
    bench::require_flag("operations", operations, 1, UINT64_MAX);
    bench::require_flag("min_size", min_size, sizeof(message), 1 << 20);
    bench::require_flag("max_size", max_size, min_size, 1 << 20);

    queue messages;
    message *const stub = message_new(sizeof(message), 0, 0);
    messages.head.store(stub, std::memory_order_relaxed);  // no other thread yet
    messages.tail = stub;
    uint64_t empty = 0;
    bench::expect_operations(operations);
    const double seconds = bench::run_threads(producers + 1, [&](uint64_t thread) {
        if (thread == producers) {
            empty = consume(&messages, producers, operations);
        } else {
            produce(&messages, static_cast<uint32_t>(thread), bench::share_of(operations, producers, thread), min_size,
                    max_size);
        }
    });
    if (messages.tail->next.load(std::memory_order_relaxed) != nullptr) {  // the threads are gone
        bench::fail("the queue holds more than the %llu messages that were sent",
                    static_cast<unsigned long long>(operations));
    }
    free(messages.tail);

    bench::report report;
    report.parameter("threads", producers);
    report.parameter("operations", operations);
    report.parameter("min_size", min_size);
    report.parameter("max_size", max_size);
    report.parameter("seed", absl::GetFlag(FLAGS_seed));
    report.figure("empty_polls", static_cast<double>(empty));
    report.verified("contents and order of all " + std::to_string(operations) + " messages, per producer");
    report.print(seconds, operations);
    return 0;
}
