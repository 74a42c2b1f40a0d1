/* The keys, in the order of the sample. The sample (deploy/holdfast.conf) has each of them; a test compares both. */
#include "config_row.h"

/* The offset of a field, if it has that C type: a wrong one does not compile. */
#define FIELD(ctype, field)                                                                                            \
    (offsetof(struct config, field) + 0 * sizeof(char[_Generic(((struct config *)0)->field, ctype : 1)]))

#define KEY_(section_, name_, initial_, help_, ...)                                                                    \
    .key = {.section = (section_), .name = (name_), .initial = (initial_), .help = (help_), .built = true, __VA_ARGS__}

/* section, name, type, C type, field, default, help, then what the key has besides */
#define ROW(section, name, type_, ctype, field, initial, help, ...)                                                    \
    {                                                                                                                  \
        KEY_(section, name, initial, help, __VA_ARGS__), .type = &(type_), .offset = FIELD(ctype, field)               \
    }
#define FILES(section, name, type_, ctype, field, initial, help, ...)                                                  \
    {                                                                                                                  \
        KEY_(section, name, initial, help, __VA_ARGS__), .type = &(type_), .offset = FIELD(ctype, field),              \
                                                         .is_file = true                                               \
    }
#define NUMBER_(section, name, type_, ctype, field, initial, min_, max_, help, ...)                                    \
    {                                                                                                                  \
        KEY_(section, name, initial, help, __VA_ARGS__), .type = (type_), .offset = FIELD(ctype, field),               \
                                                         .min = (min_), .max = (max_)                                  \
    }
#define DURATION(section, name, field, initial, min, max, help, ...)                                                   \
    NUMBER_(section, name, &config_duration, usec, field, initial, min, max, help, __VA_ARGS__)
#define SIZE(section, name, field, initial, min, max, help, ...)                                                       \
    NUMBER_(section, name, &config_size, size_t, field, initial, min, max, help, __VA_ARGS__)
#define COUNT(section, name, field, initial, min, max, help, ...)                                                      \
    NUMBER_(section, name, &config_count, unsigned, field, initial, min, max, help, __VA_ARGS__)
#define LARGE_COUNT(section, name, field, initial, min, max, help, ...)                                                \
    NUMBER_(section, name, &config_large_count, size_t, field, initial, min, max, help, __VA_ARGS__)
/* GCC's and Clang's enums without negative constants are compatible with unsigned. */
#define WORD(section, name, field, words_, initial, help, ...)                                                         \
    {                                                                                                                  \
        KEY_(section, name, initial, help, __VA_ARGS__), .type = &config_word, .offset = FIELD(unsigned, field),       \
                                                         .words = (words_)                                             \
    }
#define LATER(section_, name_, initial_, only_, help_)                                                                 \
    {                                                                                                                  \
        .key = {.section = (section_), .name = (name_), .initial = (initial_), .help = (help_)},                       \
        .type = &config_later, .only = (only_)                                                                         \
    }

#define RELOAD .reloadable = true
#define FIXED  .reloadable = false

#define MINUTE (60 * USEC_S)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define K      1024LL
#define M      (K * K)
#define G      (K * M)

const struct config_row config_rows[] = {
    ROW("proxy", "domain", config_domains, char **, settings.domains, NULL,
        "domains served, comma separated; * for any (required)", FIXED),
    ROW("proxy", "upstream", config_upstream, char *, settings.upstream, NULL,
        "the XMPP servers behind: host:port, comma separated, or srv:domain; port 5222 if left out (required)", RELOAD),
    ROW("proxy", "resolver", config_resolver, char *, proxy.resolver, "none",
        "addresses of the name servers to ask, comma separated; none = those of the system", FIXED),
    WORD("proxy", "upstream_tls", settings.upstream_tls, "none|starttls|direct", "none", "TLS towards the server",
         FIXED),
    FILES("proxy", "upstream_ca", config_file, char *, proxy.upstream_ca, "none",
          "PEM file with the authorities that sign the server's certificate; none = the system's", FIXED),
    ROW("proxy", "upstream_verify", config_bool, bool, proxy.upstream_verify, "yes",
        "refuse a server whose certificate does not verify", FIXED),
    WORD("proxy", "upstream_proxy_protocol", proxy.upstream_proxy_protocol, "off|v1|v2", "off",
         "tell the server the client's address in a PROXY protocol header of that version", FIXED),
    ROW("proxy", "upstream_source", config_sources, char **, proxy.upstream_source, "none",
        "source addresses for connections to the server, in turn; none = the system chooses", FIXED),
    ROW("proxy", "node", config_node, char *, proxy.node, NULL, "this node's name (default: host name and process id)",
        FIXED),
    COUNT("proxy", "workers", proxy.workers, NULL, 1, 1024, "threads (default: number of processors)", FIXED),
    DURATION("proxy", "drain", proxy.drain, "60s", 0, DAY, "at a stop, clients are asked away within this time",
             RELOAD),
    DURATION("proxy", "drain_grace", proxy.drain_grace, "5s", 0, HOUR,
             "at a stop, time between /readyz failing and new streams being refused", RELOAD),
    COUNT("proxy", "drain_rate", proxy.drain_rate, "500", 1, 1000000, "at a stop, clients cut per second", RELOAD),
    COUNT("proxy", "login_rate", settings.login_rate, "500", 0, 1000000,
          "logins per second that the server meets at most, so that its restart brings no storm; 0 for no limit",
          RELOAD),
    FILES("proxy", "secret_file", config_file, char *, proxy.secret_file, "none",
          "file with the secret that all nodes of a cluster share; none = agreed through Redis, or random", FIXED),

    ROW("listen", "starttls", config_addresses, char **, listen.starttls, "none",
        "address:port for clients that start in clear and upgrade by STARTTLS; *:port for all addresses", FIXED),
    ROW("listen", "tls", config_addresses, char **, listen.tls, "none",
        "address:port for clients that start with TLS (XEP-0368)", FIXED),
    ROW("listen", "ws", config_addresses, char **, listen.ws, "none",
        "address:port for WebSocket (RFC 7395) in clear, for a load balancer that ends TLS", FIXED),
    ROW("listen", "wss", config_addresses, char **, listen.wss, "none", "address:port for WebSocket over TLS", FIXED),
    ROW("listen", "ws_path", config_url_path, char *, listen.ws_path, "/xmpp-websocket",
        "path of the WebSocket on these ports", RELOAD),
    ROW("listen", "ws_origins", config_web_origins, char **, listen.ws_origins, "*",
        "origins whose scripts may connect, e.g. https://chat.example.org, comma separated; * for any", RELOAD),
    ROW("listen", "ws_url", config_ws_url, char *, listen.ws_url, "none",
        "URL that /.well-known/host-meta tells; none = made of the Host that was asked for and listen.ws_path", RELOAD),
    ROW("listen", "ws_forwarded_from", config_networks, struct network_list, listen.ws_forwarded_from, "none",
        "networks of HTTP load balancers, whose listen.ws_forwarded_header tells the client's address", RELOAD),
    WORD("listen", "ws_forwarded_header", listen.ws_forwarded_header, "x-forwarded-for|forwarded", "x-forwarded-for",
         "the header in which they tell it: the one that each of them adds to", RELOAD),
    ROW("listen", "stats", config_addresses, char **, listen.stats, "127.0.0.1:9280",
        "address:port of the stats port (HTTP); none turns it off", FIXED),
    ROW("listen", "control", config_socket, char *, listen.control, "none",
        "path of the control socket, for holdfastctl; none turns it off", FIXED),
    ROW("listen", "control_mode", config_mode, unsigned, listen.control_mode, "0600",
        "permissions of the control socket: who may write to it may do all that holdfastctl can", FIXED),
    ROW("listen", "peer", config_addresses, char **, listen.peer, "none",
        "address:port for the other nodes of the cluster, which relay clients; needs proxy.secret_file", FIXED),
    ROW("listen", "peer_advertise", config_location, char *, listen.peer_advertise, "none",
        "host:port under which the other nodes reach listen.peer; none = as it stands there", FIXED),
    ROW("listen", "proxy_protocol", config_bool, bool, listen.proxy_protocol, "off",
        "connections from listen.proxy_from begin with a PROXY protocol header, of version 1 or 2", RELOAD),
    ROW("listen", "proxy_from", config_networks, struct network_list, listen.proxy_from, "none",
        "networks of the load balancers, e.g. 192.0.2.0/24: the header is demanded from them and ignored from others",
        RELOAD),

    FILES("tls", "certificate", config_paths, char **, tls.certificate, "none",
          "PEM files with certificate and chain, comma separated; the first is the default, the others go by SNI",
          RELOAD),
    FILES("tls", "key", config_paths, char **, tls.key, "none",
          "PEM files with the keys, in the order of the certificates; none = in the certificates' files", RELOAD),
    ROW("tls", "required", config_bool, bool, settings.tls_required, "yes",
        "clients on listen.starttls must start TLS before anything else", FIXED),
    FILES("tls", "ticket_key_file", config_file, char *, tls.ticket_key_file, "none",
          "file with the keys for TLS tickets that all nodes share; none = keys of this process", RELOAD),

    {KEY_("store", "url", "memory:", "where sessions are kept: memory:, or a Redis, which outlives the node", FIXED),
     .type = &config_store, .offset = FIELD(char *, store.url), .secret = true},
    ROW("store", "file", config_text, char *, store.file, "none",
        "file that carries what memory: holds over a clean stop", FIXED),
    FILES("store", "password_file", config_file, char *, store.password_file, "none",
          "file with the password for Redis, in the place of the one in store.url", FIXED),
    FILES("store", "sentinel_password_file", config_file, char *, store.sentinel_password_file, "none",
          "file with the password for Redis Sentinel", FIXED),
    FILES("store", "ca", config_file, char *, store.ca, "none",
          "PEM file with the authorities that sign Redis's certificate; none = the system's", FIXED),
    FILES("store", "encryption_key_file", config_file, char *, store.encryption_key_file, "none",
          "file with the keys that seal what Redis holds; the first seals, all open; none = in clear", RELOAD),
    COUNT("store", "wait_replicas", store.wait_replicas, "0", 0, 16, "a commit waits for that many replicas of Redis",
          FIXED),

    DURATION("sm", "max", settings.sm.max, "10m", USEC_S, 30 * DAY, "how long a cut session waits for its client",
             RELOAD),
    DURATION("sm", "max_cap", settings.sm.max_cap, "1h", USEC_S, 30 * DAY, "the most that a client may ask for",
             RELOAD),
    ROW("sm", "location", config_location, char *, settings.sm.location, "none",
        "host:port told to clients as the place to resume at", FIXED),
    COUNT("sm", "request_every", settings.sm.request_every, "5", 1, 10000,
          "ask a client for an ack behind that many stanzas", RELOAD),
    DURATION("sm", "request_delay", settings.sm.request_delay, "1s", 10 * USEC_MS, HOUR,
             "or this long behind the first one that is unacked", RELOAD),
    DURATION("sm", "ack_timeout", settings.sm.ack_timeout, "60s", USEC_S, HOUR,
             "a client that does not answer for this long is taken for cut off", RELOAD),
    DURATION("sm", "answer_delay", settings.sm.answer_delay, "1s", 0, MINUTE,
             "the longest that an answer to a client's ack request waits for confirmation", RELOAD),
    DURATION("sm", "probe", settings.sm.probe, "5m", USEC_S, DAY, "ask a client that was silent for this long", RELOAD),
    WORD("sm", "confirm", settings.sm.confirm, "ping|none", "ping",
         "how the server's processing is confirmed: by a ping behind the stanzas, or not at all", FIXED),
    COUNT("sm", "confirm_every", settings.sm.confirm_every, "50", 1, 100000, "confirm behind that many stanzas",
          RELOAD),
    DURATION("sm", "confirm_delay", settings.sm.confirm_delay, "1s", USEC_MS, HOUR,
             "or this long behind the first one that is unconfirmed", RELOAD),
    DURATION("sm", "confirm_timeout", settings.sm.confirm_timeout, "30s", USEC_S, HOUR,
             "a server that does not answer for this long is taken for dead", RELOAD),
    DURATION("sm", "confirm_linger", settings.sm.confirm_linger, "0", 0, HOUR,
             "keep confirmed stanzas that much longer, and send them again if the server dies", RELOAD),
    LATER("sm", "upstream", "auto", NULL, "use the server's own stream management where it has some"),
    LARGE_COUNT("sm", "queue_stanzas", settings.sm.queue_stanzas, "5000", 10, 10000000, "stanzas kept for one session",
                RELOAD),
    SIZE("sm", "queue_bytes", settings.sm.queue_bytes, "8m", 64 * K, 4 * G, "bytes kept for one session", RELOAD),
    DURATION("sm", "full_grace", settings.sm.full_grace, "30s", 0, DAY,
             "a detached session whose queue is full for this long expires", RELOAD),
    WORD("sm", "detached_presence", settings.sm.detached_presence, "keep|away", "keep",
         "presence shown for a client that is cut off", RELOAD),
    COUNT("sm", "sessions_per_account", settings.sm.sessions_per_account, "10", 1, 10000,
          "detached sessions of one account; the oldest expires first", RELOAD),
    DURATION("sm", "mailbox_ttl", settings.sm.mailbox_ttl, "7d", USEC_S, 365 * DAY,
             "how long messages of an expired session are kept for the account", RELOAD),
    DURATION("sm", "tombstone_ttl", settings.sm.tombstone_ttl, "1d", USEC_S, 365 * DAY,
             "how long the counters of an expired session are known", RELOAD),
    ROW("sm", "recognize_resent", config_bool, bool, settings.sm.recognize_resent, "on",
        "messages that a client sends again when its session is lost are not passed on twice", RELOAD),
    COUNT("sm", "recognize_stanzas", settings.sm.recognize_stanzas, "100", 1, 10000,
          "how many of a session's last messages are recognized then", RELOAD),
    DURATION("sm", "recognize_window", settings.sm.recognize_window, "1m", USEC_S, HOUR,
             "how long they are waited for in the session that follows", RELOAD),

    ROW("receipts", "synthesize", config_bool, bool, settings.receipts.synthesize, "on",
        "send delivery receipts for clients that send none", RELOAD),
    ROW("receipts", "events", config_bool, bool, settings.receipts.events, "on",
        "answer those who ask by message events (XEP-0022), too", RELOAD),
    DURATION("receipts", "grace", settings.receipts.grace, "2s", 0, HOUR,
             "how long a client's own receipt is waited for", RELOAD),
    WORD("receipts", "to", settings.receipts.to, "contacts|anyone", "contacts",
         "who gets them: who may see the presence, or anyone", RELOAD),
    ROW("receipts", "confirm_legacy_clients", config_bool, bool, settings.receipts.confirm_legacy_clients, "off",
        "confirm by ping what clients without stream management got", RELOAD),
    DURATION("receipts", "paused_after", settings.receipts.paused_after, "30s", 0, HOUR,
             "when a client that vanished while composing is told to have paused; 0: never", RELOAD),

    SIZE("limits", "stanza_bytes", settings.limits.stream.stanza_bytes, "256k", 10000, 64 * M,
         "bytes of one stanza (RFC 6120 wants 10000 or more)", RELOAD),
    COUNT("limits", "stanza_depth", settings.limits.stream.depth, "64", 8, 1000, "nesting of elements in a stanza",
          RELOAD),
    DURATION("limits", "login_timeout", settings.limits.login_timeout, "30s", USEC_S, HOUR,
             "time from the connection to the session", RELOAD),
    SIZE("limits", "memory", settings.limits.memory, "1g", 0, 1024 * G,
         "bytes of all queues and mailboxes of the node; 0 = no limit", RELOAD),
    LARGE_COUNT("limits", "connections", settings.limits.connections, "100000", 0, 100000000,
                "client connections of the node; 0 = no limit", RELOAD),
    LARGE_COUNT("limits", "connections_per_ip", settings.limits.connections_per_ip, "0", 0, 100000000,
                "client connections from one address; 0 = no limit", RELOAD),
    SIZE("limits", "bytes_per_second", settings.limits.bytes_per_second, "1m", 0, G,
         "a client that sends more for longer than ten seconds is slowed down; 0 = no limit", RELOAD),
    COUNT("limits", "stanzas_per_second", settings.limits.stanzas_per_second, "1000", 0, 1000000,
          "a client that sends more for longer than ten seconds is slowed down; 0 = no limit", RELOAD),
    COUNT("limits", "login_failures_per_ip", settings.limits.login_failures_per_ip, "10", 0, 1000000,
          "failed logins a minute from one address; more are late, then refused; 0 = no limit", RELOAD),
    COUNT("limits", "login_failures_per_account", settings.limits.login_failures_per_account, "5", 0, 1000000,
          "the same for one account tried from one address; from all of them: late; 0 = no limit", RELOAD),
    LARGE_COUNT("limits", "fates", settings.limits.fates, "50000", 0, 100000000,
                "notes of what became of stanzas that the node keeps, for holdfastctl message; 0 = none", RELOAD),

    WORD("log", "level", log.level, "error|warn|info|debug", "info", "what is logged", RELOAD),
    WORD("log", "format", log.format, "logfmt|json", "logfmt", "form of the lines on stderr", RELOAD),
};

const size_t config_row_count = sizeof config_rows / sizeof *config_rows;
