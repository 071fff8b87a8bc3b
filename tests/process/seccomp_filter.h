// A seccomp filter that makes some system calls fail, as sandboxes and old container runtimes do.
#ifndef TESTS_PROCESS_SECCOMP_FILTER_H_
#define TESTS_PROCESS_SECCOMP_FILTER_H_

#include <cstddef>
#include <initializer_list>
#include <vector>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

// From now on, in this thread and in whatever it starts, each of `calls` fails with `error`. False if that is not
// possible here.
inline bool forbid_system_calls(std::initializer_list<long> calls, int error) {
    std::vector<struct sock_filter> program = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    for (long call : calls) {
        program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1));
        program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    struct sock_fprog filter = {static_cast<unsigned short>(program.size()), program.data()};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

#endif  // TESTS_PROCESS_SECCOMP_FILTER_H_
