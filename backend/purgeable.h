// Segments with free pages that may go back to the operating system, and which of them goes next: one of those that
// have most.
//
// The purge goes in rounds, in each of which a segment has its turn once: what the system refused does not keep the
// others from it. Functions are called with the backend's lock held.
#ifndef BACKEND_PURGEABLE_H_
#define BACKEND_PURGEABLE_H_

#include "backend/segment.h"

#pragma GCC visibility push(hidden)

// The pages of all such segments, since each tick asks for it. Guarded by the backend's lock.
extern size_t td_purgeable_pages;

// So many pages of the segment may go.
void td_purgeable_set(struct td_segment *segment, size_t pages);

// The segment whose turn it is, and has been now; NULL if there is none in this round.
struct td_segment *td_purgeable_take(void);
// Its turn comes again in this round if it has such pages again, as it has none now.
void td_purgeable_forget_turn(struct td_segment *segment);

void td_purgeable_begin_round(void);

#pragma GCC visibility pop

#endif  // BACKEND_PURGEABLE_H_
