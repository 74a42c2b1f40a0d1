#include "base/log.h"
#include "base/buf.h"
#include "base/clock.h"
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

_Atomic int log_level = LOG_INFO;
static _Atomic int log_format = LOG_LOGFMT;
static void (*log_sink)(void *ctx, const char *line, size_t n);
static void *log_sink_ctx;

static const char *const level_name[LOG_LEVELS] = {"error", "warn", "info", "debug"};

void log_configure(enum log_level level, enum log_format format)
{
    atomic_store(&log_level, (int)level);
    atomic_store(&log_format, (int)format);
}

bool log_level_parse(const char *name, enum log_level *out)
{
    for (int i = 0; i < LOG_LEVELS; i++) {
        if (strcmp(name, level_name[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void log_set_sink(void (*sink)(void *ctx, const char *line, size_t n), void *ctx)
{
    log_sink = sink;
    log_sink_ctx = ctx;
}

/* Length of the well-formed UTF-8 character (RFC 3629) at the start of s, 0 when there is none. */
static size_t utf8_length(struct slice s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (n > s.n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* over-long forms, surrogates, and what is above U+10FFFF show in the second byte */
    bool wrong = n > 1 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
                           (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f));
    return wrong ? 0 : n;
}

/* Quotes so that the text is one JSON string; logfmt reads the same escapes. Control characters are escaped and bytes
 * that are not UTF-8 replaced, so that nothing from outside breaks a line or its reader. */
static void add_quoted(struct buf *b, struct slice s)
{
    BUF_LIT(b, "\"");
    for (size_t n; s.n; s = slice_skip(s, n)) {
        unsigned char c = (unsigned char)s.p[0];
        n = utf8_length(s);
        if (n == 0) {
            BUF_LIT(b, "\\ufffd");
            n = 1;
        } else if (c == '"' || c == '\\') {
            buf_printf(b, "\\%c", c);
        } else if (c == '\n') {
            BUF_LIT(b, "\\n");
        } else if (c < 0x20 || c == 0x7f) {
            buf_printf(b, "\\u%04x", c);
        } else {
            buf_append(b, s.p, n);
        }
    }
    BUF_LIT(b, "\"");
}

static bool is_bare(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7f)
            return false;
    }
    return s.n > 0;
}

static void add_field(struct buf *b, bool json, const char *key, const struct log_field *f)
{
    if (json)
        buf_printf(b, "%s\"%s\":", b->n > 1 ? "," : "", key);
    else
        buf_printf(b, "%s%s=", b->n ? " " : "", key);
    if (f->kind == LOG_NUMBER)
        buf_printf(b, "%" PRId64, f->number);
    else if (!json && is_bare(f->text))
        buf_add(b, f->text);
    else
        add_quoted(b, f->text);
}

void log_emit(enum log_level level, const char *msg, const struct log_field *fields)
{
    bool json = atomic_load_explicit(&log_format, memory_order_relaxed) == LOG_JSON;
    struct clock now;
    char stamp[CLOCK_STAMP_SIZE];
    struct buf b = {0};
    clock_read(&now);
    if (json)
        BUF_LIT(&b, "{");
    add_field(&b, json, "time", &(struct log_field)LF("", clock_stamp(stamp, now.wall)));
    add_field(&b, json, "level", &(struct log_field)LF("", level_name[level]));
    add_field(&b, json, "msg", &(struct log_field)LF("", msg));
    for (const struct log_field *f = fields; f->key; f++)
        add_field(&b, json, f->key, f);
    if (json)
        BUF_LIT(&b, "}");
    BUF_LIT(&b, "\n");
    struct slice line = buf_slice(&b);
    if (log_sink)
        log_sink(log_sink_ctx, line.p, line.n);
    else if (write(STDERR_FILENO, line.p, line.n) < 0) {
        /* nowhere left to say so */
    }
    buf_free(&b);
}
