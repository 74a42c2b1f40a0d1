#include "base/list.h"
#include "base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct item {
    int number;
    struct list link;
};

static int number_of(struct list *l)
{
    return CONTAINER_OF(l, struct item, link)->number;
}

static void test_keeps_order(void **state)
{
    (void)state;
    struct item a = {.number = 1}, b = {.number = 2}, c = {.number = 3};
    struct list head;
    int expected = 1;
    list_init(&head);
    assert_true(list_is_empty(&head));
    assert_null(list_first(&head));
    list_append(&head, &a.link);
    list_append(&head, &b.link);
    list_append(&head, &c.link);
    assert_int_equal(number_of(list_first(&head)), 1);
    LIST_FOREACH_SAFE(it, next, &head)
    assert_int_equal(number_of(it), expected++);
    assert_int_equal(expected, 4);
}

static void test_removes_anywhere(void **state)
{
    (void)state;
    struct item a = {.number = 1}, b = {.number = 2}, c = {.number = 3};
    struct list head;
    list_init(&head);
    list_append(&head, &a.link);
    list_append(&head, &b.link);
    list_append(&head, &c.link);
    assert_true(list_is_linked(&b.link));
    list_remove(&b.link);
    assert_false(list_is_linked(&b.link));
    assert_ptr_equal(head.next, &a.link);
    assert_ptr_equal(a.link.next, &c.link);
    list_remove(&b.link); /* once more is harmless */
    list_remove(&a.link);
    assert_int_equal(number_of(list_first(&head)), 3);
    list_append(&head, &b.link);
    assert_ptr_equal(head.prev, &b.link);
    list_remove(&c.link);
    list_remove(&b.link);
    assert_true(list_is_empty(&head));
}

static void test_zeroed_link_is_in_no_list(void **state)
{
    (void)state;
    struct item a = {0};
    assert_false(list_is_linked(&a.link));
    list_remove(&a.link);
    assert_false(list_is_linked(&a.link));
}

static void test_walk_survives_freeing(void **state)
{
    (void)state;
    struct list head;
    list_init(&head);
    for (int i = 0; i < 5; i++)
        list_append(&head, &MEM_NEW(struct item)->link);
    LIST_FOREACH_SAFE(it, next, &head)
    {
        list_remove(it);
        free(CONTAINER_OF(it, struct item, link));
    }
    assert_true(list_is_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keeps_order),
        cmocka_unit_test(test_removes_anywhere),
        cmocka_unit_test(test_zeroed_link_is_in_no_list),
        cmocka_unit_test(test_walk_survives_freeing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
