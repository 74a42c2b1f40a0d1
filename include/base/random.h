/* Randomness from the kernel: ids, nonces, seeds. */
#ifndef HOLDFAST_BASE_RANDOM_H
#define HOLDFAST_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *p, size_t n);
/* Writes 2 * n lowercase hex digits and a NUL. */
void random_hex(char *out, size_t n);
/* Uniform in [0, bound), bound > 0. */
uint32_t random_below(uint32_t bound);

#endif
