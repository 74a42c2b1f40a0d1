/* Configuration: one table of keys (proxy/run/config_table.c), read from a file, the environment and the command line
 * into struct config. Only run/ sees it; the layers below get the few numbers that they need. */
#ifndef HOLDFAST_RUN_CONFIG_H
#define HOLDFAST_RUN_CONFIG_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/endpoint.h"
#include "base/log.h"
#include "net/tls.h"
#include "session/settings.h"
#include <stdbool.h>
#include <stddef.h>

#define CONFIG_SERVERS_MAX 64

/* proxy.upstream. */
struct config_servers {
    char **hosts; /* names and addresses, without brackets; NULL-terminated; with srv the domain alone */
    int *ports;   /* of each */
    size_t n;
    bool srv; /* the servers are those that SRV records of the domain tell */
};

enum proxy_protocol { PROXY_PROTOCOL_OFF, PROXY_PROTOCOL_V1, PROXY_PROTOCOL_V2 };

enum forwarded_header { FORWARDED_X_FOR, FORWARDED_STANDARD };

struct network_list {
    struct network *list;
    size_t n;
};

/* What is in force. Lists end with NULL and are never NULL themselves; other strings are NULL for `none`. */
struct config {
    struct settings settings; /* for session/ */
    struct config_servers upstream;
    struct {
        char *resolver;    /* "address:port,address:port", NULL = the system's */
        char *upstream_ca; /* PEM file, NULL = the system's */
        bool upstream_verify;
        enum proxy_protocol upstream_proxy_protocol;
        char **upstream_source; /* literal addresses */
        char *node;
        char *secret_file; /* NULL = none */
        unsigned workers;
        usec drain, drain_grace;
        unsigned drain_rate; /* clients a second */
    } proxy;
    struct {
        char **starttls, **tls, **ws, **wss, **stats, **peer; /* as listener_open takes them */
        char *ws_path;                                        /* begins with a slash */
        char **ws_origins;                                    /* "*" for any */
        char *ws_url;                                         /* NULL = made of what the client asked for */
        struct network_list ws_forwarded_from;
        enum forwarded_header ws_forwarded_header;
        char *peer_advertise; /* host:port, NULL = the first of peer */
        bool proxy_protocol;
        struct network_list proxy_from;
        char *control; /* path, NULL = none */
        unsigned control_mode;
    } listen;
    struct {
        char **certificate, **key;
        struct tls_pair *pairs; /* of both, for tls_server_new */
        char *ticket_key_file;  /* NULL = none */
        size_t pair_count;
    } tls;
    struct {
        char *url, *file; /* file: NULL = none */
        char *password_file, *sentinel_password_file, *ca;
        char *encryption_key_file; /* NULL = none */
        unsigned wait_replicas;
    } store;
    struct {
        enum log_level level;
        enum log_format format;
    } log;

    struct config_origins *origins; /* config.c's: text and origin of each value, and the sources for a reload */
};

/* Where values come from, in rising order behind the defaults. All of it is copied. */
struct config_sources {
    const char *file;         /* NULL = none */
    char *const *environment; /* as environ: HOLDFAST_SECTION_KEY=value; empty ones count as not set; NULL = none */
    char *const *options;     /* NULL-terminated "section.key=value"; NULL = none */
};

struct config_problem {
    bool warning; /* worth telling, but not an obstacle */
    char *text;   /* "FILE:LINE: section.key: reason, and what to do", one line */
};

/* All that a run found, in the order of the sources. {0} is an empty list. */
struct config_problems {
    struct config_problem *list;
    size_t n, errors; /* errors: those of n that are no warnings */
};

void config_problems_free(struct config_problems *problems); /* back to {0} */

/* False, and *config_r NULL, when there are errors. problems may hold warnings in either case. */
bool config_load(const struct config_sources *sources, struct config **config_r, struct config_problems *problems);
/* Reads the sources of `running` again. Keys that cannot change in a running process keep the value of `running`, and a
 * warning for each tells so. False on errors: go on with `running`. */
bool config_reload(const struct config *running, struct config **config_r, struct config_problems *problems);
/* Has the TLS layer try certificates, keys and authorities; what it refuses is added to problems. */
void config_check_tls(const struct config *config, struct config_problems *problems);
/* Likewise the keys that seal what Redis holds. */
void config_check_seal(const struct config *config, struct config_problems *problems);
void config_free(struct config *config); /* NULL is fine */

/* A line for each key: value in force and origin; passwords are masked. */
void config_print(const struct config *config, struct buf *out);

/* The rows of the table, for help texts and tests. */
struct config_key {
    const char *section, *name;
    const char *type;    /* a word for people */
    const char *initial; /* default as text; NULL = has none and must be set, or is found out at the start (see help) */
    const char *help;
    bool reloadable; /* SIGHUP changes it */
    bool built;      /* false: refused if set */
};

const struct config_key *config_key_at(size_t i); /* NULL behind the last */
/* The value in force as text and its origin ("default", "FILE:LINE", "environment HOLDFAST_…", "option -o"); NULL for
 * an unknown key. value lives as long as config; origin_r (free it) may be NULL. */
const char *config_value(const struct config *config, const char *section, const char *name, char **origin_r);
/* A line or two for each key: name, type, default, meaning. */
void config_describe(struct buf *out);

#endif
