/* When the node's certificates end: for the figures, and for a warning in time. Main thread only. */
#ifndef HOLDFAST_RUN_CERTIFICATES_H
#define HOLDFAST_RUN_CERTIFICATES_H

#include "base/clock.h"
#include "run/config.h"

struct certificates;

struct certificates *certificates_new(void);
void certificates_free(struct certificates *c); /* NULL is fine */
/* Those that are in force from now on; server (NULL = none) was made of config. Warns of those that end soon. Returns
 * the earliest end, seconds since 1970, 0 without certificates. */
long long certificates_note(struct certificates *c, const struct config *config, const struct tls_context *server,
                            const struct clock *now);
/* Call it now and then: the warnings are repeated daily. */
void certificates_watch(struct certificates *c, const struct clock *now);

#endif
