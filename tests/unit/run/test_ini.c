#include "base/buf.h"
#include "base/mem.h"
#include "run/ini.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Events as text: "1[name] 2key=value 3!reason " */
static void note_section(void *ctx, int line, struct slice name)
{
    buf_printf(ctx, "%d[%.*s] ", line, SLICE_ARG(name));
}

static void note_value(void *ctx, int line, struct slice key, struct slice value)
{
    buf_printf(ctx, "%d%.*s=%.*s ", line, SLICE_ARG(key), SLICE_ARG(value));
}

static void note_error(void *ctx, int line, const char *reason)
{
    buf_printf(ctx, "%d!%s ", line, reason);
}

static char *parse(struct slice text)
{
    static const struct ini_events events = {note_section, note_value, note_error};
    struct buf out = {0};
    ini_parse(text, &events, &out);
    return buf_steal(&out);
}

static void assert_parsed(struct slice text, const char *expected)
{
    char *events = parse(text);
    assert_string_equal(events, expected);
    free(events);
}

static void test_reads_sections_and_values(void **state)
{
    (void)state;
    assert_parsed(SLICE_LIT("[a]\nk = v\nempty =\n\n[ b ]\nk=v = w\n"), "1[a] 2k=v 3empty= 5[b] 6k=v = w ");
}

static void test_skips_comments_only_at_line_start(void **state)
{
    (void)state;
    assert_parsed(SLICE_LIT("# x = 1\n; y\n[a]\n  # z\nk = v # w\n"), "3[a] 5k=v # w ");
}

static void test_tolerates_crlf_spaces_mark_and_missing_newline(void **state)
{
    (void)state;
    assert_parsed(SLICE_LIT("\xef\xbb\xbf[a]\r\n\tkey\t=  some value \t\r\n\r\n[b]\r\nk=v"),
                  "1[a] 2key=some value 4[b] 5k=v ");
    assert_parsed(SLICE_LIT(""), "");
}

static void test_tells_errors_and_goes_on(void **state)
{
    (void)state;
    assert_parsed(SLICE_LIT("k = 1\n[a]\n k2\n= 3\nx = 4\n"),
                  "1!value before the first [section]; put it below the section that it belongs to 2[a] "
                  "3!neither [section] nor key = value; a value cannot go on in the next line "
                  "4!no key before =; write key = value 5x=4 ");
    assert_parsed(SLICE_LIT("[a\nk = 1\n[b]\nk = 2\n[c] k = 3\nk = 4\n[]\n"),
                  "1!section without closing ]; write [name] 3[b] 4k=2 "
                  "5!text behind the section's ]; put it on a line of its own 7!section without a name; write [name] ");
}

static void test_tells_nul_bytes(void **state)
{
    (void)state;
    assert_parsed(SLICE_LIT("[a]\nk = a\0b\n#\0\nx = 1\n"),
                  "1[a] 2!line with a NUL byte; save the file as plain text (UTF-8) "
                  "3!line with a NUL byte; save the file as plain text (UTF-8) 4x=1 ");
}

static char *long_line(size_t n)
{
    struct buf out = {0};
    BUF_LIT(&out, "[a]\nk=");
    memset(buf_reserve(&out, n), 'v', n - 2);
    buf_commit(&out, n - 2);
    BUF_LIT(&out, "\nx=1");
    return buf_steal(&out);
}

static void test_bounds_lines(void **state)
{
    (void)state;
    char *fits = long_line(INI_LINE_MAX), *over = long_line(INI_LINE_MAX + 1);
    char *events = parse(slice_str(fits));
    assert_int_equal(strlen(events), strlen("1[a] 2k= 3x=1 ") + INI_LINE_MAX - 2);
    assert_parsed(slice_str(over), "1[a] 2!line of more than 8192 bytes; shorten it 3x=1 ");
    free(events);
    free(fits);
    free(over);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_sections_and_values),
        cmocka_unit_test(test_skips_comments_only_at_line_start),
        cmocka_unit_test(test_tolerates_crlf_spaces_mark_and_missing_newline),
        cmocka_unit_test(test_tells_errors_and_goes_on),
        cmocka_unit_test(test_tells_nul_bytes),
        cmocka_unit_test(test_bounds_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
