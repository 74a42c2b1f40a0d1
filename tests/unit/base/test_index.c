/* The index of objects by their own bytes, beside what is expected of any: a plain list. */
#include "base/index.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct thing {
    char name[16];
    unsigned visits;
    bool in;
};

static struct slice name_of(const void *object)
{
    return slice_str(((const struct thing *)object)->name);
}

static void test_put_get_replace_remove(void **state)
{
    (void)state;
    struct thing a = {.name = "key"}, b = {.name = "key"}, none = {.name = ""};
    struct index *ix = index_new(name_of);
    assert_null(index_get(ix, SLICE_LIT("key")));
    assert_null(index_remove(ix, SLICE_LIT("key")));
    assert_null(index_put(ix, &a));
    assert_null(index_put(ix, &none));
    assert_ptr_equal(index_get(ix, SLICE_LIT("key")), &a);
    assert_ptr_equal(index_put(ix, &b), &a);
    a.name[0] = 'x'; /* it is out of the index */
    assert_int_equal(index_count(ix), 2);
    assert_ptr_equal(index_get(ix, SLICE_LIT("")), &none);
    assert_null(index_get(ix, SLICE_LIT("ke")));
    assert_ptr_equal(index_remove(ix, SLICE_LIT("key")), &b);
    assert_null(index_get(ix, SLICE_LIT("key")));
    assert_int_equal(index_count(ix), 1);
    index_free(ix);
    index_free(NULL);
}

enum { THINGS = 3000 };

static struct thing *make_things(void)
{
    struct thing *things = calloc(THINGS, sizeof *things);
    for (int i = 0; i < THINGS; i++)
        snprintf(things[i].name, sizeof things[i].name, "%d", i);
    return things;
}

static void check(const struct index *ix, const struct thing *things)
{
    size_t count = 0;
    for (const struct thing *t = things; t < things + THINGS; t++) {
        assert_ptr_equal(index_get(ix, name_of(t)), t->in ? t : NULL);
        count += t->in;
    }
    assert_int_equal(index_count(ix), count);
}

/* Whatever comes and goes, in crowds of all sizes: each is found as long as it is there. */
static void test_they_come_and_go(void **state)
{
    (void)state;
    struct thing *things = make_things();
    struct index *ix = index_new(name_of);
    uint32_t chance = 1;
    for (int most = 10; most <= THINGS; most *= 2) {
        for (int step = 0; step < 4 * most; step++) {
            chance = chance * 1664525 + 1013904223;
            struct thing *t = &things[(chance >> 8) % (uint32_t)most];
            if (t->in)
                assert_ptr_equal(index_remove(ix, name_of(t)), t);
            else
                assert_null(index_put(ix, t));
            t->in = !t->in;
        }
        check(ix, things);
    }
    index_free(ix);
    free(things);
}

struct visit {
    struct index *ix;
    unsigned seen, until;
    bool removes;
};

static bool visit(void *ctx, void *object)
{
    struct visit *v = ctx;
    struct thing *t = object;
    t->visits++;
    if (v->removes && (t->name[0] & 1)) {
        assert_ptr_equal(index_remove(v->ix, name_of(t)), t);
        t->in = false;
    }
    return ++v->seen != v->until;
}

/* In many crowds, as the slots of few objects are often full at both ends. */
static void test_each_is_visited_once_and_may_be_removed(void **state)
{
    (void)state;
    struct thing *things = make_things();
    for (int crowd = 1; crowd < 400; crowd += 3) {
        struct index *ix = index_new(name_of);
        for (int i = 0; i < crowd; i++) {
            things[i].visits = 0;
            things[i].in = true;
            index_put(ix, &things[i]);
        }
        struct visit v = {ix, .removes = true};
        index_each(ix, visit, &v);
        assert_int_equal(v.seen, crowd);
        for (int i = 0; i < crowd; i++)
            assert_int_equal(things[i].visits, 1);
        check(ix, things);
        for (int i = 0; i < crowd; i++)
            things[i].in = false;
        index_free(ix);
    }
    free(things);
}

static void test_each_stops_when_told(void **state)
{
    (void)state;
    struct thing *things = make_things();
    struct index *ix = index_new(name_of);
    for (int i = 0; i < 10; i++)
        index_put(ix, &things[i]);
    struct visit v = {ix, .until = 3};
    index_each(ix, visit, &v);
    assert_int_equal(v.seen, 3);
    index_free(ix);
    free(things);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_get_replace_remove),
        cmocka_unit_test(test_they_come_and_go),
        cmocka_unit_test(test_each_is_visited_once_and_may_be_removed),
        cmocka_unit_test(test_each_stops_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
