/* Where a Redis is, in any form, as one line of configuration:
 *   redis[s]://[user:pass@]host[:port][/db]
 *   redis+unix://[user:pass@]/path[?db=N]
 *   redis[s]+sentinel://[user:pass@]h1[:port],h2[:port]/NAME[/db]     (user and pass are of the Redis servers)
 *   redis[s]+cluster://[user:pass@]h1[:port],h2[:port]
 * Everything is percent-decoded; IPv6 addresses stand in brackets; ":pass@" is a password without a user. */
#ifndef HOLDFAST_REDIS_URL_H
#define HOLDFAST_REDIS_URL_H

#include "base/slice.h"
#include <stdbool.h>
#include <stddef.h>

enum redis_form { REDIS_FORM_SERVER, REDIS_FORM_UNIX, REDIS_FORM_SENTINEL, REDIS_FORM_CLUSTER };

struct redis_host {
    char *host; /* a name, or a literal address without brackets */
    int port;
};

struct redis_url {
    enum redis_form form;
    bool tls;
    char *user, *password; /* NULL: none */
    struct redis_host *hosts;
    size_t host_count; /* 0: UNIX */
    char *path;        /* UNIX */
    char *name;        /* SENTINEL: of the master */
    int db;
    char *text; /* for logs: without user and password */
};

/* NULL with *error_r (free it): what is wrong, never quoting what may be a password. */
struct redis_url *redis_url_parse(const char *text, char **error_r);
void redis_url_free(struct redis_url *u); /* NULL is fine */

#endif
