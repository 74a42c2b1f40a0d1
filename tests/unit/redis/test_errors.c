#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../../../proxy/redis/errors.h"
#include "redis/redis.h"

static void errors_of_redis_7_have_their_verdicts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum verdict verdict;
    } cases[] = {
        {"OOM command not allowed when used memory > 'maxmemory'.", VERDICT_AWAY},
        {"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist", VERDICT_AWAY},
        {"NOREPLICAS Not enough good replicas to write.", VERDICT_AWAY},
        {"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", VERDICT_AWAY},
        {"LOADING Redis is loading the dataset in memory", VERDICT_AWAY},
        {"CLUSTERDOWN The cluster is down", VERDICT_AWAY},
        {"CLUSTERDOWN Hash slot not served", VERDICT_AWAY},
        {"ERR max number of clients reached", VERDICT_AWAY},
        {"TRYAGAIN Multiple keys request during rehashing of slot", VERDICT_AGAIN},
        {"READONLY You can't write against a read only replica.", VERDICT_DISCOVER},
        {"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", VERDICT_DISCOVER},
        {"MOVED 3999 127.0.0.1:6381", VERDICT_MOVED},
        {"ASK 3999 127.0.0.1:6381", VERDICT_ASK},
        {"NOSCRIPT No matching script. Please use EVAL.", VERDICT_NOSCRIPT},
        {"NOAUTH Authentication required.", VERDICT_FAULT},
        {"NOPERM this user has no permissions to run the 'set' command", VERDICT_FAULT},
        {"WRONGPASS invalid username-password pair or user is disabled.", VERDICT_FAULT},
        {"WRONGTYPE Operation against a key holding the wrong kind of value", VERDICT_FAULT},
        {"DENIED Redis is running in protected mode because protected mode is enabled", VERDICT_FAULT},
        {"ERR unknown command 'XADD', with args beginning with: 'a' ", VERDICT_FAULT},
        {"ERR Unknown Redis command called from script script: 1, on @user_script:1.", VERDICT_FAULT},
        {"ERR AUTH <password> called without any password configured for the default user.", VERDICT_FAULT},
        {"ERR DB index is out of range", VERDICT_FAULT},
        {"ERR SELECT is not allowed in cluster mode", VERDICT_FAULT},
        {"ERR This instance has cluster support disabled", VERDICT_FAULT},
        {"ERR The ID specified in XADD is equal or smaller than the target stream top item", VERDICT_REFUSED},
        {"BUSYGROUP Consumer Group name already exists", VERDICT_REFUSED},
        {"BUSYKEY Target key name already exists.", VERDICT_REFUSED},
        {"ERR", VERDICT_REFUSED},
        {"", VERDICT_REFUSED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (verdict_of(slice_of(cases[i].text, strlen(cases[i].text))) != cases[i].verdict)
            fail_msg("%s", cases[i].text);
}

static void redirections_are_read(void **state)
{
    (void)state;
    struct redirect r;
    assert_true(redirect_parse(&r, slice_str("MOVED 3999 127.0.0.1:6381")));
    assert_int_equal(r.slot, 3999);
    assert_string_equal(r.host, "127.0.0.1");
    assert_int_equal(r.port, 6381);
    assert_true(redirect_parse(&r, slice_str("ASK 16383 2001:db8::1:7000")));
    assert_int_equal(r.slot, 16383);
    assert_string_equal(r.host, "2001:db8::1");
    assert_true(redirect_parse(&r, slice_str("MOVED 0 :7000")));
    assert_string_equal(r.host, "");
}

static void broken_redirections_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"MOVED",         "MOVED ",          "MOVED 1",        "MOVED 1 ",
                                        "MOVED 1 a",     "MOVED 1 a:",      "MOVED 1 a:0",    "MOVED 1 a:65536",
                                        "MOVED x a:1",   "MOVED 16384 a:1", "MOVED -1 a:1",   "MOVED  a:1",
                                        "MOVED 1 a:1 b", "MOVED 1 a:b",     "MOVED 1 a:1:2:"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct redirect r;
        if (redirect_parse(&r, slice_str(texts[i])))
            fail_msg("%s", texts[i]);
    }
}

/* Figures of CLUSTER KEYSLOT of a real server. */
static void slots_are_those_of_the_servers(void **state)
{
    (void)state;
    assert_int_equal(redis_slot(slice_str("123456789")), 0x31c3);
    assert_int_equal(redis_slot(slice_str("foo")), 12182);
    assert_int_equal(redis_slot(slice_str("{foo}.bar")), 12182);
    assert_int_equal(redis_slot(slice_str("a{foo}{bar}")), 12182);
    assert_int_equal(redis_slot(slice_str("{}foo")), 9500);
    assert_int_equal(redis_slot(slice_str("{foo")), 13308);
    assert_int_equal(redis_slot(slice_str("")), 0);
    assert_int_equal(redis_slot(slice_of("a\0b", 3)), 8383);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_of_redis_7_have_their_verdicts),
        cmocka_unit_test(redirections_are_read),
        cmocka_unit_test(broken_redirections_are_refused),
        cmocka_unit_test(slots_are_those_of_the_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
