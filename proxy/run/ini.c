#include "run/ini.h"

enum place { BEFORE_SECTIONS, IN_SECTION, BEHIND_BAD_SECTION };

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static struct slice trim(struct slice s)
{
    while (s.n && is_space(s.p[0]))
        s = slice_skip(s, 1);
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

static enum place read_section(struct slice line, int number, const struct ini_events *events, void *ctx)
{
    const char *end = memchr(line.p, ']', line.n);
    if (!end) {
        events->error(ctx, number, "section without closing ]; write [name]");
        return BEHIND_BAD_SECTION;
    }
    struct slice name = trim(slice_of(line.p + 1, (size_t)(end - line.p) - 1));
    if (end + 1 != line.p + line.n || !name.n) {
        events->error(ctx, number,
                      name.n ? "text behind the section's ]; put it on a line of its own"
                             : "section without a name; write [name]");
        return BEHIND_BAD_SECTION;
    }
    events->section(ctx, number, name);
    return IN_SECTION;
}

static void read_value(struct slice line, int number, enum place place, const struct ini_events *events, void *ctx)
{
    const char *equals = memchr(line.p, '=', line.n);
    if (!equals) {
        events->error(ctx, number, "neither [section] nor key = value; a value cannot go on in the next line");
        return;
    }
    struct slice key = trim(slice_of(line.p, (size_t)(equals - line.p)));
    struct slice value = trim(slice_skip(line, (size_t)(equals - line.p) + 1));
    if (!key.n)
        events->error(ctx, number, "no key before =; write key = value");
    else if (place == BEFORE_SECTIONS)
        events->error(ctx, number, "value before the first [section]; put it below the section that it belongs to");
    else if (place == IN_SECTION)
        events->value(ctx, number, key, value);
}

void ini_parse(struct slice text, const struct ini_events *events, void *ctx)
{
    enum place place = BEFORE_SECTIONS;
    if (slice_starts(text, SLICE_LIT("\xef\xbb\xbf")))
        text = slice_skip(text, 3);
    for (int number = 1; text.n; number++) {
        const char *newline = memchr(text.p, '\n', text.n);
        size_t n = newline ? (size_t)(newline - text.p) : text.n;
        struct slice line = trim(slice_of(text.p, n));
        text = slice_skip(text, newline ? n + 1 : n);

        if (n > INI_LINE_MAX)
            events->error(ctx, number, "line of more than 8192 bytes; shorten it");
        else if (memchr(line.p, '\0', line.n))
            events->error(ctx, number, "line with a NUL byte; save the file as plain text (UTF-8)");
        else if (!line.n || line.p[0] == '#' || line.p[0] == ';')
            continue;
        else if (line.p[0] == '[')
            place = read_section(line, number, events, ctx);
        else
            read_value(line, number, place, events, ctx);
    }
}
