#include "run/login_guard.h"
#include "base/bucket.h"
#include "base/hash.h"
#include "base/mem.h"
#include "peer_prefix.h"
#include <pthread.h>
#include <stdlib.h>

#define MINUTE      (60 * USEC_S)
#define WAYS        8  /* places that a party may be in */
#define MOST        10 /* times the limit: no party owes more, so that it is heard again after ten minutes */
#define LATEST      3  /* 2^3 seconds: less than clients wait for an answer */
#define ACCOUNT_MAX 1024

enum party { PARTY_ADDRESS, PARTY_PAIR, PARTY_ACCOUNT, PARTIES };

struct place {
    uint64_t key; /* 64 bits of a keyed hash stand for the party: who shares one by chance is merely late */
    struct bucket failures;
};

/* Any of the places of a set may hold a party that belongs there; the one that is full again first makes room. */
struct table {
    struct place *places;
    size_t sets; /* power of two */
};

struct login_guard {
    pthread_mutex_t lock;
    struct hash_key hash;
    struct table failures;
    struct table known; /* where accounts have logged in: `full_at` is when they did last */
};

static struct table table_new(size_t places)
{
    struct table t = {.sets = 1};
    while (t.sets * WAYS < places)
        t.sets *= 2;
    t.places = mem_zalloc(t.sets * WAYS * sizeof *t.places);
    return t;
}

/* Its place; if it has none, one made for it, or NULL. */
static struct place *table_find(const struct table *t, uint64_t key, bool make)
{
    struct place *set = &t->places[(key & (t->sets - 1)) * WAYS], *oldest = set;
    for (struct place *p = set; p < set + WAYS; p++) {
        if (p->key == key)
            return p;
        if (p->failures.full_at < oldest->failures.full_at)
            oldest = p;
    }
    if (!make)
        return NULL;
    *oldest = (struct place){.key = key};
    return oldest;
}

struct login_guard *login_guard_new(size_t places)
{
    struct login_guard *g = MEM_NEW(struct login_guard);
    pthread_mutex_init(&g->lock, NULL);
    g->hash = hash_key_new();
    g->failures = table_new(places);
    g->known = table_new(places);
    return g;
}

void login_guard_free(struct login_guard *g)
{
    pthread_mutex_destroy(&g->lock);
    free(g->failures.places);
    free(g->known.places);
    free(g);
}

/* ---- parties ---- */

struct parties {
    uint64_t key[PARTIES];
    unsigned limit[PARTIES]; /* 0: does not count */
};

static uint64_t key_of(const struct login_guard *g, char kind, struct slice address, struct slice account)
{
    char text[1 + PEER_PREFIX_SIZE + 1 + ACCOUNT_MAX];
    size_t n = 0;
    text[n++] = kind;
    memcpy(text + n, address.p ? address.p : "", address.n);
    n += address.n;
    text[n++] = '\n';
    for (size_t i = 0; i < account.n && i < ACCOUNT_MAX; i++) /* the server folds case: who guesses may use any */
        text[n++] = (char)(account.p[i] >= 'A' && account.p[i] <= 'Z' ? account.p[i] | 0x20 : account.p[i]);
    return hash_of(&g->hash, slice_of(text, n)) | 1ULL << 63; /* never that of an empty place */
}

static struct parties parties_of(const struct login_guard *g, const struct login_limits *limits, const char *peer,
                                 const char *account)
{
    char text[PEER_PREFIX_SIZE];
    struct slice address = peer_prefix(peer, text), name = slice_str(account);
    return (struct parties){
        .key = {[PARTY_ADDRESS] = key_of(g, 'a', address, SLICE_NONE),
                [PARTY_PAIR] = key_of(g, 'p', address, name),
                [PARTY_ACCOUNT] = key_of(g, 'u', SLICE_NONE, name)},
        .limit = {[PARTY_ADDRESS] = limits->per_address,
                  [PARTY_PAIR] = name.n ? limits->per_account : 0,
                  [PARTY_ACCOUNT] = name.n ? limits->per_account : 0},
    };
}

/* ---- what they owe ---- */

/* Of one failure. */
static usec cost_of(const struct parties *of, enum party who)
{
    return of->limit[who] ? MINUTE / of->limit[who] : 1;
}

static unsigned failures_of(const struct login_guard *g, const struct parties *of, enum party who, usec now)
{
    const struct place *p = table_find(&g->failures, of->key[who], false);
    usec cost = cost_of(of, who);
    return p ? (unsigned)((bucket_missing(&p->failures, now) + cost - 1) / cost) : 0;
}

static void charge(struct login_guard *g, const struct parties *of, enum party who, usec now)
{
    struct place *p = table_find(&g->failures, of->key[who], true);
    if (bucket_missing(&p->failures, now) < MOST * MINUTE)
        bucket_take(&p->failures, now, cost_of(of, who));
}

static void give_back(struct login_guard *g, const struct parties *of, enum party who)
{
    struct place *p = table_find(&g->failures, of->key[who], false);
    if (p)
        bucket_give_back(&p->failures, cost_of(of, who));
}

/* ---- verdicts ---- */

static usec lateness(unsigned failures, unsigned limit)
{
    unsigned over = failures - limit;
    return USEC_S << (over < LATEST ? over : LATEST);
}

static void judge(struct login_guard *g, const struct parties *of, enum party who, usec now, struct login_verdict *v)
{
    unsigned failures = failures_of(g, of, who, now), limit = of->limit[who];
    if (failures < limit)
        return;
    usec late = lateness(failures, limit);
    if (late > v->pass.late || !v->by)
        v->by = who == PARTY_ADDRESS ? LOGIN_LIMIT_ADDRESS : LOGIN_LIMIT_ACCOUNT;
    if (late > v->pass.late)
        v->pass.late = late;
    v->refused |= who != PARTY_ACCOUNT && failures >= 2 * limit;
    v->pass.charged |= 1u << who;
}

struct login_verdict login_guard_ask(struct login_guard *g, const struct login_limits *limits, const char *peer,
                                     const char *account, usec now)
{
    struct login_verdict v = {0};
    struct parties of = parties_of(g, limits, peer, account);
    pthread_mutex_lock(&g->lock);
    bool known = table_find(&g->known, of.key[PARTY_PAIR], false) != NULL;
    for (enum party who = 0; who < PARTIES && !v.refused; who++)
        if (of.limit[who] && (who == PARTY_PAIR || !known))
            judge(g, &of, who, now, &v);
    for (enum party who = 0; who < PARTIES && !v.refused; who++)
        if (v.pass.charged & 1u << who)
            charge(g, &of, who, now);
    pthread_mutex_unlock(&g->lock);
    return v;
}

void login_guard_ended(struct login_guard *g, const struct login_limits *limits, const char *peer, const char *account,
                       usec now, const struct login_pass *pass, enum login_end end)
{
    struct parties of = parties_of(g, limits, peer, account);
    pthread_mutex_lock(&g->lock);
    for (enum party who = 0; who < PARTIES; who++) {
        bool charged = pass->charged & 1u << who;
        if (of.limit[who] && end == LOGIN_FAILED && !charged)
            charge(g, &of, who, now);
        else if (of.limit[who] && end != LOGIN_FAILED && charged)
            give_back(g, &of, who);
    }
    if (end == LOGIN_SUCCEEDED && of.limit[PARTY_PAIR]) {
        struct place *failed = table_find(&g->failures, of.key[PARTY_PAIR], false);
        if (failed)
            *failed = (struct place){0};
        table_find(&g->known, of.key[PARTY_PAIR], true)->failures.full_at = now;
    }
    pthread_mutex_unlock(&g->lock);
}
