/* The state that workers share, without sockets: lists that change, sessions counted, draining, who is ready. */
#include "base/buf.h"
#include "base/log.h"
#include "run/upstreams.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct upstreams *u;
    struct address address[4];
    _Atomic int sooner;
};

static void quiet(void *ctx, const char *line, size_t n)
{
    (void)ctx;
    (void)line;
    (void)n;
}

static void on_sooner(void *ctx)
{
    struct fixture *f = ctx;
    f->sooner++;
}

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    log_set_sink(quiet, NULL);
    f->u = upstreams_new(on_sooner, f);
    for (int i = 0; i < 4; i++)
        address_parse(&f->address[i], (char[]){'1', '9', '2', '.', '0', '.', '2', '.', (char)('1' + i), '\0'}, 5222);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    upstreams_free(f->u);
    log_set_sink(NULL, NULL);
    free(f);
    return 0;
}

/* Servers a, b, c … with an address each. */
static void set(struct fixture *f, const char *names)
{
    struct upstream_entry entries[4];
    char hosts[4][2];
    size_t n = strlen(names);
    for (size_t i = 0; i < n; i++) {
        memcpy(hosts[i], (char[]){names[i], '\0'}, 2);
        entries[i] =
            (struct upstream_entry){.host = hosts[i], .port = 5222, .addresses = &f->address[names[i] - 'a'], .n = 1};
    }
    upstreams_set(f->u, entries, n, n ? NULL : "resolve _xmpp-client._tcp.x: not found");
}

/* Checks find all of them up. */
static void check_all(struct fixture *f)
{
    struct upstream_check check;
    while (upstreams_take_check(f->u, &check)) {
        free(check.host);
        upstreams_checked(f->u, check.facts, true, NULL);
    }
}

static struct upstream_facts *facts_of(struct fixture *f, size_t route)
{
    struct dial_route routes[UPSTREAM_ROUTES];
    char why[UPSTREAM_WHY];
    assert_true(upstreams_routes(f->u, routes, why) > route);
    return routes[route].server;
}

/* As a worker does it: returns the server that a new session goes to. */
static struct upstream_facts *dial(struct fixture *f)
{
    struct upstream_facts *facts = facts_of(f, 0);
    upstreams_dial_events()->entered(facts);
    upstreams_note(f->u, facts, UPSTREAM_REACHED, NULL);
    return facts;
}

static struct upstream_info info_of(struct fixture *f, const char *name)
{
    size_t n;
    struct upstream_info found = {0}, *info = upstreams_info(f->u, &n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(info[i].name, name) == 0) {
            found = info[i];
            found.name = (char *)name;
        }
    upstreams_info_free(info, n);
    return found;
}

static void assert_reasons(struct fixture *f, const char *expected)
{
    struct buf reasons = {0};
    assert_false(upstreams_ready(f->u, &reasons));
    char *text = buf_steal(&reasons);
    assert_string_equal(text, expected);
    free(text);
}

static void assert_no_route(struct fixture *f, const char *expected)
{
    struct dial_route routes[UPSTREAM_ROUTES];
    char why[UPSTREAM_WHY];
    assert_int_equal(upstreams_routes(f->u, routes, why), 0);
    assert_string_equal(why, expected);
}

static void sessions_are_spread_and_counted(void **state)
{
    struct fixture *f = *state;
    assert_false(upstreams_known(f->u));
    set(f, "ab");
    assert_true(upstreams_known(f->u));
    check_all(f);
    struct upstream_facts *first = dial(f), *second = dial(f);
    assert_ptr_not_equal(first, second);
    assert_string_equal(first->name, first->name[0] == 'a' ? "a:5222" : "b:5222");
    assert_int_equal(info_of(f, "a:5222").sessions, 1);
    assert_int_equal(info_of(f, "b:5222").dials_ok, 1);
    upstreams_dial_events()->left(first);
    assert_ptr_equal(dial(f), first);
    upstreams_dial_events()->left(first);
    upstreams_dial_events()->left(second);
    assert_int_equal(info_of(f, "a:5222").sessions + info_of(f, "b:5222").sessions, 0);
}

static void failed_dials_take_a_server_out(void **state)
{
    struct fixture *f = *state;
    struct buf reasons = {0};
    set(f, "ab");
    assert_reasons(f, "upstream: a:5222 not tried yet\nupstream: b:5222 not tried yet\n");
    check_all(f);
    struct upstream_facts *good = dial(f), *bad = facts_of(f, 0);
    assert_ptr_not_equal(good, bad);
    for (int i = 0; i < 2; i++) {
        upstreams_dial_events()->entered(bad);
        upstreams_dial_events()->failed(bad, TRANSPORT_REFUSED, "connect x: Connection refused");
    }
    assert_true(bad->down);
    assert_false(upstreams_service(f->u)->down);
    assert_true(upstreams_is_down(f->u, NULL));
    assert_true(upstreams_ready(f->u, &reasons));
    struct upstream_info info = info_of(f, bad->name);
    assert_int_equal(info.dials_failed, 2);
    assert_int_equal(info.sessions, 0);
    assert_false(info.up);
    for (int i = 0; i < 20; i++)
        assert_ptr_equal(facts_of(f, 0), good); /* however loaded */
    for (int i = 0; i < 2; i++)
        upstreams_note(f->u, good, UPSTREAM_FAILED, "TLS handshake: timed out");
    assert_true(upstreams_service(f->u)->down);
    facts_of(f, 1); /* all are down: all are tried */
    assert_false(upstreams_ready(f->u, &reasons));
    assert_non_null(strstr(reasons.data + reasons.off, "unreachable for 0 s: TLS handshake: timed out\n"));
    buf_free(&reasons);
}

/* It is checked in a moment; until then nobody's login tries it out. */
static void an_untried_server_stands_back(void **state)
{
    struct fixture *f = *state;
    set(f, "a");
    check_all(f);
    set(f, "ab");
    for (int i = 0; i < 5; i++)
        assert_string_equal(dial(f)->name, "a:5222");
    check_all(f);
    assert_string_equal(dial(f)->name, "b:5222");
}

static void what_fails_as_a_whole_is_nobodys_fault(void **state)
{
    struct fixture *f = *state;
    set(f, "a");
    dial(f);
    for (int i = 0; i < 5; i++)
        upstreams_note(f->u, upstreams_service(f->u), UPSTREAM_FAILED, "connect x: Connection refused");
    assert_true(info_of(f, "a:5222").up);
}

static void checks_are_due_and_told_sooner(void **state)
{
    struct fixture *f = *state;
    struct upstream_check check;
    assert_int_equal(upstreams_next_check(f->u), INT64_MAX);
    set(f, "a");
    assert_int_equal(f->sooner, 1);
    assert_true(upstreams_take_check(f->u, &check));
    assert_string_equal(check.host, "a");
    assert_int_equal(check.n, 1);
    assert_null(check.routes[0].server);
    free(check.host);
    assert_false(upstreams_take_check(f->u, &check)); /* one at a time */
    assert_int_equal(upstreams_next_check(f->u), INT64_MAX);
    upstreams_checked(f->u, check.facts, true, NULL);
    assert_int_equal(info_of(f, "a:5222").dials_ok, 0); /* sessions' dials alone */
    assert_true(info_of(f, "a:5222").up);
    upstreams_next_check(f->u);
    int before = f->sooner;
    for (int i = 0; i < 10; i++)
        upstreams_note(f->u, check.facts, UPSTREAM_BROKE, "Connection reset by peer");
    assert_int_equal(f->sooner, before + 1); /* ten thousand sessions that break wake nobody ten thousand times */
}

static void a_list_that_changes_keeps_what_is_known(void **state)
{
    struct fixture *f = *state;
    set(f, "a");
    struct upstream_facts *a = dial(f);
    atomic_store(&a->order, ORDER_BAD);
    assert_true(upstreams_any_unordered(f->u));
    set(f, "b");
    assert_string_equal(facts_of(f, 0)->name, "b:5222");
    assert_false(upstreams_any_unordered(f->u));
    struct upstream_info info = info_of(f, "a:5222"); /* still shown, for its session */
    assert_int_equal(info.sessions, 1);
    assert_false(info.listed);
    set(f, "ab");
    assert_int_equal(a->order, ORDER_BAD);
    assert_true(info_of(f, "a:5222").listed);
    set(f, "");
    assert_no_route(f, "resolve _xmpp-client._tcp.x: not found");
    assert_reasons(f, "upstream: resolve _xmpp-client._tcp.x: not found\n");
    upstreams_dial_events()->left(a);
    assert_null(info_of(f, "a:5222").name);
}

static void without_addresses_it_says_why(void **state)
{
    struct fixture *f = *state;
    const struct upstream_entry entry = {.host = "xmpp.example", .port = 1, .why = "resolve xmpp.example: timed out"};
    upstreams_set(f->u, &entry, 1, NULL);
    assert_no_route(f, "resolve xmpp.example: timed out");
    assert_reasons(f, "upstream: xmpp.example:1 unknown: resolve xmpp.example: timed out\n");
    assert_int_equal(upstreams_next_check(f->u), INT64_MAX);
}

static void a_drained_server_gets_no_new_sessions(void **state)
{
    struct fixture *f = *state;
    struct buf reasons = {0};
    set(f, "ab");
    check_all(f);
    dial(f);
    dial(f);
    assert_false(upstreams_set_drained(f->u, "c:5222", true));
    assert_true(upstreams_set_drained(f->u, "a:5222", true));
    for (int i = 0; i < 5; i++)
        assert_string_equal(dial(f)->name, "b:5222");
    assert_int_equal(info_of(f, "a:5222").sessions, 1); /* who is there may stay */
    assert_true(info_of(f, "a:5222").drained);
    assert_true(upstreams_ready(f->u, &reasons));
    upstreams_set_drained(f->u, "b:5222", true);
    assert_no_route(f, "the upstream servers are drained");
    assert_reasons(f, "upstream: a:5222 drained\nupstream: b:5222 drained\n");
    set(f, "ab"); /* a refresh of the names */
    assert_no_route(f, "the upstream servers are drained");
    upstreams_set_drained(f->u, "a:5222", false);
    assert_string_equal(dial(f)->name, "a:5222");
}

static void *storm(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < 300; i++) {
        struct upstream_facts *server = dial(f);
        if (i % 50 == 0)
            set(f, i % 100 ? "abc" : "ab");
        upstreams_dial_events()->left(server);
    }
    return NULL;
}

static void workers_share_it(void **state)
{
    struct fixture *f = *state;
    pthread_t thread[4];
    set(f, "abc");
    for (int i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, storm, f);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    set(f, "abc");
    struct upstream_info a = info_of(f, "a:5222"), b = info_of(f, "b:5222"), c = info_of(f, "c:5222");
    assert_int_equal(a.sessions + b.sessions + c.sessions, 0);
    assert_int_equal(a.dials_ok + b.dials_ok + c.dials_ok, 1200);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sessions_are_spread_and_counted),
        TEST(failed_dials_take_a_server_out),
        TEST(an_untried_server_stands_back),
        TEST(what_fails_as_a_whole_is_nobodys_fault),
        TEST(checks_are_due_and_told_sooner),
        TEST(a_list_that_changes_keeps_what_is_known),
        TEST(without_addresses_it_says_why),
        TEST(a_drained_server_gets_no_new_sessions),
        TEST(workers_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
