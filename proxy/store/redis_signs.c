/* Who lives: each node shows a sign of life, and whoever wonders about another one looks for it. A hint, never the
 * fence. */
#include "base/mem.h"
#include "redis_impl.h"
#include <stdlib.h>

#define BEAT_EVERY (5 * USEC_S)

static char *key_of(const char *node)
{
    return mem_printf("hf:n:%s", node);
}

/* ---- this node's ---- */

void sign_beat(void *ctx)
{
    struct redis_store *s = ctx;
    char *key = key_of(s->node), *sign = mem_printf("%s %s " HOLDFAST_VERSION, s->boot, s->peer);
    struct args a;
    args_begin(&a);
    args_str(&a, "SET");
    args_str(&a, key);
    args_str(&a, sign);
    args_str(&a, "PX");
    args_number(&a, to_ms(SIGN_TTL));
    store_send(s, redis_slot(slice_str(key)), &a, NULL, NULL);
    free(key);
    free(sign);
    timers_arm(s->o.timers, &s->beat, now_mono(s) + BEAT_EVERY);
}

/* ---- another one's ---- */

struct question {
    char *boot;
    bool deaf; /* nobody listens to its channel any more */
    sign_fn *done;
    void *ctx;
};

/* BOOT PEER VERSION, of the node's run: an earlier one of it is as dead as one without a sign. PEER is empty where it
 * has no peer port. */
static void on_sign(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct question *q = ctx;
    struct slice sign = reply_text(reply), boot = slice_str(q->boot), peer = SLICE_NONE;
    bool lives = !q->deaf && slice_starts(sign, boot) && sign.n > boot.n && sign.p[boot.n] == ' ';
    if (lives) {
        struct slice rest = slice_skip(sign, boot.n + 1);
        const char *end = rest.n ? memchr(rest.p, ' ', rest.n) : NULL;
        peer = slice_of(rest.p, end ? (size_t)(end - rest.p) : 0);
    }
    q->done(q->ctx, a != REDIS_DONE ? SIGN_UNKNOWN : lives ? SIGN_LIVES : SIGN_NONE, peer);
    free(q->boot);
    free(q);
}

/* [channel, how many listen] */
static void on_listeners(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct question *q = ctx;
    q->deaf = a == REDIS_DONE && reply_count(reply) == 2 && reply_number(reply_at(reply, 1)) == 0;
}

/* The sign of a node that was killed lasts for seconds, its subscription ends with its connections. */
void sign_ask(struct redis_store *s, const char *node, const char *boot, sign_fn *done, void *ctx)
{
    struct question *q = MEM_NEW(struct question);
    q->boot = mem_strdup(boot);
    q->done = done;
    q->ctx = ctx;
    char *key = key_of(node); /* its channel has that name, too */
    struct args a;
    if (redis_counts_listeners(s->redis)) {
        args_begin(&a);
        args_str(&a, "PUBSUB");
        args_str(&a, "NUMSUB");
        args_str(&a, key);
        store_send(s, redis_slot(slice_str(key)), &a, on_listeners, q);
    }
    args_begin(&a);
    args_str(&a, "GET");
    args_str(&a, key);
    store_send(s, redis_slot(slice_str(key)), &a, on_sign, q);
    free(key);
}

char *owner_split(char *owner)
{
    char *slash = strrchr(owner, '/');
    if (!slash)
        return owner + strlen(owner);
    *slash = '\0';
    return slash + 1;
}
