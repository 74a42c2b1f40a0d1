#include "real.h"

struct fixture {
    struct real s;
    struct client c;
};

static int begin(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    real_prepare(&f->s);
    client_prepare(&f->c);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    client_end(&f->c);
    real_end(&f->s);
    free(f);
    return 0;
}

static void start(struct fixture *f)
{
    real_start(&f->s);
    client_open_port(&f->c, f->s.port);
    client_until_writable(&f->c);
}

static void commands_are_answered_in_order(void **state)
{
    struct fixture *f = *state;
    start(f);
    assert_told(&f->c, "back 0-16383 fresh\n");
    assert_null(redis_why_away(f->c.r));
    for (int i = 0; i < 5000; i++)
        client_send(&f->c, "XADD {a}%d NOMKSTREAM 1-%d d x", i % 3, i + 1);
    assert_true(redis_backlog(f->c.r) > 5000 * 30);
    client_until_answered(&f->c);
    assert_in_order(&f->c);
    assert_int_equal(redis_backlog(f->c.r), 0);
    int set = client_send(&f->c, "SET a 1"), add = client_send(&f->c, "INCRBY a 41");
    int wrong = client_send(&f->c, "XADD b 0-0 d x"), get = client_send(&f->c, "GET a");
    client_until_answered(&f->c);
    assert_answer(&f->c, set, REDIS_DONE, "OK");
    assert_answer(&f->c, add, REDIS_DONE, "42");
    assert_answer(&f->c, wrong, REDIS_ERROR, "ERR The ID specified in XADD");
    assert_answer(&f->c, get, REDIS_DONE, "42");
    assert_int_equal(client_metric(&f->c, METRIC_redis_commands_done), 5003);
    assert_int_equal(client_metric(&f->c, METRIC_redis_commands_refused), 1);
    assert_int_equal(client_metric(&f->c, METRIC_redis_command_time), 5003);
    assert_int_equal(client_metric(&f->c, METRIC_redis_connections), 1);
    assert_asked(&f->s, "CLIENT GETNAME", "(nil)");
    real_await(&f->s, "CLIENT LIST", "name=holdfast");
}

/* What is large leaves in several turns, and is whole. */
static void much_is_written_in_turns(void **state)
{
    struct fixture *f = *state;
    start(f);
    char *big = pattern((size_t)5 << 20);
    const struct slice argv[] = {SLICE_LIT("SET"), SLICE_LIT("big"), slice_of(big, (size_t)5 << 20)};
    for (int i = 0; i < 4; i++)
        redis_send(f->c.r, redis_slot(argv[1]), 3, argv, on_client_answer, client_due(&f->c));
    assert_true(redis_backlog(f->c.r) > (size_t)20 << 20);
    client_run_for(&f->c, 0);
    assert_true(client_metric(&f->c, METRIC_redis_backlog) > 0);
    client_until_answered(&f->c);
    assert_in_order(&f->c);
    redisContext *look = real_connect(&f->s);
    redisReply *reply = redisCommand(look, "GET big");
    assert_int_equal(reply->len, (size_t)5 << 20);
    assert_memory_equal(reply->str, big, reply->len);
    freeReplyObject(reply);
    redisFree(look);
    free(big);
}

static void bytes_of_all_kinds_arrive(void **state)
{
    struct fixture *f = *state;
    start(f);
    const struct slice argv[] = {SLICE_LIT("SET"), SLICE_LIT("k"), slice_of("a\0\r\n$1 ", 7), SLICE_LIT("PX"),
                                 SLICE_LIT("10000000000")};
    const struct slice empty[] = {SLICE_LIT("SET"), SLICE_LIT("e"), SLICE_NONE};
    redis_send(f->c.r, 0, 5, argv, on_client_answer, client_due(&f->c));
    redis_send(f->c.r, 0, 3, empty, NULL, NULL); /* nobody wants to know */
    int length = client_send(&f->c, "STRLEN k"), none = client_send(&f->c, "STRLEN e");
    client_until_answered(&f->c);
    assert_answer(&f->c, length, REDIS_DONE, "7");
    assert_answer(&f->c, none, REDIS_DONE, "0");
}

static void a_killed_server_is_found_again(void **state)
{
    struct fixture *f = *state;
    real_option(&f->s, "appendonly", "yes");
    start(f);
    int kept = client_send(&f->c, "SET a kept");
    client_until_answered(&f->c);
    client_send(&f->c, "DEBUG SLEEP 20"); /* what is under way when it dies */
    for (int i = 0; i < 10; i++)
        client_send(&f->c, "SET b %d", i);
    client_run_for(&f->c, 50 * USEC_MS);
    real_kill(&f->s);
    client_until_away(&f->c);
    assert_in_order(&f->c); /* all were answered ahead of it */
    assert_answer(&f->c, kept, REDIS_DONE, "OK");
    for (int i = 1; i <= 11; i++)
        assert_answer(&f->c, i, REDIS_UNKNOWN, "");
    assert_non_null(strstr(redis_why_away(f->c.r), "127.0.0.1"));
    int refused = client_send(&f->c, "SET c 1");
    client_until_answered(&f->c);
    assert_answer(&f->c, refused, REDIS_AWAY, "");
    assert_int_equal(client_metric(&f->c, METRIC_redis_commands_unknown), 11);
    assert_int_equal(client_metric(&f->c, METRIC_redis_commands_away), 1);
    assert_int_equal(client_metric(&f->c, METRIC_redis_connections), 0);
    buf_clear(&f->c.told);
    real_start(&f->s);
    client_until_writable(&f->c);
    assert_told(&f->c, "back 0-16383 fresh\n");
    assert_null(redis_why_away(f->c.r));
    int get = client_send(&f->c, "GET a");
    client_until_answered(&f->c);
    assert_answer(&f->c, get, REDIS_DONE, "kept");
    assert_int_equal(client_metric(&f->c, METRIC_redis_reconnects), 1);
    assert_int_equal(client_metric(&f->c, METRIC_redis_connections), 1);
}

/* The same server, another connection: not fresh. */
static void a_cut_connection_is_made_anew(void **state)
{
    struct fixture *f = *state;
    start(f);
    buf_clear(&f->c.told);
    free(real_ask(&f->s, "CLIENT KILL TYPE normal SKIPME yes"));
    client_until_away(&f->c);
    client_until_writable(&f->c);
    assert_true(buf_has(&f->c.told, "away 0-16383: Redis 127.0.0.1:"));
    assert_true(buf_has(&f->c.told, "\nback 0-16383\n"));
}

static void a_server_that_comes_late_is_found(void **state)
{
    struct fixture *f = *state;
    client_open_port(&f->c, f->s.port);
    assert_non_null(redis_why_away(f->c.r));
    int refused = client_send(&f->c, "SET c 1");
    client_until_answered(&f->c);
    assert_answer(&f->c, refused, REDIS_AWAY, "");
    client_until_text(&f->c, &f->c.log, "Connection refused");
    assert_non_null(strstr(redis_why_away(f->c.r), "Connection refused"));
    real_start(&f->s);
    client_until_writable(&f->c);
    assert_told(&f->c, "back 0-16383 fresh\n"); /* away was not told: it had never been there */
}

static void a_server_that_hangs_times_out(void **state)
{
    struct fixture *f = *state;
    f->c.o.command_timeout = 300 * USEC_MS;
    start(f);
    free(real_ask(&f->s, "CLIENT PAUSE 1500 ALL"));
    int lost = client_send(&f->c, "SET a 1");
    client_until_away(&f->c);
    assert_answer(&f->c, lost, REDIS_UNKNOWN, "");
    assert_true(buf_has(&f->c.told, "no answer for 300 ms"));
    client_until_writable(&f->c);
    assert_true(buf_has(&f->c.told, "\nback 0-16383\n"));
}

/* Nobody asks anything: a ping notices. */
static void an_idle_connection_is_watched(void **state)
{
    struct fixture *f = *state;
    f->c.o.command_timeout = 300 * USEC_MS;
    start(f);
    kill(f->s.pid, SIGSTOP);
    client_until_away(&f->c);
    assert_true(buf_has(&f->c.told, "no answer for 300 ms"));
    kill(f->s.pid, SIGCONT);
    client_until_writable(&f->c);
}

static void a_socket_that_never_answers_times_out(void **state)
{
    struct fixture *f = *state;
    int port = 0, silent = listen_loopback("127.0.0.1", &port);
    f->c.o.command_timeout = 200 * USEC_MS;
    client_open_port(&f->c, port);
    client_until_text(&f->c, &f->c.log, "no answer for 200 ms");
    close(silent);
}

static void what_is_no_redis_is_told(void **state)
{
    struct fixture *f = *state;
    int port = 0, listening = listen_loopback("127.0.0.1", &port);
    client_open_port(&f->c, port);
    client_run_for(&f->c, 20 * USEC_MS);
    int fd = accept(listening, NULL, NULL);
    assert_int_equal(send(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28, 0), 28);
    client_until_text(&f->c, &f->c.log, "Protocol error, got");
    close(fd);
    close(listening);
}

static void a_password_and_a_database(void **state)
{
    struct fixture *f = *state;
    char url[96];
    real_option(&f->s, "requirepass", "hush@/1");
    real_start(&f->s);
    snprintf(url, sizeof url, "redis://:hush%%40%%2f1@127.0.0.1:%d/3", f->s.port);
    client_open(&f->c, url);
    client_until_writable(&f->c);
    client_send(&f->c, "SET a 1");
    client_until_answered(&f->c);
    redisContext *look = real_connect(&f->s);
    freeReplyObject(redisCommand(look, "AUTH hush@/1"));
    freeReplyObject(redisCommand(look, "SELECT 3"));
    redisReply *reply = redisCommand(look, "GET a");
    assert_string_equal(reply->str, "1");
    freeReplyObject(reply);
    redisFree(look);
    assert_false(buf_has(&f->c.log, "hush"));
}

static void a_wrong_password_is_a_fault_and_can_be_mended(void **state)
{
    struct fixture *f = *state;
    real_option(&f->s, "requirepass", "right");
    real_start(&f->s);
    f->c.o.password = "hush";
    client_open_port(&f->c, f->s.port);
    client_until_text(&f->c, &f->c.log, "WRONGPASS");
    assert_true(buf_has(&f->c.log, "level=error"));
    assert_non_null(strstr(redis_why_away(f->c.r), "(configuration)"));
    assert_non_null(strstr(redis_why_away(f->c.r), "WRONGPASS"));
    assert_false(buf_has(&f->c.log, "hush"));
    assert_null(strstr(redis_why_away(f->c.r), "hush"));
    redisContext *look = real_connect(&f->s);
    freeReplyObject(redisCommand(look, "AUTH right"));
    freeReplyObject(redisCommand(look, "CONFIG SET requirepass hush"));
    redisFree(look);
    client_until_writable(&f->c);
    assert_null(redis_why_away(f->c.r));
}

static void a_missing_password_is_a_fault(void **state)
{
    struct fixture *f = *state;
    real_option(&f->s, "requirepass", "right");
    real_start(&f->s);
    client_open_port(&f->c, f->s.port);
    client_until_text(&f->c, &f->c.log, "NOAUTH");
    assert_non_null(strstr(redis_why_away(f->c.r), "(configuration)"));
}

static void a_password_too_many_is_a_fault(void **state)
{
    struct fixture *f = *state;
    real_start(&f->s);
    f->c.o.password = "hush";
    client_open_port(&f->c, f->s.port);
    client_until_text(&f->c, &f->c.log, "AUTH: ERR AUTH <password> called without any password configured");
    assert_false(buf_has(&f->c.log, "hush"));
}

static void a_database_out_of_range_is_a_fault(void **state)
{
    struct fixture *f = *state;
    char url[64];
    real_start(&f->s);
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/4711", f->s.port);
    client_open(&f->c, url);
    client_until_text(&f->c, &f->c.log, "SELECT: ERR DB index is out of range");
    assert_non_null(strstr(redis_why_away(f->c.r), "(configuration)"));
}

/* A user with no more rights than are needed; what it may not do is a fault of the configuration. */
static void an_acl_user_can_do_what_it_may(void **state)
{
    struct fixture *f = *state;
    char url[96];
    real_start(&f->s);
    free(real_ask(&f->s, "ACL SETUSER hold on >hush ~hf:* +info +ping +set +get"));
    snprintf(url, sizeof url, "redis://hold:hush@127.0.0.1:%d", f->s.port);
    client_open(&f->c, url);
    client_until_writable(&f->c);
    int may = client_send(&f->c, "SET hf:a 1"), key = client_send(&f->c, "SET other 1");
    int command = client_send(&f->c, "XADD hf:b * d 1");
    client_until_answered(&f->c);
    assert_answer(&f->c, may, REDIS_DONE, "OK");
    assert_answer(&f->c, key, REDIS_FAULT, "NOPERM");
    assert_answer(&f->c, command, REDIS_FAULT, "NOPERM");
    assert_non_null(strstr(redis_why_away(f->c.r), "NOPERM"));
    assert_true(buf_has(&f->c.log, "a fault of the configuration"));
    assert_int_equal(f->c.aways, 0);
    struct redis_promise promise;
    redis_promise(f->c.r, &promise);
    assert_int_equal(promise.persistence, REDIS_PERSISTENCE_RDB); /* CONFIG GET is refused */
    assert_non_null(strstr(promise.text, "if it makes any"));
}

static void unix_sockets_and_ipv6_lead_there(void **state)
{
    struct fixture *f = *state;
    char url[128];
    real_start(&f->s);
    snprintf(url, sizeof url, "redis+unix://%s?db=2", f->s.socket);
    client_open(&f->c, url);
    client_until_writable(&f->c);
    client_send(&f->c, "SET u 1");
    client_until_answered(&f->c);
    assert_answer(&f->c, 0, REDIS_DONE, "OK");
    assert_asked(&f->s, "DBSIZE", "0");
    client_end(&f->c);
    client_prepare(&f->c);
    snprintf(url, sizeof url, "redis://[::1]:%d/2", f->s.port);
    client_open(&f->c, url);
    client_until_writable(&f->c);
    client_send(&f->c, "GET u");
    client_until_answered(&f->c);
    assert_answer(&f->c, 0, REDIS_DONE, "1");
    client_end(&f->c);
    client_prepare(&f->c);
    snprintf(url, sizeof url, "redis://localhost:%d/2", f->s.port);
    client_open(&f->c, url);
    client_until_writable(&f->c);
}

static void open_tls(struct fixture *f, const char *ca, const char *host)
{
    char url[64];
    char *error = NULL;
    f->c.tls = tls_client_new(ca, true, NULL, &error);
    assert_null(error);
    tls_forgo_alpn(f->c.tls);
    f->c.o.tls = f->c.tls;
    snprintf(url, sizeof url, "rediss://%s:%d", host, f->s.tls);
    client_open(&f->c, url);
}

static void tls_verifies_the_server(void **state)
{
    struct fixture *f = *state;
    struct certificates certs;
    certificates_begin(&certs);
    const char *file = certificates_add(&certs, "DNS:localhost", 86400);
    const char *other = certificates_add(&certs, "DNS:localhost", 86400);
    f->s.tls = free_port();
    real_number(&f->s, "tls-port", f->s.tls);
    real_option(&f->s, "tls-cert-file", file);
    real_option(&f->s, "tls-key-file", file);
    real_option(&f->s, "tls-ca-cert-file", file);
    real_option(&f->s, "tls-auth-clients", "no");
    real_start(&f->s);
    open_tls(f, file, "localhost");
    client_until_writable(&f->c);
    for (int i = 0; i < 1000; i++)
        client_send(&f->c, "INCR a");
    client_until_answered(&f->c);
    assert_in_order(&f->c);
    assert_answer(&f->c, 999, REDIS_DONE, "1000");
    client_end(&f->c);
    client_prepare(&f->c);
    open_tls(f, file, "127.0.0.1"); /* the certificate is for another name */
    client_until_text(&f->c, &f->c.log, "certificate refused");
    assert_non_null(strstr(redis_why_away(f->c.r), "(configuration)"));
    client_end(&f->c);
    client_prepare(&f->c);
    open_tls(f, other, "localhost"); /* nobody vouches for it */
    client_until_text(&f->c, &f->c.log, "certificate refused");
    certificates_end(&certs);
}

/* A full server refuses what needs memory, and lets go all the same. */
static void a_full_server_is_away_until_there_is_room(void **state)
{
    struct fixture *f = *state;
    start(f);
    client_send(&f->c, "SET a 1");
    client_until_answered(&f->c);
    free(real_ask(&f->s, "CONFIG SET maxmemory 1"));
    int full = client_send(&f->c, "SET b 1");
    client_until_away(&f->c);
    assert_true(buf_has(&f->c.told, "OOM command not allowed"));
    client_until_answered(&f->c);
    assert_answer(&f->c, full, REDIS_AWAY, "OOM");
    assert_non_null(strstr(redis_why_away(f->c.r), "OOM"));
    int freed = client_send(&f->c, "DEL a"); /* is asked, though away was told */
    client_until_answered(&f->c);
    assert_answer(&f->c, freed, REDIS_DONE, "1");
    client_run_for(&f->c, 300 * USEC_MS);
    assert_false(f->c.writable); /* probes have been refused meanwhile */
    free(real_ask(&f->s, "CONFIG SET maxmemory 0"));
    client_until_writable(&f->c);
    assert_true(buf_has(&f->c.told, "\nback 0-16383\n"));
    assert_int_equal(f->c.backs, 2);
}

static void a_server_without_its_replicas_is_away(void **state)
{
    struct fixture *f = *state;
    start(f);
    free(real_ask(&f->s, "CONFIG SET min-replicas-to-write 1"));
    client_send(&f->c, "SET a 1");
    client_until_away(&f->c);
    client_until_answered(&f->c);
    assert_answer(&f->c, 0, REDIS_AWAY, "NOREPLICAS");
    free(real_ask(&f->s, "CONFIG SET min-replicas-to-write 0"));
    client_until_writable(&f->c);
}

/* Whoever is made a replica cannot be written to: looked for again, and not used until it is a master. */
static void a_replica_is_not_used(void **state)
{
    struct fixture *f = *state;
    start(f);
    free(real_ask(&f->s, "REPLICAOF 127.0.0.1 1"));
    client_send(&f->c, "SET a 1");
    client_until_away(&f->c);
    assert_answer(&f->c, 0, REDIS_AWAY, "READONLY");
    client_until_text(&f->c, &f->c.log, "it is a replica");
    free(real_ask(&f->s, "REPLICAOF NO ONE"));
    client_until_writable(&f->c);
}

static void a_key_of_another_kind_is_a_fault(void **state)
{
    struct fixture *f = *state;
    start(f);
    client_send(&f->c, "SET a 1");
    client_send(&f->c, "HGET a b");
    client_until_answered(&f->c);
    assert_answer(&f->c, 1, REDIS_FAULT, "WRONGTYPE");
    assert_int_equal(client_metric(&f->c, METRIC_redis_commands_fault), 1);
    assert_non_null(strstr(redis_why_away(f->c.r), "WRONGTYPE"));
}

static void what_the_server_keeps_is_told(void **state)
{
    struct fixture *f = *state;
    struct redis_promise promise;
    real_option(&f->s, "maxmemory", "100mb");
    real_option(&f->s, "maxmemory-policy", "allkeys-lru");
    real_start(&f->s);
    client_open_port(&f->c, f->s.port);
    redis_promise(f->c.r, &promise);
    assert_int_equal(promise.persistence, REDIS_PERSISTENCE_UNKNOWN);
    assert_string_equal(promise.text, "");
    client_until_writable(&f->c);
    redis_promise(f->c.r, &promise);
    assert_int_equal(promise.persistence, REDIS_PERSISTENCE_NONE);
    assert_true(promise.policy_unsafe);
    assert_non_null(strstr(promise.text, "no persistence"));
    assert_true(buf_has(&f->c.log, "maxmemory-policy allkeys-lru: Redis throws sessions away"));
    free(real_ask(&f->s, "CONFIG SET appendonly yes"));
    free(real_ask(&f->s, "CONFIG SET maxmemory-policy noeviction"));
    free(real_ask(&f->s, "CLIENT KILL TYPE normal SKIPME yes"));
    client_until_away(&f->c);
    client_until_writable(&f->c);
    redis_promise(f->c.r, &promise);
    assert_int_equal(promise.persistence, REDIS_PERSISTENCE_EVERYSEC);
    assert_false(promise.policy_unsafe);
}

static void freeing_it_answers_nobody(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct due *due = client_due(&f->c);
    const struct slice argv[] = {SLICE_LIT("SET"), SLICE_LIT("a"), SLICE_LIT("1")};
    redis_send(f->c.r, 0, 3, argv, on_client_answer, due);
    redis_free(f->c.r);
    f->c.r = NULL;
    client_run_for(&f->c, 20 * USEC_MS);
    assert_int_equal(f->c.count, 0);
    free(due);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(commands_are_answered_in_order),
        TEST(much_is_written_in_turns),
        TEST(bytes_of_all_kinds_arrive),
        TEST(a_killed_server_is_found_again),
        TEST(a_cut_connection_is_made_anew),
        TEST(a_server_that_comes_late_is_found),
        TEST(a_server_that_hangs_times_out),
        TEST(an_idle_connection_is_watched),
        TEST(a_socket_that_never_answers_times_out),
        TEST(what_is_no_redis_is_told),
        TEST(a_password_and_a_database),
        TEST(a_wrong_password_is_a_fault_and_can_be_mended),
        TEST(a_missing_password_is_a_fault),
        TEST(a_password_too_many_is_a_fault),
        TEST(a_database_out_of_range_is_a_fault),
        TEST(an_acl_user_can_do_what_it_may),
        TEST(unix_sockets_and_ipv6_lead_there),
        TEST(tls_verifies_the_server),
        TEST(a_full_server_is_away_until_there_is_room),
        TEST(a_server_without_its_replicas_is_away),
        TEST(a_replica_is_not_used),
        TEST(a_key_of_another_kind_is_a_fault),
        TEST(what_the_server_keeps_is_told),
        TEST(freeing_it_answers_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
