// Where threads leave objects for others: a fixed number of boxes of one object each.
//
// Nothing here waits: a box that somebody is using is left alone. So signal handlers may use it as well.
#ifndef TESTS_VM_MAILBOX_H_
#define TESTS_VM_MAILBOX_H_

#include <stdbool.h>
#include <stdint.h>

#include "tests/vm/object.h"

enum { MAILBOX_COUNT = 2048 };

// Puts the object into the box `index` (taken modulo MAILBOX_COUNT) if that is empty, and empties the record.
bool mailbox_try_put(struct object *object, uint64_t index);

// Takes the object out of the box `index` (modulo MAILBOX_COUNT) into the empty record, if there is one.
bool mailbox_try_take(struct object *object, uint64_t index);

#endif  // TESTS_VM_MAILBOX_H_
