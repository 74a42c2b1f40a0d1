/* When the node's certificates end: for the figures, and for a warning in time. Main thread only. */
#ifndef HOLDFAST_RUN_CERTIFICATE_WATCH_H
#define HOLDFAST_RUN_CERTIFICATE_WATCH_H

#include "base/clock.h"
#include "run/config.h"

struct certificate_watch;

struct certificate_watch *certificate_watch_new(void);
void certificate_watch_free(struct certificate_watch *c); /* NULL is fine */
/* Those that are in force from now on; server (NULL = none) was made of config. Warns of those that end soon. Returns
 * the earliest end, seconds since 1970, 0 without certificates. */
long long certificate_watch_note(struct certificate_watch *c, const struct config *config,
                                 const struct tls_context *server, const struct clock *now);
/* Call it now and then: the warnings are repeated daily. */
void certificate_watch_look(struct certificate_watch *c, const struct clock *now);

#endif
