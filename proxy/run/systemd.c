#include "run/systemd.h"

#ifdef HAVE_SYSTEMD

#include "base/mem.h"
#include <stdlib.h>
#include <systemd/sd-daemon.h>

/* Failures are ignored: nothing depends on being heard. */

void systemd_notify_ready(const char *status)
{
    sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void systemd_notify_reloading(void)
{
    struct clock now;
    clock_read(&now);
    /* Type=notify-reload matches the two messages of a reload by this time */
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)now.mono);
}

void systemd_notify_stopping(const char *status)
{
    sd_notifyf(0, "STOPPING=1\nSTATUS=%s", status);
}

void systemd_notify_status(const char *status)
{
    sd_notifyf(0, "STATUS=%s", status);
}

size_t systemd_sockets(struct systemd_socket **list_r)
{
    char **names = NULL;
    int n = sd_listen_fds_with_names(1, &names);
    *list_r = mem_zalloc((n > 0 ? (size_t)n : 1) * sizeof **list_r);
    for (int i = 0; i < n; i++)
        (*list_r)[i] = (struct systemd_socket){SD_LISTEN_FDS_START + i, names[i]};
    free(names);
    return n > 0 ? (size_t)n : 0;
}

usec systemd_watchdog_interval(void)
{
    uint64_t interval = 0;
    return sd_watchdog_enabled(0, &interval) > 0 ? (usec)interval : 0;
}

void systemd_watchdog_feed(void)
{
    sd_notify(0, "WATCHDOG=1");
}

#else

void systemd_notify_ready(const char *status)
{
    (void)status;
}

void systemd_notify_reloading(void) {}

void systemd_notify_stopping(const char *status)
{
    (void)status;
}

void systemd_notify_status(const char *status)
{
    (void)status;
}

size_t systemd_sockets(struct systemd_socket **list_r)
{
    *list_r = NULL;
    return 0;
}

usec systemd_watchdog_interval(void)
{
    return 0;
}

void systemd_watchdog_feed(void) {}

#endif
