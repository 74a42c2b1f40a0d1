/* A Redis Cluster of real servers, and a client of it. */
#ifndef HOLDFAST_TESTS_REDIS_REAL_CLUSTER_H
#define HOLDFAST_TESTS_REDIS_REAL_CLUSTER_H

#include "real.h"

#define NODES   4 /* three masters; the last one has no slots, or is a replica of the first */
#define TIMEOUT "700"

struct fixture {
    struct real node[NODES];
    char id[NODES][41];
    struct client c;
};

static const unsigned first_slot[] = {0, 5461, 10923, 16384};

static void node_start(struct real *s)
{
    real_prepare(s);
    s->bus = free_port();
    real_option(s, "cluster-enabled", "yes");
    real_option(s, "cluster-config-file", "nodes.conf");
    real_option(s, "cluster-node-timeout", TIMEOUT);
    real_number(s, "cluster-port", s->bus);
    real_start(s);
}

static void tell(struct real *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct real *s, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *got = real_ask(s, text);
    if (strcmp(got, "OK") != 0)
        fail_msg("%s: %s", text, got);
    free(got);
}

UNUSED_OK static int begin(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    for (int i = 0; i < NODES; i++) {
        node_start(&f->node[i]);
        tell(&f->node[i], "CLUSTER SET-CONFIG-EPOCH %d", i + 1);
        char *id = real_ask(&f->node[i], "CLUSTER MYID");
        strcpy(f->id[i], id);
        free(id);
    }
    for (int i = 0; i < 3; i++)
        tell(&f->node[i], "CLUSTER ADDSLOTSRANGE %u %u", first_slot[i], first_slot[i + 1] - 1);
    for (int i = 1; i < NODES; i++)
        tell(&f->node[0], "CLUSTER MEET 127.0.0.1 %d %d", f->node[i].port, f->node[i].bus);
    for (int i = 0; i < NODES; i++) {
        real_await(&f->node[i], "CLUSTER INFO", "cluster_state:ok");
        real_await(&f->node[i], "CLUSTER INFO", "cluster_known_nodes:4");
        real_await(&f->node[i], "CLUSTER INFO", "cluster_slots_assigned:16384");
    }
    client_prepare(&f->c);
    *state = f;
    return 0;
}

UNUSED_OK static int end(void **state)
{
    struct fixture *f = *state;
    client_end(&f->c);
    for (int i = 0; i < NODES; i++)
        real_end(&f->node[i]);
    free(f);
    return 0;
}

UNUSED_OK static bool is_whole(void *ctx)
{
    struct fixture *f = ctx;
    return !redis_why_away(f->c.r);
}

UNUSED_OK static void start(struct fixture *f, int seed)
{
    char url[96];
    snprintf(url, sizeof url, "redis+cluster://127.0.0.1:%d,127.0.0.1:%d", free_port(), f->node[seed].port);
    client_open(&f->c, url);
    client_until(&f->c, is_whole, f);
}

UNUSED_OK static int node_of(unsigned slot)
{
    return slot < first_slot[1] ? 0 : slot < first_slot[2] ? 1 : 2;
}

#endif
