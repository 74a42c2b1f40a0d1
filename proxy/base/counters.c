#include "base/counters.h"
#include "base/buf.h"
#include "base/mem.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The table of the header as data. */

#define FAMILY_ENUM_(name, type, help) FAMILY_##name,
#define FAMILY_ROW_(name, type, help)  {#name, METRIC_##type, help},

enum family_id { METRIC_FAMILIES(FAMILY_ENUM_) FAMILIES };

static const struct family {
    const char *name;
    enum metric_type type;
    const char *help;
} families[FAMILIES] = {METRIC_FAMILIES(FAMILY_ROW_)};

#define METRIC_ROW_(id, family, labels)   {FAMILY_##family, labels},
#define CLOSE_CLIENT_ROW_(upper, lower)   {FAMILY_legs_closed, "leg=\"client\",reason=\"" #lower "\""},
#define CLOSE_UPSTREAM_ROW_(upper, lower) {FAMILY_legs_closed, "leg=\"upstream\",reason=\"" #lower "\""},
#define CLOSE_SESSION_ROW_(upper, lower)  {FAMILY_sessions_ended, "reason=\"" #lower "\""},

static const struct row {
    enum family_id family;
    const char *labels;
} rows[METRICS] = {METRIC_ROWS(METRIC_ROW_) CLOSE_REASONS(CLOSE_CLIENT_ROW_) CLOSE_REASONS(CLOSE_UPSTREAM_ROW_)
                       CLOSE_REASONS(CLOSE_SESSION_ROW_)};

#define CLOSE_NAME_(upper, lower) #lower,
static const char *const close_reason_names[CLOSE_REASON_COUNT] = {CLOSE_REASONS(CLOSE_NAME_)};

static const char *const type_names[] = {"counter", "gauge", "gauge", "histogram", "info"};

/* Bounds as numbers to compare with and as OpenMetrics wants them written (canonical floats). */
static const struct bound {
    usec at_most;
    const char *seconds;
} bounds[METRIC_BUCKETS] = {
    {100, "0.0001"},       {250, "0.00025"},      {500, "0.0005"},       {1000, "0.001"},     {2500, "0.0025"},
    {5000, "0.005"},       {10000, "0.01"},       {25000, "0.025"},      {50000, "0.05"},     {100000, "0.1"},
    {250000, "0.25"},      {500000, "0.5"},       {1 * USEC_S, "1.0"},   {2500000, "2.5"},    {5 * USEC_S, "5.0"},
    {10 * USEC_S, "10.0"}, {30 * USEC_S, "30.0"}, {60 * USEC_S, "60.0"}, {INT64_MAX, "+Inf"},
};

/* There is no count of its own: it is the sum of the buckets, so that a reader who comes between two stores still sees
 * figures that agree. */
struct histogram {
    _Atomic int64_t in_bucket[METRIC_BUCKETS];
    _Atomic int64_t sum; /* microseconds */
};

struct counters {
    uint16_t histogram_of[METRICS]; /* where a histogram's row has its buckets; written once, at the start */
    _Atomic int64_t value[METRICS];
    struct histogram histograms[];
};

const char *close_reason_name(enum close_reason reason)
{
    return close_reason_names[reason];
}

static bool is_histogram(enum metric m)
{
    return families[rows[m].family].type == METRIC_HISTOGRAM;
}

struct counters *counters_new(void)
{
    size_t histograms = 0;
    for (int m = 0; m < METRICS; m++)
        histograms += is_histogram((enum metric)m);
    struct counters *c = mem_zalloc(sizeof *c + histograms * sizeof c->histograms[0]);
    uint16_t next = 0;
    for (int m = 0; m < METRICS; m++)
        if (is_histogram((enum metric)m))
            c->histogram_of[m] = next++;
    return c;
}

void counters_free(struct counters *c)
{
    free(c);
}

static int64_t peek(const _Atomic int64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

/* A load and a store instead of a locked addition: nobody else writes here. */
static void add(_Atomic int64_t *v, int64_t n)
{
    atomic_store_explicit(v, peek(v) + n, memory_order_relaxed);
}

void count_add(struct counters *c, enum metric m, int64_t n)
{
    add(&c->value[m], n);
}

void count_observe(struct counters *c, enum metric m, usec value)
{
    struct histogram *h = &c->histograms[c->histogram_of[m]];
    int b = 0;
    if (value < 0)
        value = 0;
    while (value > bounds[b].at_most)
        b++;
    add(&h->in_bucket[b], 1);
    add(&h->sum, value);
}

static void copy(_Atomic int64_t *to, const _Atomic int64_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        atomic_store_explicit(&to[i], peek(&from[i]), memory_order_relaxed);
}

void counters_copy(struct counters *to, const struct counters *from)
{
    copy(to->value, from->value, METRICS);
    for (int m = 0; m < METRICS; m++) {
        if (!is_histogram((enum metric)m))
            continue;
        const struct histogram *h = &from->histograms[from->histogram_of[m]];
        copy(to->histograms[to->histogram_of[m]].in_bucket, h->in_bucket, METRIC_BUCKETS);
        copy(&to->histograms[to->histogram_of[m]].sum, &h->sum, 1);
    }
}

/* A histogram as it is read: summed over the workers. */
struct histogram_sum {
    int64_t in_bucket[METRIC_BUCKETS];
    int64_t sum, count;
};

static struct histogram_sum histogram_sum(struct counters *const *c, size_t n, enum metric m)
{
    struct histogram_sum total = {0};
    for (size_t i = 0; i < n; i++) {
        const struct histogram *h = &c[i]->histograms[c[i]->histogram_of[m]];
        for (int b = 0; b < METRIC_BUCKETS; b++) {
            int64_t in_bucket = peek(&h->in_bucket[b]);
            total.in_bucket[b] += in_bucket;
            total.count += in_bucket;
        }
        total.sum += peek(&h->sum);
    }
    return total;
}

int64_t counters_sum(struct counters *const *c, size_t n, enum metric m)
{
    if (is_histogram(m))
        return histogram_sum(c, n, m).count;
    int64_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += peek(&c[i]->value[m]);
    return total;
}

static const char *unit_of(const char *name)
{
    static const char *const units[] = {"seconds", "bytes"};
    const char *last = strrchr(name, '_');
    for (size_t i = 0; last && i < sizeof units / sizeof units[0]; i++)
        if (strcmp(last + 1, units[i]) == 0)
            return units[i];
    return NULL;
}

void counters_add_header(struct buf *out, const char *name, enum metric_type type, const char *help)
{
    const char *unit = unit_of(name);
    buf_printf(out, "# TYPE %s %s\n", name, type_names[type]);
    if (unit)
        buf_printf(out, "# UNIT %s %s\n", name, unit);
    buf_printf(out, "# HELP %s %s\n", name, help);
}

/* `holdfast_NAME SUFFIX{labels} `, ready for the value. */
static void add_sample_name(struct buf *out, enum metric m, const char *suffix)
{
    const char *labels = rows[m].labels;
    buf_printf(out, "holdfast_%s%s", families[rows[m].family].name, suffix);
    if (*labels)
        buf_printf(out, "{%s}", labels);
    BUF_LIT(out, " ");
}

static void expose_histogram(struct buf *out, struct counters *const *c, size_t n, enum metric m)
{
    struct histogram_sum h = histogram_sum(c, n, m);
    const char *labels = rows[m].labels;
    int64_t so_far = 0;
    for (int b = 0; b < METRIC_BUCKETS; b++) {
        so_far += h.in_bucket[b];
        buf_printf(out, "holdfast_%s_bucket{%s%sle=\"%s\"} %" PRId64 "\n", families[rows[m].family].name, labels,
                   *labels ? "," : "", bounds[b].seconds, so_far);
    }
    add_sample_name(out, m, "_sum");
    buf_printf(out, "%lld.%06lld\n", h.sum / USEC_S, h.sum % USEC_S);
    add_sample_name(out, m, "_count");
    buf_printf(out, "%" PRId64 "\n", h.count);
}

/* A value as it is shown. */
static void add_value(struct buf *out, enum metric m, int64_t value)
{
    if (families[rows[m].family].type == METRIC_TIME)
        buf_printf(out, "%lld.%06lld", (long long)value / USEC_S, (long long)value % USEC_S);
    else
        buf_printf(out, "%" PRId64, value);
}

static void expose_row(struct buf *out, struct counters *const *c, size_t n, enum metric m)
{
    enum metric_type type = families[rows[m].family].type;
    if (type == METRIC_HISTOGRAM) {
        expose_histogram(out, c, n, m);
        return;
    }
    add_sample_name(out, m, type == METRIC_COUNTER ? "_total" : "");
    add_value(out, m, counters_sum(c, n, m));
    BUF_LIT(out, "\n");
}

void counters_expose(struct buf *out, struct counters *const *c, size_t n)
{
    for (int f = 0; f < FAMILIES; f++) {
        char name[128];
        snprintf(name, sizeof name, "holdfast_%s", families[f].name);
        counters_add_header(out, name, families[f].type, families[f].help);
        /* all rows are searched: those of one family need not be neighbours (the lists of close reasons) */
        for (int m = 0; m < METRICS; m++)
            if ((int)rows[m].family == f)
                expose_row(out, c, n, (enum metric)m);
    }
}

/* The quotes of labels are all that JSON wants escaped in the table's texts. */
static void add_json_labels(struct buf *out, const char *labels)
{
    BUF_LIT(out, "{");
    for (; *labels; labels++) {
        if (*labels == '"')
            BUF_LIT(out, "\\");
        buf_append(out, labels, 1);
    }
    BUF_LIT(out, "}");
}

void counters_expose_json(struct buf *out, struct counters *const *c, size_t n)
{
    const char *comma = "";
    for (int m = 0; m < METRICS; m++) {
        if (is_histogram((enum metric)m))
            continue;
        buf_printf(out, "%s\"%s", comma, families[rows[m].family].name);
        if (*rows[m].labels)
            add_json_labels(out, rows[m].labels);
        BUF_LIT(out, "\":");
        add_value(out, (enum metric)m, counters_sum(c, n, (enum metric)m));
        comma = ",";
    }
}

/* `a="x",b="y"` gives `{a,b}`; the rows of a family have the same label names. */
static void add_label_names(struct buf *out, const char *labels)
{
    BUF_LIT(out, "{");
    for (const char *at = labels; *at;) {
        size_t n = strcspn(at, "=");
        buf_printf(out, "%s%.*s", at == labels ? "" : ",", (int)n, at);
        at = strstr(at + n, "\",");
        at = at ? at + 2 : "";
    }
    BUF_LIT(out, "}");
}

static const char *labels_of(int family)
{
    for (int m = 0; m < METRICS; m++)
        if ((int)rows[m].family == family)
            return rows[m].labels;
    return "";
}

void counters_add_description(struct buf *out, const char *name, enum metric_type type, const char *help)
{
    buf_printf(out, "%-50s %-9s %s\n", name, type_names[type], help);
}

void counters_describe(struct buf *out)
{
    for (int f = 0; f < FAMILIES; f++) {
        const struct family *family = &families[f];
        struct buf name = {0};
        buf_printf(&name, "holdfast_%s%s", family->name, family->type == METRIC_COUNTER ? "_total" : "");
        if (*labels_of(f))
            add_label_names(&name, labels_of(f));
        char *text = buf_steal(&name);
        counters_add_description(out, text, family->type, family->help);
        free(text);
    }
}

void count_set(struct counters *c, enum metric m, int64_t value)
{
    count_add(c, m, value - counters_sum(&c, 1, m));
}
