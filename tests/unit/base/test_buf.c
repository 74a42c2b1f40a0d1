#include "base/buf.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_holds(const struct buf *b, const char *expected)
{
    assert_true(slice_eq_str(buf_slice(b), expected));
}

static void test_empty_buffer_is_valid(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_holds(&b, "");
    buf_append(&b, NULL, 0);
    buf_consume(&b, 0);
    buf_clear(&b);
    buf_printf(&b, "%s", "");
    assert_int_equal(b.n, 0);
    char *text = buf_steal(&b);
    assert_string_equal(text, "");
    free(text);
    buf_free(&b);
}

static void test_appends_in_order(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_add_str(&b, "one ");
    buf_add(&b, slice_of("two three", 4));
    BUF_LIT(&b, "3 ");
    buf_printf(&b, "%d%c", 44, '!');
    memcpy(buf_reserve(&b, 3), "end", 3);
    buf_commit(&b, 3);
    assert_holds(&b, "one two 3 44!end");
    buf_free(&b);
    assert_null(b.data);
}

static void test_grows_and_consumes_like_a_queue(void **state)
{
    (void)state;
    struct buf b = {0};
    unsigned in = 0, out = 0;
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < round % 37; i++, in++)
            buf_append(&b, &in, sizeof in);
        for (int i = 0; i < round % 31 && b.n; i++, out++) {
            assert_memory_equal(buf_slice(&b).p, &out, sizeof out);
            buf_consume(&b, sizeof out);
        }
    }
    for (; b.n; out++) {
        assert_memory_equal(buf_slice(&b).p, &out, sizeof out);
        buf_consume(&b, sizeof out);
    }
    assert_int_equal(in, out);
    buf_free(&b);
}

static void test_steady_queue_keeps_its_size(void **state)
{
    (void)state;
    struct buf b = {0};
    char block[100] = {0};
    for (int i = 0; i < 10000; i++) {
        buf_append(&b, block, sizeof block);
        if (b.n > 300)
            buf_consume(&b, 100);
    }
    assert_true(b.cap <= 1024);
    buf_free(&b);
}

static void test_clear_keeps_the_allocation(void **state)
{
    (void)state;
    struct buf b = {0};
    BUF_LIT(&b, "text");
    size_t cap = b.cap;
    buf_clear(&b);
    assert_int_equal(b.n, 0);
    assert_int_equal(b.cap, cap);
    buf_free(&b);
}

static void test_printf_of_long_text_is_whole(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_printf(&b, "%05000d", 7);
    assert_int_equal(b.n, 5000);
    assert_int_equal(buf_slice(&b).p[4999], '7');
    buf_free(&b);
}

static void test_steal_gives_a_string_and_empties(void **state)
{
    (void)state;
    struct buf b = {0};
    BUF_LIT(&b, "xxab");
    buf_consume(&b, 2);
    char *text = buf_steal(&b);
    assert_string_equal(text, "ab");
    assert_int_equal(b.n + b.cap + b.off, 0);
    assert_null(b.data);
    free(text);
}

static void test_numbers(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {0, 9, 10, 4294967295, UINT64_MAX};
    struct buf b = {0};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        buf_add_number(&b, numbers[i]);
        BUF_LIT(&b, " ");
    }
    assert_true(slice_eq_str(buf_slice(&b), "0 9 10 4294967295 18446744073709551615 "));
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_empty_buffer_is_valid),
        cmocka_unit_test(test_appends_in_order),
        cmocka_unit_test(test_grows_and_consumes_like_a_queue),
        cmocka_unit_test(test_steady_queue_keeps_its_size),
        cmocka_unit_test(test_clear_keeps_the_allocation),
        cmocka_unit_test(test_printf_of_long_text_is_whole),
        cmocka_unit_test(test_steal_gives_a_string_and_empties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
