/* The stats port: HTTP for people, scrapers and probes, served by libmicrohttpd on a thread of its own. It reads only
 * (GET and HEAD) and knows no worker: all it shows comes from a struct of callbacks.
 *
 *   /              the list of routes
 *   /metrics       OpenMetrics if the client accepts it, else Prometheus text 0.0.4
 *   /stats.json    the same figures as one JSON object
 *   /sessions      ?state=any|attached|detached|unmanaged &jid=JID &sort=unacked|oldest|slow|age|sid &offset=N
 *                  &limit=N &format=text|json; one line per session; JSON also by `Accept: application/json`
 *   /sessions/SID  one session as JSON
 *   /healthz       200 while every worker's loop turns, else 503 with reasons; /livez is the same
 *   /readyz        200 if clients may be sent here, else 503 with reasons */
#ifndef HOLDFAST_RUN_STATS_HTTP_H
#define HOLDFAST_RUN_STATS_HTTP_H

#include "base/slice.h"
#include <stdbool.h>
#include <stddef.h>

struct buf;

enum stats_state { STATS_ANY, STATS_ATTACHED, STATS_DETACHED, STATS_UNMANAGED };
enum stats_sort {
    STATS_BY_UNACKED,  /* most stanzas first */
    STATS_BY_OLDEST,   /* whose oldest unacked stanza waits longest first */
    STATS_BY_ACK_TIME, /* slowest first */
    STATS_BY_AGE,      /* oldest first */
    STATS_BY_SID,
};

#define STATS_DEFAULT_LIMIT 1000

struct stats_query {
    enum stats_state state;
    enum stats_sort sort;
    const char *jid; /* bare: all sessions of the account; full: that one; NULL: all. Valid during the call */
    size_t offset;   /* so many are left out ahead */
    size_t limit;    /* sessions at most, over all workers */
    bool json;
};

/* Called on the HTTP thread, one at a time: they may wait for workers, but not for long (probes wait behind them). They
 * append to `out` and `reasons`. */
struct stats_source {
    void *ctx;
    /* May clients be sent here? If not: why, one reason per line ("draining", "upstream: 0/2 up"). */
    bool (*ready)(void *ctx, struct buf *reasons);
    /* Did every worker's loop turn lately? If not: which did not, one per line. */
    bool (*alive)(void *ctx, struct buf *reasons);
    /* OpenMetrics text without `# EOF`, each family's TYPE line first: counters_expose(), process_metrics_expose() and
     * the node's own gauges by counters_add_header(). */
    void (*metrics)(void *ctx, struct buf *out);
    /* Members of a JSON object, without the braces. */
    void (*figures)(void *ctx, struct buf *out);
    /* If q->json an array, else a line of aligned text per session with a headline. False if the workers did not answer
     * in time (504). */
    bool (*sessions)(void *ctx, const struct stats_query *q, struct buf *out);
    /* One JSON object; nothing if there is no such session (404). sid is as the client wrote it: anything. False if the
     * workers did not answer in time (504). */
    bool (*session)(void *ctx, struct slice sid, struct buf *out);
};

struct stats_http;

/* Binds "127.0.0.1:9280", "[::1]:9280", "localhost:9280" or, for all addresses, "*:9280" or "9280", and starts the
 * thread; port 0 takes a free one. The source is copied, its ctx must outlive stats_http_stop(). NULL with *error_r
 * (free it), e.g. "stats port 127.0.0.1:9280: Address already in use". */
struct stats_http *stats_http_start(const char *address, const struct stats_source *source, char **error_r);
/* As stats_http_start, on a listening socket that someone else has bound; taken over in any case. */
struct stats_http *stats_http_adopt(int fd, const struct stats_source *source, char **error_r);
/* The port that was bound. */
int stats_http_port(const struct stats_http *h);
/* Waits for the callback that is under way, cuts all connections, ends the thread. NULL is fine. */
void stats_http_stop(struct stats_http *h);

#endif
