#include "base/log.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include <poll.h>
#include <unistd.h>

_Atomic int log_level = LOG_INFO;
static _Atomic int log_format = LOG_LOGFMT;
static void (*log_sink)(void *ctx, const char *line, size_t n);
static void *log_sink_ctx;
static _Atomic uint64_t log_lost; /* lines that stderr did not take */

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

static bool is_bare(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7f)
            return false;
    }
    return s.n > 0;
}

static void add_number(struct buf *b, int64_t n)
{
    if (n < 0)
        BUF_LIT(b, "-");
    buf_add_number(b, n < 0 ? -(uint64_t)n : (uint64_t)n);
}

/* Lines are a good part of what a login costs beside TLS: no printf. */
static void add_field(struct buf *b, bool json, const char *key, const struct log_field *f)
{
    if (b->n > (json ? 1 : 0))
        buf_append(b, json ? "," : " ", 1);
    if (json)
        BUF_LIT(b, "\"");
    buf_add_str(b, key);
    if (json)
        BUF_LIT(b, "\":");
    else
        BUF_LIT(b, "=");
    if (f->kind == LOG_NUMBER)
        add_number(b, f->number);
    else if (!json && is_bare(f->text))
        buf_add(b, f->text);
    else
        json_quote(b, f->text);
}

uint64_t log_dropped(void)
{
    return atomic_load_explicit(&log_lost, memory_order_relaxed);
}

/* A log that nobody reads must not stop the sessions: a pipe that has no room for a line goes without it. */
static bool write_stderr(struct slice line)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&out, 1, 0) != 1 || !(out.revents & POLLOUT))
        return false;
    return write(STDERR_FILENO, line.p, line.n) == (ssize_t)line.n;
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
    else if (!write_stderr(line))
        atomic_fetch_add_explicit(&log_lost, 1, memory_order_relaxed);
    buf_free(&b);
}
