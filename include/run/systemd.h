/* What the service manager is told (Type=notify or notify-reload), and the sockets that it passes. Does nothing without
 * libsystemd, or when the process was not started by systemd. From any thread. */
#ifndef HOLDFAST_RUN_SYSTEMD_H
#define HOLDFAST_RUN_SYSTEMD_H

#include "base/clock.h"
#include <stddef.h>

/* After the start and after each reload; status is one line for `systemctl status`. */
void systemd_notify_ready(const char *status);
/* Before a reload; systemd_notify_ready() ends it. */
void systemd_notify_reloading(void);
void systemd_notify_stopping(const char *status);
void systemd_notify_status(const char *status);

/* Sockets that systemd has bound for this process (systemd.socket(5)), with their FileDescriptorName=. */
struct systemd_socket {
    int fd;
    char *name;
};
/* Their number; *list_r and the names are to be freed. The next call finds none, nor do children: before threads begin.
 */
size_t systemd_sockets(struct systemd_socket **list_r);

/* Within which time systemd wants to be fed (feed at half of it); 0 if it does not watch this process. */
usec systemd_watchdog_interval(void);
void systemd_watchdog_feed(void);

#endif
