// Says which front end is behind operator new, after some work that would not survive a broken one.
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "allocator/tandem.h"

namespace {

struct alignas(64) Line {
    char bytes[64];
};

bool map_holds_what_was_put_in() {
    std::map<int, std::string> names;
    for (int i = 0; i < 1000; i++) {
        names[i] = std::string(static_cast<std::size_t>(i), 'x');
    }
    for (int i = 0; i < 1000; i++) {
        if (names[i].size() != static_cast<std::size_t>(i)) {
            return false;
        }
    }
    return true;
}

bool aligned_new_aligns() {
    std::vector<std::unique_ptr<Line>> lines;
    for (int i = 0; i < 100; i++) {
        lines.push_back(std::make_unique<Line>());
        if (reinterpret_cast<std::uintptr_t>(lines.back().get()) % alignof(Line) != 0) {
            return false;
        }
    }
    return true;
}

}  // namespace

int main() {
    if (!map_holds_what_was_put_in() || !aligned_new_aligns()) {
        std::fprintf(stderr, "operator new is broken\n");
        return 1;
    }
    std::printf("%s\n", tandem_front_end());
    return 0;
}
