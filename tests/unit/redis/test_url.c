#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "redis/url.h"
#include <stdlib.h>
#include <string.h>

static struct redis_url *parse(const char *text)
{
    char *error = NULL;
    struct redis_url *u = redis_url_parse(text, &error);
    if (!u)
        fail_msg("%s: %s", text, error);
    assert_null(error);
    return u;
}

static void a_server(void **state)
{
    (void)state;
    struct redis_url *u = parse("redis://redis.example:6380/3");
    assert_int_equal(u->form, REDIS_FORM_SERVER);
    assert_false(u->tls);
    assert_int_equal(u->host_count, 1);
    assert_string_equal(u->hosts[0].host, "redis.example");
    assert_int_equal(u->hosts[0].port, 6380);
    assert_int_equal(u->db, 3);
    assert_null(u->user);
    assert_null(u->password);
    assert_string_equal(u->text, "redis://redis.example:6380/3");
    redis_url_free(u);
}

static void what_may_be_left_out(void **state)
{
    (void)state;
    static const char *const texts[] = {"redis://r.example", "redis://r.example/", "redis://r.example:6379",
                                        "redis://r.example:6379/0"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct redis_url *u = parse(texts[i]);
        assert_string_equal(u->text, "redis://r.example:6379");
        assert_int_equal(u->db, 0);
        redis_url_free(u);
    }
    struct redis_url *u = parse("redis+sentinel://a/name");
    assert_int_equal(u->hosts[0].port, 26379);
    redis_url_free(u);
}

static void credentials_are_decoded_and_not_shown(void **state)
{
    (void)state;
    struct redis_url *u = parse("rediss://hold%20fast:p%40ss:w%2Ford%25@[2001:db8::1]:7000");
    assert_true(u->tls);
    assert_string_equal(u->user, "hold fast");
    assert_string_equal(u->password, "p@ss:w/ord%");
    assert_string_equal(u->hosts[0].host, "2001:db8::1");
    assert_string_equal(u->text, "rediss://[2001:db8::1]:7000");
    redis_url_free(u);
    u = parse("redis://:a@b@r.example");
    assert_null(u->user);
    assert_string_equal(u->password, "a@b");
    assert_string_equal(u->hosts[0].host, "r.example");
    redis_url_free(u);
}

static void a_unix_socket(void **state)
{
    (void)state;
    struct redis_url *u = parse("redis+unix:///run/re%20dis@1.sock?db=2");
    assert_int_equal(u->form, REDIS_FORM_UNIX);
    assert_string_equal(u->path, "/run/re dis@1.sock");
    assert_int_equal(u->db, 2);
    assert_int_equal(u->host_count, 0);
    redis_url_free(u);
    u = parse("redis+unix://u:p@/run/redis.sock");
    assert_string_equal(u->user, "u");
    assert_string_equal(u->password, "p");
    assert_string_equal(u->text, "redis+unix:///run/redis.sock");
    redis_url_free(u);
}

static void sentinels(void **state)
{
    (void)state;
    struct redis_url *u = parse("redis+sentinel://u:p@s1.example:26380,[::1],s3.example/my%20master/4");
    assert_int_equal(u->form, REDIS_FORM_SENTINEL);
    assert_int_equal(u->host_count, 3);
    assert_string_equal(u->hosts[1].host, "::1");
    assert_int_equal(u->hosts[1].port, 26379);
    assert_string_equal(u->name, "my master");
    assert_int_equal(u->db, 4);
    assert_string_equal(u->text, "redis+sentinel://s1.example:26380,[::1]:26379,s3.example:26379/my master/4");
    redis_url_free(u);
}

static void a_cluster(void **state)
{
    (void)state;
    struct redis_url *u = parse("rediss+cluster://:p@a:7000,b:7001");
    assert_int_equal(u->form, REDIS_FORM_CLUSTER);
    assert_true(u->tls);
    assert_int_equal(u->host_count, 2);
    assert_int_equal(u->hosts[1].port, 7001);
    redis_url_free(u);
}

static void faults_are_told_without_the_password(void **state)
{
    (void)state;
    static const struct {
        const char *text, *told;
    } cases[] = {
        {"", "begins with none of"},
        {"http://hush@a", "begins with none of"},
        {"redis:/a", "begins with none of"},
        {"rediss+unix:///a", "begins with none of"},
        {"redis://", "host name is missing"},
        {"redis://u:hush@", "host name is missing"},
        {"redis://u:hush@a:0", "a port"},
        {"redis://u:hush@a:hush", "a port"},
        {"redis://u:hush@a:65536", "a port"},
        {"redis://::1:6379", "host name is missing"},
        {"redis://2001:db8::1", "brackets"},
        {"redis://[::1", "not closed by ]"},
        {"redis://hush@a", "user without a password"},
        {"redis://u:hu/sh@a", "behind the first of"},
        {"redis://u:hush%2@a", "two hex digits"},
        {"redis://u:hush%00@a", "two hex digits"},
        {"redis://u:hush%zz@a", "two hex digits"},
        {"redis://a,b", "more than one host"},
        {"redis://a/b", "a database"},
        {"redis://a/1/2", "a database"},
        {"redis://a/99999", "a database"},
        {"redis://a?db=1", "something follows"},
        {"redis+unix://a", "has to begin with /"},
        {"redis+unix:///", "path of the socket is missing"},
        {"redis+unix:///a?base=1", "something else than db"},
        {"redis+unix:///a?db=x", "a database"},
        {"redis+unix:///"
         "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
         "8",
         "too long"},
        {"redis+sentinel://a", "master's name is missing"},
        {"redis+sentinel://a/", "master's name is missing"},
        {"redis+sentinel://a/n/x", "a database"},
        {"redis+cluster://a/1", "no others"},
        {"redis+cluster://a,", "host name is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *error = NULL;
        assert_null(redis_url_parse(cases[i].text, &error));
        assert_non_null(error);
        if (!strstr(error, cases[i].told))
            fail_msg("%s: %s", cases[i].text, error);
        assert_null(strstr(error, "hush"));
        free(error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server),
        cmocka_unit_test(what_may_be_left_out),
        cmocka_unit_test(credentials_are_decoded_and_not_shown),
        cmocka_unit_test(a_unix_socket),
        cmocka_unit_test(sentinels),
        cmocka_unit_test(a_cluster),
        cmocka_unit_test(faults_are_told_without_the_password),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
