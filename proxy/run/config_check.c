/* What concerns more than one key, and the files that keys name. Values with problems of their own are left alone here,
 * so that one mistake is told once. */
#include "base/mem.h"
#include "config_row.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct check {
    struct config *config;
    struct config_problems *problems;
};

#define AT(check, section, name, ...)                                                                                  \
    config_problem_at((check)->config, (check)->problems, false, section, name, __VA_ARGS__)

static bool is_bad(const struct check *c, const char *section, const char *name)
{
    return c->config->origins->entry[config_row_find(section, name) - config_rows].bad;
}

static size_t list_length(char **list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

static void check_required(struct check *c)
{
    if (!c->config->settings.domains && !is_bad(c, "proxy", "domain"))
        AT(c, "proxy", "domain", "is not set; name the domains to serve, e.g. domain = example.org below [proxy]");
    if (!c->config->settings.upstream && !is_bad(c, "proxy", "upstream"))
        AT(c, "proxy", "upstream", "is not set; name the XMPP server, e.g. upstream = 192.0.2.10:5222 below [proxy]");
}

static void check_file(struct check *c, const struct config_row *row, const char *path)
{
    struct stat st = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int error = fd < 0 || fstat(fd, &st) < 0 ? errno : S_ISDIR(st.st_mode) ? EISDIR : 0;
    if (fd >= 0)
        close(fd);
    if (error)
        AT(c, row->key.section, row->key.name, "cannot read %s: %s; name a file that this user may read", path,
           strerror(error));
}

static void check_files(struct check *c)
{
    for (const struct config_row *row = config_rows; row < config_rows + config_row_count; row++) {
        void *field = config_field(c->config, row);
        if (!row->is_file)
            continue;
        if (row->type == &config_paths)
            for (char **path = *(char ***)field; *path; path++)
                check_file(c, row, *path);
        else if (*(char **)field)
            check_file(c, row, *(char **)field);
    }
}

/* Certificates and keys in pairs; without keys they are in the certificates' files. */
static void fill_pairs(struct check *c)
{
    struct config *config = c->config;
    size_t certificates = list_length(config->tls.certificate), keys = list_length(config->tls.key);
    free(config->tls.pairs);
    config->tls.pairs = NULL;
    config->tls.pair_count = 0;
    config->settings.tls_available = false;
    if (keys && keys != certificates) {
        AT(c, "tls", "key",
           "%zu keys for %zu certificates; name one key for each file of tls.certificate, in its order", keys,
           certificates);
        return;
    }
    config->tls.pairs = mem_zalloc(certificates * sizeof *config->tls.pairs);
    config->tls.pair_count = certificates;
    config->settings.tls_available = certificates > 0;
    for (size_t i = 0; i < certificates; i++)
        config->tls.pairs[i] = (struct tls_pair){config->tls.certificate[i], keys ? config->tls.key[i] : NULL};
}

static void check_tls(struct check *c)
{
    struct config *config = c->config;
    fill_pairs(c);
    if (!config->tls.certificate[0] && !config->tls.key[0] && !is_bad(c, "tls", "certificate")) {
        if (config->settings.tls_required && config->listen.starttls[0])
            AT(c, "tls", "required",
               "listen.starttls needs a certificate; set tls.certificate and tls.key, or tls.required = no to let "
               "clients in without TLS");
        if (config->listen.tls[0])
            AT(c, "listen", "tls", "needs a certificate; set tls.certificate and tls.key");
        if (config->listen.wss[0])
            AT(c, "listen", "wss", "needs a certificate; set tls.certificate and tls.key");
    }
    if (config->settings.upstream_tls == UPSTREAM_TLS_NONE && config->proxy.upstream_ca)
        AT(c, "proxy", "upstream_ca",
           "is of no use with proxy.upstream_tls = none; set that to starttls or direct, or "
           "remove this");
}

static bool is_any(struct slice host)
{
    return slice_eq_str(host, "*") || slice_eq_str(host, "0.0.0.0") || slice_eq_str(host, "[::]");
}

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 || strcmp(host, "localhost") == 0;
}

/* A proxy that is its own server takes connections until nothing is left. */
static bool leads_back(const struct config_servers *servers, const char *address)
{
    struct slice host;
    int port;
    config_address_split(address, &host, &port);
    struct slice inner = host.n && host.p[0] == '[' ? slice_of(host.p + 1, host.n - 2) : host;
    for (size_t i = 0; i < servers->n; i++)
        if (port == servers->ports[i] && !servers->srv &&
            (slice_eq_str(inner, servers->hosts[i]) || (is_any(host) && is_loopback(servers->hosts[i]))))
            return true;
    return false;
}

struct listen_list {
    const char *name;
    char **list;
};

/* SO_REUSEPORT would let two listeners of ours share a port without an error. */
static bool is_taken(const struct listen_list *lists, const struct listen_list *list, size_t i, const char **by_r)
{
    struct slice host, other;
    int port, other_port;
    config_address_split(list->list[i], &host, &port);
    for (const struct listen_list *l = lists; l <= list; l++) {
        for (size_t j = 0; l->list[j] && (l < list || j < i); j++) {
            config_address_split(l->list[j], &other, &other_port);
            if (port && port == other_port && slice_eq(host, other)) {
                *by_r = l->name;
                return true;
            }
        }
    }
    return false;
}

static void check_listeners(struct check *c)
{
    const struct config *config = c->config;
    const struct listen_list lists[] = {{"starttls", config->listen.starttls},
                                        {"tls", config->listen.tls},
                                        {"ws", config->listen.ws},
                                        {"wss", config->listen.wss},
                                        {"stats", config->listen.stats},
                                        {"peer", config->listen.peer},
                                        {NULL, NULL}};
    const char *by = NULL;

    bool any = false, bad = false;
    for (const struct listen_list *l = lists; strcmp(l->name, "stats") != 0; l++) {
        any |= l->list[0] != NULL;
        bad |= is_bad(c, "listen", l->name);
    }
    if (!any && !bad)
        AT(c, "listen", "starttls",
           "no port for clients; set listen.starttls, listen.tls, listen.ws or listen.wss, e.g. starttls = *:5222 "
           "below [listen]");
    for (const struct listen_list *l = lists; l->name; l++) {
        for (size_t i = 0; l->list[i]; i++) {
            if (is_taken(lists, l, i, &by))
                AT(c, "listen", l->name, "%s is already in listen.%s; take another port", l->list[i], by);
            if (leads_back(&config->upstream, l->list[i]))
                AT(c, "listen", l->name,
                   "%s leads proxy.upstream back to this proxy; take another port, or move the server", l->list[i]);
        }
    }
}

/* Whether that can be told to the other nodes. */
static bool is_reachable(const char *address)
{
    struct slice host;
    int port;
    config_address_split(address, &host, &port);
    return !is_any(host) && port > 0;
}

static void check_peer(struct check *c)
{
    const struct config *config = c->config;
    const char *address = config->listen.peer[0], *advertise = config->listen.peer_advertise;
    if (is_bad(c, "listen", "peer") || is_bad(c, "listen", "peer_advertise"))
        return;
    if (!address && advertise)
        AT(c, "listen", "peer_advertise", "is of no use without listen.peer; set that, or remove this");
    if (!address)
        return;
    if (!config->proxy.secret_file && !is_bad(c, "proxy", "secret_file"))
        AT(c, "listen", "peer",
           "needs proxy.secret_file, by which nodes know each other; make one with: openssl rand -out FILE 32");
    if (strcmp(config->store.url, "memory:") == 0 && !is_bad(c, "store", "url"))
        AT(c, "listen", "peer", "is of no use with store.url = memory:, where a node knows of no other; remove it");
    if (advertise && !is_reachable(advertise))
        AT(c, "listen", "peer_advertise", "%s is nothing that others can connect to; write e.g. 192.0.2.7:5280",
           advertise);
    else if (!advertise && !is_reachable(address))
        AT(c, "listen", "peer",
           "%s does not tell the other nodes where this one is; set listen.peer_advertise, e.g. to 192.0.2.7:5280",
           address);
}

static void check_proxied(struct check *c)
{
    const struct config *config = c->config;
    if (is_bad(c, "listen", "proxy_protocol") || is_bad(c, "listen", "proxy_from"))
        return;
    if (config->listen.proxy_protocol && !config->listen.proxy_from.n)
        AT(c, "listen", "proxy_protocol",
           "needs the networks of the load balancers; set listen.proxy_from, e.g. proxy_from = 192.0.2.0/24");
    if (!config->listen.proxy_protocol && config->listen.proxy_from.n)
        AT(c, "listen", "proxy_from", "is of no use without listen.proxy_protocol = on; set that, or remove this");
}

static void check_numbers(struct check *c)
{
    const struct settings *s = &c->config->settings;
    if (s->sm.max > s->sm.max_cap && !is_bad(c, "sm", "max") && !is_bad(c, "sm", "max_cap"))
        AT(c, "sm", "max", "is more than sm.max_cap; raise sm.max_cap or lower sm.max");
    if (s->limits.memory && s->sm.queue_bytes > s->limits.memory && !is_bad(c, "sm", "queue_bytes") &&
        !is_bad(c, "limits", "memory"))
        AT(c, "limits", "memory", "cannot hold one queue of sm.queue_bytes; raise it, or set 0 for no limit");
}

/* Far from what honest people send each other, and from what costs. */
#define SERVER_DEPTH      10000
#define SERVER_ATTRIBUTES 10000
#define SERVER_NAMESPACE  4096

/* Nothing that is said before login has more tags and attributes; a form to register has some hundreds. */
#define LOGIN_NAMES 1000

static void fill_stream_limits(struct settings *s)
{
    s->limits.login = s->limits.stream;
    s->limits.login.names = LOGIN_NAMES;
    if (s->limits.login.stanza_bytes > s->limits.login_bytes)
        s->limits.login.stanza_bytes = s->limits.login_bytes;

    size_t client = s->limits.stream.stanza_bytes, queue = s->sm.queue_bytes, bytes = queue > client ? queue : client;
    s->limits.server = (struct stream_limits){.stanza_bytes = bytes,
                                              .tag_bytes = bytes,
                                              .depth = SERVER_DEPTH,
                                              .attributes = SERVER_ATTRIBUTES,
                                              .namespace_bytes = SERVER_NAMESPACE};
}

void config_check(struct config *config, struct config_problems *problems)
{
    struct check c = {config, problems};
    check_required(&c);
    check_listeners(&c);
    check_peer(&c);
    check_proxied(&c);
    check_files(&c);
    check_tls(&c);
    check_numbers(&c);
    fill_stream_limits(&config->settings);
}
