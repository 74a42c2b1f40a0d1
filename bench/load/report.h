/* The result of a command: one line of JSON. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "base/buf.h"
#include "load/load.h"

void report_number(struct buf *out, const char *name, double value);
/* What the watched processes spent between two samples, and the time. */
void report_costs(struct buf *out, const struct watch *w, const struct sample *begin, const struct sample *end);
void report_memory(struct buf *out, const struct watch *w);

/* A growing pile of values. */
struct samples {
    uint64_t *values;
    unsigned long count, room;
};

void samples_add(struct samples *s, uint64_t value);
/* p50, p99, p99.9 and the largest, in microseconds, with `prefix` ahead of their names; sorts the pile. */
void report_percentiles(struct buf *out, const char *prefix, struct samples *s);

#endif
