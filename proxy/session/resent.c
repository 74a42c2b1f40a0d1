#include "resent.h"
#include "base/log.h"
#include "base/mem.h"
#include "record.h"
#include "session_impl.h"
#include "xmpp/xml.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DIGITS 16 /* of a digest as text */

struct memo {
    uint64_t number, digest;
};

/* What the session remembers, oldest first. */
struct resent {
    struct hash_key key;
    struct memo *memos;
    size_t n, cap;
    uint64_t asked; /* the h that was told ahead of the open <r/> */
    uint64_t seen;  /* the client has this h */
};

struct awaited {
    struct hash_key key;
    size_t n, next; /* those ahead of next have come, or were passed over */
    size_t known;
    usec until;
    uint64_t digest[];
};

/* ---- digests ---- */

/* The session's secret, as a key: digests tell nothing to who does not know it. */
struct hash_key resent_key(struct slice previd)
{
    static const struct hash_key half[] = {{{1, 0}}, {{2, 0}}};
    return (struct hash_key){{hash_of(&half[0], previd), hash_of(&half[1], previd)}};
}

/* xmpp.js puts a delay into what it sends again. False: it cannot be told what is without it. */
static bool hash_without_delay(const struct hash_key *key, const struct element *e, uint64_t *hash_r)
{
    const struct node *root;
    struct xml_tree *tree = xml_tree_parse(e->bytes, &root);
    const struct node *delay = tree ? node_child(root, NS_DELAY, "delay") : NULL;
    if (delay) {
        struct buf rest = {0};
        buf_append(&rest, e->bytes.p + e->open_end, (size_t)(delay->bytes.p - e->bytes.p) - e->open_end);
        const char *behind = delay->bytes.p + delay->bytes.n;
        buf_append(&rest, behind, (size_t)(e->bytes.p + e->close_at - behind));
        *hash_r = hash_of(key, buf_slice(&rest));
        buf_free(&rest);
    }
    xml_tree_free(tree);
    return delay != NULL;
}

/* The key for what stands between the tags: the session's, and what else has to be the same. */
static struct hash_key key_of_content(const struct hash_key *key, const struct element *e, struct buf *scratch)
{
    size_t lengths[] = {e->id.n, e->to.n, e->type.n};
    buf_clear(scratch);
    buf_append(scratch, (const char *)lengths, sizeof lengths);
    buf_add(scratch, e->id);
    buf_add(scratch, e->to);
    buf_add(scratch, e->type);
    return (struct hash_key){{key->word[0] ^ hash_of(key, buf_slice(scratch)), key->word[1]}};
}

static bool digest_of(const struct hash_key *session, const struct element *e, struct buf *scratch, uint64_t *digest_r)
{
    struct hash_key key = key_of_content(session, e, scratch);
    if (e->facts & FACT_DELAY)
        return hash_without_delay(&key, e, digest_r);
    *digest_r = hash_of(&key, slice_of(e->bytes.p + e->open_end, e->close_at - e->open_end));
    return true;
}

static bool is_fit(const struct element *e)
{
    return e->kind == ELEMENT_MESSAGE && e->id.n && e->close_at > e->open_end && !slice_eq_str(e->type, "error");
}

/* ---- what a session remembers ---- */

static void cut_front(struct resent *r, size_t n)
{
    r->n -= n;
    if (n)
        memmove(r->memos, r->memos + n, r->n * sizeof *r->memos);
}

static void set_room(struct session *s, size_t cap)
{
    struct resent *r = s->resent;
    context_memory(s->cx, (int64_t)(cap * sizeof *r->memos) - (int64_t)(r->cap * sizeof *r->memos));
    r->memos = mem_realloc(r->memos, cap * sizeof *r->memos);
    r->cap = cap;
}

/* Those whose ack the client has seen make room first, then the oldest. */
static void make_room(struct session *s)
{
    struct resent *r = s->resent;
    size_t most = s->cx->settings->sm.recognize_stanzas, done = 0;
    while (done < r->n && r->memos[done].number <= r->seen)
        done++;
    cut_front(r, done);
    if (r->n >= most)
        cut_front(r, r->n - most + 1);
    if (r->n == r->cap)
        set_room(s, r->cap ? 2 * r->cap : 8);
}

static struct resent *resent_of(struct session *s)
{
    if (!s->resent) {
        s->resent = MEM_NEW(struct resent);
        char previd[PREVID_SIZE];
        s->resent->key = resent_key(slice_str(session_previd(s, previd)));
        context_memory(s->cx, sizeof *s->resent);
    }
    return s->resent;
}

static void add(struct session *s, uint64_t number, uint64_t digest)
{
    struct resent *r = resent_of(s);
    if (r->n == r->cap || r->n >= s->cx->settings->sm.recognize_stanzas)
        make_room(s);
    r->memos[r->n++] = (struct memo){number, digest};
}

void resent_remember(struct session *s, const struct element *e, uint64_t number)
{
    uint64_t digest;
    if (s->cx->settings->sm.recognize_resent && s->resumable && is_fit(e) &&
        digest_of(&resent_of(s)->key, e, &s->cx->scratch, &digest))
        add(s, number, digest);
}

void resent_asked(struct session *s)
{
    if (s->resent)
        s->resent->asked = s->in.told;
}

void resent_answered(struct session *s)
{
    if (s->resent)
        s->resent->seen = s->resent->asked;
}

void resent_drop(struct session *s, uint64_t number)
{
    struct resent *r = s->resent;
    for (size_t i = 0; r && i < r->n; i++)
        if (r->memos[i].number == number)
            r->memos[i].number = UINT64_MAX; /* beyond any h */
}

void resent_write(const struct session *s, uint64_t h, struct buf *out)
{
    const struct resent *r = s->resent;
    for (size_t i = 0; r && i < r->n; i++)
        if (r->memos[i].number > r->seen && r->memos[i].number <= h)
            buf_printf(out, "%016" PRIx64, r->memos[i].digest);
}

static void forget_memos(struct session *s)
{
    struct resent *r = s->resent;
    if (!r)
        return;
    context_memory(s->cx, -(int64_t)(sizeof *r + r->cap * sizeof *r->memos));
    free(r->memos);
    free(r);
    s->resent = NULL;
}

void resent_forget(struct session *s)
{
    forget_memos(s);
    awaited_free(s->awaited);
    s->awaited = NULL;
}

/* ---- over a stop, or to another node ---- */

void resent_save(const struct session *s, struct buf *out)
{
    const struct resent *r = s->resent;
    record_number(out, r ? (int64_t)r->seen : 0);
    record_number(out, r ? (int64_t)r->n : 0);
    for (size_t i = 0; r && i < r->n; i++) {
        record_number(out, (int64_t)r->memos[i].number);
        record_number(out, (int64_t)r->memos[i].digest);
    }
}

void resent_load(struct session *s, struct record_reader *in)
{
    uint64_t seen = (uint64_t)record_take_number(in);
    for (size_t n = record_take_count(in); n && !in->bad; n--) {
        uint64_t number = (uint64_t)record_take_number(in), digest = (uint64_t)record_take_number(in);
        if (!in->bad)
            add(s, number, digest);
    }
    if (s->resent)
        s->resent->seen = seen;
}

/* ---- what a new session may hear again ---- */

struct awaited *awaited_new(const struct hash_key *key, struct slice written)
{
    size_t n = written.n / DIGITS;
    if (!n)
        return NULL;
    struct awaited *a = mem_zalloc(sizeof *a + n * sizeof a->digest[0]);
    a->key = *key;
    for (; a->n < n; a->n++) {
        char digits[DIGITS + 1] = "";
        memcpy(digits, written.p + a->n * DIGITS, DIGITS);
        a->digest[a->n] = strtoull(digits, NULL, 16);
    }
    return a;
}

void awaited_free(struct awaited *a)
{
    free(a);
}

static void end(struct session *s)
{
    struct awaited *a = s->awaited;
    if (a->known)
        LOG(LOG_INFO, "messages sent again were known", LF("sid", s->sid), LF_INT("messages", a->known));
    awaited_free(a);
    s->awaited = NULL;
}

static bool find(struct awaited *a, uint64_t digest)
{
    for (size_t i = a->next; i < a->n; i++) {
        if (a->digest[i] == digest) {
            a->next = i + 1;
            return true;
        }
    }
    return false;
}

bool resent_is_known(struct session *s, const struct element *e)
{
    struct awaited *a = s->awaited;
    uint64_t digest;
    if (!a || !is_fit(e))
        return false;
    if (!a->until)
        a->until = s->born + s->cx->settings->sm.recognize_window;
    bool known = s->cx->clock->mono < a->until && digest_of(&a->key, e, &s->cx->scratch, &digest) && find(a, digest);
    if (known) {
        a->known++;
        count(s->cx->counters, METRIC_resent_known);
    }
    if (!known || a->next == a->n)
        end(s);
    return known;
}
