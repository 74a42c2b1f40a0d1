#include "../../../proxy/run/certificate_watch.h"
#include "../net/support.h"
#include "base/log.h"

#define DAY (86400 * USEC_S)

struct fixture {
    struct certificates files;
    struct tls_pair pairs[3];
    struct config config;
    struct tls_context *server;
    struct certificate_watch *watch;
    struct buf log;
    struct clock now;
};

static void on_line(void *ctx, const char *line, size_t n)
{
    buf_append(ctx, line, n);
}

static int begin(void **state)
{
    static const long days[] = {30, 13, 2};
    struct fixture *f = MEM_NEW(struct fixture);
    char *error;
    certificates_begin(&f->files);
    for (int i = 0; i < 3; i++)
        f->pairs[i].certificate = certificates_add(&f->files, "DNS:a.example", days[i] * 86400 + 43200);
    f->config.tls.pairs = f->pairs;
    f->config.tls.pair_count = 3;
    f->server = tls_server_new(f->pairs, 3, NULL, &error);
    assert_non_null(f->server);
    f->watch = certificate_watch_new();
    clock_read(&f->now);
    log_set_sink(on_line, &f->log);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    log_set_sink(NULL, NULL);
    certificate_watch_free(f->watch);
    tls_free(f->server);
    certificates_end(&f->files);
    buf_free(&f->log);
    free(f);
    return 0;
}

/* How often the log has that text behind the file's name; -1 as i: any file. */
static int count_log(const struct fixture *f, const char *message, int i)
{
    char *text = mem_dup(buf_slice(&f->log)), *rest = NULL;
    int count = 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        count += strstr(line, message) && (i < 0 || strstr(line, f->pairs[i].certificate));
    free(text);
    return count;
}

static void pass(struct fixture *f, usec time)
{
    f->now.mono += time;
    f->now.wall += time;
    certificate_watch_look(f->watch, &f->now);
}

static void those_that_end_soon_are_told_at_once_and_daily(void **state)
{
    struct fixture *f = *state;
    long long first = certificate_watch_note(f->watch, &f->config, f->server, &f->now);
    long long left = first - f->now.wall / USEC_S;
    assert_true(left > 2 * 86400 && left < 3 * 86400);
    assert_int_equal(count_log(f, "a certificate ends soon", 1), 1);
    assert_int_equal(count_log(f, "days_left=2", 2), 1);
    assert_int_equal(count_log(f, "certificate", -1), 2);
    pass(f, DAY - USEC_S);
    assert_int_equal(count_log(f, "certificate", -1), 2);
    pass(f, USEC_S);
    assert_int_equal(count_log(f, "certificate", -1), 4);
    pass(f, USEC_S);
    assert_int_equal(count_log(f, "certificate", -1), 4);
    assert_int_equal(count_log(f, "a certificate has ended", -1), 0);
    pass(f, 2 * DAY);
    assert_int_equal(count_log(f, "a certificate has ended", 2), 1);
    assert_int_equal(count_log(f, "a certificate ends soon", 1), 3);
}

static void without_certificates_there_is_nothing_to_tell(void **state)
{
    struct fixture *f = *state;
    certificate_watch_note(f->watch, &f->config, f->server, &f->now);
    buf_clear(&f->log);
    assert_int_equal(certificate_watch_note(f->watch, &f->config, NULL, &f->now), 0);
    pass(f, 40 * DAY);
    assert_int_equal(f->log.n, 0);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(those_that_end_soon_are_told_at_once_and_daily),
        TEST(without_certificates_there_is_nothing_to_tell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
