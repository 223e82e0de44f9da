/* A gate: a counter that threads wait on, first spinning, then asleep in the kernel. */
#ifndef MLC_GATE_H
#define MLC_GATE_H

#include <stdatomic.h>
#include <stdint.h>

/* Zero-initialised is ready for use. */
struct mlc_gate {
    _Atomic uint32_t opened;   /* how many times, modulo 2^32 */
    _Atomic uint32_t sleepers; /* threads in the kernel, or about to be */
};

/* Open once: everybody who waits for this opening goes on. What the caller wrote before is seen by them. */
void mlc_gate_open(struct mlc_gate *gate);

/* Return when `gate` has been opened since `opened` was read from it; check `spins` times before sleeping. */
void mlc_gate_wait(struct mlc_gate *gate, uint32_t opened, int spins);

#endif
