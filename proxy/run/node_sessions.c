/* Sessions for the stats port: each worker writes down its own, the HTTP thread waits, sorts and shows them. */
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "node_stats.h"
#include "question.h"
#include "session/session.h"
#include "xmpp/jid.h"
#include <inttypes.h>
#include <stdlib.h>

#define ANSWER_TIME USEC_S

struct row {
    struct session_info info;
    char *jid, *peer, *relay_node; /* copies: what info points to is gone with the turn */
};

/* What one worker found. */
struct part {
    struct row *rows;
    size_t n, cap;
    const struct gathering *of;
};

struct gathering {
    struct question question;
    /* what is wanted */
    enum stats_state state;
    char sid[SID_SIZE]; /* "" = all */
    char *jid;          /* bare or full; NULL = all */
    unsigned workers;
    struct part parts[];
};

static void free_parts(struct gathering *g)
{
    for (unsigned w = 0; w < g->workers; w++) {
        for (size_t i = 0; i < g->parts[w].n; i++) {
            free(g->parts[w].rows[i].jid);
            free(g->parts[w].rows[i].peer);
            free(g->parts[w].rows[i].relay_node);
        }
        free(g->parts[w].rows);
    }
}

static void gathering_free(struct question *q)
{
    struct gathering *g = CONTAINER_OF(q, struct gathering, question);
    free_parts(g);
    free(g->jid);
    free(g);
}

static bool has_jid(const struct session_info *info, const char *jid)
{
    struct slice full = slice_str(info->jid);
    return slice_eq_str(strchr(jid, '/') ? full : jid_bare(full), jid);
}

static bool has_state(const struct session_info *info, enum stats_state state)
{
    switch (state) {
    case STATS_ANY:
        return true;
    case STATS_ATTACHED:
        return info->state == SESSION_ATTACHED;
    case STATS_DETACHED:
        return info->state == SESSION_DETACHED;
    case STATS_UNMANAGED:
        return info->state == SESSION_UNMANAGED;
    }
    return false;
}

static bool wanted(const struct gathering *g, const struct session_info *info)
{
    if (g->sid[0])
        return strcmp(g->sid, info->sid) == 0;
    return has_state(info, g->state) && (!g->jid || has_jid(info, g->jid));
}

static bool add_row(void *ctx, struct session *s)
{
    struct part *part = ctx;
    struct row row = {0};
    session_info(s, &row.info);
    if (!wanted(part->of, &row.info))
        return true;
    row.jid = mem_strdup(row.info.jid);
    row.peer = mem_strdup(row.info.peer);
    row.relay_node = mem_strdup(row.info.relay_node);
    if (part->n == part->cap) {
        part->cap = part->cap ? part->cap * 2 : 64;
        part->rows = mem_realloc(part->rows, part->cap * sizeof *part->rows);
    }
    part->rows[part->n++] = row;
    return true;
}

/* Nobody reads this worker's part before it has answered. */
static void gather(void *owner, void *arg)
{
    struct context *cx = worker_context(owner);
    struct gathering *g = arg;
    registry_each(cx->registry, add_row, &g->parts[cx->worker]);
    question_answer(&g->question);
}

/* NULL if the workers did not answer in time. */
static struct gathering *gather_sessions(struct proxy_node *node, enum stats_state state, const char *jid,
                                         struct slice sid)
{
    struct gathering *g = mem_zalloc(sizeof *g + node->worker_count * sizeof g->parts[0]);
    question_init(&g->question, gathering_free);
    g->workers = node->worker_count;
    g->state = state;
    g->jid = mem_strdup(jid);
    if (sid.n)
        memcpy(g->sid, sid.p, sid.n < SID_SIZE ? sid.n : SID_SIZE - 1);
    for (unsigned i = 0; i < node->worker_count; i++) {
        g->parts[i].of = g;
        question_post(&g->question, worker_inbox(node->workers[i]), gather);
    }
    if (question_wait(&g->question, ANSWER_TIME))
        return g;
    question_release(&g->question);
    return NULL;
}

/* ---- order ---- */

static int descending(int64_t a, int64_t b)
{
    return (a < b) - (a > b);
}

static const struct session_info *info_of(const void *row)
{
    return &(*(const struct row *const *)row)->info;
}

static int by_sid(const void *a, const void *b)
{
    return strcmp(info_of(a)->sid, info_of(b)->sid);
}

/* Among equals the order is that of ids, so that pages do not overlap. */
#define BY(name, field)                                                                                                \
    static int name(const void *a, const void *b)                                                                      \
    {                                                                                                                  \
        int order = descending((int64_t)info_of(a)->field, (int64_t)info_of(b)->field);                                \
        return order ? order : by_sid(a, b);                                                                           \
    }
BY(by_unacked, unacked)
BY(by_oldest, oldest_unacked)
BY(by_ack_time, ack_time)
BY(by_age, age)

/* All rows of all parts in the order that is asked for; free() it. */
static const struct row **sorted(const struct gathering *g, enum stats_sort sort, size_t *n_r)
{
    static int (*const order[])(const void *, const void *) = {[STATS_BY_UNACKED] = by_unacked,
                                                               [STATS_BY_OLDEST] = by_oldest,
                                                               [STATS_BY_ACK_TIME] = by_ack_time,
                                                               [STATS_BY_AGE] = by_age,
                                                               [STATS_BY_SID] = by_sid};
    size_t n = 0;
    for (unsigned w = 0; w < g->workers; w++)
        n += g->parts[w].n;
    const struct row **all = mem_alloc((n + 1) * sizeof *all);
    *n_r = 0;
    for (unsigned w = 0; w < g->workers; w++)
        for (size_t i = 0; i < g->parts[w].n; i++)
            all[(*n_r)++] = &g->parts[w].rows[i];
    qsort(all, n, sizeof *all, order[sort]);
    return all;
}

/* ---- forms ---- */

static void add_text(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, ",\"%s\":", name);
    if (text)
        json_quote(out, slice_str(text));
    else
        BUF_LIT(out, "null");
}

static void add_seconds(struct buf *out, const char *name, usec t)
{
    if (t < 0)
        buf_printf(out, ",\"%s\":null", name);
    else
        buf_printf(out, ",\"%s\":%.3f", name, (double)t / 1e6);
}

static void add_number(struct buf *out, const char *name, uint64_t n)
{
    buf_printf(out, ",\"%s\":%" PRIu64, name, n);
}

static void add_bool(struct buf *out, const char *name, bool yes)
{
    buf_printf(out, ",\"%s\":%s", name, yes ? "true" : "false");
}

/* Without the closing brace. */
static void add_row_json(struct buf *out, const struct row *r)
{
    const struct session_info *i = &r->info;
    buf_printf(out, "{\"sid\":\"%s\",\"state\":\"%s\"", i->sid, session_state_name(i->state));
    add_text(out, "jid", r->jid);
    add_text(out, "peer", r->peer);
    add_text(out, "transport", i->transport);
    add_text(out, "relay_node", r->relay_node);
    add_seconds(out, "age_seconds", i->age);
    add_seconds(out, "state_seconds", i->since_attach);
    add_number(out, "unacked", i->unacked);
    add_number(out, "unacked_bytes", i->unacked_bytes);
    add_seconds(out, "oldest_unacked_seconds", i->oldest_unacked);
    add_seconds(out, "ack_seconds", i->ack_time ? i->ack_time : -1);
    add_number(out, "unconfirmed", i->unconfirmed);
    add_number(out, "unconfirmed_bytes", i->unconfirmed_bytes);
    add_number(out, "parked", i->parked);
    add_number(out, "received", i->received);
    add_number(out, "sent", i->sent);
    add_number(out, "resumes", i->resumes);
}

/* What a list leaves out. */
static void add_rest_json(struct buf *out, const struct session_info *i)
{
    add_bool(out, "resumable", i->resumable);
    add_bool(out, "resuming", i->resuming);
    add_bool(out, "available", i->available);
    add_bool(out, "inactive", i->inactive);
    add_seconds(out, "max_seconds", i->max);
    add_seconds(out, "expires_in_seconds", i->state == SESSION_DETACHED && i->expires_in < 0 ? 0 : i->expires_in);
    add_number(out, "acked", i->acked);
    add_number(out, "safe", i->safe);
    add_number(out, "told", i->told);
    add_seconds(out, "oldest_unconfirmed_seconds", i->oldest_unconfirmed);
    add_seconds(out, "barrier_seconds", i->barrier);
    add_seconds(out, "full_seconds", i->full);
    add_number(out, "parked_bytes", i->parked_bytes);
    add_number(out, "handed", i->handed);
    add_number(out, "uplink_stanzas", i->stanzas_up);
    add_number(out, "downlink_stanzas", i->stanzas_down);
}

static void add_leg_json(struct buf *out, const char *name, bool there, uint64_t in, uint64_t bytes_out,
                         size_t buffered, usec silent, bool stopped)
{
    buf_printf(out, ",\"%s\":", name);
    if (!there) {
        BUF_LIT(out, "null");
        return;
    }
    buf_printf(out, "{\"bytes_in\":%" PRIu64, in);
    add_number(out, "bytes_out", bytes_out);
    add_number(out, "buffered_bytes", buffered);
    add_seconds(out, "silent_seconds", silent);
    add_bool(out, "reading_stopped", stopped);
    BUF_LIT(out, "}");
}

static void add_row_text(struct buf *out, const struct row *r)
{
    const struct session_info *i = &r->info;
    buf_printf(out, "%-32s %-9s %8lld %7zu %9zu %11zu %6zu %7" PRIu64 " %-5s %-24s %s\n", i->sid,
               session_state_name(i->state), (long long)(i->age / USEC_S), i->unacked, i->unacked_bytes, i->unconfirmed,
               i->parked, i->resumes, i->transport ? i->transport : "-", r->peer ? r->peer : "-",
               r->jid ? r->jid : "-");
}

static void show(struct buf *out, const struct row *const *rows, size_t n, bool json)
{
    if (json)
        BUF_LIT(out, "[");
    else
        BUF_LIT(out, "SID                              STATE          AGE UNACKED     BYTES UNCONFIRMED PARKED RESUMES "
                     "VIA   PEER                     JID\n");
    for (size_t i = 0; i < n; i++) {
        if (!json) {
            add_row_text(out, rows[i]);
            continue;
        }
        if (i)
            BUF_LIT(out, ",\n");
        add_row_json(out, rows[i]);
        BUF_LIT(out, "}");
    }
    if (json)
        BUF_LIT(out, "]\n");
}

bool node_list_sessions(void *ctx, const struct stats_query *q, struct buf *out)
{
    struct gathering *g = gather_sessions(ctx, q->state, q->jid, SLICE_NONE);
    if (!g)
        return false;
    size_t n;
    const struct row **rows = sorted(g, q->sort, &n);
    size_t from = q->offset < n ? q->offset : n;
    show(out, rows + from, n - from < q->limit ? n - from : q->limit, q->json);
    free(rows);
    question_release(&g->question);
    return true;
}

bool node_tell_session(void *ctx, struct slice sid, struct buf *out)
{
    if (sid.n != SID_SIZE - 1)
        return true;
    struct gathering *g = gather_sessions(ctx, STATS_ANY, NULL, sid);
    if (!g)
        return false;
    size_t n;
    const struct row **rows = sorted(g, STATS_BY_SID, &n);
    if (n) {
        const struct session_info *i = &rows[0]->info;
        add_row_json(out, rows[0]);
        add_rest_json(out, i);
        add_leg_json(out, "client", i->transport != NULL, i->client_bytes_in, i->client_bytes_out, i->client_buffered,
                     i->client_silent, i->client_stopped);
        add_leg_json(out, "server", i->upstream, i->upstream_bytes_in, i->upstream_bytes_out, i->upstream_buffered,
                     i->upstream_silent, i->upstream_stopped);
        BUF_LIT(out, "}");
    }
    free(rows);
    question_release(&g->question);
    return true;
}
