#include "base/mem.h"
#include "base/slab.h"
#include "base/slice.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT 3000
#define SIZE  7624 /* of an SSL: 8 in a slab */

static bool is_resident(const void *p)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    unsigned char there;
    assert_int_equal(mincore((void *)((uintptr_t)p / page * page), 1, &there), 0);
    return there & 1;
}

static size_t count_resident(void **objects)
{
    size_t n = 0;
    for (size_t i = 0; i < COUNT; i++)
        n += is_resident(objects[i]);
    return n;
}

static void fill(void **objects, size_t size)
{
    for (size_t i = 0; i < COUNT; i++) {
        objects[i] = slab_alloc(SLAB_SESSION, size);
        memset(objects[i], (int)i, size);
    }
}

static void test_everything_is_mallocs_before_init(void **state)
{
    (void)state;
    void *p = slab_alloc(SLAB_SESSION, 100);
    memset(p, 1, 100);
    p = slab_realloc(SLAB_SESSION, p, 10);
    free(p);
    slab_free(malloc(10));
    slab_tidy();
    slab_init();
    slab_init();
    p = malloc(10); /* and what was there before is still */
    slab_free(p);
}

static void test_objects_of_all_sizes_are_apart(void **state)
{
    (void)state;
    enum { LARGEST = 10000, STEP = 7 };
    unsigned char *objects[LARGEST / STEP + 1];
    for (size_t n = 1, i = 0; n < LARGEST; n += STEP, i++) {
        objects[i] = slab_alloc(SLAB_SESSION, n);
        assert_int_equal((uintptr_t)objects[i] % 16, 0);
        memset(objects[i], (int)i, n);
    }
    for (size_t n = 1, i = 0; n < LARGEST; n += STEP, i++) {
        assert_int_equal(objects[i][0], (unsigned char)i);
        assert_int_equal(objects[i][n - 1], (unsigned char)i);
        slab_free(objects[i]);
    }
    assert_null(slab_alloc(SLAB_SESSION, 0));
    slab_free(NULL);
}

static void test_what_is_freed_is_used_again(void **state)
{
    (void)state;
    void *first = slab_alloc(SLAB_SESSION, 100);
    slab_free(first);
    void *second = slab_alloc(SLAB_SESSION, 97); /* of the same size, as far as slabs go */
    assert_ptr_equal(first, second);
    slab_free(second);
}

static void test_empty_slabs_are_given_back(void **state)
{
    (void)state;
    void **objects = mem_alloc(COUNT * sizeof *objects);
    fill(objects, SIZE);
    assert_int_equal(count_resident(objects), COUNT);
    for (size_t i = 0; i < COUNT; i++)
        slab_free(objects[i]);
    size_t left = count_resident(objects); /* some are kept for a moment */
    assert_in_range(left, 8, 16 * 8);
    slab_tidy();
    assert_int_equal(count_resident(objects), 0);
    fill(objects, 64); /* the same memory serves another size */
    for (size_t i = 1; i < COUNT; i++)
        slab_free(objects[i]);
    slab_tidy();
    assert_true(is_resident(objects[0])); /* a slab with one object stays */
    assert_false(is_resident(objects[COUNT - 1]));
    slab_free(objects[0]);
    slab_tidy();
    assert_false(is_resident(objects[0]));
    free(objects);
}

static void test_objects_of_other_lives_are_apart(void **state)
{
    (void)state;
    void **objects = mem_alloc(COUNT * sizeof *objects), **others = mem_alloc(COUNT * sizeof *others);
    for (size_t i = 0; i < COUNT; i++) {
        objects[i] = slab_alloc(SLAB_CONNECTION, 160);
        others[i] = slab_alloc(SLAB_SESSION, 160);
    }
    for (size_t i = 0; i < COUNT; i++)
        slab_free(objects[i]);
    slab_tidy();
    assert_int_equal(count_resident(objects), 0); /* though as many of the same size stay */
    for (size_t i = 0; i < COUNT; i++)
        slab_free(others[i]);
    free(objects);
    free(others);
}

static void test_new_objects_are_zeroed(void **state)
{
    (void)state;
    static const char zeros[100];
    void *p = slab_alloc(SLAB_RECORD, sizeof zeros);
    memset(p, 1, sizeof zeros);
    slab_free(p);
    void *again = slab_zalloc(SLAB_RECORD, sizeof zeros);
    assert_ptr_equal(again, p);
    assert_memory_equal(again, zeros, sizeof zeros);
    slab_free(again);
}

static void *free_all(void *arg)
{
    void **objects = arg;
    for (size_t i = 0; i < COUNT; i++)
        slab_free(objects[i]);
    void *own = slab_alloc(SLAB_SESSION, SIZE); /* not of what it has just freed: that is another thread's */
    bool good = true;
    for (size_t i = 0; i < COUNT; i++)
        good = good && objects[i] != own;
    slab_free(own);
    slab_tidy();
    return good ? objects : NULL;
}

static void test_what_another_thread_frees_comes_back(void **state)
{
    (void)state;
    pthread_t thread;
    void **objects = mem_alloc(COUNT * sizeof *objects), *good;
    fill(objects, SIZE);
    assert_int_equal(pthread_create(&thread, NULL, free_all, objects), 0);
    void *meanwhile[100];
    for (size_t i = 0; i < 100; i++)
        meanwhile[i] = slab_alloc(SLAB_SESSION, SIZE);
    for (size_t i = 0; i < 100; i++)
        slab_free(meanwhile[i]);
    pthread_join(thread, &good);
    assert_non_null(good);
    slab_tidy();
    assert_int_equal(count_resident(objects), 0);
    free(objects);
}

static void test_realloc_keeps_the_bytes(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 16, 17, 100, 112, 113, 8192, 8193, 20000, 30000, 8192, 500, 3};
    unsigned char *p = slab_realloc(SLAB_SESSION, NULL, 1);
    size_t had = 1;
    memset(p, 'a', 1);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        p = slab_realloc(SLAB_SESSION, p, sizes[i]);
        for (size_t k = 0; k < had && k < sizes[i]; k++)
            assert_int_equal(p[k], 'a');
        memset(p, 'a', sizes[i]);
        had = sizes[i];
    }
    assert_null(slab_realloc(SLAB_SESSION, p, 0));
    assert_null(slab_realloc(SLAB_SESSION, NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_is_mallocs_before_init), /* first: it calls slab_init */
        cmocka_unit_test(test_objects_of_all_sizes_are_apart),
        cmocka_unit_test(test_what_is_freed_is_used_again),
        cmocka_unit_test(test_empty_slabs_are_given_back),
        cmocka_unit_test(test_objects_of_other_lives_are_apart),
        cmocka_unit_test(test_new_objects_are_zeroed),
        cmocka_unit_test(test_what_another_thread_frees_comes_back),
        cmocka_unit_test(test_realloc_keeps_the_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
