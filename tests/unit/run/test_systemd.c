#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "run/systemd.h"
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Stands for the service manager: a datagram socket that keeps what it is told. */
struct manager {
    char folder[64];
    struct sockaddr_un address;
    int fd;
};

static int manager_start(void **state)
{
    struct manager *m = calloc(1, sizeof *m);
    strcpy(m->folder, "/tmp/holdfast-systemd-XXXXXX");
    assert_non_null(mkdtemp(m->folder));
    m->address.sun_family = AF_UNIX;
    snprintf(m->address.sun_path, sizeof m->address.sun_path, "%s/notify", m->folder);
    m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(m->fd >= 0);
    assert_int_equal(bind(m->fd, (struct sockaddr *)&m->address, sizeof m->address), 0);
    setenv("NOTIFY_SOCKET", m->address.sun_path, 1);
    *state = m;
    return 0;
}

static int manager_stop(void **state)
{
    struct manager *m = *state;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    close(m->fd);
    unlink(m->address.sun_path);
    rmdir(m->folder);
    free(m);
    return 0;
}

/* A datagram to a bound socket has arrived when the sender returns: nothing to wait for. "" if there is none. */
static const char *manager_heard(const struct manager *m, char text[512])
{
    ssize_t n = recv(m->fd, text, 511, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

#ifdef HAVE_SYSTEMD

static void manager_is_told_of_each_step(void **state)
{
    char text[512];
    systemd_notify_ready("serving example.org");
    assert_string_equal(manager_heard(*state, text), "READY=1\nSTATUS=serving example.org");
    systemd_notify_status("12 sessions");
    assert_string_equal(manager_heard(*state, text), "STATUS=12 sessions");
    systemd_notify_stopping("draining 3 sessions");
    assert_string_equal(manager_heard(*state, text), "STOPPING=1\nSTATUS=draining 3 sessions");
    systemd_watchdog_feed();
    assert_string_equal(manager_heard(*state, text), "WATCHDOG=1");
}

static void reload_tells_the_monotonic_time(void **state)
{
    char text[512];
    struct clock before, after;
    long long at = 0;
    clock_read(&before);
    systemd_notify_reloading();
    clock_read(&after);
    assert_int_equal(sscanf(manager_heard(*state, text), "RELOADING=1\nMONOTONIC_USEC=%lld", &at), 1);
    assert_in_range(at, before.mono, after.mono);
}

static void watchdog_interval_is_what_the_manager_set(void **state)
{
    char pid[32];
    (void)state;
    assert_int_equal(systemd_watchdog_interval(), 0);
    setenv("WATCHDOG_USEC", "30000000", 1);
    assert_int_equal(systemd_watchdog_interval(), 30 * USEC_S);
    snprintf(pid, sizeof pid, "%ld", (long)getpid() + 1);
    setenv("WATCHDOG_PID", pid, 1); /* it watches another process */
    assert_int_equal(systemd_watchdog_interval(), 0);
}

#endif

static void without_a_manager_nothing_happens(void **state)
{
    char text[512];
    unsetenv("NOTIFY_SOCKET");
    systemd_notify_ready("nobody hears this");
    systemd_notify_reloading();
    systemd_notify_stopping("nor this");
    systemd_watchdog_feed();
    assert_string_equal(manager_heard(*state, text), "");
    assert_int_equal(systemd_watchdog_interval(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef HAVE_SYSTEMD
        cmocka_unit_test_setup_teardown(manager_is_told_of_each_step, manager_start, manager_stop),
        cmocka_unit_test_setup_teardown(reload_tells_the_monotonic_time, manager_start, manager_stop),
        cmocka_unit_test_setup_teardown(watchdog_interval_is_what_the_manager_set, manager_start, manager_stop),
#endif
        cmocka_unit_test_setup_teardown(without_a_manager_nothing_happens, manager_start, manager_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
