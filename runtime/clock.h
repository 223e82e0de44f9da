/* The clock that waits, deadlines and profiles are measured with. */
#ifndef MLC_CLOCK_H
#define MLC_CLOCK_H

#include <stdint.h>

/* Nanoseconds of the monotonic clock. */
int64_t mlc_clock_now(void);

#endif
