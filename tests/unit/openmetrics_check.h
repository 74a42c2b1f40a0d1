/* A strict reader of metric texts for tests: OpenMetrics 1.0, or the older Prometheus text 0.0.4. It knows what our
 * exposition may use (no timestamps, no exemplars, no summaries) and refuses all else.
 *
 * Checked: form of each line, escapes, families in one piece with one TYPE, UNIT and HELP each, sample names that fit
 * the type, equal label names within a family, no series twice, no clash of names, histogram buckets. */
#ifndef HOLDFAST_TESTS_OPENMETRICS_CHECK_H
#define HOLDFAST_TESTS_OPENMETRICS_CHECK_H

#include "base/slice.h"
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum metrics_form { FORM_OPENMETRICS, FORM_PROMETHEUS };

#define OM_FAMILIES 256
#define OM_SERIES 4096
#define OM_LABELS 8

struct om_label {
    struct slice name, value;
};

struct om_sample {
    struct slice name;
    struct om_label labels[OM_LABELS];
    size_t label_count;
    double value;
};

struct om_family {
    struct slice name, type;
    bool unit, help;
    size_t samples;
    struct om_sample first; /* its label names hold for all */
    /* the histogram that is being read */
    bool in_buckets, have_inf, have_sum, have_count;
    double last_bound, last_cumulated;
};

struct om_check {
    enum metrics_form form;
    struct om_family families[OM_FAMILIES];
    size_t family_count;
    struct slice series[OM_SERIES]; /* name{labels} as written */
    size_t series_count;
    bool eof;
    const char *error; /* the first one */
};

static bool om_fail(struct om_check *c, const char *error)
{
    if (!c->error)
        c->error = error;
    return false;
}

static bool om_is_name(struct slice s, bool label)
{
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_' || (ch == ':' && !label);
        if (!letter && !(i > 0 && ch >= '0' && ch <= '9'))
            return false;
    }
    return s.n > 0;
}

static bool om_ends(struct slice s, const char *suffix)
{
    size_t n = strlen(suffix);
    return s.n >= n && memcmp(s.p + s.n - n, suffix, n) == 0;
}

/* Cuts the front of s up to `end` off; false if there is none. */
static bool om_cut(struct slice *s, char end, struct slice *front)
{
    const char *at = s->n ? memchr(s->p, end, s->n) : NULL;
    if (!at)
        return false;
    *front = slice_of(s->p, (size_t)(at - s->p));
    *s = slice_skip(*s, front->n + 1);
    return true;
}

/* One number in full, as OpenMetrics writes them. */
static bool om_number(struct slice s, double *out)
{
    char text[64], *end;
    if (s.n == 0 || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    if (strcmp(text, "+Inf") == 0 || strcmp(text, "-Inf") == 0 || strcmp(text, "NaN") == 0) {
        *out = text[0] == '+' ? INFINITY : text[0] == '-' ? -INFINITY : NAN;
        return true;
    }
    if (strspn(text, "0123456789+-.eE") != s.n)
        return false;
    *out = strtod(text, &end);
    return *end == '\0';
}

static bool om_text_is_escaped(struct slice s, enum metrics_form form)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' && form == FORM_OPENMETRICS)
            return false;
        if (s.p[i] == '\\' && (++i == s.n || !strchr(form == FORM_OPENMETRICS ? "\\n\"" : "\\n", s.p[i])))
            return false;
    }
    return true;
}

/* --- families --- */

static bool om_histogram_finish(struct om_check *c, struct om_family *f)
{
    if (f->in_buckets && !(f->have_inf && f->have_sum && f->have_count))
        return om_fail(c, "a histogram without +Inf, _sum or _count");
    f->in_buckets = f->have_inf = f->have_sum = f->have_count = false;
    return true;
}

static bool om_family_clashes(const struct om_check *c, struct slice name)
{
    static const char *const suffixes[] = {"", "_total", "_created", "_bucket", "_sum", "_count", "_info"};
    for (size_t i = 0; i < c->family_count; i++) {
        struct slice other = c->families[i].name;
        for (size_t s = 0; s < sizeof suffixes / sizeof suffixes[0]; s++) {
            size_t n = strlen(suffixes[s]);
            if ((other.n + n == name.n && slice_starts(name, other) && om_ends(name, suffixes[s])) ||
                (name.n + n == other.n && slice_starts(other, name) && om_ends(other, suffixes[s])))
                return true;
        }
    }
    return false;
}

/* The family that a metadata line speaks of: the current one or a new one. */
static struct om_family *om_family_at(struct om_check *c, struct slice name)
{
    struct om_family *now = c->family_count ? &c->families[c->family_count - 1] : NULL;
    if (now && slice_eq(now->name, name)) {
        if (now->samples)
            om_fail(c, "metadata behind the samples of its family");
        return now;
    }
    if (!om_is_name(name, false))
        om_fail(c, "bad family name");
    if (om_family_clashes(c, name))
        om_fail(c, "a family in two pieces, or two that clash");
    if (now)
        om_histogram_finish(c, now);
    if (c->family_count == OM_FAMILIES)
        om_fail(c, "more families than this check can hold");
    if (c->error)
        return NULL;
    now = &c->families[c->family_count++];
    now->name = name;
    return now;
}

static bool om_type(struct om_check *c, struct om_family *f, struct slice type)
{
    if (f->type.n)
        return om_fail(c, "TYPE twice");
    f->type = type;
    bool known = slice_eq_str(type, "counter") || slice_eq_str(type, "gauge") || slice_eq_str(type, "histogram");
    if (!known && !(c->form == FORM_OPENMETRICS && slice_eq_str(type, "info")))
        return om_fail(c, "unknown type");
    if (c->form == FORM_OPENMETRICS && slice_eq_str(type, "counter") && om_ends(f->name, "_total"))
        return om_fail(c, "the family of a counter must not end in _total");
    return true;
}

static bool om_unit(struct om_check *c, struct om_family *f, struct slice unit)
{
    if (c->form == FORM_PROMETHEUS)
        return om_fail(c, "0.0.4 knows no units");
    if (f->unit)
        return om_fail(c, "UNIT twice");
    f->unit = true;
    if (unit.n == 0 || f->name.n < unit.n + 2 || f->name.p[f->name.n - unit.n - 1] != '_' ||
        memcmp(f->name.p + f->name.n - unit.n, unit.p, unit.n) != 0)
        return om_fail(c, "the name does not end in its unit");
    return true;
}

static bool om_help(struct om_check *c, struct om_family *f, struct slice help)
{
    if (f->help)
        return om_fail(c, "HELP twice");
    f->help = true;
    return om_text_is_escaped(help, c->form) ? true : om_fail(c, "bad escape in HELP");
}

static bool om_metadata(struct om_check *c, struct slice line)
{
    struct slice hash, word, name;
    if (!om_cut(&line, ' ', &hash) || !om_cut(&line, ' ', &word) || !om_cut(&line, ' ', &name))
        return om_fail(c, "not a metadata line");
    struct om_family *f = om_family_at(c, name);
    if (!f)
        return false;
    if (slice_eq_str(word, "TYPE"))
        return om_type(c, f, line);
    if (slice_eq_str(word, "UNIT"))
        return om_unit(c, f, line);
    if (slice_eq_str(word, "HELP"))
        return om_help(c, f, line);
    return om_fail(c, "unknown metadata");
}

/* --- samples --- */

static bool om_label_value(struct om_check *c, struct slice *line, struct slice *value)
{
    size_t i = 0;
    while (i < line->n && line->p[i] != '"') {
        if (line->p[i] == '\\' && (++i >= line->n || !strchr("\\n\"", line->p[i])))
            return om_fail(c, "bad escape in a label");
        i++;
    }
    if (i >= line->n)
        return om_fail(c, "a label's quote is not closed");
    *value = slice_of(line->p, i);
    *line = slice_skip(*line, i + 1);
    return true;
}

/* Behind the `{`, up to and with the `}`. */
static bool om_labels(struct om_check *c, struct slice *line, struct om_sample *s)
{
    do {
        struct om_label *l = &s->labels[s->label_count];
        if (s->label_count == OM_LABELS || !om_cut(line, '=', &l->name) || !om_is_name(l->name, true) ||
            !slice_starts(*line, SLICE_LIT("\"")))
            return om_fail(c, "bad label");
        *line = slice_skip(*line, 1);
        if (!om_label_value(c, line, &l->value))
            return false;
        for (size_t i = 0; i < s->label_count; i++)
            if (slice_eq(s->labels[i].name, l->name))
                return om_fail(c, "a label twice");
        s->label_count++;
        if (line->n == 0)
            return om_fail(c, "labels are not closed");
        *line = slice_skip(*line, 1);
    } while (line->p[-1] == ',');
    return line->p[-1] == '}' ? true : om_fail(c, "labels are not closed");
}

static struct slice om_bound(const struct om_sample *s)
{
    for (size_t i = 0; i < s->label_count; i++)
        if (slice_eq_str(s->labels[i].name, "le"))
            return s->labels[i].value;
    return SLICE_NONE;
}

static bool om_bucket(struct om_check *c, struct om_family *f, const struct om_sample *s)
{
    double bound;
    if (f->have_sum || f->have_count)
        om_histogram_finish(c, f); /* the next label set */
    if (!om_number(om_bound(s), &bound) || isnan(bound))
        return om_fail(c, "a bucket without a good le");
    if (f->in_buckets && (bound <= f->last_bound || s->value < f->last_cumulated))
        return om_fail(c, "buckets must grow");
    f->in_buckets = true;
    f->last_bound = bound;
    f->last_cumulated = s->value;
    f->have_inf = isinf(bound);
    return true;
}

static bool om_histogram(struct om_check *c, struct om_family *f, const struct om_sample *s)
{
    if (om_ends(s->name, "_bucket"))
        return om_bucket(c, f, s);
    if (om_bound(s).n || !f->have_inf)
        return om_fail(c, "_sum and _count come behind +Inf and have no le");
    if (om_ends(s->name, "_sum")) {
        f->have_sum = true;
        return true;
    }
    f->have_count = true;
    return s->value == f->last_cumulated ? true : om_fail(c, "_count differs from the +Inf bucket");
}

static bool om_same_label_names(const struct om_sample *a, const struct om_sample *b)
{
    size_t i = 0, j = 0;
    for (;; i++, j++) {
        while (i < a->label_count && slice_eq_str(a->labels[i].name, "le"))
            i++;
        while (j < b->label_count && slice_eq_str(b->labels[j].name, "le"))
            j++;
        if (i == a->label_count || j == b->label_count)
            return i == a->label_count && j == b->label_count;
        if (!slice_eq(a->labels[i].name, b->labels[j].name))
            return false;
    }
}

static bool om_suffix_fits(const struct om_check *c, const struct om_family *f, struct slice suffix)
{
    if (slice_eq_str(f->type, "histogram"))
        return slice_eq_str(suffix, "_bucket") || slice_eq_str(suffix, "_sum") || slice_eq_str(suffix, "_count");
    if (c->form == FORM_PROMETHEUS || slice_eq_str(f->type, "gauge"))
        return suffix.n == 0;
    return slice_eq_str(suffix, slice_eq_str(f->type, "counter") ? "_total" : "_info");
}

static bool om_sample_fits(struct om_check *c, const struct om_sample *s)
{
    struct om_family *f = c->family_count ? &c->families[c->family_count - 1] : NULL;
    if (!f || !f->type.n || !slice_starts(s->name, f->name) || !om_suffix_fits(c, f, slice_skip(s->name, f->name.n)))
        return om_fail(c, "the sample is not of the family above it");
    if (f->samples++ == 0)
        f->first = *s;
    if (!om_same_label_names(&f->first, s))
        return om_fail(c, "other label names than the family's first sample");
    if (!slice_eq_str(f->type, "gauge") && !(s->value >= 0))
        return om_fail(c, "below zero");
    if (slice_eq_str(f->type, "info") && s->value != 1)
        return om_fail(c, "info is always 1");
    return slice_eq_str(f->type, "histogram") ? om_histogram(c, f, s) : true;
}

static bool om_sample(struct om_check *c, struct slice line)
{
    struct om_sample s = {0};
    struct slice whole = line;
    size_t n = 0;
    while (n < line.n && line.p[n] != '{' && line.p[n] != ' ')
        n++;
    s.name = slice_of(line.p, n);
    line = slice_skip(line, n);
    if (!om_is_name(s.name, false))
        return om_fail(c, "bad sample name");
    if (slice_starts(line, SLICE_LIT("{"))) {
        line = slice_skip(line, 1);
        if (!om_labels(c, &line, &s))
            return false;
    }
    struct slice series = slice_of(whole.p, whole.n - line.n);
    if (!slice_starts(line, SLICE_LIT(" ")) || !om_number(slice_skip(line, 1), &s.value))
        return om_fail(c, "bad value");
    for (size_t i = 0; i < c->series_count; i++)
        if (slice_eq(c->series[i], series))
            return om_fail(c, "a series twice");
    if (c->series_count == OM_SERIES)
        return om_fail(c, "more series than this check can hold");
    c->series[c->series_count++] = series;
    return om_sample_fits(c, &s);
}

static bool om_line(struct om_check *c, struct slice line)
{
    if (c->eof)
        return om_fail(c, "something behind # EOF");
    if (line.n == 0 || memchr(line.p, '\r', line.n))
        return om_fail(c, "an empty line or a carriage return");
    if (slice_eq_str(line, "# EOF")) {
        c->eof = true;
        return c->form == FORM_OPENMETRICS ? true : om_fail(c, "0.0.4 knows no EOF");
    }
    return line.p[0] == '#' ? om_metadata(c, line) : om_sample(c, line);
}

/* NULL if all of the text is right, else what is wrong and where; free() it. OpenMetrics must end in # EOF. */
static char *metrics_check(struct slice text, enum metrics_form form)
{
    struct om_check *c = calloc(1, sizeof *c);
    struct slice line = SLICE_NONE, rest = text;
    char *error = NULL;
    size_t number = 0;
    c->form = form;
    while (!c->error && om_cut(&rest, '\n', &line)) {
        number++;
        om_line(c, line);
    }
    if (!c->error && rest.n)
        om_fail(c, "the last line has no end");
    if (!c->error && c->family_count)
        om_histogram_finish(c, &c->families[c->family_count - 1]);
    if (!c->error && form == FORM_OPENMETRICS && !c->eof)
        om_fail(c, "no # EOF");
    if (c->error && asprintf(&error, "line %zu: %s: %.*s", number, c->error, SLICE_ARG(line)) < 0)
        abort();
    free(c);
    return error;
}

#endif
