#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "../openmetrics_check.h"
#include "base/buf.h"
#include "base/counters.h"
#include "base/mem.h"
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#define WORKERS 3

static int make_workers(void **state)
{
    struct counters **c = mem_alloc(WORKERS * sizeof *c);
    for (int i = 0; i < WORKERS; i++)
        c[i] = counters_new();
    *state = c;
    return 0;
}

static int free_workers(void **state)
{
    struct counters **c = *state;
    for (int i = 0; i < WORKERS; i++)
        counters_free(c[i]);
    free(c);
    return 0;
}

static char *exposed(struct counters *const *c)
{
    struct buf out = {0};
    counters_expose(&out, c, WORKERS);
    return buf_steal(&out);
}

static size_t times(const char *text, const char *what)
{
    size_t n = 0;
    while ((text = strstr(text, what))) {
        n++;
        text += strlen(what);
    }
    return n;
}

static void assert_has(const char *text, const char *what)
{
    if (!strstr(text, what))
        fail_msg("missing: %s", what);
}

static void assert_right(struct slice text, enum metrics_form form)
{
    char *error = metrics_check(text, form);
    if (error)
        fail_msg("%s", error);
}

static void reader_sums_the_workers(void **state)
{
    struct counters **c = *state;
    count(c[0], METRIC_sessions_started);
    count_add(c[1], METRIC_sessions_started, 41);
    assert_int_equal(counters_sum(c, WORKERS, METRIC_sessions_started), 42);
    assert_int_equal(counters_sum(c, 1, METRIC_sessions_started), 1);
    assert_int_equal(counters_sum(c, WORKERS, METRIC_acks_sent), 0);
}

static void gauge_may_fall_on_another_worker(void **state)
{
    struct counters **c = *state;
    count_add(c[0], METRIC_sessions_attached, 5);
    count_add(c[2], METRIC_sessions_attached, -3);
    assert_int_equal(counters_sum(c, WORKERS, METRIC_sessions_attached), 2);
    char *text = exposed(c);
    assert_has(text, "\nholdfast_sessions{state=\"attached\"} 2\n");
    free(text);
}

static void close_reasons_have_rows_and_names(void **state)
{
    struct counters **c = *state;
    for (int r = 0; r < CLOSE_REASON_COUNT; r++) {
        count_add(c[0], metric_close_client((enum close_reason)r), 100 + r);
        count_add(c[0], metric_close_upstream((enum close_reason)r), 200 + r);
        count_add(c[0], metric_session_end((enum close_reason)r), 300 + r);
    }
    char *text = exposed(c);
    for (int r = 0; r < CLOSE_REASON_COUNT; r++) {
        const char *name = close_reason_name((enum close_reason)r);
        char *line = mem_printf("\nholdfast_legs_closed_total{leg=\"client\",reason=\"%s\"} %d\n"
                                "|\nholdfast_legs_closed_total{leg=\"upstream\",reason=\"%s\"} %d\n"
                                "|\nholdfast_sessions_ended_total{reason=\"%s\"} %d\n",
                                name, 100 + r, name, 200 + r, name, 300 + r);
        for (char *part = strtok(line, "|"); part; part = strtok(NULL, "|"))
            assert_has(text, part);
        free(line);
    }
    assert_string_equal(close_reason_name(CLOSE_PEER_FIN), "peer_fin");
    free(text);
}

static void each_family_has_one_header(void **state)
{
    char *text = exposed(*state);
    assert_int_equal(times(text, "# TYPE holdfast_legs_closed counter\n"), 1);
    assert_int_equal(times(text, "# TYPE holdfast_turn_seconds histogram\n# UNIT holdfast_turn_seconds seconds\n"), 1);
    assert_int_equal(times(text, "# TYPE holdfast_unacked_bytes gauge\n# UNIT holdfast_unacked_bytes bytes\n"), 1);
    assert_int_equal(times(text, "# TYPE holdfast_stanzas counter\n# HELP "), 1);
    free(text);
}

static void exposition_is_strict_openmetrics(void **state)
{
    struct counters **c = *state;
    struct buf out = {0};
    for (int m = 0; m < METRIC_ack_round_trip; m++)
        count_add(c[m % WORKERS], (enum metric)m, m);
    for (usec t = 1; t < 200 * USEC_S; t *= 3)
        count_observe(c[t % WORKERS], METRIC_turn_time, t);
    counters_expose(&out, c, WORKERS);
    BUF_LIT(&out, "# EOF\n");
    assert_right(buf_slice(&out), FORM_OPENMETRICS);
    buf_free(&out);
}

static void histogram_cumulates_over_workers(void **state)
{
    struct counters **c = *state;
    count_observe(c[0], METRIC_resume_time, 100);             /* a bound belongs to its bucket */
    count_observe(c[1], METRIC_resume_time, 101);
    count_observe(c[2], METRIC_resume_time, 60 * USEC_S);
    count_observe(c[0], METRIC_resume_time, 61 * USEC_S + 5);
    count_observe(c[0], METRIC_resume_time, -7);              /* a clock went back */
    char *text = exposed(c);
    assert_has(text, "\nholdfast_resume_seconds_bucket{le=\"0.0001\"} 2\n"
                     "holdfast_resume_seconds_bucket{le=\"0.00025\"} 3\n");
    assert_has(text, "\nholdfast_resume_seconds_bucket{le=\"30.0\"} 3\n"
                     "holdfast_resume_seconds_bucket{le=\"60.0\"} 4\n"
                     "holdfast_resume_seconds_bucket{le=\"+Inf\"} 5\n"
                     "holdfast_resume_seconds_sum 121.000206\n"
                     "holdfast_resume_seconds_count 5\n");
    assert_has(text, "\nholdfast_login_seconds_sum 0.000000\nholdfast_login_seconds_count 0\n");
    assert_int_equal(counters_sum(c, WORKERS, METRIC_resume_time), 5);
    free(text);
}

static void json_has_quoted_labels_and_no_histograms(void **state)
{
    struct counters **c = *state;
    struct buf out = {0};
    count_add(c[1], METRIC_stanzas_up_iq, 7);
    counters_expose_json(&out, c, WORKERS);
    char *text = buf_steal(&out);
    assert_has(text, ",\"stanzas{direction=\\\"uplink\\\",kind=\\\"iq\\\"}\":7,");
    assert_has(text, ",\"acks_sent\":0,");
    assert_null(strstr(text, "turn_seconds"));
    assert_true(text[0] == '"' && text[strlen(text) - 1] != ',');
    free(text);
}

static void description_has_a_line_for_each_family(void **state)
{
    struct buf out = {0};
    (void)state;
    counters_describe(&out);
    char *text = buf_steal(&out), *all = exposed(*state);
    assert_int_equal(times(text, "\n"), times(all, "# TYPE "));
    assert_has(text, "\nholdfast_stanzas_total{direction,kind} ");
    assert_has(text, "\nholdfast_legs_closed_total{leg,reason} ");
    assert_has(text, " histogram How long one turn of an event loop took\n");
    free(text);
    free(all);
}

/* --- threads --- */

struct writer {
    struct counters *c;
    pthread_t thread;
};

#define ROUNDS 20000

static void *write_much(void *arg)
{
    struct writer *w = arg;
    for (int i = 0; i < ROUNDS; i++) {
        count(w->c, METRIC_acks_sent);
        count_add(w->c, METRIC_unacked_stanzas, i % 2 ? -1 : 1);
        count_observe(w->c, METRIC_turn_time, i);
    }
    return NULL;
}

/* A reader that comes at any moment sees counters that only grow and histograms that agree with themselves. */
static void readers_need_no_locks(void **state)
{
    struct counters **c = *state;
    struct writer writers[WORKERS];
    int64_t before = 0;
    for (int i = 0; i < WORKERS; i++) {
        writers[i].c = c[i];
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_much, &writers[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        struct buf out = {0};
        int64_t now = counters_sum(c, WORKERS, METRIC_acks_sent);
        assert_true(now >= before);
        before = now;
        counters_expose(&out, c, WORKERS);
        BUF_LIT(&out, "# EOF\n");
        assert_right(buf_slice(&out), FORM_OPENMETRICS);
        buf_free(&out);
    }
    for (int i = 0; i < WORKERS; i++)
        pthread_join(writers[i].thread, NULL);
    assert_int_equal(counters_sum(c, WORKERS, METRIC_acks_sent), WORKERS * ROUNDS);
    assert_int_equal(counters_sum(c, WORKERS, METRIC_unacked_stanzas), 0);
    assert_int_equal(counters_sum(c, WORKERS, METRIC_turn_time), WORKERS * ROUNDS);
}

/* --- the check itself: what it must refuse --- */

static void check_refuses_bad_texts(void **state)
{
    static const struct {
        enum metrics_form form;
        const char *text, *error;
    } bad[] = {
        {FORM_OPENMETRICS, "# TYPE a gauge\na 1\n", "no # EOF"},
        {FORM_OPENMETRICS, "# TYPE a gauge\na 1\n# EOF\na 2\n", "behind # EOF"},
        {FORM_OPENMETRICS, "# TYPE a gauge\na 1\n# EOF", "no end"},
        {FORM_OPENMETRICS, "a 1\n# EOF\n", "not of the family"},
        {FORM_OPENMETRICS, "# TYPE a counter\na 1\n# EOF\n", "not of the family"},
        {FORM_OPENMETRICS, "# TYPE a counter\na_total -1\n# EOF\n", "below zero"},
        {FORM_OPENMETRICS, "# TYPE a_total counter\na_total 1\n# EOF\n", "must not end in _total"},
        {FORM_OPENMETRICS, "# TYPE a gauge\na 1\na 1\n# EOF\n", "series twice"},
        {FORM_OPENMETRICS, "# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\n# EOF\n", "two pieces"},
        {FORM_OPENMETRICS, "# TYPE a gauge\na 1\n# HELP a x\n# EOF\n", "behind the samples"},
        {FORM_OPENMETRICS, "# TYPE a gauge\n# TYPE a_count gauge\n# EOF\n", "clash"},
        {FORM_OPENMETRICS, "# TYPE a gauge\n# UNIT a seconds\n# EOF\n", "end in its unit"},
        {FORM_OPENMETRICS, "# TYPE a gauge\n# HELP a say \"x\"\n# EOF\n", "escape in HELP"},
        {FORM_OPENMETRICS, "# TYPE a gauge\na{b=\"\\x\"} 1\n# EOF\n", "escape in a label"},
        {FORM_OPENMETRICS, "# TYPE a gauge\na{b=\"1\",b=\"2\"} 1\n# EOF\n", "label twice"},
        {FORM_OPENMETRICS, "# TYPE a gauge\na{b=\"1\"} 1\na{c=\"1\"} 1\n# EOF\n", "other label names"},
        {FORM_OPENMETRICS, "# TYPE a gauge\na  1\n# EOF\n", "bad value"},
        {FORM_OPENMETRICS, "# TYPE a histogram\na_bucket{le=\"1.0\"} 1\n# EOF\n", "without +Inf"},
        {FORM_OPENMETRICS, "# TYPE a histogram\na_bucket{le=\"1.0\"} 2\na_bucket{le=\"+Inf\"} 1\n# EOF\n", "must grow"},
        {FORM_OPENMETRICS, "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n# EOF\n", "differs"},
        {FORM_OPENMETRICS, "# TYPE a info\na_info 2\n# EOF\n", "info is always 1"},
        {FORM_PROMETHEUS, "# TYPE a counter\na_total 1\n", "not of the family"},
        {FORM_PROMETHEUS, "# TYPE a_info info\na_info 1\n", "unknown type"},
        {FORM_PROMETHEUS, "# TYPE a gauge\na 1\n# EOF\n", "no EOF"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *error = metrics_check(slice_str(bad[i].text), bad[i].form);
        if (!error || !strstr(error, bad[i].error))
            fail_msg("text %zu: \"%s\" instead of \"%s\"", i, error ? error : "nothing", bad[i].error);
        free(error);
    }
    assert_right(SLICE_LIT("# TYPE a counter\na_total{b=\"x\\\"\\\\\"} 1e+06\n# EOF\n"), FORM_OPENMETRICS);
}

static void times_are_kept_in_microseconds_and_shown_in_seconds(void **state)
{
    struct counters **c = *state;
    count_set(c[0], METRIC_unacked_oldest, 12 * USEC_S + 34);
    char *text = exposed(c);
    assert_has(text, "# TYPE holdfast_unacked_oldest_seconds gauge\n# UNIT holdfast_unacked_oldest_seconds seconds\n");
    assert_has(text, "\nholdfast_unacked_oldest_seconds 12.000034\n");
    free(text);
    struct buf json = {0};
    counters_expose_json(&json, c, WORKERS);
    text = buf_steal(&json);
    assert_has(text, ",\"unacked_oldest_seconds\":12.000034,");
    free(text);
}

static void a_copy_has_all_of_it(void **state)
{
    struct counters **c = *state, *copy = counters_new();
    count_add(c[0], METRIC_acks_sent, 7);
    count_add(c[0], METRIC_sessions_attached, -2);
    count_observe(c[0], METRIC_barrier_lag, 1500);
    count_observe(c[0], METRIC_loop_lag, 70 * USEC_S);
    count_add(copy, METRIC_acks_received, 5); /* what it had is gone */
    counters_copy(copy, c[0]);
    struct buf was = {0}, is = {0};
    counters_expose(&was, c, 1);
    counters_expose(&is, &copy, 1);
    assert_true(slice_eq(buf_slice(&was), buf_slice(&is)));
    count(c[0], METRIC_acks_sent);
    assert_int_equal(counters_sum(&copy, 1, METRIC_acks_sent), 7);
    buf_free(&was);
    buf_free(&is);
    counters_free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reader_sums_the_workers, make_workers, free_workers),
        cmocka_unit_test_setup_teardown(gauge_may_fall_on_another_worker, make_workers, free_workers),
        cmocka_unit_test_setup_teardown(close_reasons_have_rows_and_names, make_workers, free_workers),
        cmocka_unit_test_setup_teardown(each_family_has_one_header, make_workers, free_workers),
        cmocka_unit_test_setup_teardown(exposition_is_strict_openmetrics, make_workers, free_workers),
        cmocka_unit_test_setup_teardown(histogram_cumulates_over_workers, make_workers, free_workers),
        cmocka_unit_test_setup_teardown(json_has_quoted_labels_and_no_histograms, make_workers, free_workers),
        cmocka_unit_test_setup_teardown(description_has_a_line_for_each_family, make_workers, free_workers),
        cmocka_unit_test_setup_teardown(readers_need_no_locks, make_workers, free_workers),
        cmocka_unit_test_setup_teardown(times_are_kept_in_microseconds_and_shown_in_seconds, make_workers, free_workers),
        cmocka_unit_test_setup_teardown(a_copy_has_all_of_it, make_workers, free_workers),
        cmocka_unit_test(check_refuses_bad_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
