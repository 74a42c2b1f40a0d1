/* The directory of sessions: who runs which, which detached one is the oldest, who can get mail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cluster/owner.h"
#include <pthread.h>
#include <stdlib.h>

static const struct slice romeo = {"romeo@example.org", 17}, juliet = {"juliet@example.org", 18};

/* They stay where they are, as the directory wants it. */
static char sids[26][SID_SIZE];

static const char *sid(char c)
{
    return sids[c - 'a'];
}

static int setup(void **state)
{
    for (int i = 0; i < 26; i++)
        memset(sids[i], 'a' + i, SID_SIZE - 1);
    *state = owner_new(true);
    return 0;
}

static int teardown(void **state)
{
    owner_free(*state);
    return 0;
}

static void test_find(void **state)
{
    struct owner *o = *state;
    struct owner_place p = {0};
    char account[] = "romeo@example.org", proof[] = "proof";
    assert_false(owner_find(o, sid('a'), &p));
    owner_add(o, sid('a'), 3, slice_str(account), proof);
    owner_add(o, sid('b'), 1, romeo, NULL);
    memset(account, '?', sizeof account - 1);
    memset(proof, '?', sizeof proof - 1);
    assert_true(owner_find(o, sid('a'), &p));
    assert_string_equal(p.sid, sid('a'));
    assert_int_equal(p.worker, 3);
    assert_string_equal(p.account, "romeo@example.org");
    assert_string_equal(p.proof, "proof");
    owner_place_clear(&p);
    assert_null(p.account);
    assert_true(owner_find(o, sid('b'), &p));
    assert_null(p.proof);
    owner_place_clear(&p);
    owner_remove(o, sid('a'));
    owner_remove(o, sid('a'));
    assert_false(owner_find(o, sid('a'), &p));
    assert_true(owner_find(o, sid('b'), &p));
    owner_place_clear(&p);
}

static void assert_oldest(struct owner *o, char detached, unsigned limit, char oldest)
{
    struct owner_place p = {0};
    bool over = owner_detached(o, sid(detached), limit, &p);
    if (over != (oldest != 0) || (over && strcmp(p.sid, sid(oldest)) != 0))
        fail_msg("%c detached: %s is to go, not %c", detached, over ? p.sid : "none", oldest ? oldest : '-');
    owner_place_clear(&p);
}

static void test_the_oldest_detached_goes(void **state)
{
    struct owner *o = *state;
    for (char c = 'a'; c <= 'e'; c++)
        owner_add(o, sid(c), 0, romeo, NULL);
    owner_add(o, sid('j'), 0, juliet, NULL);
    assert_oldest(o, 'b', 2, 0);
    assert_oldest(o, 'j', 2, 0); /* another account */
    assert_oldest(o, 'a', 2, 0);
    assert_oldest(o, 'a', 2, 0); /* told twice, counted once */
    owner_attached(o, sid('b'));
    owner_attached(o, sid('b'));
    assert_oldest(o, 'c', 2, 0);
    assert_oldest(o, 'b', 2, 'a'); /* b came back in between: it is the youngest now */
    assert_oldest(o, 'd', 2, 'c'); /* a was named once: it is on its way */
    owner_remove(o, sid('a'));
    owner_remove(o, sid('b'));
    assert_oldest(o, 'e', 2, 0); /* d and e */
    assert_oldest(o, 'x', 0, 0); /* unknown */
    assert_oldest(o, 'j', 0, 'j');
}

static void test_available(void **state)
{
    struct owner *o = *state;
    struct owner_place p = {0};
    owner_add(o, sid('a'), 0, romeo, NULL);
    owner_add(o, sid('b'), 1, romeo, NULL);
    assert_false(owner_find_available(o, romeo, &p));
    owner_set_available(o, sid('b'), true);
    owner_set_available(o, sid('x'), true); /* unknown */
    assert_true(owner_find_available(o, romeo, &p));
    assert_string_equal(p.sid, sid('b'));
    assert_int_equal(p.worker, 1);
    owner_place_clear(&p);
    assert_false(owner_find_available(o, juliet, &p));
    assert_true(owner_find_tagged(o, slice_of(sid('a'), TAG_SIZE - 1), &p)); /* the account's, by its first sid here */
    assert_string_equal(p.sid, sid('b'));
    owner_place_clear(&p);
    assert_false(owner_find_tagged(o, slice_of(sid('x'), TAG_SIZE - 1), &p));
    owner_set_available(o, sid('b'), false);
    assert_false(owner_find_available(o, romeo, &p));
    owner_set_available(o, sid('a'), true);
    owner_remove(o, sid('a'));
    assert_false(owner_find_available(o, romeo, &p));
}

/* Where the store is no other node's, nobody asks by tag. */
static void test_untagged(void **state)
{
    (void)state;
    struct owner *o = owner_new(false);
    struct owner_place p = {0};
    owner_add(o, sid('a'), 0, romeo, NULL);
    owner_set_available(o, sid('a'), true);
    assert_false(owner_find_tagged(o, slice_of(sid('a'), TAG_SIZE - 1), &p));
    assert_true(owner_find_available(o, romeo, &p));
    owner_place_clear(&p);
    owner_free(o);
}

/* Sessions without an account (XEP-0078 with digest) are known by id alone. */
static void test_no_account(void **state)
{
    struct owner *o = *state;
    struct owner_place p = {0};
    owner_add(o, sid('a'), 0, SLICE_LIT(""), NULL);
    assert_true(owner_find(o, sid('a'), &p));
    assert_string_equal(p.account, "");
    owner_place_clear(&p);
}

#define ROUNDS 500

struct worker {
    struct owner *o;
    int number;
    unsigned faults, over;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    char own = (char)('a' + w->number);
    for (int i = 0; i < ROUNDS; i++) {
        struct owner_place p = {0};
        owner_add(w->o, sid(own), w->number, romeo, "proof");
        w->faults += !owner_find(w->o, sid(own), &p) || p.worker != w->number;
        owner_place_clear(&p);
        owner_set_available(w->o, sid(own), true);
        w->faults += !owner_find_available(w->o, romeo, &p) || !p.account;
        owner_place_clear(&p);
        w->over += owner_detached(w->o, sid(own), 1, &p);
        owner_place_clear(&p);
        owner_attached(w->o, sid(own));
        owner_find(w->o, sid(own == 'a' ? 'b' : 'a'), &p);
        owner_place_clear(&p);
        owner_remove(w->o, sid(own));
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct worker w[2] = {{*state, 0, 0, 0}, {*state, 1, 0, 0}};
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(w[0].faults + w[1].faults, 0);
    struct owner_place p = {0};
    assert_false(owner_find_available(*state, romeo, &p));
}

/* One claim of a node at a time, and none of what it has. */
static void test_claims(void **state)
{
    struct owner *o = *state;
    assert_true(owner_begin_claim(o, sid('a')));
    assert_false(owner_begin_claim(o, sid('a')));
    assert_true(owner_begin_claim(o, sid('b')));
    owner_end_claim(o, sid('b'));
    assert_true(owner_begin_claim(o, sid('b')));
    owner_add(o, sid('a'), 1, romeo, NULL);
    owner_end_claim(o, sid('a'));
    assert_false(owner_begin_claim(o, sid('a')));
    owner_remove(o, sid('a'));
    assert_true(owner_begin_claim(o, sid('a')));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_find),
        TEST(test_the_oldest_detached_goes),
        TEST(test_available),
        TEST(test_no_account),
        TEST(test_threads),
        TEST(test_claims),
        cmocka_unit_test(test_untagged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
