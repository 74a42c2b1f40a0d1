#include "node_stats.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "question.h"
#include "run/process_metrics.h"
#include "run/upstream_metrics.h"
#include "run/versions.h"
#include "session/session.h"
#include "storage.h"
#include "store/memory.h"
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define STUCK_AFTER (5 * USEC_S) /* a loop turns once a second */
#define ANSWER_TIME                                                                                                    \
    (500 * USEC_MS) /* that workers get to hand over their figures: a scrape is not to wait for long                   \
                     */

static usec mono_now(void)
{
    struct clock now;
    clock_read(&now);
    return now.mono;
}

/* ---- health ---- */

bool node_is_alive(struct proxy_node *node, struct buf *reasons)
{
    bool alive = true;
    for (unsigned i = 0; i < node->worker_count; i++) {
        usec ago = mono_now() - worker_last_turn(node->workers[i]);
        if (ago > STUCK_AFTER) {
            buf_printf(reasons, "worker %u: stuck for %lld s\n", i, (long long)(ago / USEC_S));
            alive = false;
        }
    }
    return alive;
}

static bool alive(void *ctx, struct buf *reasons)
{
    return node_is_alive(ctx, reasons);
}

static bool ready(void *ctx, struct buf *reasons)
{
    struct proxy_node *node = ctx;
    bool good = node_is_alive(node, reasons);
    if (atomic_load(&node->drain.stage) != DRAIN_NONE) {
        BUF_LIT(reasons, "draining\n");
        good = false;
    }
    good = storage_is_ready(node->storage, reasons) && good;
    return upstreams_ready(node->upstreams, reasons) && good;
}

/* ---- figures ---- */

/* Each worker copies its counters on its own thread, between two events: within one worker they then agree with each
 * other, and as a session stays on its worker, what was received adds up with what became of it, whatever goes on
 * meanwhile. The store tells all its figures at one moment too. Only between these parts there is time: a message that
 * one worker has just given to the store may be counted here and not yet there. */
struct figures {
    struct question question;
    struct counters **of;  /* of each worker, then the node's own; NULL while a worker has not answered */
    struct counters *seen; /* what is only known now: gauges, ages, limits, what others count */
    unsigned workers;
    usec oldest_unacked, oldest_unconfirmed;
};

static void figures_free(struct question *q)
{
    struct figures *f = CONTAINER_OF(q, struct figures, question);
    for (unsigned i = 0; i < f->workers; i++)
        counters_free(f->of[i]);
    counters_free(f->seen);
    free(f->of);
    free(f);
}

struct ages {
    usec unacked, unconfirmed;
};

static bool look_at_ages(void *ctx, struct session *s)
{
    struct ages *oldest = ctx;
    usec unacked, unconfirmed;
    session_ages(s, &unacked, &unconfirmed);
    if (unacked > oldest->unacked)
        oldest->unacked = unacked;
    if (unconfirmed > oldest->unconfirmed)
        oldest->unconfirmed = unconfirmed;
    return true;
}

static void hand_over(void *owner, void *arg)
{
    struct context *cx = worker_context(owner);
    struct figures *f = arg;
    struct ages oldest = {0};
    struct counters *copy = counters_new();
    counters_copy(copy, cx->counters);
    registry_each(cx->registry, look_at_ages, &oldest);
    pthread_mutex_lock(&f->question.lock);
    if (f->of[cx->worker])
        counters_free(copy); /* too late: what is there is being shown */
    else
        f->of[cx->worker] = copy;
    if (oldest.unacked > f->oldest_unacked)
        f->oldest_unacked = oldest.unacked;
    if (oldest.unconfirmed > f->oldest_unconfirmed)
        f->oldest_unconfirmed = oldest.unconfirmed;
    pthread_mutex_unlock(&f->question.lock);
    question_answer(&f->question);
}

/* A worker that is late, or has stopped, is read as it is: figures that may not add up are better than none. */
static void read_the_late(struct figures *f, struct proxy_node *node)
{
    int64_t late = 0;
    pthread_mutex_lock(&f->question.lock);
    for (unsigned i = 0; i < f->workers; i++) {
        if (f->of[i])
            continue;
        late++;
        struct counters *copy = counters_new();
        counters_copy(copy, worker_counters(node->workers[i]));
        f->of[i] = copy;
    }
    pthread_mutex_unlock(&f->question.lock);
    count_set(f->seen, METRIC_workers_late, late);
}

static void take_store(struct counters *c, struct proxy_node *node)
{
    struct memory_store_figures mail = memory_store_figures(storage_memory(node->storage));
    count_set(c, METRIC_mailbox_messages, (int64_t)mail.messages);
    count_set(c, METRIC_outbox_messages, (int64_t)mail.outbox);
    count_set(c, METRIC_mailbox_bytes, (int64_t)mail.bytes);
    count_set(c, METRIC_mailbox_doubled, (int64_t)mail.box[BOX_MAIL].doubled);
    count_set(c, METRIC_mailbox_kept, (int64_t)mail.box[BOX_MAIL].put);
    count_set(c, METRIC_mailbox_delivered, (int64_t)mail.box[BOX_MAIL].done);
    count_set(c, METRIC_mailbox_expired, (int64_t)mail.box[BOX_MAIL].expired);
    count_set(c, METRIC_mailbox_overflown, (int64_t)mail.box[BOX_MAIL].overflown);
    count_set(c, METRIC_mailbox_purged, (int64_t)mail.box[BOX_MAIL].purged);
    count_set(c, METRIC_outbox_kept, (int64_t)mail.box[BOX_OUT].put);
    count_set(c, METRIC_outbox_sent, (int64_t)mail.box[BOX_OUT].done);
    count_set(c, METRIC_outbox_expired, (int64_t)mail.box[BOX_OUT].expired);
    count_set(c, METRIC_outbox_overflown, (int64_t)mail.box[BOX_OUT].overflown);
    count_set(c, METRIC_outbox_purged, (int64_t)mail.box[BOX_OUT].purged);
    count_set(c, METRIC_tombstones, (int64_t)mail.tombstones);
    count_set(c, METRIC_mailbox_messages_limit, MAILBOX_MESSAGES);
    count_set(c, METRIC_mailbox_limit_bytes, MAILBOX_BYTES);
    count_set(c, METRIC_tombstones_limit, TOMBSTONES_MAX);
}

static void take_limits(struct counters *c, struct proxy_node *node)
{
    count_set(c, METRIC_memory_limit_bytes, (int64_t)atomic_load(&node->limits.memory));
    count_set(c, METRIC_connections_limit, (int64_t)atomic_load(&node->limits.connections));
    count_set(c, METRIC_connections_per_ip_limit, (int64_t)atomic_load(&node->limits.connections_per_ip));
    count_set(c, METRIC_sessions_per_account_limit, (int64_t)atomic_load(&node->limits.sessions_per_account));
    count_set(c, METRIC_queue_stanzas_limit, (int64_t)atomic_load(&node->limits.queue_stanzas));
    count_set(c, METRIC_queue_limit_bytes, (int64_t)atomic_load(&node->limits.queue_bytes));
}

/* What no worker counts. */
static void take_node_figures(struct counters *c, struct proxy_node *node)
{
    take_store(c, node);
    storage_figures(node->storage, c);
    take_limits(c, node);
    count_set(c, METRIC_memory_bytes, atomic_load(&node->memory));
    count_set(c, METRIC_upstream_up, !atomic_load(&upstreams_service(node->upstreams)->down));
    count_set(c, METRIC_promise_weak, atomic_load(&node->confirm_none) || upstreams_any_unordered(node->upstreams));
    count_set(c, METRIC_draining, atomic_load(&node->drain.stage) != DRAIN_NONE);
    count_set(c, METRIC_certificate_expiry_timestamp_seconds, atomic_load(&node->certificate_expiry));
    count_set(c, METRIC_workers, node->worker_count);
    count_set(c, METRIC_log_lines_dropped, (int64_t)log_dropped());
}

/* question_release() it. */
static struct figures *take_figures(struct proxy_node *node)
{
    struct figures *f = MEM_NEW(struct figures);
    question_init(&f->question, figures_free);
    f->workers = node->worker_count;
    f->of = mem_zalloc((node->worker_count + 2) * sizeof(struct counters *));
    f->of[node->worker_count] = node->counters;
    f->of[node->worker_count + 1] = f->seen = counters_new();
    for (unsigned i = 0; i < node->worker_count; i++)
        question_post(&f->question, worker_inbox(node->workers[i]), hand_over);
    question_wait(&f->question, ANSWER_TIME);
    read_the_late(f, node);
    take_node_figures(f->seen, node);
    pthread_mutex_lock(&f->question.lock);
    count_set(f->seen, METRIC_unacked_oldest, f->oldest_unacked);
    count_set(f->seen, METRIC_unconfirmed_oldest, f->oldest_unconfirmed);
    pthread_mutex_unlock(&f->question.lock);
    return f;
}

static void metrics(void *ctx, struct buf *out)
{
    struct proxy_node *node = ctx;
    struct figures *f = take_figures(node);
    struct build_versions versions = {HOLDFAST_VERSION, versions_openssl(), versions_expat()};
    counters_expose(out, f->of, f->workers + 2);
    upstream_metrics_expose(node->upstreams, out);
    process_metrics_expose(out, &versions);
    question_release(&f->question);
}

static void tell_drain(struct buf *out, const struct proxy_node *node)
{
    static const char *const stage[] = {"none", "grace", "cutting", "over"};
    enum drain_stage now = (enum drain_stage)atomic_load(&node->drain.stage);
    usec left = atomic_load(&node->drain.until) - mono_now();
    buf_printf(out, ",\"drain\":\"%s\"", stage[now]);
    if (now != DRAIN_NONE)
        buf_printf(out, ",\"drain_seconds_left\":%.1f", left > 0 ? (double)left / 1e6 : 0.);
}

static void tell_state(struct buf *out, struct proxy_node *node)
{
    struct buf reasons = {0};
    bool good = ready(node, &reasons);
    if (reasons.n)
        reasons.n--; /* the last line's end */
    BUF_LIT(out, ",\"node\":");
    json_quote(out, slice_str(node->name));
    buf_printf(out, ",\"pid\":%d", (int)getpid());
    buf_printf(out, ",\"version\":\"%s\",\"uptime_seconds\":%.1f,\"ready\":%s,\"reasons\":", HOLDFAST_VERSION,
               (double)(mono_now() - node->started) / 1e6, good ? "true" : "false");
    json_quote(out, buf_slice(&reasons));
    buf_printf(out, ",\"clients\":%zu", admission_count(node->admission));
    tell_drain(out, node);
    buf_free(&reasons);
}

static void figures(void *ctx, struct buf *out)
{
    struct proxy_node *node = ctx;
    struct figures *f = take_figures(node);
    counters_expose_json(out, f->of, f->workers + 2);
    tell_state(out, node);
    BUF_LIT(out, ",");
    upstream_metrics_json(node->upstreams, out);
    question_release(&f->question);
}

struct stats_source node_stats_source(struct proxy_node *node)
{
    return (struct stats_source){node, ready, alive, metrics, figures, node_list_sessions, node_tell_session};
}
