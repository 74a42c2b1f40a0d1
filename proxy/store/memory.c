#include "store/memory.h"
#include "base/index.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/slab.h"
#include "memory_visit.h"
#include <pthread.h>
#include <stdlib.h>

struct kept {
    struct list link;
    struct buf record;
    char sid[SID_SIZE];
};

struct mail {
    struct list link; /* in its mailbox, in order of arrival there */
    struct mailbox *box;
    struct entry *entry;
    bool lent;
    bool doomed; /* lent when its account was purged: it goes when it comes back */
};

struct mailbox {
    struct list mails;
    size_t count, bytes;
    enum store_box kind;
    char *account;
};

struct grave {
    struct list link; /* in order of death */
    usec until;
    struct tombstone tombstone;
    char sid[SID_SIZE];
    char bytes[]; /* of the tombstone's account, proof and resent: in one piece, as there are many, for long */
};

struct memory_store {
    struct store store; /* first: a struct store * is a struct memory_store * */
    pthread_mutex_t lock;
    struct map *boxes[BOXES]; /* account -> struct mailbox */
    struct map *mails;        /* origin -> struct mail */
    struct index *graves;     /* of struct grave, by sid */
    struct list graves_by_age;
    struct list sessions; /* of struct kept */
    size_t session_count;
    usec mailbox_ttl, tombstone_ttl;
    size_t messages[BOXES], bytes, limit;
    struct memory_store_figures figures; /* .box and .tombstone_bytes; the rest is counted when asked for */
    _Atomic int64_t *memory;
};

static struct memory_store *self(struct store *s)
{
    return (struct memory_store *)s;
}

static void account_bytes(struct memory_store *m, struct mailbox *box, int64_t n)
{
    box->count = (size_t)((int64_t)box->count + (n > 0 ? 1 : -1));
    m->messages[box->kind] = (size_t)((int64_t)m->messages[box->kind] + (n > 0 ? 1 : -1));
    box->bytes = (size_t)((int64_t)box->bytes + n);
    m->bytes = (size_t)((int64_t)m->bytes + n);
    if (m->memory)
        atomic_fetch_add_explicit(m->memory, n, memory_order_relaxed);
}

static struct mailbox *mailbox_of(struct memory_store *m, enum store_box kind, struct slice account)
{
    struct mailbox *box = map_get(m->boxes[kind], account);
    if (!box) {
        box = MEM_NEW(struct mailbox);
        list_init(&box->mails);
        box->kind = kind;
        box->account = mem_dup(account);
        map_put(m->boxes[kind], account, box);
    }
    return box;
}

static void mailbox_free(struct mailbox *box)
{
    free(box->account);
    free(box);
}

static void mail_free(struct memory_store *m, struct mail *mail)
{
    account_bytes(m, mail->box, -(int64_t)entry_cost(mail->entry->n));
    map_remove(m->mails, slice_str(mail->entry->origin));
    list_remove(&mail->link);
    entry_free(mail->entry);
    free(mail);
}

static void drop_if_empty(struct memory_store *m, struct mailbox *box)
{
    if (list_is_empty(&box->mails)) {
        map_remove(m->boxes[box->kind], slice_str(box->account));
        mailbox_free(box);
    }
}

static void mail_end(struct memory_store *m, struct mail *mail)
{
    struct mailbox *box = mail->box;
    mail_free(m, mail);
    drop_if_empty(m, box);
}

static bool is_over(const struct memory_store *m, const struct mailbox *box)
{
    return box->count > MAILBOX_MESSAGES || box->bytes > MAILBOX_BYTES || (m->limit && m->bytes > m->limit);
}

/* The newest stays: at the worst it is alone. */
static void make_room(struct memory_store *m, struct mailbox *box)
{
    while (box->count > 1 && is_over(m, box)) {
        mail_free(m, CONTAINER_OF(list_first(&box->mails), struct mail, link));
        m->figures.box[box->kind].overflown++;
    }
}

static void box_put(struct store *s, enum store_box kind, struct slice account, struct entry *e)
{
    struct memory_store *m = self(s);
    pthread_mutex_lock(&m->lock);
    struct mail *mail = map_get(m->mails, slice_str(e->origin));
    if (mail) {
        m->figures.box[mail->box->kind].doubled += !mail->lent;
        mail->lent = false;
        entry_free(e);
        if (mail->doomed) {
            m->figures.box[mail->box->kind].purged++;
            mail_end(m, mail);
        }
    } else {
        m->figures.box[kind].put++;
        mail = MEM_NEW(struct mail);
        mail->entry = e;
        e->next = NULL;
        mail->box = mailbox_of(m, kind, account);
        list_append(&mail->box->mails, &mail->link);
        map_put(m->mails, slice_str(e->origin), mail);
        account_bytes(m, mail->box, (int64_t)entry_cost(e->n));
        make_room(m, mail->box);
    }
    pthread_mutex_unlock(&m->lock);
}

static void box_take(struct store *s, enum store_box kind, struct slice account, const char *sid, store_mail_fn *done,
                     void *ctx)
{
    (void)sid; /* who dies here takes the whole store along */
    struct memory_store *m = self(s);
    struct entry *first = NULL, **end = &first;
    size_t n = 0;
    pthread_mutex_lock(&m->lock);
    struct mailbox *box = map_get(m->boxes[kind], account);
    if (box) {
        LIST_FOREACH_SAFE(it, next, &box->mails)
        {
            struct mail *mail = CONTAINER_OF(it, struct mail, link);
            if (mail->lent)
                continue;
            mail->lent = true;
            *end = entry_clone(mail->entry);
            end = &(*end)->next;
            n++;
        }
    }
    pthread_mutex_unlock(&m->lock);
    done(ctx, first, n);
}

static void box_done(struct store *s, enum store_box kind, struct slice account, struct slice origin)
{
    struct memory_store *m = self(s);
    pthread_mutex_lock(&m->lock);
    struct mail *mail = map_get(m->mails, origin);
    if (mail && mail->box->kind == kind && slice_eq_str(account, mail->box->account)) {
        m->figures.box[kind].done++;
        mail_end(m, mail);
    }
    pthread_mutex_unlock(&m->lock);
}

static void account_resent(struct memory_store *m, int64_t n)
{
    m->figures.tombstone_bytes = (size_t)((int64_t)m->figures.tombstone_bytes + n);
    if (m->memory)
        atomic_fetch_add_explicit(m->memory, n, memory_order_relaxed);
}

static void grave_free(struct memory_store *m, struct grave *g)
{
    index_remove(m->graves, slice_str(g->sid));
    list_remove(&g->link);
    account_resent(m, -(int64_t)g->tombstone.resent.n);
    slab_free(g);
}

static usec wall_now(void)
{
    struct clock now;
    clock_read(&now);
    return now.wall;
}

/* A copy behind the others. */
static const char *copy_to(char **end, const char *p, size_t n)
{
    if (!n)
        return NULL;
    char *copy = memcpy(*end, p, n);
    *end += n;
    return copy;
}

static struct grave *grave_new(const char *sid, const struct tombstone *t, usec until)
{
    size_t account_n = t->account ? strlen(t->account) + 1 : 0, proof_n = t->proof ? strlen(t->proof) + 1 : 0;
    struct grave *g = mem_check(slab_alloc(SLAB_RECORD, sizeof *g + account_n + proof_n + t->resent.n));
    char *end = g->bytes;
    *g = (struct grave){.until = until, .tombstone = *t};
    memcpy(g->sid, sid, SID_SIZE);
    g->tombstone.account = copy_to(&end, t->account, account_n);
    g->tombstone.proof = copy_to(&end, t->proof, proof_n);
    g->tombstone.resent.p = copy_to(&end, t->resent.p, t->resent.n);
    return g;
}

void memory_store_bury(struct memory_store *m, const char *sid, const struct tombstone *t, usec until)
{
    struct grave *g = grave_new(sid, t, until);
    pthread_mutex_lock(&m->lock);
    struct grave *old = index_get(m->graves, slice_str(sid));
    if (old)
        grave_free(m, old);
    account_resent(m, (int64_t)t->resent.n);
    index_put(m->graves, g);
    list_append(&m->graves_by_age, &g->link);
    if (index_count(m->graves) > TOMBSTONES_MAX) /* a login in a loop must not fill the memory */
        grave_free(m, CONTAINER_OF(list_first(&m->graves_by_age), struct grave, link));
    pthread_mutex_unlock(&m->lock);
}

static void tombstone_put(struct store *s, const char *sid, const struct tombstone *t)
{
    struct memory_store *m = self(s);
    pthread_mutex_lock(&m->lock);
    usec ttl = m->tombstone_ttl;
    pthread_mutex_unlock(&m->lock);
    memory_store_bury(m, sid, t, wall_now() + ttl);
}

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static void tombstone_get(struct store *s, const char *sid, const char *account, const char *proof,
                          store_tombstone_fn *done, void *ctx)
{
    struct memory_store *m = self(s);
    pthread_mutex_lock(&m->lock);
    struct grave *g = index_get(m->graves, slice_str(sid));
    bool known = g && g->until > wall_now() && (same(account, g->tombstone.account) || same(proof, g->tombstone.proof));
    struct tombstone t = known ? g->tombstone : (struct tombstone){0};
    struct buf resent = {0};
    if (known)
        buf_add(&resent, g->tombstone.resent);
    pthread_mutex_unlock(&m->lock);
    t.resent = buf_slice(&resent);
    done(ctx, known ? &t : NULL);
    buf_free(&resent);
}

static void session_put(struct store *s, const char *sid, struct slice record)
{
    struct memory_store *m = self(s);
    struct kept *k = MEM_NEW(struct kept);
    buf_add(&k->record, record);
    memcpy(k->sid, sid, SID_SIZE);
    pthread_mutex_lock(&m->lock);
    list_append(&m->sessions, &k->link);
    m->session_count++;
    pthread_mutex_unlock(&m->lock);
}

static bool session_take(struct store *s, char sid_r[SID_SIZE], struct buf *record_r)
{
    struct memory_store *m = self(s);
    pthread_mutex_lock(&m->lock);
    struct list *first = list_first(&m->sessions);
    struct kept *k = first ? CONTAINER_OF(first, struct kept, link) : NULL;
    if (k) {
        list_remove(&k->link);
        m->session_count--;
    }
    pthread_mutex_unlock(&m->lock);
    if (!k)
        return false;
    memcpy(sid_r, k->sid, SID_SIZE);
    *record_r = k->record;
    free(k);
    return true;
}

static void purge_mailbox(struct memory_store *m, struct mailbox *box, struct store_purged *purged)
{
    LIST_FOREACH_SAFE(it, next, &box->mails)
    {
        struct mail *mail = CONTAINER_OF(it, struct mail, link);
        if (mail->lent) {
            mail->doomed = true;
            purged->lent++;
            continue;
        }
        purged->messages++;
        purged->bytes += mail->entry->n;
        m->figures.box[box->kind].purged++;
        mail_free(m, mail);
    }
    drop_if_empty(m, box);
}

static void purge(struct store *s, struct slice account, store_purge_fn *done, void *ctx)
{
    struct memory_store *m = self(s);
    struct store_purged purged = {0};
    pthread_mutex_lock(&m->lock);
    for (int kind = 0; kind < BOXES; kind++) {
        struct mailbox *box = map_get(m->boxes[kind], account);
        if (box)
            purge_mailbox(m, box, &purged);
    }
    LIST_FOREACH_SAFE(it, next, &m->graves_by_age)
    {
        struct grave *g = CONTAINER_OF(it, struct grave, link);
        if (g->tombstone.account && slice_eq_str(account, g->tombstone.account)) {
            grave_free(m, g);
            purged.tombstones++;
        }
    }
    pthread_mutex_unlock(&m->lock);
    done(ctx, &purged);
}

static const struct store_ops memory_ops = {
    .box_put = box_put,
    .box_take = box_take,
    .box_done = box_done,
    .tombstone_put = tombstone_put,
    .tombstone_get = tombstone_get,
    .session_put = session_put,
    .session_take = session_take,
    .purge = purge,
};

static struct slice sid_of_grave(const void *grave)
{
    return slice_str(((const struct grave *)grave)->sid);
}

struct memory_store *memory_store_new(usec mailbox_ttl, usec tombstone_ttl, _Atomic int64_t *memory)
{
    struct memory_store *m = MEM_NEW(struct memory_store);
    m->store.ops = &memory_ops;
    pthread_mutex_init(&m->lock, NULL);
    for (int kind = 0; kind < BOXES; kind++)
        m->boxes[kind] = map_new();
    list_init(&m->sessions);
    m->mails = map_new();
    m->graves = index_new(sid_of_grave);
    list_init(&m->graves_by_age);
    m->memory = memory;
    memory_store_set_ttls(m, mailbox_ttl, tombstone_ttl);
    return m;
}

struct store *memory_store_get(struct memory_store *m)
{
    return &m->store;
}

void memory_store_set_limit(struct memory_store *m, size_t bytes)
{
    pthread_mutex_lock(&m->lock);
    m->limit = bytes;
    pthread_mutex_unlock(&m->lock);
}

void memory_store_set_ttls(struct memory_store *m, usec mailbox_ttl, usec tombstone_ttl)
{
    pthread_mutex_lock(&m->lock);
    m->mailbox_ttl = mailbox_ttl;
    m->tombstone_ttl = tombstone_ttl;
    pthread_mutex_unlock(&m->lock);
}

struct sweep {
    struct memory_store *m;
    usec before;
};

static bool sweep_mailbox(void *ctx, struct slice key, void *value)
{
    struct sweep *sweep = ctx;
    struct mailbox *box = value;
    (void)key;
    LIST_FOREACH_SAFE(it, next, &box->mails)
    {
        struct mail *mail = CONTAINER_OF(it, struct mail, link);
        if (!mail->lent && mail->entry->arrived < sweep->before) {
            mail_free(sweep->m, mail);
            sweep->m->figures.box[box->kind].expired++;
        }
    }
    drop_if_empty(sweep->m, box);
    return true;
}

void memory_store_sweep(struct memory_store *m, usec wall)
{
    pthread_mutex_lock(&m->lock);
    struct sweep sweep = {.m = m, .before = wall - m->mailbox_ttl};
    for (int kind = 0; kind < BOXES; kind++)
        map_each(m->boxes[kind], sweep_mailbox, &sweep);
    for (struct list *it; (it = list_first(&m->graves_by_age));) {
        struct grave *g = CONTAINER_OF(it, struct grave, link);
        if (g->until > wall)
            break;
        grave_free(m, g);
    }
    pthread_mutex_unlock(&m->lock);
}

struct visit {
    const struct memory_visitor *visitor;
    void *ctx;
};

static bool visit_mailbox(void *ctx, struct slice key, void *value)
{
    struct visit *visit = ctx;
    struct mailbox *box = value;
    (void)key;
    LIST_FOREACH_SAFE(it, next, &box->mails)
    visit->visitor->mail(visit->ctx, box->kind, box->account, CONTAINER_OF(it, struct mail, link)->entry);
    return true;
}

void memory_store_visit(struct memory_store *m, const struct memory_visitor *v, void *ctx)
{
    struct visit visit = {v, ctx};
    pthread_mutex_lock(&m->lock);
    for (int kind = 0; kind < BOXES; kind++)
        map_each(m->boxes[kind], visit_mailbox, &visit);
    LIST_FOREACH_SAFE(it, next, &m->sessions)
    {
        struct kept *k = CONTAINER_OF(it, struct kept, link);
        v->session(ctx, k->sid, buf_slice(&k->record));
    }
    LIST_FOREACH_SAFE(it, next, &m->graves_by_age)
    {
        struct grave *g = CONTAINER_OF(it, struct grave, link);
        v->grave(ctx, g->sid, &g->tombstone, g->until);
    }
    pthread_mutex_unlock(&m->lock);
}

struct memory_store_figures memory_store_figures(struct memory_store *m)
{
    pthread_mutex_lock(&m->lock);
    struct memory_store_figures f = m->figures;
    f.messages = m->messages[BOX_MAIL];
    f.outbox = m->messages[BOX_OUT];
    f.bytes = m->bytes;
    f.tombstones = index_count(m->graves);
    f.sessions = m->session_count;
    pthread_mutex_unlock(&m->lock);
    return f;
}

void memory_store_loaded(struct memory_store *m)
{
    pthread_mutex_lock(&m->lock);
    for (int kind = 0; kind < BOXES; kind++) {
        m->figures.box[kind].loaded += m->figures.box[kind].put;
        m->figures.box[kind].put = 0;
    }
    pthread_mutex_unlock(&m->lock);
}

static bool free_mailbox(void *ctx, struct slice key, void *value)
{
    struct mailbox *box = value;
    (void)key;
    LIST_FOREACH_SAFE(it, next, &box->mails)
    mail_free(ctx, CONTAINER_OF(it, struct mail, link));
    mailbox_free(box);
    return true;
}

void memory_store_free(struct memory_store *m)
{
    for (int kind = 0; kind < BOXES; kind++) {
        map_each(m->boxes[kind], free_mailbox, m);
        map_free(m->boxes[kind]);
    }
    char sid[SID_SIZE];
    for (struct buf record; session_take(&m->store, sid, &record);)
        buf_free(&record);
    LIST_FOREACH_SAFE(it, next, &m->graves_by_age)
    grave_free(m, CONTAINER_OF(it, struct grave, link));
    map_free(m->mails);
    index_free(m->graves);
    pthread_mutex_destroy(&m->lock);
    free(m);
}
