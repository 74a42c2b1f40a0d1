/* Structured log lines on stderr: logfmt or JSON. One process-wide sink; thread-safe; one write per line.
 * Never log stanza bodies, credentials or previds, at any level.
 *
 *   LOG(LOG_INFO, "session detached", LF("sid", s->sid), LF_INT("unacked", n));
 */
#ifndef HOLDFAST_BASE_LOG_H
#define HOLDFAST_BASE_LOG_H

#include "base/slice.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_LEVELS };
enum log_format { LOG_LOGFMT, LOG_JSON };

struct log_field {
    const char *key; /* NULL ends the list */
    enum { LOG_TEXT, LOG_NUMBER } kind;
    struct slice text;
    int64_t number;
};

extern _Atomic int log_level; /* lines above it are not formed */

void log_configure(enum log_level level, enum log_format format);
bool log_level_parse(const char *name, enum log_level *out); /* error, warn, info, debug */
/* For tests: each finished line (with its newline) goes to sink instead of stderr; NULL restores. */
void log_set_sink(void (*sink)(void *ctx, const char *line, size_t n), void *ctx);
/* Lines that stderr did not take, since the start: its reader is too slow, or gone. */
uint64_t log_dropped(void);
void log_emit(enum log_level level, const char *msg, const struct log_field *fields);

#define LF(k, v)                                                                                                       \
    {                                                                                                                  \
        .key = (k), .kind = LOG_TEXT, .text = slice_str(v)                                                             \
    }
#define LF_SLICE(k, v)                                                                                                 \
    {                                                                                                                  \
        .key = (k), .kind = LOG_TEXT, .text = (v)                                                                      \
    }
#define LF_INT(k, v)                                                                                                   \
    {                                                                                                                  \
        .key = (k), .kind = LOG_NUMBER, .number = (int64_t)(v)                                                         \
    }
#define LOG(level, msg, ...)                                                                                           \
    do {                                                                                                               \
        if ((int)(level) <= atomic_load_explicit(&log_level, memory_order_relaxed))                                    \
            log_emit(level, msg, (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.key = NULL}});                 \
    } while (0)

#endif
