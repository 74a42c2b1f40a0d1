#include "prometheus_text.h"
#include "base/buf.h"

/* Cuts the front of *s up to `end` (or all of it) off and returns it. */
static struct slice cut(struct slice *s, char end)
{
    const char *at = s->n ? memchr(s->p, end, s->n) : NULL;
    struct slice front = at ? slice_of(s->p, (size_t)(at - s->p)) : *s;
    *s = slice_skip(*s, front.n + 1);
    return front;
}

static void add_header(struct buf *out, const char *word, struct slice name, const char *suffix, struct slice text)
{
    buf_printf(out, "# %s %.*s%s %.*s\n", word, SLICE_ARG(name), suffix, SLICE_ARG(text));
}

/* A line behind its "# ". *suffix is what the names of the current family get. */
static void convert_header(struct buf *out, struct slice line, const char **suffix)
{
    struct slice word = cut(&line, ' ');
    struct slice name = cut(&line, ' ');
    if (slice_eq_str(word, "TYPE")) {
        bool info = slice_eq_str(line, "info");
        *suffix = info ? "_info" : slice_eq_str(line, "counter") ? "_total" : "";
        add_header(out, "TYPE", name, *suffix, info ? SLICE_LIT("gauge") : line);
    } else if (slice_eq_str(word, "HELP")) {
        add_header(out, "HELP", name, *suffix, line);
    }
}

void prometheus_text_convert(struct buf *out, struct slice openmetrics)
{
    const char *suffix = "";
    while (openmetrics.n) {
        struct slice line = cut(&openmetrics, '\n');
        if (slice_starts(line, SLICE_LIT("# "))) {
            convert_header(out, slice_skip(line, 2), &suffix);
        } else {
            buf_add(out, line);
            BUF_LIT(out, "\n");
        }
    }
}
