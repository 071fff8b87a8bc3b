// Atomic accesses with their memory order in the name. There is no sequentially consistent one: name what you need.
#ifndef BASE_ATOMIC_H_
#define BASE_ATOMIC_H_

#define td_load_relaxed(pointer) __atomic_load_n((pointer), __ATOMIC_RELAXED)
#define td_load_acquire(pointer) __atomic_load_n((pointer), __ATOMIC_ACQUIRE)
#define td_store_relaxed(pointer, value) __atomic_store_n((pointer), (value), __ATOMIC_RELAXED)
#define td_store_release(pointer, value) __atomic_store_n((pointer), (value), __ATOMIC_RELEASE)
#define td_add_relaxed(pointer, value) __atomic_fetch_add((pointer), (value), __ATOMIC_RELAXED)
#define td_add_acquire(pointer, value) __atomic_fetch_add((pointer), (value), __ATOMIC_ACQUIRE)
#define td_sub_relaxed(pointer, value) __atomic_fetch_sub((pointer), (value), __ATOMIC_RELAXED)
#define td_or_relaxed(pointer, value) __atomic_fetch_or((pointer), (value), __ATOMIC_RELAXED)
#define td_exchange_acquire(pointer, value) __atomic_exchange_n((pointer), (value), __ATOMIC_ACQUIRE)
#define td_exchange_release(pointer, value) __atomic_exchange_n((pointer), (value), __ATOMIC_RELEASE)

// True if `*pointer` was `*expected` and is now `desired`; else `*expected` holds what was found. (The acquire is of
// what was found, too.)
#define td_compare_exchange_acquire(pointer, expected, desired)                                                        \
    __atomic_compare_exchange_n((pointer), (expected), (desired), false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)
#define td_compare_exchange_release(pointer, expected, desired)                                                        \
    __atomic_compare_exchange_n((pointer), (expected), (desired), false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
#define td_compare_exchange_relaxed(pointer, expected, desired)                                                        \
    __atomic_compare_exchange_n((pointer), (expected), (desired), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)

#endif  // BASE_ATOMIC_H_
