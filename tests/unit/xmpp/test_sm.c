/* XEP-0198's arithmetic and policy. Counters of 64 bits inside, h modulo 2^32 on the wire: the tables start near the
 * wrap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "xmpp/sm.h"

#define WRAP  (UINT64_C(1) << 32)
#define DELAY (100 * USEC_MS)
#define NEVER (1000 * USEC_S)

static void test_parse_h(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t h;
    } good[] = {
        {"0", 0}, {"1", 1}, {"00", 0}, {"0000000007", 7}, {"4294967295", UINT32_MAX}, {"2147483648", 2147483648u}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint32_t h = 99;
        assert_true(sm_parse_h(slice_str(good[i].text), &h));
        assert_int_equal(h, good[i].h);
    }
    static const char *const bad[] = {"",           " ",           "-1",          "+1",  "1 ",
                                      " 1",         "1.0",         "0x1",         "1e3", "4294967296",
                                      "9999999999", "00000000001", "99999999999", "12a", "\xd9\xa1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint32_t h = 99;
        if (sm_parse_h(slice_str(bad[i]), &h))
            fail_msg("'%s' was taken for a number", bad[i]);
        assert_int_equal(h, 99);
    }
    uint32_t h;
    assert_false(sm_parse_h(SLICE_NONE, &h));
    assert_false(sm_parse_h(slice_of("1\0002", 3), &h));
}

static void test_parse_bool(void **state)
{
    (void)state;
    assert_true(sm_parse_bool(SLICE_LIT("true")));
    assert_true(sm_parse_bool(SLICE_LIT("1")));
    static const char *const not_true[] = {"false", "0", "TRUE", "yes", "", " true", "11"};
    for (size_t i = 0; i < sizeof not_true / sizeof *not_true; i++)
        assert_false(sm_parse_bool(slice_str(not_true[i])));
    assert_false(sm_parse_bool(SLICE_NONE));
}

static void test_check(void **state)
{
    (void)state;
    static const struct {
        uint64_t acked, written;
        uint32_t h;
        enum sm_ack answer;
        uint64_t count;
    } rows[] = {
        {0, 0, 0, SM_ACK_OK, 0},
        {0, 0, 1, SM_ACK_TOO_HIGH, 0},
        {0, 0, UINT32_MAX, SM_ACK_TOO_HIGH, 0}, /* nothing was acked that this could be older than */
        {0, 5, 5, SM_ACK_OK, 5},
        {0, 5, 6, SM_ACK_TOO_HIGH, 0},
        {3, 5, 3, SM_ACK_OK, 3},
        {3, 5, 2, SM_ACK_OLD, 3},
        {3, 5, 0, SM_ACK_OLD, 3},
        {3, 5, UINT32_MAX, SM_ACK_TOO_HIGH, 3},
        {3, 5, 2147483648u, SM_ACK_TOO_HIGH, 3},
        /* the counter of the wire wraps between what was acked and what was written */
        {WRAP - 3, WRAP + 2, (uint32_t)(WRAP - 3), SM_ACK_OK, WRAP - 3},
        {WRAP - 3, WRAP + 2, UINT32_MAX, SM_ACK_OK, WRAP - 1},
        {WRAP - 3, WRAP + 2, 0, SM_ACK_OK, WRAP},
        {WRAP - 3, WRAP + 2, 2, SM_ACK_OK, WRAP + 2},
        {WRAP - 3, WRAP + 2, 3, SM_ACK_TOO_HIGH, WRAP - 3},
        {WRAP - 3, WRAP + 2, (uint32_t)(WRAP - 4), SM_ACK_OLD, WRAP - 3},
        /* behind the wrap the old numbers of before it are old, not too high */
        {WRAP + 1, WRAP + 1, 1, SM_ACK_OK, WRAP + 1},
        {WRAP + 1, WRAP + 1, 0, SM_ACK_OLD, WRAP + 1},
        {WRAP + 1, WRAP + 1, UINT32_MAX, SM_ACK_OLD, WRAP + 1},
        {WRAP + 1, WRAP + 1, (uint32_t)(WRAP - 3), SM_ACK_OLD, WRAP + 1},
        {WRAP + 1, WRAP + 1, 2, SM_ACK_TOO_HIGH, WRAP + 1},
        {5 * WRAP - 1, 5 * WRAP, 0, SM_ACK_OK, 5 * WRAP},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sm_out out = {.acked = rows[i].acked, .written = rows[i].written};
        uint64_t count = 77;
        enum sm_ack answer = sm_out_check(&out, rows[i].h, &count);
        if (answer != rows[i].answer || count != rows[i].count)
            fail_msg("row %zu: answer %d, count %llu", i, (int)answer, (unsigned long long)count);
        assert_true(out.acked == rows[i].acked && out.written == rows[i].written);
    }
}

/* ---- what the client sends ---- */

static void test_answers(void **state)
{
    (void)state;
    struct sm_in in = {0};
    struct sm_in_leg leg = {0};
    assert_false(sm_in_due(&in, &leg, NEVER));
    sm_in_request(&in, &leg, 10, DELAY); /* nothing was sent yet: h is 0 at once */
    assert_true(sm_in_due(&in, &leg, 10));
    sm_in_told(&in, &leg, 10, DELAY);
    assert_false(sm_in_due(&in, &leg, NEVER));
    assert_true(in.told == 0);

    in.received = 3;
    in.safe = 2;
    sm_in_request(&in, &leg, 20, DELAY);
    assert_false(sm_in_due(&in, &leg, 20));
    assert_false(sm_in_due(&in, &leg, 20 + DELAY - 1));
    in.safe = 3;
    assert_true(sm_in_due(&in, &leg, 21));
    sm_in_told(&in, &leg, 21, DELAY);
    assert_true(in.told == 3);
    assert_false(sm_in_due(&in, &leg, NEVER));
}

/* A flood of requests costs one answer. */
static void test_shared_answer(void **state)
{
    (void)state;
    struct sm_in in = {.received = 2};
    struct sm_in_leg leg = {0};
    for (int i = 0; i < 100; i++)
        sm_in_request(&in, &leg, i, DELAY);
    assert_false(sm_in_due(&in, &leg, 99));
    in.safe = 2;
    assert_true(sm_in_due(&in, &leg, 99));
    sm_in_told(&in, &leg, 99, DELAY);
    assert_false(sm_in_due(&in, &leg, NEVER));
}

/* The oldest of several requests is answered as soon as it is covered; the newer ones go on waiting. */
static void test_newer_requests_wait(void **state)
{
    (void)state;
    struct sm_in in = {.received = 1};
    struct sm_in_leg leg = {0};
    sm_in_request(&in, &leg, 0, DELAY);
    in.received = 4;
    sm_in_request(&in, &leg, 10, DELAY);
    in.safe = 2;
    assert_true(sm_in_due(&in, &leg, 20));
    sm_in_told(&in, &leg, 20, DELAY);
    assert_true(in.told == 2);
    assert_false(sm_in_due(&in, &leg, 20));
    in.safe = 3;
    assert_true(sm_in_due(&in, &leg, 21));
    sm_in_told(&in, &leg, 21, DELAY);
    assert_false(sm_in_due(&in, &leg, 21));
    in.safe = 4;
    assert_true(sm_in_due(&in, &leg, 22));
    sm_in_told(&in, &leg, 22, DELAY);
    assert_true(in.told == 4);
    assert_false(sm_in_due(&in, &leg, NEVER));
}

/* Late: what is safe is told, and the rest follows without being asked for, once. */
static void test_short_then_owed(void **state)
{
    (void)state;
    struct sm_in in = {.received = WRAP + 2, .safe = WRAP - 1};
    struct sm_in_leg leg = {0};
    sm_in_request(&in, &leg, 0, DELAY);
    assert_false(sm_in_due(&in, &leg, DELAY - 1));
    assert_true(sm_in_due(&in, &leg, DELAY));
    sm_in_told(&in, &leg, DELAY, DELAY);
    assert_true(in.told == WRAP - 1);
    assert_int_equal(sm_wire(in.told), UINT32_MAX);
    assert_false(sm_in_due(&in, &leg, NEVER));
    in.safe = WRAP + 1;
    assert_false(sm_in_due(&in, &leg, NEVER));
    in.safe = WRAP + 2;
    assert_true(sm_in_due(&in, &leg, DELAY + 1));
    sm_in_told(&in, &leg, DELAY + 1, DELAY);
    assert_int_equal(sm_wire(in.told), 2);
    assert_false(sm_in_due(&in, &leg, NEVER));
    in.received = in.safe = WRAP + 9; /* nothing more is owed */
    assert_false(sm_in_due(&in, &leg, NEVER));
}

/* ---- what the client gets ---- */

static void append(struct sm_out *out, struct sm_out_leg *leg, int n)
{
    while (n--)
        sm_out_append(out, leg, entry_copy(SLICE_LIT("<message/>"), 0));
}

static int write_all(struct sm_out *out, struct sm_out_leg *leg, usec now)
{
    int n = 0;
    for (; sm_out_next(leg); n++)
        sm_out_wrote(out, leg, now);
    return n;
}

static int take_all(struct sm_out *out)
{
    int n = 0;
    for (struct entry *e; (e = sm_out_take(out)); n++)
        entry_free(e);
    return n;
}

static struct sm_out starting_at(uint64_t n)
{
    return (struct sm_out){.queue.last_number = n, .acked = n, .written = n};
}

static void test_queue_around_the_wrap(void **state)
{
    (void)state;
    struct sm_out out = starting_at(WRAP - 3);
    struct sm_out_leg leg = sm_out_attach(&out);
    append(&out, &leg, 6);
    assert_true(sm_out_next(&leg)->number == WRAP - 2);
    assert_int_equal(write_all(&out, &leg, 1), 6);
    assert_true(out.written == WRAP + 3);
    uint64_t count;
    assert_int_equal(sm_out_check(&out, 0, &count), SM_ACK_OK);
    sm_out_acked(&out, &leg, count);
    assert_int_equal(take_all(&out), 3);
    assert_true(out.queue.first->number == WRAP + 1);
    sm_out_acked(&out, &leg, WRAP - 1); /* an older one changes nothing */
    assert_true(out.acked == WRAP);
    assert_int_equal(take_all(&out), 0);

    /* a new connection: the rest is written again, with the same numbers */
    leg = sm_out_attach(&out);
    assert_true(sm_out_next(&leg)->number == WRAP + 1);
    assert_int_equal(write_all(&out, &leg, 2), 3);
    assert_true(out.written == WRAP + 3);
    assert_int_equal(sm_out_check(&out, 4, &count), SM_ACK_TOO_HIGH);
    assert_int_equal(sm_out_check(&out, 3, &count), SM_ACK_OK);
    sm_out_acked(&out, &leg, count);
    assert_int_equal(take_all(&out), 3);
    assert_null(out.queue.first);
    assert_null(sm_out_next(&leg));
}

/* The client had got more on its last connection than was written on this one yet: it is not written again. */
static void test_ack_of_earlier_connection(void **state)
{
    (void)state;
    struct sm_out out = {0};
    struct sm_out_leg leg = {0};
    append(&out, &leg, 5);
    write_all(&out, &leg, 0);
    leg = sm_out_attach(&out);
    sm_out_wrote(&out, &leg, 1);
    uint64_t count;
    assert_int_equal(sm_out_check(&out, 4, &count), SM_ACK_OK);
    sm_out_acked(&out, &leg, count);
    assert_int_equal(take_all(&out), 4);
    assert_true(sm_out_next(&leg)->number == 5);
    assert_true(leg.sent == 4);
    assert_false(sm_out_due(&leg, NEVER, 1, DELAY)); /* nothing is unacked that was written here */
    sm_out_wrote(&out, &leg, 2);
    assert_true(sm_out_due(&leg, 2, 1, DELAY));
    queue_free(&out.queue);
}

static void test_requests(void **state)
{
    (void)state;
    struct sm_out out = {0};
    struct sm_out_leg leg = {0};
    assert_false(sm_out_due(&leg, NEVER, 5, DELAY));
    assert_int_equal(sm_out_due_at(&leg, DELAY), -1);
    append(&out, &leg, 1);
    assert_false(sm_out_due(&leg, NEVER, 5, DELAY)); /* not written yet */
    sm_out_wrote(&out, &leg, 1000);
    assert_false(sm_out_due(&leg, 1000 + DELAY - 1, 5, DELAY));
    assert_true(sm_out_due(&leg, 1000 + DELAY, 5, DELAY));
    assert_int_equal(sm_out_due_at(&leg, DELAY), 1000 + DELAY);
    append(&out, &leg, 3);
    write_all(&out, &leg, 1000 + DELAY / 2);
    assert_int_equal(sm_out_due_at(&leg, DELAY), 1000 + DELAY); /* the first one counts */
    assert_false(sm_out_due(&leg, 1000 + DELAY / 2, 5, DELAY));
    append(&out, &leg, 1);
    write_all(&out, &leg, 1000 + DELAY / 2);
    assert_true(sm_out_due(&leg, 1000 + DELAY / 2, 5, DELAY)); /* the fifth */

    sm_out_asked(&leg, 2000);
    assert_false(sm_out_due(&leg, NEVER, 5, DELAY)); /* one at a time */
    assert_int_equal(sm_out_due_at(&leg, DELAY), -1);
    append(&out, &leg, 20);
    write_all(&out, &leg, 3000);
    assert_false(sm_out_due(&leg, NEVER, 5, DELAY));
    sm_out_acked(&out, &leg, 5);
    sm_out_answered(&out, &leg, 4000, DELAY, NEVER);
    assert_int_equal(take_all(&out), 5);
    assert_true(sm_out_due(&leg, 4000, 5, DELAY)); /* what came meanwhile */
    sm_out_asked(&leg, 4000);
    sm_out_acked(&out, &leg, 25);
    sm_out_answered(&out, &leg, 5000, DELAY, NEVER);
    assert_int_equal(take_all(&out), 20);
    assert_false(sm_out_due(&leg, NEVER, 5, DELAY)); /* never twice for the same stanza */
    assert_int_equal(sm_out_due_at(&leg, DELAY), -1);
}

/* An answer to something else than our request: an unasked <a/> covers what no <r/> has covered. */
static void test_unasked_ack(void **state)
{
    (void)state;
    struct sm_out out = {0};
    struct sm_out_leg leg = {0};
    append(&out, &leg, 2);
    write_all(&out, &leg, 0);
    sm_out_acked(&out, &leg, 2);
    sm_out_answered(&out, &leg, 10, DELAY, NEVER);
    assert_int_equal(take_all(&out), 2);
    assert_false(sm_out_due(&leg, NEVER, 1, DELAY));
    append(&out, &leg, 1);
    write_all(&out, &leg, 500);
    assert_int_equal(sm_out_due_at(&leg, DELAY), 500 + DELAY);
    queue_free(&out.queue);
}

static void test_short_answers(void **state)
{
    (void)state;
    struct sm_out out = {0};
    struct sm_out_leg leg = {0};
    append(&out, &leg, 4);
    write_all(&out, &leg, 0);
    sm_out_asked(&leg, 0);
    usec now = 0, wait = DELAY;
    for (int i = 0; i < 3; i++) {
        sm_out_acked(&out, &leg, (uint64_t)i);
        take_all(&out);
        sm_out_answered(&out, &leg, now, DELAY, NEVER);
        assert_false(sm_out_due(&leg, now + wait - 1, 5, DELAY));
        assert_true(sm_out_due(&leg, now + wait, 5, DELAY));
        assert_int_equal(sm_out_due_at(&leg, DELAY), now + wait);
        sm_out_answered(&out, &leg, now + 1, DELAY, NEVER); /* a second unasked one does not push it ahead */
        assert_int_equal(sm_out_due_at(&leg, DELAY), now + wait);
        now += wait;
        wait *= 2;
        sm_out_asked(&leg, now);
    }
    sm_out_acked(&out, &leg, 3);
    take_all(&out);
    sm_out_answered(&out, &leg, now, DELAY, 2 * DELAY); /* not more than the longest */
    assert_int_equal(sm_out_due_at(&leg, DELAY), now + 2 * DELAY);
    sm_out_acked(&out, &leg, 4); /* made good without being asked again */
    sm_out_answered(&out, &leg, now + 1, DELAY, NEVER);
    assert_int_equal(take_all(&out), 1);
    assert_false(sm_out_due(&leg, NEVER, 5, DELAY));
    append(&out, &leg, 1);
    write_all(&out, &leg, now);
    sm_out_asked(&leg, now);
    sm_out_answered(&out, &leg, now, DELAY, NEVER); /* the doubling begins anew */
    assert_int_equal(sm_out_due_at(&leg, DELAY), now + DELAY);
    queue_free(&out.queue);
}

static void test_out_attach(void **state)
{
    (void)state;
    struct sm_out out = {0};
    struct sm_out_leg leg = {0};
    append(&out, &leg, 3);
    write_all(&out, &leg, 0);
    sm_out_asked(&leg, 0);
    sm_out_acked(&out, &leg, 1);
    take_all(&out);
    sm_out_answered(&out, &leg, 1, DELAY, NEVER);
    leg = sm_out_attach(&out);
    assert_false(leg.asking);
    assert_int_equal(sm_out_due_at(&leg, DELAY), -1);
    assert_false(sm_out_due(&leg, NEVER, 1, DELAY));
    assert_true(sm_out_next(&leg)->number == 2);
    assert_true(out.written == 3 && out.acked == 1);
    sm_out_wrote(&out, &leg, 50);
    assert_int_equal(sm_out_due_at(&leg, DELAY), 50 + DELAY);
    queue_free(&out.queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_h),
        cmocka_unit_test(test_parse_bool),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_shared_answer),
        cmocka_unit_test(test_newer_requests_wait),
        cmocka_unit_test(test_short_then_owed),
        cmocka_unit_test(test_queue_around_the_wrap),
        cmocka_unit_test(test_ack_of_earlier_connection),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_unasked_ack),
        cmocka_unit_test(test_short_answers),
        cmocka_unit_test(test_out_attach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
