#include "base/map.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_put_get_replace_remove(void **state)
{
    (void)state;
    int a, b;
    struct map *m = map_new();
    assert_null(map_get(m, SLICE_LIT("k")));
    assert_null(map_remove(m, SLICE_LIT("k")));
    assert_null(map_put(m, SLICE_LIT("k"), &a));
    assert_ptr_equal(map_get(m, SLICE_LIT("k")), &a);
    assert_ptr_equal(map_put(m, SLICE_LIT("k"), &b), &a);
    assert_int_equal(map_count(m), 1);
    assert_ptr_equal(map_remove(m, SLICE_LIT("k")), &b);
    assert_null(map_get(m, SLICE_LIT("k")));
    assert_int_equal(map_count(m), 0);
    map_free(m);
    map_free(NULL);
}

static void test_keys_are_bytes_and_copied(void **state)
{
    (void)state;
    int a, b, c;
    char key[] = "a\0b";
    struct map *m = map_new();
    map_put(m, slice_of(key, 3), &a);
    map_put(m, slice_of("a\0c", 3), &b);
    map_put(m, SLICE_NONE, &c);
    key[2] = 'x';
    assert_ptr_equal(map_get(m, slice_of("a\0b", 3)), &a);
    assert_ptr_equal(map_get(m, slice_of("a\0c", 3)), &b);
    assert_ptr_equal(map_get(m, slice_of("", 0)), &c);
    assert_null(map_get(m, slice_of("a", 1)));
    map_free(m);
}

/* Keys of all lengths around the hash's word size. */
static struct slice numbered_key(char out[40], int i)
{
    int n = snprintf(out, 40, "%0*d", 5 + i % 20, i);
    return slice_of(out, (size_t)n);
}

static bool remove_odd(void *ctx, struct slice key, void *value)
{
    struct map *m = ctx;
    if (*(int *)value % 2)
        assert_ptr_equal(map_remove(m, key), value);
    return true;
}

static void test_many_keys_grow_and_shrink(void **state)
{
    (void)state;
    enum { N = 5000 };
    static int values[N];
    char key[40];
    struct map *m = map_new();
    for (int i = 0; i < N; i++) {
        values[i] = i;
        assert_null(map_put(m, numbered_key(key, i), &values[i]));
    }
    assert_int_equal(map_count(m), N);
    map_each(m, remove_odd, m);
    assert_int_equal(map_count(m), N / 2);
    for (int i = 0; i < N; i++)
        assert_ptr_equal(map_get(m, numbered_key(key, i)), i % 2 ? NULL : &values[i]);
    map_free(m);
}

static bool stop_at_three(void *ctx, struct slice key, void *value)
{
    (void)key;
    (void)value;
    return ++*(int *)ctx < 3;
}

static void test_each_stops_when_told(void **state)
{
    (void)state;
    int seen = 0;
    char key[40];
    struct map *m = map_new();
    for (int i = 0; i < 10; i++)
        map_put(m, numbered_key(key, i), &seen);
    map_each(m, stop_at_three, &seen);
    assert_int_equal(seen, 3);
    map_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_get_replace_remove),
        cmocka_unit_test(test_keys_are_bytes_and_copied),
        cmocka_unit_test(test_many_keys_grow_and_shrink),
        cmocka_unit_test(test_each_stops_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
