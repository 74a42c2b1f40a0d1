/* The memory store: mailboxes that lend, tombstones for their owners alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/memory.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define HOUR (3600 * USEC_S)

static const struct slice romeo = {"romeo@example.org", 17}, juliet = {"juliet@example.org", 18};

struct fixture {
    struct memory_store *m;
    struct store *s;
    _Atomic int64_t memory;
};

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    f->m = memory_store_new(HOUR, HOUR, &f->memory);
    f->s = memory_store_get(f->m);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    memory_store_free(f->m);
    assert_int_equal(f->memory, 0);
    free(f);
    return 0;
}

static struct entry *mail(const char *text, const char *origin, usec arrived)
{
    struct entry *e = entry_copy(slice_str(text), arrived);
    e->origin = mem_strdup(origin);
    return e;
}

static void put(struct fixture *f, struct slice account, const char *text, const char *origin)
{
    f->s->ops->box_put(f->s, BOX_MAIL, account, mail(text, origin, 0));
}

struct taken {
    struct entry *first;
    size_t n, calls;
};

static void on_mail(void *ctx, struct entry *first, size_t n)
{
    struct taken *taken = ctx;
    *taken = (struct taken){first, n, taken->calls + 1};
}

static struct taken take(struct fixture *f, struct slice account)
{
    struct taken taken = {0};
    f->s->ops->box_take(f->s, BOX_MAIL, account, "sid", on_mail, &taken);
    assert_int_equal(taken.calls, 1);
    return taken;
}

/* "text origin;text origin;" of the chain, which is freed */
static void assert_taken(struct taken taken, const char *wanted)
{
    struct buf got = {0};
    size_t n = 0;
    for (struct entry *e = taken.first, *next; e; e = next, n++) {
        next = e->next;
        buf_printf(&got, "%.*s %s;", SLICE_ARG(entry_slice(e)), e->origin);
        entry_free(e);
    }
    assert_int_equal(n, taken.n);
    if (!slice_eq_str(buf_slice(&got), wanted))
        fail_msg("taken: %.*s, wanted: %s", SLICE_ARG(buf_slice(&got)), wanted);
    buf_free(&got);
}

/* How many messages that ends. */
static size_t swept(struct fixture *f, usec wall)
{
    size_t before = memory_store_figures(f->m).box[BOX_MAIL].expired;
    memory_store_sweep(f->m, wall);
    assert_int_equal(memory_store_figures(f->m).box[BOX_OUT].expired, 0);
    return memory_store_figures(f->m).box[BOX_MAIL].expired - before;
}

static void assert_figures(struct fixture *f, size_t messages, size_t bytes, size_t doubled, size_t tombstones)
{
    struct memory_store_figures is = memory_store_figures(f->m);
    assert_int_equal(is.messages, messages);
    assert_int_equal(is.bytes, bytes);
    assert_int_equal(is.box[BOX_MAIL].doubled, doubled);
    assert_int_equal(is.tombstones, tombstones);
    assert_int_equal(f->memory, bytes);
    for (int i = 0; i < BOXES; i++)
        assert_int_equal(is.box[i].put + is.box[i].loaded,
                         (i == BOX_MAIL ? is.messages : is.outbox) + is.box[i].done + is.box[i].expired +
                             is.box[i].overflown + is.box[i].purged);
}

/* ---- mailboxes ---- */

static void test_lending(void **state)
{
    struct fixture *f = *state;
    assert_taken(take(f, romeo), "");
    put(f, romeo, "a", "s1/1");
    put(f, juliet, "x", "s9/1");
    put(f, romeo, "bb", "s1/2");
    assert_figures(f, 3, entry_cost(1) + entry_cost(1) + entry_cost(2), 0, 0);
    assert_taken(take(f, romeo), "a s1/1;bb s1/2;");
    assert_taken(take(f, romeo), ""); /* lent */
    assert_figures(f, 3, entry_cost(1) + entry_cost(1) + entry_cost(2), 0, 0);
    put(f, romeo, "c", "s2/1"); /* comes while the others are away */
    put(f, romeo, "a", "s1/1"); /* given back */
    assert_taken(take(f, romeo), "a s1/1;c s2/1;");
    put(f, romeo, "c", "s2/1");
    put(f, romeo, "bb", "s1/2");
    put(f, romeo, "a", "s1/1");
    assert_taken(take(f, romeo), "a s1/1;bb s1/2;c s2/1;"); /* in the order of their first coming */
    f->s->ops->box_done(f->s, BOX_MAIL, romeo, SLICE_LIT("s1/1"));
    f->s->ops->box_done(f->s, BOX_MAIL, romeo, SLICE_LIT("s1/2"));
    f->s->ops->box_done(f->s, BOX_MAIL, romeo, SLICE_LIT("s1/2")); /* harmless */
    f->s->ops->box_done(f->s, BOX_MAIL, romeo, SLICE_LIT("s2/1"));
    assert_figures(f, 1, entry_cost(1), 0, 0);
    assert_taken(take(f, romeo), "");
    assert_taken(take(f, juliet), "x s9/1;");
}

/* A session that spills twice, or two that had the same message, put it in once. */
static void test_doubles(void **state)
{
    struct fixture *f = *state;
    put(f, romeo, "a", "s1/1");
    put(f, romeo, "a", "s1/1");
    assert_figures(f, 1, entry_cost(1), 1, 0);
    assert_taken(take(f, romeo), "a s1/1;");
    put(f, romeo, "a", "s1/1"); /* given back: no double */
    assert_figures(f, 1, entry_cost(1), 1, 0);
    assert_taken(take(f, romeo), "a s1/1;");
    assert_taken(take(f, romeo), "");
}

static void test_what_an_entry_keeps(void **state)
{
    struct fixture *f = *state;
    struct entry *e = mail("<message/>", "s/1", 1234);
    e->class = CLASS_KEEP;
    e->delayed = true;
    e->name_end = 8;
    e->open_end = 10;
    e->close_at = 10;
    f->s->ops->box_put(f->s, BOX_MAIL, romeo, e);
    struct taken taken = take(f, romeo);
    assert_int_equal(taken.n, 1);
    assert_int_equal(taken.first->arrived, 1234);
    assert_int_equal(taken.first->class, CLASS_KEEP);
    assert_true(taken.first->delayed);
    assert_int_equal(taken.first->name_end, 8);
    assert_int_equal(taken.first->open_end, 10);
    assert_int_equal(taken.first->close_at, 10);
    entry_free(taken.first);
}

static void test_sweep(void **state)
{
    struct fixture *f = *state;
    f->s->ops->box_put(f->s, BOX_MAIL, romeo, mail("old", "s/1", 10));
    f->s->ops->box_put(f->s, BOX_MAIL, romeo, mail("new", "s/2", 20));
    f->s->ops->box_put(f->s, BOX_MAIL, juliet, mail("old", "s/3", 10));
    assert_int_equal(swept(f, HOUR + 10), 0);
    assert_int_equal(swept(f, HOUR + 15), 2);
    assert_taken(take(f, juliet), "");
    assert_taken(take(f, romeo), "new s/2;");
    assert_int_equal(swept(f, 3 * HOUR), 0); /* lent: it may be delivered this moment */
    f->s->ops->box_put(f->s, BOX_MAIL, romeo, mail("new", "s/2", 20));
    memory_store_set_ttls(f->m, 4 * HOUR, HOUR);
    assert_int_equal(swept(f, 3 * HOUR), 0);
    memory_store_set_ttls(f->m, 2 * HOUR, HOUR);
    assert_int_equal(swept(f, 3 * HOUR), 1);
    assert_figures(f, 0, 0, 0, 0);
}

/* ---- tombstones ---- */

struct told {
    bool known;
    uint64_t h;
    char reason[32];
};

static void on_tombstone(void *ctx, const struct tombstone *t)
{
    struct told *told = ctx;
    told->known = t != NULL;
    if (t) {
        told->h = t->h;
        strncpy(told->reason, t->reason, sizeof told->reason - 1);
    }
}

static struct told dig(struct fixture *f, const char *sid, const char *account, const char *proof)
{
    struct told told = {0};
    f->s->ops->tombstone_get(f->s, sid, account, proof, on_tombstone, &told);
    return told;
}

static char *sid_of(char sid[SID_SIZE], char c)
{
    memset(sid, c, SID_SIZE - 1);
    sid[SID_SIZE - 1] = '\0';
    return sid;
}

static void test_tombstones(void **state)
{
    struct fixture *f = *state;
    char a[SID_SIZE], b[SID_SIZE], none[SID_SIZE], account[] = "romeo@example.org", proof[] = "the proof";
    sid_of(a, 'a');
    sid_of(b, 'b');
    sid_of(none, 'c');
    struct tombstone t = {account, proof, 7, "expired", {0}};
    f->s->ops->tombstone_put(f->s, a, &t);
    memset(account, '?', sizeof account - 1); /* strings are copied */
    memset(proof, '?', sizeof proof - 1);
    struct tombstone unproved = {"juliet@example.org", NULL, 8, "evicted", {0}};
    f->s->ops->tombstone_put(f->s, b, &unproved);
    assert_figures(f, 0, 0, 0, 2);

    struct told told = dig(f, a, "romeo@example.org", NULL);
    assert_true(told.known && told.h == 7);
    assert_string_equal(told.reason, "expired");
    assert_true(dig(f, a, NULL, "the proof").known);
    assert_true(dig(f, a, "romeo@example.org", "another proof").known);
    assert_false(dig(f, a, "juliet@example.org", NULL).known);
    assert_false(dig(f, a, NULL, "another proof").known);
    assert_false(dig(f, a, NULL, NULL).known);
    assert_false(dig(f, b, NULL, NULL).known); /* no proof is not a proof */
    assert_false(dig(f, b, NULL, "").known);
    assert_true(dig(f, b, "juliet@example.org", NULL).h == 8);
    assert_false(dig(f, none, "romeo@example.org", "the proof").known);

    t = (struct tombstone){"romeo@example.org", NULL, 9, "client_end", {0}}; /* the last one counts */
    f->s->ops->tombstone_put(f->s, a, &t);
    assert_true(dig(f, a, "romeo@example.org", NULL).h == 9);
    assert_false(dig(f, a, NULL, "the proof").known);
    assert_figures(f, 0, 0, 0, 2);
}

static void test_tombstones_end(void **state)
{
    struct fixture *f = *state;
    char a[SID_SIZE], b[SID_SIZE];
    struct clock now;
    struct tombstone t = {"romeo@example.org", "proof", 7, "expired", {0}};
    f->s->ops->tombstone_put(f->s, sid_of(a, 'a'), &t);
    memory_store_set_ttls(f->m, HOUR, 0);
    f->s->ops->tombstone_put(f->s, sid_of(b, 'b'), &t);
    assert_true(dig(f, a, "romeo@example.org", NULL).known);
    assert_false(dig(f, b, "romeo@example.org", NULL).known); /* out of date, though not swept yet */
    clock_read(&now);
    swept(f, now.wall + 2 * HOUR);
    assert_figures(f, 0, 0, 0, 0);
    assert_false(dig(f, a, "romeo@example.org", NULL).known);
}

/* ---- purge ---- */

static void on_purged(void *ctx, const struct store_purged *purged)
{
    *(struct store_purged *)ctx = *purged;
}

static struct store_purged purge(struct fixture *f, struct slice account)
{
    struct store_purged purged = {.messages = 99};
    f->s->ops->purge(f->s, account, on_purged, &purged);
    return purged;
}

static void test_purge_takes_all_of_one_account(void **state)
{
    struct fixture *f = *state;
    char a[SID_SIZE], b[SID_SIZE];
    put(f, romeo, "one", "s/1");
    put(f, romeo, "two", "s/2");
    put(f, juliet, "three", "s/3");
    f->s->ops->tombstone_put(f->s, sid_of(a, 'a'), &(struct tombstone){"romeo@example.org", "p", 7, "expired", {0}});
    f->s->ops->tombstone_put(f->s, sid_of(b, 'b'), &(struct tombstone){"juliet@example.org", "p", 8, "expired", {0}});
    struct store_purged purged = purge(f, romeo);
    assert_int_equal(purged.messages, 2);
    assert_int_equal(purged.bytes, 6);
    assert_int_equal(purged.tombstones, 1);
    assert_int_equal(purged.lent, 0);
    assert_int_equal(memory_store_figures(f->m).box[BOX_MAIL].purged, 2);
    assert_false(dig(f, a, "romeo@example.org", NULL).known);
    assert_true(dig(f, b, "juliet@example.org", NULL).known);
    assert_taken(take(f, romeo), "");
    assert_taken(take(f, juliet), "three s/3;");
    purged = purge(f, romeo);
    assert_int_equal(purged.messages + purged.bytes + purged.tombstones + purged.lent, 0);
}

/* What a client is getting this moment is its own: it goes when the client has it, or gives it back. */
static void test_purge_of_what_is_lent(void **state)
{
    struct fixture *f = *state;
    put(f, romeo, "one", "s/1");
    put(f, romeo, "two", "s/2");
    assert_taken(take(f, romeo), "one s/1;two s/2;");
    put(f, romeo, "three", "s/3");
    struct store_purged purged = purge(f, romeo);
    assert_int_equal(purged.messages, 1);
    assert_int_equal(purged.lent, 2);
    f->s->ops->box_done(f->s, BOX_MAIL, romeo, SLICE_LIT("s/1"));
    put(f, romeo, "two", "s/2");
    struct memory_store_figures is = memory_store_figures(f->m);
    assert_int_equal(is.box[BOX_MAIL].done, 1);
    assert_int_equal(is.box[BOX_MAIL].purged, 2);
    assert_figures(f, 0, 0, 0, 0);
    assert_taken(take(f, romeo), "");
}

static void test_only_the_account_itself_ends_its_messages(void **state)
{
    struct fixture *f = *state;
    put(f, romeo, "one", "s/1");
    f->s->ops->box_done(f->s, BOX_MAIL, juliet, SLICE_LIT("s/1"));
    f->s->ops->box_done(f->s, BOX_MAIL, romeo, SLICE_LIT("s/2"));
    assert_int_equal(memory_store_figures(f->m).box[BOX_MAIL].done, 0);
    assert_taken(take(f, romeo), "one s/1;");
}

/* ---- two threads ---- */

#define ROUNDS 300

struct worker {
    struct fixture *f;
    char name;
    size_t done;
};

static void on_mail_of_worker(void *ctx, struct entry *first, size_t n)
{
    struct worker *w = ctx;
    struct store *s = w->f->s;
    (void)n;
    for (struct entry *e = first, *next; e; e = next) {
        next = e->next;
        if (e->number % 3 == 0) { /* the number is the test's own here */
            e->number = 1;
            s->ops->box_put(s, BOX_MAIL, romeo, e);
        } else {
            s->ops->box_done(s, BOX_MAIL, romeo, slice_str(e->origin));
            entry_free(e);
            w->done++;
        }
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct store *s = w->f->s;
    char sid[SID_SIZE];
    sid_of(sid, w->name);
    for (unsigned i = 0; i < ROUNDS; i++) {
        char origin[40];
        snprintf(origin, sizeof origin, "%c/%u", w->name, i);
        struct entry *e = mail("x", origin, INT64_MAX / 2);
        e->number = i;
        s->ops->box_put(s, BOX_MAIL, romeo, e);
        s->ops->box_take(s, BOX_MAIL, romeo, "sid", on_mail_of_worker, w);
        struct tombstone t = {"romeo@example.org", "proof", i, "expired", {0}};
        s->ops->tombstone_put(s, sid, &t);
        struct told told = dig(w->f, sid, NULL, "proof");
        if (!told.known || told.h != i)
            w->done += 1000000;
        memory_store_figures(w->f->m);
        swept(w->f, 0);
    }
    return NULL;
}

/* Each message comes out exactly once, whoever takes it. One that was given back keeps its number in the store, so that
 * it is given back again and again: the end counts it as left. */
static void test_threads(void **state)
{
    struct fixture *f = *state;
    struct worker w[2] = {{f, 'a', 0}, {f, 'b', 0}};
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    size_t left = memory_store_figures(f->m).messages;
    assert_int_equal(left, 2 * ROUNDS / 3);
    assert_int_equal(w[0].done + w[1].done, 2 * ROUNDS - left);
    assert_int_equal(memory_store_figures(f->m).box[BOX_MAIL].doubled, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_lending), TEST(test_doubles),    TEST(test_what_an_entry_keeps),
        TEST(test_sweep),   TEST(test_tombstones), TEST(test_tombstones_end),
        TEST(test_threads), TEST(test_purge_takes_all_of_one_account),
        TEST(test_purge_of_what_is_lent), TEST(test_only_the_account_itself_ends_its_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
