// Faults that the stress can be told to commit, so that one can see it find them: a test that cannot fail tests
// nothing.
#ifndef TESTS_VM_SABOTAGE_H_
#define TESTS_VM_SABOTAGE_H_

enum sabotage {
    SABOTAGE_NONE,
    SABOTAGE_DOUBLE,      // an allocation answers with an object that another thread holds
    SABOTAGE_FREE_TWICE,  // a thread frees an object that it has handed to another
    SABOTAGE_LOSE,        // an object is allocated that nobody frees
    SABOTAGE_CORRUPT,     // a byte of an object that another thread holds is changed
    SABOTAGE_HANG,        // a thread stops working and never ends
    SABOTAGE_ABI,         // a field of the rseq area that belongs to the kernel is written
    SABOTAGE_COUNT
};

// A thread commits its fault when it makes its object of this number.
enum { SABOTAGE_DELAY = 1000 };

// Set before the first thread starts; immutable from then on.
extern enum sabotage sabotage;

// The sabotage of that name; SABOTAGE_COUNT if there is none.
enum sabotage sabotage_by_name(const char *name);

// Writes the ids in the caller's rseq area, if libc registered one. A kernel that enforces the ABI kills the process.
void sabotage_rseq_ids(void);

#endif  // TESTS_VM_SABOTAGE_H_
