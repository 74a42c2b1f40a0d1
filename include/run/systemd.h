/* What the service manager is told (Type=notify or notify-reload). Does nothing without libsystemd, or when the process
 * was not started by systemd. From any thread. */
#ifndef HOLDFAST_RUN_SYSTEMD_H
#define HOLDFAST_RUN_SYSTEMD_H

#include "base/clock.h"

/* After the start and after each reload; status is one line for `systemctl status`. */
void systemd_notify_ready(const char *status);
/* Before a reload; systemd_notify_ready() ends it. */
void systemd_notify_reloading(void);
void systemd_notify_stopping(const char *status);
void systemd_notify_status(const char *status);

/* Within which time systemd wants to be fed (feed at half of it); 0 if it does not watch this process. */
usec systemd_watchdog_interval(void);
void systemd_watchdog_feed(void);

#endif
