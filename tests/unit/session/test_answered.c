/* Which session of an account answers to a request for a receipt. */
#include "session/answered.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static bool note(struct answered *a, const char *account, const char *sid, const char *from, const char *id,
                 enum receipt_kind kind)
{
    struct receipt r = {.to = slice_str(from), .id = slice_str(id)};
    return answered_note(a, slice_str(account), sid, &r, kind);
}

static void one_session_of_an_account_answers(void **state)
{
    struct answered *a = *state;
    assert_true(note(a, "romeo@x", "one", "juliet@x/b", "m", RECEIPT_RECEIVED));
    assert_false(note(a, "romeo@x", "two", "juliet@x/b", "m", RECEIPT_RECEIVED));
    assert_false(note(a, "romeo@x", "three", "juliet@x/b", "m", RECEIPT_RECEIVED));
}

static void it_may_repeat_itself(void **state)
{
    struct answered *a = *state;
    assert_true(note(a, "romeo@x", "one", "juliet@x/b", "m", RECEIPT_RECEIVED));
    assert_true(note(a, "romeo@x", "one", "juliet@x/b", "m", RECEIPT_RECEIVED));
}

static void each_request_is_one_of_its_own(void **state)
{
    struct answered *a = *state;
    assert_true(note(a, "romeo@x", "one", "juliet@x/b", "m", RECEIPT_RECEIVED));
    assert_true(note(a, "mercutio@x", "two", "juliet@x/b", "m", RECEIPT_RECEIVED));
    assert_true(note(a, "romeo@x", "two", "juliet@x/c", "m", RECEIPT_RECEIVED));
    assert_true(note(a, "romeo@x", "two", "juliet@x/b", "n", RECEIPT_RECEIVED));
    assert_true(note(a, "romeo@x", "two", "juliet@x/b", "m", RECEIPT_DELIVERED));
}

/* What is forgotten is answered once more; nothing is ever left unanswered. */
static void it_forgets(void **state)
{
    struct answered *a = *state;
    char id[16];
    for (int i = 0; i < 100000; i++) {
        snprintf(id, sizeof id, "%d", i);
        assert_true(note(a, "romeo@x", "one", "juliet@x/b", id, RECEIPT_RECEIVED));
        assert_false(note(a, "romeo@x", "two", "juliet@x/b", id, RECEIPT_RECEIVED));
    }
    assert_true(note(a, "romeo@x", "two", "juliet@x/b", "0", RECEIPT_RECEIVED));
}

static int setup(void **state)
{
    *state = answered_new();
    return 0;
}

static int teardown(void **state)
{
    answered_free(*state);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_session_of_an_account_answers),
        TEST(it_may_repeat_itself),
        TEST(each_request_is_one_of_its_own),
        TEST(it_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
