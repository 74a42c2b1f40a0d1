#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "../openmetrics_check.h"
#include "base/buf.h"
#include "base/mem.h"
#include "run/process_metrics.h"
#include <cmocka.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const struct build_versions versions = {"1.2.3", "OpenSSL 3.0.1 \"odd\\name\"", "expat_2.5.0\n"};

static char *exposed(void)
{
    struct buf out = {0};
    process_metrics_expose(&out, &versions);
    return buf_steal(&out);
}

static double value_of(const char *text, const char *name)
{
    char *start = mem_printf("\n%s ", name);
    const char *at = strstr(text, start);
    if (!at)
        fail_msg("missing: %s", name);
    double value = strtod(at + strlen(start), NULL);
    free(start);
    return value;
}

static double value_now(const char *name)
{
    char *text = exposed();
    double value = value_of(text, name);
    free(text);
    return value;
}

static void text_is_strict_openmetrics(void **state)
{
    struct buf out = {0};
    (void)state;
    process_metrics_expose(&out, &versions);
    BUF_LIT(&out, "# EOF\n");
    char *error = metrics_check(buf_slice(&out), FORM_OPENMETRICS);
    if (error)
        fail_msg("%s", error);
    buf_free(&out);
}

static void memory_and_time_are_plausible(void **state)
{
    struct rusage usage;
    (void)state;
    char *text = exposed();
    getrusage(RUSAGE_SELF, &usage);
    double resident = value_of(text, "process_resident_memory_bytes");
    assert_true(resident > 100e3 && resident <= (double)usage.ru_maxrss * 1024 * 2);
    assert_true(value_of(text, "process_virtual_memory_bytes") > resident);
    double age = (double)time(NULL) - value_of(text, "process_start_time_seconds");
    assert_true(age > -5 && age < 3600);
    double cpu = value_of(text, "process_cpu_seconds_total");
    assert_true(cpu >= 0 && cpu < 3600);
    free(text);
}

static void cpu_time_grows(void **state)
{
    (void)state;
    double before = value_now("process_cpu_seconds_total");
    while ((double)clock() / CLOCKS_PER_SEC < before + 0.1) {
    }
    assert_true(value_now("process_cpu_seconds_total") > before);
}

static void open_descriptors_are_counted(void **state)
{
    (void)state;
    double before = value_now("process_open_fds");
    int a = open("/dev/null", O_RDONLY), b = open("/dev/null", O_RDONLY);
    assert_true(a >= 0 && b >= 0);
    assert_true(value_now("process_open_fds") == before + 2);
    close(a);
    close(b);
    assert_true(value_now("process_open_fds") == before);
}

static void descriptor_limit_is_the_soft_one(void **state)
{
    struct rlimit limit, lower;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    lower = (struct rlimit){.rlim_cur = 123, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
    assert_true(value_now("process_max_fds") == 123);
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void build_info_is_escaped(void **state)
{
    (void)state;
    char *text = exposed();
    assert_non_null(strstr(text, "\nholdfast_build_info{version=\"1.2.3\","
                                 "openssl=\"OpenSSL 3.0.1 \\\"odd\\\\name\\\"\",expat=\"expat_2.5.0\\n\"} 1\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_strict_openmetrics),
        cmocka_unit_test(memory_and_time_are_plausible),
        cmocka_unit_test(cpu_time_grows),
        cmocka_unit_test(open_descriptors_are_counted),
        cmocka_unit_test(descriptor_limit_is_the_soft_one),
        cmocka_unit_test(build_info_is_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
