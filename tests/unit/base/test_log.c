#include "base/buf.h"
#include "base/log.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void keep_line(void *ctx, const char *line, size_t n)
{
    buf_append(ctx, line, n);
}

static int setup(void **state)
{
    static struct buf lines;
    buf_free(&lines);
    log_set_sink(keep_line, &lines);
    log_configure(LOG_INFO, LOG_LOGFMT);
    *state = &lines;
    return 0;
}

static int teardown(void **state)
{
    log_set_sink(NULL, NULL);
    log_configure(LOG_INFO, LOG_LOGFMT);
    buf_free(*state);
    return 0;
}

/* The lines behind the time stamp, which is taken off each. */
static void assert_logged(struct buf *lines, const char *expected)
{
    static const char logfmt[] = "time=2026-01-01T00:00:00.000Z ", json[] = "{\"time\":\"2026-01-01T00:00:00.000Z\",";
    char *text = buf_steal(lines);
    size_t n = *text == '{' ? sizeof json - 1 : sizeof logfmt - 1;
    assert_true(strlen(text) > n);
    assert_string_equal(text + n, expected);
    free(text);
}

static void test_logfmt_quotes_what_needs_it(void **state)
{
    LOG(LOG_INFO, "session detached", LF("sid", "ab12"), LF_INT("unacked", -3), LF("empty", ""),
        LF("none", (const char *)NULL), LF("text", "a \"b\"\\\n\x01"), LF("pair", "a=b"),
        LF_SLICE("part", slice_of("xyz", 2)));
    assert_logged(*state, "level=info msg=\"session detached\" sid=ab12 unacked=-3 empty=\"\" none=\"\" "
                          "text=\"a \\\"b\\\"\\\\\\n\\u0001\" pair=\"a=b\" part=xy\n");
}

static void test_json_lines(void **state)
{
    log_configure(LOG_INFO, LOG_JSON);
    LOG(LOG_WARN, "x", LF("k", "a\tb"), LF_INT("n", INT64_MIN), LF("plain", "v"));
    assert_logged(*state,
                  "\"level\":\"warn\",\"msg\":\"x\",\"k\":\"a\\u0009b\",\"n\":-9223372036854775808,\"plain\":\"v\"}\n");
}

static void test_utf8_passes_and_other_bytes_are_replaced(void **state)
{
    LOG(LOG_INFO, "m", LF("good", "ü€😀"), LF("cut", "\xe2\x82"),
        LF("stray", "a\xff"
                    "b\x80"),
        LF("long", "\xc0\x80\xe0\x80\x80"), LF("surrogate", "\xed\xa0\x80"), LF("high", "\xf4\x90\x80\x80"));
    assert_logged(*state, "level=info msg=m good=\"ü€😀\" cut=\"\\ufffd\\ufffd\" stray=\"a\\ufffdb\\ufffd\" "
                          "long=\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\" surrogate=\"\\ufffd\\ufffd\\ufffd\" "
                          "high=\"\\ufffd\\ufffd\\ufffd\\ufffd\"\n");
}

static int calls;
static const char *counted(void)
{
    calls++;
    return "x";
}

static void test_levels_above_the_set_one_are_not_formed(void **state)
{
    struct buf *lines = *state;
    LOG(LOG_DEBUG, "hidden", LF("k", counted()));
    assert_int_equal(lines->n, 0);
    assert_int_equal(calls, 0);
    log_configure(LOG_DEBUG, LOG_LOGFMT);
    LOG(LOG_DEBUG, "shown");
    assert_logged(lines, "level=debug msg=shown\n");
    log_configure(LOG_ERROR, LOG_LOGFMT);
    LOG(LOG_WARN, "hidden");
    LOG(LOG_ERROR, "shown");
    assert_logged(lines, "level=error msg=shown\n");
}

static void test_level_names(void **state)
{
    (void)state;
    enum log_level level = LOG_INFO;
    assert_true(log_level_parse("error", &level));
    assert_int_equal(level, LOG_ERROR);
    assert_true(log_level_parse("debug", &level));
    assert_int_equal(level, LOG_DEBUG);
    assert_false(log_level_parse("warning", &level));
    assert_int_equal(level, LOG_DEBUG);
}

static void test_lines_go_to_stderr(void **state)
{
    (void)state;
    int ends[2], saved = dup(STDERR_FILENO);
    char line[200];
    log_set_sink(NULL, NULL);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    LOG(LOG_INFO, "hello");
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    ssize_t n = read(ends[0], line, sizeof line - 1);
    close(ends[0]);
    assert_true(n > 0);
    line[n] = '\0';
    assert_non_null(strstr(line, " level=info msg=hello\n"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_logfmt_quotes_what_needs_it),
        TEST(test_json_lines),
        TEST(test_utf8_passes_and_other_bytes_are_replaced),
        TEST(test_levels_above_the_set_one_are_not_formed),
        TEST(test_level_names),
        TEST(test_lines_go_to_stderr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
