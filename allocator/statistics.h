// Where every byte is, gathered from all layers, as figures and as text.
#ifndef ALLOCATOR_STATISTICS_H_
#define ALLOCATOR_STATISTICS_H_

#include "allocator/tandem.h"
#include "base/text.h"

#pragma GCC visibility push(hidden)

// Takes the locks of all layers, one after the other; allocates nothing.
void td_statistics_get(struct tandem_stats *stats);

void td_statistics_write_text(struct td_text *text);
void td_statistics_write_json(struct td_text *text);

// A line that names the process, which has children that print as well, and the text, on stderr.
void td_statistics_print(void);

#pragma GCC visibility pop

#endif  // ALLOCATOR_STATISTICS_H_
