#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../../../proxy/redis/facts.h"
#include <string.h>

static void info_is_read(void **state)
{
    (void)state;
    struct facts f = {0};
    facts_read(&f, slice_str("# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n\r\n"
                             "# Persistence\r\nloading:0\r\n"
                             "aof_enabled:1\r\n# Memory\r\nmaxmemory:1048576\r\nmaxmemory_human:1.00M\r\n"
                             "maxmemory_policy:volatile-ttl\r\n"
                             "# Replication\r\nrole:master\r\nconnected_slaves:2\r\n"));
    assert_string_equal(f.version, "7.0.15");
    assert_string_equal(f.run_id, "abc");
    assert_true(f.master && f.aof && f.bounded);
    assert_false(f.loading);
    assert_int_equal(f.replicas, 2);
    assert_true(facts_policy_is_unsafe(&f));
    facts_read(&f, slice_str("role:slave\r\nloading:1\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru"));
    assert_false(f.master);
    assert_true(f.loading);
    assert_string_equal(f.run_id, "");
    assert_false(facts_policy_is_unsafe(&f)); /* it never gets full */
    facts_read(&f, SLICE_NONE);
    assert_false(f.master);
}

static void the_promise_follows_from_them(void **state)
{
    (void)state;
    static const struct {
        struct facts facts;
        enum redis_persistence persistence;
        unsigned wait;
        const char *told, *also;
    } cases[] = {
        {{.saves_known = true}, REDIS_PERSISTENCE_NONE, 0, "no persistence", "no replica"},
        {{.saves_known = true, .save = "3600 1"}, REDIS_PERSISTENCE_RDB, 0, "last snapshot", "no replica"},
        {{.replicas = 1}, REDIS_PERSISTENCE_RDB, 0, "if it makes any", "a failover may lose the last commits"},
        {{.aof = true, .fsync = "everysec", .replicas = 2}, REDIS_PERSISTENCE_EVERYSEC, 1, "two seconds", "1 of 2"},
        {{.aof = true, .fsync = "always"}, REDIS_PERSISTENCE_ALWAYS, 0, "loses nothing", "no replica"},
        {{.aof = true, .fsync = "no"}, REDIS_PERSISTENCE_RDB, 0, "half a minute", "no replica"},
        {{.aof = true}, REDIS_PERSISTENCE_EVERYSEC, 2, "is refused", "nothing can be committed"},
        {{.aof = true, .fsync = "always", .bounded = true, .policy = "allkeys-lru"},
         REDIS_PERSISTENCE_ALWAYS,
         0,
         "set noeviction",
         "no replica"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = {0};
        assert_int_equal(facts_persistence(&cases[i].facts), cases[i].persistence);
        facts_describe(&cases[i].facts, cases[i].wait, &out);
        buf_append(&out, "", 1);
        if (!strstr(out.data, cases[i].told) || !strstr(out.data, cases[i].also))
            fail_msg("%zu: %s", i, out.data);
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_is_read),
        cmocka_unit_test(the_promise_follows_from_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
