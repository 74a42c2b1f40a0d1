/* limits.login_failures_per_ip and _per_account: who is late, who is refused, who is let in in spite of others. */
#include "../../../proxy/run/peer_prefix.h"
#include "run/admission.h"
#include "run/login_guard.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOW (1000 * USEC_S)

static const struct login_limits limits = {.per_address = 10, .per_account = 5};

struct guard {
    struct login_guard *g;
    usec now;
    struct login_limits limits;
};

static int setup(void **state)
{
    static struct guard guard;
    guard = (struct guard){login_guard_new(1024), NOW, limits};
    *state = &guard;
    return 0;
}

static int teardown(void **state)
{
    login_guard_free(((struct guard *)*state)->g);
    return 0;
}

static struct login_verdict ask(struct guard *t, const char *peer, const char *account)
{
    return login_guard_ask(t->g, &t->limits, peer, account, t->now);
}

static void end(struct guard *t, const char *peer, const char *account, const struct login_verdict *v,
                enum login_end how)
{
    login_guard_ended(t->g, &t->limits, peer, account, t->now, &v->pass, how);
}

/* Asks and, if it may be tried, ends it that way. */
static struct login_verdict try(struct guard *t, const char *peer, const char *account, enum login_end how)
{
    struct login_verdict v = ask(t, peer, account);
    if (!v.refused)
        end(t, peer, account, &v, how);
    return v;
}

static void fail_often(struct guard *t, const char *peer, const char *account, unsigned n)
{
    while (n--)
        try(t, peer, account, LOGIN_FAILED);
}

static void assert_verdict(struct login_verdict v, int late_s, bool refused, enum login_limit by)
{
    assert_int_equal(v.refused, refused);
    if (!refused)
        assert_int_equal(v.pass.late, late_s * USEC_S);
    assert_int_equal(v.by, by);
}

#define PEER  "192.0.2.1:1000"
#define OTHER "192.0.2.2:1000"

static void test_an_address_is_late_then_refused_then_heard_again(void **state)
{
    struct guard *t = *state;
    char account[20];
    static const int late[] = {1, 2, 4, 8, 8, 8, 8, 8, 8, 8};
    for (int i = 0; i < 20; i++) { /* each time another account */
        snprintf(account, sizeof account, "x\nuser%d", i);
        assert_verdict(try(t, PEER, account, LOGIN_FAILED), i < 10 ? 0 : late[i - 10], false,
                       i < 10 ? LOGIN_LIMIT_NONE : LOGIN_LIMIT_ADDRESS);
    }
    assert_verdict(ask(t, PEER, "x\nnew"), 0, true, LOGIN_LIMIT_ADDRESS);
    assert_verdict(ask(t, "192.0.2.1:9", "x\nnew"), 0, true, LOGIN_LIMIT_ADDRESS);
    assert_verdict(ask(t, OTHER, "x\nnew"), 0, false, LOGIN_LIMIT_NONE);
    t->now += 6 * USEC_S; /* a tenth of a minute: one more */
    assert_verdict(try(t, PEER, "x\nnew", LOGIN_FAILED), 8, false, LOGIN_LIMIT_ADDRESS);
    assert_verdict(ask(t, PEER, "x\nnewer"), 0, true, LOGIN_LIMIT_ADDRESS);
    t->now += 120 * USEC_S;
    assert_verdict(ask(t, PEER, "x\nnewest"), 0, false, LOGIN_LIMIT_NONE);
}

static void test_an_account_from_one_address_is_late_then_refused(void **state)
{
    struct guard *t = *state;
    static const int late[] = {0, 0, 0, 0, 0, 1, 2, 4, 8, 8};
    t->limits.per_address = 0;
    for (int i = 0; i < 10; i++)
        assert_verdict(try(t, PEER, "x\nromeo", LOGIN_FAILED), late[i], false,
                       i < 5 ? LOGIN_LIMIT_NONE : LOGIN_LIMIT_ACCOUNT);
    assert_verdict(ask(t, PEER, "x\nromeo"), 0, true, LOGIN_LIMIT_ACCOUNT);
    assert_verdict(ask(t, PEER, "X\nRoMeO"), 0, true, LOGIN_LIMIT_ACCOUNT);
    assert_verdict(ask(t, PEER, "x\njuliet"), 0, false, LOGIN_LIMIT_NONE);
}

static void test_strangers_make_an_account_late_and_never_lock_it_out(void **state)
{
    struct guard *t = *state;
    char peer[32];
    for (int i = 0; i < 200; i++) {
        snprintf(peer, sizeof peer, "198.51.100.%d:1", i);
        try(t, peer, "x\nromeo", LOGIN_FAILED);
    }
    assert_verdict(ask(t, OTHER, "x\nromeo"), 8, false, LOGIN_LIMIT_ACCOUNT);
    assert_verdict(ask(t, OTHER, "x\njuliet"), 0, false, LOGIN_LIMIT_NONE);
}

static void test_where_an_account_has_logged_in_others_failures_do_not_count(void **state)
{
    struct guard *t = *state;
    char peer[32];
    try(t, PEER, "x\nromeo", LOGIN_SUCCEEDED);
    for (int i = 0; i < 40; i++) {
        snprintf(peer, sizeof peer, "198.51.100.%d:1", i);
        try(t, peer, "x\nromeo", LOGIN_FAILED);
        fail_often(t, PEER, "x\njuliet", 1);
        snprintf(peer, sizeof peer, "x\nuser%d", i);
        fail_often(t, PEER, peer, 1);
    }
    assert_verdict(ask(t, PEER, "x\nromeo"), 0, false, LOGIN_LIMIT_NONE);
    assert_verdict(ask(t, PEER, "x\nmercutio"), 0, true, LOGIN_LIMIT_ADDRESS);
    fail_often(t, PEER, "x\nromeo", 20);
    assert_verdict(ask(t, PEER, "x\nromeo"), 0, true, LOGIN_LIMIT_ACCOUNT);
}

static void test_a_success_forgives_the_account_there_and_not_the_address(void **state)
{
    struct guard *t = *state;
    fail_often(t, PEER, "x\nromeo", 6);
    try(t, PEER, "x\nromeo", LOGIN_SUCCEEDED);
    assert_verdict(ask(t, PEER, "x\nromeo"), 0, false, LOGIN_LIMIT_NONE);
    fail_often(t, PEER, "x\na", 4);
    assert_verdict(ask(t, PEER, "x\nb"), 1, false, LOGIN_LIMIT_ADDRESS);
}

static void test_logins_at_the_same_time_do_not_slip_through(void **state)
{
    struct guard *t = *state;
    unsigned allowed = 0;
    fail_often(t, PEER, "x\nromeo", 5);
    for (int i = 0; i < 100; i++)
        allowed += !ask(t, PEER, "x\nromeo").refused;
    assert_int_equal(allowed, 5);
}

static void test_what_proves_nothing_is_not_held_against_anyone(void **state)
{
    struct guard *t = *state;
    for (int i = 0; i < 100; i++)
        assert_verdict(try(t, PEER, "x\nromeo", LOGIN_UNDECIDED), 0, false, LOGIN_LIMIT_NONE);
    fail_often(t, PEER, "x\nromeo", 5);
    for (int i = 0; i < 100; i++)
        assert_verdict(try(t, PEER, "x\nromeo", LOGIN_UNDECIDED), 1, false, LOGIN_LIMIT_ACCOUNT);
}

static void test_a_burst_of_failures_is_forgotten_after_ten_minutes(void **state)
{
    struct guard *t = *state;
    struct login_verdict v[1000];
    char account[20];
    for (int i = 0; i < 1000; i++) /* all at once, before any has failed */
        v[i] = ask(t, PEER, "");
    for (int i = 0; i < 1000; i++)
        end(t, PEER, "", &v[i], LOGIN_FAILED);
    for (int i = 0; i < 8; i++, t->now += 60 * USEC_S) {
        snprintf(account, sizeof account, "x\nuser%d", i);
        assert_true(ask(t, PEER, account).refused);
    }
    t->now += 60 * USEC_S;
    assert_false(ask(t, PEER, "x\nromeo").refused);
}

static void test_limits_of_zero_are_none(void **state)
{
    struct guard *t = *state;
    t->limits = (struct login_limits){0};
    fail_often(t, PEER, "x\nromeo", 1000);
    assert_verdict(ask(t, PEER, "x\nromeo"), 0, false, LOGIN_LIMIT_NONE);
}

static void test_an_ipv6_network_is_one_party(void **state)
{
    struct guard *t = *state;
    char peer[64];
    for (int i = 0; i < 20; i++) {
        snprintf(peer, sizeof peer, "[2001:db8::%x:1]:%d", i, 1000 + i);
        try(t, peer, "", LOGIN_FAILED);
    }
    assert_true(ask(t, "[2001:db8::ffff:ffff:ffff:ffff]:1", "").refused);
    assert_false(ask(t, "[2001:db8:0:1::1]:1", "").refused);
}

/* Ten times as many parties as there are places: memory stays what it was, and who owes most is remembered. */
static void test_more_parties_than_places(void **state)
{
    struct guard *t = *state;
    char peer[32];
    unsigned remembered = 0;
    for (int i = 0; i < 100; i++) {
        snprintf(peer, sizeof peer, "203.0.113.%d:1", i);
        fail_often(t, peer, "", 20);
    }
    for (int i = 0; i < 10240; i++) {
        snprintf(peer, sizeof peer, "10.0.%d.%d:1", i / 256, i % 256);
        fail_often(t, peer, "", 1);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(peer, sizeof peer, "203.0.113.%d:1", i);
        remembered += ask(t, peer, "").refused;
    }
    assert_true(remembered > 95);
}

static void test_prefixes(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"192.0.2.1:5222", "192.0.2.1"},
        {"[2001:db8:1:2:3:4:5:6]:5222", "2001:db8:1:2::"},
        {"[::1]:5222", "::"},
        {"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "ffff:ffff:ffff:ffff::"},
        {"[2001:db8::1", "[2001:db8:"},
        {"", ""},
        {"wire", "wire"},
    };
    char text[PEER_PREFIX_SIZE], got[80];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice prefix = peer_prefix(cases[i][0], text);
        snprintf(got, sizeof got, "%.*s", SLICE_ARG(prefix));
        assert_string_equal(got, cases[i][1]);
    }
}

static void test_connections_of_an_ipv6_network_count_together(void **state)
{
    (void)state;
    struct admission *a = admission_new();
    assert_int_equal(admission_enter(a, "[2001:db8::1]:1", 0, 2), ADMISSION_OK);
    assert_int_equal(admission_enter(a, "[2001:db8::2]:1", 0, 2), ADMISSION_OK);
    assert_int_equal(admission_enter(a, "[2001:db8::3]:1", 0, 2), ADMISSION_ADDRESS_FULL);
    assert_int_equal(admission_enter(a, "[2001:db8:0:1::3]:1", 0, 2), ADMISSION_OK);
    admission_leave(a, "[2001:db8::2]:1");
    assert_int_equal(admission_enter(a, "[2001:db8::3]:1", 0, 2), ADMISSION_OK);
    admission_leave(a, "[2001:db8::1]:1");
    admission_leave(a, "[2001:db8::3]:1");
    admission_leave(a, "[2001:db8:0:1::3]:1");
    assert_int_equal(admission_count(a), 0);
    admission_free(a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_address_is_late_then_refused_then_heard_again),
        TEST(test_an_account_from_one_address_is_late_then_refused),
        TEST(test_strangers_make_an_account_late_and_never_lock_it_out),
        TEST(test_where_an_account_has_logged_in_others_failures_do_not_count),
        TEST(test_a_success_forgives_the_account_there_and_not_the_address),
        TEST(test_logins_at_the_same_time_do_not_slip_through),
        TEST(test_what_proves_nothing_is_not_held_against_anyone),
        TEST(test_a_burst_of_failures_is_forgotten_after_ten_minutes),
        TEST(test_limits_of_zero_are_none),
        TEST(test_an_ipv6_network_is_one_party),
        TEST(test_more_parties_than_places),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_connections_of_an_ipv6_network_count_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
