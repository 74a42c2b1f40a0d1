#include "load/report.h"
#include "base/mem.h"
#include "common/sockets.h"
#include <stdio.h>
#include <stdlib.h>

void report_number(struct buf *out, const char *name, double value)
{
    buf_printf(out, "%s\"%s\": %.9g", out->n ? ", " : "", name, value);
}

static void report_field(struct buf *out, const char *name, const struct watch *w, const struct sample *begin,
                         const struct sample *end, int counter)
{
    buf_printf(out, ", \"%s\": {", name);
    for (unsigned i = 0; i < w->count; i++) {
        const struct cost *a = &begin->costs[i], *b = &end->costs[i];
        uint64_t spent = counter < 0 ? b->cpu - a->cpu : b->counters[counter] - a->counters[counter];
        buf_printf(out, "%s\"%s\": %llu", i ? ", " : "", w->processes[i].name, (unsigned long long)spent);
    }
    BUF_LIT(out, "}");
}

void report_costs(struct buf *out, const struct watch *w, const struct sample *begin, const struct sample *end)
{
    report_number(out, "seconds", (double)(end->time - begin->time) / NS);
    report_field(out, "cpu", w, begin, end, -1);
    if (w->counts) {
        report_field(out, "cycles", w, begin, end, COUNT_CYCLES);
        report_field(out, "instructions", w, begin, end, COUNT_INSTRUCTIONS);
    }
}

void report_memory(struct buf *out, const struct watch *w)
{
    for (unsigned i = 0; i < w->count; i++)
        report_number(out, w->processes[i].name, (double)watch_memory(w, i));
}

void samples_add(struct samples *s, uint64_t value)
{
    if (s->count == s->room) {
        s->room = s->room ? s->room * 2 : 1024;
        s->values = mem_realloc(s->values, s->room * sizeof(*s->values));
    }
    s->values[s->count++] = value;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void report_percentiles(struct buf *out, const char *prefix, struct samples *s)
{
    static const struct {
        const char *name;
        double part;
    } rows[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
    if (!s->count)
        return;
    qsort(s->values, s->count, sizeof(*s->values), compare);
    for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        unsigned long at = (unsigned long)(rows[i].part * (double)s->count);
        char name[32];
        snprintf(name, sizeof(name), "%s%s", prefix, rows[i].name);
        report_number(out, name, (double)s->values[at < s->count ? at : s->count - 1] / 1000);
    }
}
