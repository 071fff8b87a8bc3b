// For programs that have Tandem linked in: their constructors run behind those of the shared libraries that they need,
// what is listed here before them. A shared object may have no such list; libtandem_*.so is initialised first of all
// (-z initfirst). Where a C library knows neither, `process_begins` is early enough for most.
#include "allocator/process.h"

static void (*register_first)(void)
    __attribute__((section(".preinit_array"), used)) = td_process_register_fork_handlers;
