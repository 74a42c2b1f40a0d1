/* The store itself: its turn, what Redis and the other nodes tell it. */
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "redis_impl.h"
#include <assert.h>

/* What one turn writes at most: Redis answers nobody else while it works off what one connection has sent. */
#define TURN_COMMANDS 1000
#define TURN_BYTES    ((size_t)1024 * 1024)
#define BACKLOG       ((size_t)4 * 1024 * 1024) /* above it the turn waits for answers */

#define RETRY_FIRST USEC_S
#define RETRY_LAST  (5 * USEC_S)

/* ---- what the files share ---- */

int64_t ttl_with_jitter(usec ttl)
{
    int64_t ms = to_ms(ttl) > 0 ? to_ms(ttl) : 1, tenth = ms / 10;
    return ms + random_below(tenth < INT32_MAX ? (uint32_t)tenth + 1 : INT32_MAX);
}

void mark_new(char mark[MARK_SIZE])
{
    random_hex(mark, (MARK_SIZE - 1) / 2);
}

void store_eval(struct redis_store *s, unsigned slot, enum script script, size_t nkeys, const struct args *a,
                redis_done_fn *done, void *ctx)
{
    redis_eval(s->redis, slot, &s->scripts[script], nkeys, a->n, a->v, done, ctx);
}

void store_send(struct redis_store *s, unsigned slot, const struct args *a, redis_done_fn *done, void *ctx)
{
    redis_send(s->redis, slot, a->n, a->v, done, ctx);
}

void store_memory(struct redis_store *s, int64_t n)
{
    if (s->o.memory && n)
        atomic_fetch_add_explicit(s->o.memory, n, memory_order_relaxed);
}

void store_seal(const struct redis_store *s, const char *tag, struct slice plain, struct buf *out)
{
    if (s->o.seal && plain.n)
        s->o.seal(s->o.ctx, slice_of(tag, TAG_SIZE - 1), plain, out);
    else
        buf_add(out, plain);
}

enum redis_opened store_open(const struct redis_store *s, const char *tag, struct slice sealed, struct buf *out)
{
    if (!s->o.open || !sealed.n) {
        buf_add(out, sealed);
        return OPENED;
    }
    enum redis_opened opened = s->o.open(s->o.ctx, slice_of(tag, TAG_SIZE - 1), sealed, out);
    if (opened != OPENED)
        count(s->o.counters,
              opened == OPENED_LOCKED ? METRIC_store_unreadable_locked : METRIC_store_unreadable_damaged);
    return opened;
}

void store_set_deadline(struct redis_store *s, const char *sid, usec left)
{
    struct args a;
    char key[KEY_SIZE];
    struct slice list = key_of_deadlines(key, deadlines_of(sid));
    unsigned slot = redis_slot(list);
    args_begin(&a);
    args_str(&a, left < 0 ? "ZREM" : "ZADD");
    args_add(&a, list);
    if (left >= 0)
        args_number(&a, to_ms(s->o.clock->wall + left));
    args_str(&a, sid);
    store_send(s, slot, &a, NULL, NULL);
    if (left < 0)
        return;
    /* a list lives as long as what is on it can matter */
    if (s->deadlines_ttl < left + s->o.mailbox_ttl)
        s->deadlines_ttl = left + s->o.mailbox_ttl;
    args_begin(&a);
    args_str(&a, "PEXPIRE");
    args_add(&a, list);
    args_number(&a, ttl_with_jitter(s->deadlines_ttl));
    store_send(s, slot, &a, NULL, NULL);
}

/* ---- what waits ---- */

static void move_all(struct list *from, struct list *to)
{
    for (struct list *it; (it = list_first(from));) {
        list_remove(it);
        list_append(to, it);
    }
}

static void on_retry(void *ctx)
{
    struct redis_store *s = ctx;
    s->retry_delay = s->retry_delay * 2 < RETRY_LAST ? s->retry_delay * 2 : RETRY_LAST;
    move_all(&s->stalled, &s->dirty);
    jobs_retry(s, 0, UINT32_MAX);
}

void store_retry_later(struct redis_store *s)
{
    usec jitter = random_below((uint32_t)(s->retry_delay / 4));
    timers_arm_by(s->o.timers, &s->retry, now_mono(s) + s->retry_delay + jitter);
}

/* All that was committed to the session may be gone, or be back where it was some time ago. */
static void doubt_session(struct kept *k, unsigned first_slot, unsigned last_slot)
{
    char key[KEY_SIZE];
    unsigned list = redis_slot(key_of_deadlines(key, deadlines_of(k->sid)));
    if (k->slot >= first_slot && k->slot <= last_slot)
        kept_stall(k, true);
    else if (list >= first_slot && list <= last_slot)
        k->noting = true; /* the list of deadlines is another slot's */
    kept_set_dirty(k);
}

static void doubt_sessions(struct redis_store *s, unsigned first_slot, unsigned last_slot)
{
    struct list all;
    list_init(&all);
    move_all(&s->stalled, &all);
    move_all(&s->dirty, &all);
    move_all(&s->idle, &all);
    for (struct list *it; (it = list_first(&all));) {
        list_remove(it);
        list_append(&s->idle, it);
        doubt_session(CONTAINER_OF(it, struct kept, link), first_slot, last_slot);
    }
}

static void calm_down(struct redis_store *s, unsigned first_slot, unsigned last_slot)
{
    size_t n = 0;
    for (size_t i = 0; i < s->calming_count; i++)
        if (s->calming[i].until > now_mono(s))
            s->calming[n++] = s->calming[i];
    s->calming = mem_realloc(s->calming, (n + 1) * sizeof *s->calming);
    s->calming[n++] = (struct calming){first_slot, last_slot, now_mono(s) + s->o.settle};
    s->calming_count = n;
}

usec store_calm_at(const struct redis_store *s, unsigned slot)
{
    usec at = 0;
    for (size_t i = 0; i < s->calming_count; i++)
        if (slot >= s->calming[i].first && slot <= s->calming[i].last && s->calming[i].until > at)
            at = s->calming[i].until;
    return at;
}

/* Whether any of these slots had a server before; from now on they have. */
static bool meet(struct redis_store *s, unsigned first_slot, unsigned last_slot)
{
    bool before = false;
    for (unsigned slot = first_slot; slot <= last_slot; slot++) {
        unsigned bit = 1u << slot % 8;
        before |= s->met_slots[slot / 8] & bit;
        s->met_slots[slot / 8] |= (unsigned char)bit;
    }
    return before;
}

static void on_back(void *ctx, unsigned first_slot, unsigned last_slot, bool fresh)
{
    struct redis_store *s = ctx;
    LOG(LOG_INFO, "redis can be written to", LF_INT("first_slot", first_slot), LF_INT("last_slot", last_slot),
        LF_INT("fresh", fresh));
    if (s->met)
        s->harmless_until = now_mono(s) + s->o.settle;
    if (meet(s, first_slot, last_slot) && fresh)
        calm_down(s, first_slot, last_slot);
    s->met = true;
    s->reap_after = now_mono(s) + s->o.max; /* at the first time too: this node does not know what was before */
    s->retry_delay = RETRY_FIRST;
    if (s->o.heartbeat) /* others are to know from the first moment that this node is to be asked */
        timers_arm(s->o.timers, &s->beat, now_mono(s));
    doubt_sessions(s, first_slot, last_slot);
    jobs_retry(s, first_slot, last_slot);
}

static void on_away(void *ctx, unsigned first_slot, unsigned last_slot, const char *why)
{
    struct redis_store *s = ctx;
    LOG(LOG_WARN, "redis is away", LF_INT("first_slot", first_slot), LF_INT("last_slot", last_slot), LF("why", why));
    s->reap_after = now_mono(s) + s->o.max;
}

static void on_told(void *ctx, struct slice message)
{
    kept_told(ctx, message);
}

const struct redis_events *redis_store_events(void)
{
    static const struct redis_events events = {.back = on_back, .away = on_away, .told = on_told};
    return &events;
}

/* ---- what other nodes are told ---- */

const char redis_store_shared_channel[] = "hf:nodes";

/* WORD SID NODE */
void store_publish(struct redis_store *s, const char *channel, const char *word, const char *sid)
{
    char *text = mem_printf("%s %s %s", word, sid, s->node);
    struct args a;
    args_begin(&a);
    args_str(&a, "PUBLISH");
    args_str(&a, channel);
    args_str(&a, text);
    store_send(s, redis_slot(slice_str(channel)), &a, NULL, NULL);
    free(text);
}

void store_tell_mail(struct redis_store *s, const char *tag)
{
    map_put(s->has_mail, slice_of(tag, TAG_SIZE - 1), s);
    timers_arm_by(s->o.timers, &s->soon, now_mono(s)); /* a turn is sure to come */
}

/* ---- the turn ---- */

static void on_soon(void *ctx)
{
    (void)ctx; /* the turn that follows is what it is for */
}

static bool tell_mail(void *ctx, struct slice key, void *value)
{
    struct redis_store *s = ctx;
    char tag[TAG_SIZE];
    (void)value;
    snprintf(tag, sizeof tag, "%.*s", SLICE_ARG(key));
    store_publish(s, redis_store_shared_channel, "mail", tag);
    map_remove(s->has_mail, slice_str(tag));
    return true;
}

static void turn(struct store *store)
{
    struct redis_store *s = redis_store_self(store);
    struct budget b = {TURN_COMMANDS, TURN_BYTES};
    struct list *it;
    if (!s->redis)
        return;
    while (redis_backlog(s->redis) < BACKLOG && (it = list_first(&s->dirty))) {
        struct kept *k = CONTAINER_OF(it, struct kept, link);
        list_remove(it);
        list_append(&s->idle, it);
        if (!kept_flush(k, &b)) {
            kept_set_dirty(k); /* behind the others */
            timers_arm_by(s->o.timers, &s->soon, now_mono(s));
            break;
        }
    }
    map_each(s->has_mail, tell_mail, s);
    redis_turn(s->redis);
}

/* ---- making ---- */

static void copy_options(struct redis_store *s, const struct redis_store_options *o)
{
    s->o = *o;
    s->node = mem_strdup(o->node);
    s->boot = mem_strdup(o->boot);
    s->peer = mem_strdup(o->peer ? o->peer : "");
    s->owner = mem_printf("%s/%s", s->node, s->boot);
    s->channel = mem_printf("hf:n:%s", s->node);
    s->o.node = s->node;
    s->o.boot = s->boot;
    s->o.peer = s->peer;
}

struct redis_store *redis_store_new(const struct redis_store_options *o)
{
    static const struct store_ops ops = {
        .box_put = box_put,
        .box_lend = box_lend,
        .box_take = box_take,
        .box_done = box_done,
        .tombstone_put = tombstone_put,
        .tombstone_get = tombstone_get,
        .purge = purge,
    };
    struct redis_store *s = MEM_NEW(struct redis_store);
    copy_options(s, o);
    s->store = (struct store){.ops = &ops, .kept = &redis_kept_ops, .turn = turn};
    for (int i = 0; i < SCRIPTS; i++) {
        s->scripts[i].name = script_name[i];
        s->scripts[i].text = script_text[i];
    }
    s->kept = map_new();
    s->has_mail = map_new();
    s->looks_again = map_new();
    for (int kind = 0; kind < BOXES; kind++)
        s->lent[kind] = map_new();
    list_init(&s->idle);
    list_init(&s->dirty);
    list_init(&s->stalled);
    list_init(&s->jobs);
    list_init(&s->waiting);
    s->retry_delay = RETRY_FIRST;
    s->retry = (struct timer){.fire = on_retry, .ctx = s};
    s->soon = (struct timer){.fire = on_soon, .ctx = s};
    s->beat = (struct timer){.fire = sign_beat, .ctx = s};
    return s;
}

void redis_store_connect(struct redis_store *s, struct redis *r)
{
    assert(!s->redis);
    s->redis = r;
    if (s->o.heartbeat)
        timers_arm(s->o.timers, &s->beat, now_mono(s));
    reap_init(s);
}

void redis_store_free(struct redis_store *s)
{
    s->redis = NULL;
    if (s->waiting_count)
        LOG(LOG_ERROR, "redis was away to the last, what waited for it is lost",
            LF_INT("operations", s->waiting_count));
    kept_free_all(s);
    jobs_free(s);
    timers_cancel(s->o.timers, &s->retry);
    timers_cancel(s->o.timers, &s->soon);
    timers_cancel(s->o.timers, &s->beat);
    timers_cancel(s->o.timers, &s->reap);
    box_forget_lends(s);
    map_free(s->kept);
    map_free(s->has_mail);
    map_free(s->looks_again);
    free(s->calming);
    free(s->node);
    free(s->boot);
    free(s->peer);
    free(s->owner);
    free(s->channel);
    free(s);
}

struct store *redis_store_get(struct redis_store *s)
{
    return &s->store;
}

const char *redis_store_channel(const struct redis_store *s)
{
    return s->channel;
}

void redis_store_set_times(struct redis_store *s, usec max, usec mailbox_ttl, usec tombstone_ttl)
{
    s->o.max = max;
    s->o.mailbox_ttl = mailbox_ttl;
    s->o.tombstone_ttl = tombstone_ttl;
}

static size_t length(const struct list *l)
{
    size_t n = 0;
    for (const struct list *it = l->next; it != l; it = it->next)
        n++;
    return n;
}

struct redis_store_waiting redis_store_waiting(const struct redis_store *s)
{
    return (struct redis_store_waiting){.operations = s->waiting_count, .sessions = length(&s->stalled)};
}
