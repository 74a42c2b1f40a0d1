#include "drain.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/systemd.h"
#include <stdio.h>
#include <stdlib.h>

#define TELL_EVERY (5 * USEC_S)

static enum drain_stage stage(const struct proxy_node *node)
{
    return (enum drain_stage)atomic_load(&node->drain.stage);
}

static size_t sessions(const struct proxy_node *node)
{
    size_t n = 0;
    for (unsigned i = 0; i < node->worker_count; i++)
        n += worker_sessions(node->workers[i]);
    return n;
}

static void tell(struct drain *d, struct proxy_node *node, usec now, const char *what)
{
    char status[96];
    size_t left = admission_count(node->admission);
    usec end = atomic_load(&node->drain.until);
    LOG(LOG_INFO, what, LF_INT("clients", left), LF_INT("sessions", sessions(node)),
        LF_INT("seconds_left", end > now ? (end - now) / USEC_S : 0));
    snprintf(status, sizeof status, "draining: %zu of %zu clients left", left, d->clients);
    if (left)
        systemd_notify_status(status);
    d->told_at = now;
}

/* Those who are left when proxy.drain has passed are cut at once: worth knowing before. */
static void warn_if_too_slow(const struct drain *d, const struct proxy_node *node)
{
    const struct config *config = node->config;
    usec time = config->proxy.drain - config->proxy.drain_grace;
    usec needed = (usec)d->clients * USEC_S / config->proxy.drain_rate;
    if (needed > time)
        LOG(LOG_WARN, "proxy.drain is too short for all clients at proxy.drain_rate; the rest is cut at its end",
            LF_INT("clients", d->clients), LF_INT("needed_seconds", needed / USEC_S),
            LF_INT("drain_seconds", (time > 0 ? time : 0) / USEC_S));
}

void drain_begin(struct drain *d, struct proxy_node *node, usec now)
{
    const struct config *config = node->config;
    *d = (struct drain){.grace_end = now + config->proxy.drain_grace, .clients = admission_count(node->admission)};
    atomic_store(&node->drain.until, now + config->proxy.drain);
    atomic_store(&node->drain.stage, DRAIN_GRACE);
    systemd_notify_stopping("draining");
    LOG(LOG_INFO, "draining", LF_INT("clients", d->clients), LF_INT("sessions", sessions(node)),
        LF_INT("grace_ms", config->proxy.drain_grace / USEC_MS), LF_INT("drain_ms", config->proxy.drain / USEC_MS),
        LF_INT("rate", config->proxy.drain_rate));
    warn_if_too_slow(d, node);
}

static void begin_cutting(struct drain *d, struct proxy_node *node, usec now)
{
    for (unsigned i = 0; i < node->worker_count; i++)
        worker_refuse(node->workers[i]);
    atomic_store(&node->drain.stage, DRAIN_CUTTING);
    d->cut_at = now;
    tell(d, node, now, "drain: no new clients from here on");
}

/* n clients, from each worker in proportion to what it has, so that all of them empty at the same time. */
static void share_out(struct drain *d, struct proxy_node *node, size_t n)
{
    size_t total = 0, given = 0, *share = mem_zalloc(node->worker_count * sizeof *share);
    size_t *clients = mem_zalloc(node->worker_count * sizeof *clients);
    for (unsigned i = 0; i < node->worker_count; i++)
        total += clients[i] = worker_clients(node->workers[i]);
    n = n < total ? n : total;
    for (unsigned i = 0; i < node->worker_count; i++)
        given += share[i] = total ? n * clients[i] / total : 0;
    for (; given < n; d->next = (d->next + 1) % node->worker_count) {
        if (share[d->next] < clients[d->next]) {
            share[d->next]++;
            given++;
        }
    }
    for (unsigned i = 0; i < node->worker_count; i++)
        if (share[i])
            worker_shed(node->workers[i], share[i]);
    free(share);
    free(clients);
}

static void cut_some(struct drain *d, struct proxy_node *node, usec now)
{
    d->due += (double)node->config->proxy.drain_rate * (double)(now - d->cut_at) / USEC_S;
    d->cut_at = now;
    size_t n = (size_t)d->due;
    d->due -= (double)n;
    if (n)
        share_out(d, node, n);
    if (now - d->told_at >= TELL_EVERY)
        tell(d, node, now, "drain");
}

bool drain_step(struct drain *d, struct proxy_node *node, usec now)
{
    if (stage(node) == DRAIN_GRACE && now >= d->grace_end)
        begin_cutting(d, node, now);
    if (stage(node) != DRAIN_CUTTING)
        return stage(node) == DRAIN_OVER;
    size_t left = admission_count(node->admission);
    if (left && now < atomic_load(&node->drain.until)) {
        cut_some(d, node, now);
        return false;
    }
    atomic_store(&node->drain.stage, DRAIN_OVER);
    LOG(LOG_INFO, "drained", LF_INT("clients_left", left));
    return true;
}
