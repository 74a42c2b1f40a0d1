/* The numbers and words that sessions go by; filled by run/config, immutable while sessions look at them. */
#ifndef HOLDFAST_SESSION_SETTINGS_H
#define HOLDFAST_SESSION_SETTINGS_H

#include "base/clock.h"
#include "xmpp/stream.h"
#include <stdbool.h>
#include <stddef.h>

enum upstream_tls { UPSTREAM_TLS_NONE, UPSTREAM_TLS_STARTTLS, UPSTREAM_TLS_DIRECT };
enum confirm_mode { CONFIRM_PING, CONFIRM_NONE };
enum detached_presence { PRESENCE_KEEP, PRESENCE_AWAY };
enum receipts_to { RECEIPTS_TO_CONTACTS, RECEIPTS_TO_ANYONE };

struct settings {
    char **domains; /* NULL-terminated; a "*" serves any */
    char *upstream; /* "host:port, host:port" or "srv:domain" as written, for logs and as part of the account proof */
    enum upstream_tls upstream_tls;
    unsigned login_rate; /* logins a second that the server meets; 0 = no limit */
    bool tls_required;   /* clear streams must STARTTLS before anything else */
    bool tls_available;  /* a certificate is set: STARTTLS can be offered */

    struct { /* section sm of the configuration */
        usec max, max_cap;
        char *location; /* NULL = not told */
        unsigned request_every;
        usec request_delay, ack_timeout, answer_delay, probe;
        enum confirm_mode confirm;
        unsigned confirm_every;
        usec confirm_delay, confirm_timeout, confirm_linger;
        size_t queue_stanzas, queue_bytes;
        usec full_grace;
        enum detached_presence detached_presence;
        unsigned sessions_per_account;
        usec mailbox_ttl, tombstone_ttl;
        bool recognize_resent;
        unsigned recognize_stanzas;
        usec recognize_window;
    } sm;

    struct { /* section receipts */
        bool synthesize, events;
        usec grace;
        enum receipts_to to;
        bool confirm_legacy_clients;
        usec paused_after; /* 0: no chat states are sent */
    } receipts;

    struct {                         /* section limits */
        struct stream_limits stream; /* of clients: stanza_bytes, stanza_depth; the others are fixed */
        struct stream_limits login;  /* of clients that have not logged in */
        struct stream_limits server; /* what a queue can hold, and no more than keeps us alive: a roster may be large,
                                      * and whoever can send through the server could end sessions by what it passes */
        size_t login_bytes;          /* of one client before login; fixed */
        usec login_timeout;
        size_t memory; /* bytes of queues and mailboxes of the node; 0 = no limit */
        size_t connections, connections_per_ip;
        size_t bytes_per_second; /* of one client; 0 = no limit, as with those below */
        unsigned stanzas_per_second;
        unsigned login_failures_per_ip, login_failures_per_account; /* a minute */
        size_t fates; /* notes of what became of stanzas, of the node; 0 = none are made */
    } limits;
};

#endif
