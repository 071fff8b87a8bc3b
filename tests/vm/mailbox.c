#include "tests/vm/mailbox.h"

enum box_state { BOX_EMPTY, BOX_BUSY, BOX_FULL };

struct box {
    int state;             // a box_state; atomic, any thread
    struct object object;  // guarded by BOX_BUSY: owned by the thread that set it
} __attribute__((aligned(64)));

static struct box boxes[MAILBOX_COUNT];

// Acquire pairs with `leave_box`.
static bool try_enter_box(struct box *box, enum box_state wanted) {
    int expected = (int)wanted;
    return __atomic_compare_exchange_n(&box->state, &expected, BOX_BUSY, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

// Release pairs with `try_enter_box`.
static void leave_box(struct box *box, enum box_state state) {
    __atomic_store_n(&box->state, (int)state, __ATOMIC_RELEASE);
}

bool mailbox_try_put(struct object *object, uint64_t index) {
    struct box *box = &boxes[index % MAILBOX_COUNT];
    if (!try_enter_box(box, BOX_EMPTY))
        return false;
    box->object = *object;
    *object = (struct object){0};
    leave_box(box, BOX_FULL);
    return true;
}

bool mailbox_try_take(struct object *object, uint64_t index) {
    struct box *box = &boxes[index % MAILBOX_COUNT];
    if (!try_enter_box(box, BOX_FULL))
        return false;
    *object = box->object;
    leave_box(box, BOX_EMPTY);
    return true;
}
