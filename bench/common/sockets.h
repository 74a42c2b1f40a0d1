/* The few things that both programs do with sockets and time. A failure of what cannot fail ends the program. */
#ifndef BENCH_SOCKETS_H
#define BENCH_SOCKETS_H

#include <stdint.h>

enum { NS = 1000000000, NS_PER_MS = 1000000 };

uint64_t now_ns(void); /* monotonic */

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As many descriptors as this process may have; returns their number. */
unsigned descriptors_raise(void);

/* A listener or a connection in the making, on the loopback; non-blocking, without delay (TCP_NODELAY). */
int socket_listen(unsigned port);
int socket_connect(unsigned port);
void socket_prepare(int fd);
/* The next close sends a reset. It also spares TIME_WAIT: thousands of these would slow connects down. */
void socket_reset_on_close(int fd);

#endif
