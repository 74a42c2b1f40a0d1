/* What the fuzz targets share: checks that end the run, and a reader that takes an input apart.
 *
 * Inputs are text where that is possible, so that seeds can be written by hand and the dictionary helps. */
#ifndef HOLDFAST_TESTS_FUZZ_FUZZ_H
#define HOLDFAST_TESTS_FUZZ_FUZZ_H

#include "base/slice.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define FUZZ_CHECK(condition)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                             \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static inline uint8_t fuzz_byte(struct slice *in)
{
    if (in->n == 0)
        return 0;
    uint8_t byte = (uint8_t)in->p[0];
    *in = slice_skip(*in, 1);
    return byte;
}

/* Up to the next line feed; false at the end. */
static inline bool fuzz_line(struct slice *in, struct slice *line_r)
{
    if (in->n == 0)
        return false;
    const char *end = memchr(in->p, '\n', in->n);
    *line_r = slice_of(in->p, end ? (size_t)(end - in->p) : in->n);
    *in = slice_skip(*in, line_r->n + 1);
    return true;
}

#endif
