/* The kinds of values: text to field, with limits. */
#include "base/mem.h"
#include "config_row.h"
#include "redis/url.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <sys/un.h>

struct unit {
    const char *name;
    int64_t factor;
};

/* Largest first: config_check prints limits in the first one that divides them. */
static const struct unit duration_units[] = {{"d", 86400 * USEC_S}, {"h", 3600 * USEC_S}, {"m", 60 * USEC_S},
                                             {"s", USEC_S},         {"ms", USEC_MS},      {NULL, 0}};
static const struct unit size_units[] = {{"g", 1 << 30}, {"m", 1 << 20}, {"k", 1 << 10}, {"", 1}, {NULL, 0}};
static const struct unit plain_units[] = {{"", 1}, {NULL, 0}};

static bool is_none(const char *text)
{
    return !*text || strcmp(text, "none") == 0;
}

/* --- strings and lists ------------------------------------------------------------------------------------------- */

static void release_text(struct config *config, const struct config_row *row)
{
    char **field = config_field(config, row);
    free(*field);
    *field = NULL;
}

static bool set_text(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    (void)reason;
    release_text(config, row);
    *(char **)config_field(config, row) = is_none(text) ? NULL : mem_strdup(text);
    return true;
}

static bool set_socket(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    if (strlen(text) >= sizeof((struct sockaddr_un *)0)->sun_path) {
        buf_printf(reason, "\"%s\" is too long for a socket; take a path of less than %zu bytes", text,
                   sizeof((struct sockaddr_un *)0)->sun_path);
        return false;
    }
    return set_text(config, row, text, reason);
}

static bool set_store(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    char *error = NULL;
    struct redis_url *url = strcmp(text, "memory:") == 0 ? NULL : redis_url_parse(text, &error);
    redis_url_free(url);
    if (error) { /* the text may hold a password: it is not told */
        buf_printf(reason, "is neither memory: nor a Redis: %s", error);
        free(error);
        return false;
    }
    return set_text(config, row, text, reason);
}

static bool set_node(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    size_t n = strlen(text);
    for (const char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
            n = 0;
    if (!n || n > 64) {
        buf_printf(reason, "\"%s\" cannot be a node's name; take up to 64 letters, digits and . _ -", text);
        return false;
    }
    return set_text(config, row, text, reason);
}

static bool set_location(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    char *host;
    int port = 0;
    if (!is_none(text)) {
        if (!config_host_port(text, &host, &port, reason))
            return false;
        free(host);
    }
    return set_text(config, row, text, reason);
}

static void free_list(char **list)
{
    for (char **p = list; p && *p; p++)
        free(*p);
    free(list);
}

static void release_list(struct config *config, const struct config_row *row)
{
    char ***field = config_field(config, row);
    free_list(*field);
    *field = NULL;
}

static char *trimmed_part(const char *from, const char *to)
{
    while (from < to && isspace((unsigned char)*from))
        from++;
    while (to > from && isspace((unsigned char)to[-1]))
        to--;
    return mem_dup(slice_of(from, (size_t)(to - from)));
}

/* A NULL-terminated list of the parts between commas. */
static char **split_list(const char *text)
{
    char **list = MEM_NEW(char *);
    if (is_none(text))
        return list;
    for (size_t n = 0;; n++) {
        const char *comma = strchrnul(text, ',');
        list = mem_realloc(list, (n + 2) * sizeof *list);
        list[n] = trimmed_part(text, comma);
        list[n + 1] = NULL;
        if (!*comma)
            return list;
        text = comma + 1;
    }
}

/* A list of which each part passes `fits`, NULL if one does not. */
static char **fitting_list(const char *text, struct buf *reason, bool (*fits)(const char *part, struct buf *reason))
{
    char **list = split_list(text);
    for (char **p = list; *p; p++) {
        bool empty = !**p;
        if (empty)
            buf_add_str(reason, "empty part in the list; remove the spare comma");
        if (empty || !fits(*p, reason)) {
            free_list(list);
            return NULL;
        }
    }
    return list;
}

static bool set_list(struct config *config, const struct config_row *row, const char *text, struct buf *reason,
                     bool (*fits)(const char *part, struct buf *reason))
{
    char **list = fitting_list(text, reason, fits);
    if (!list)
        return false;
    release_list(config, row);
    *(char ***)config_field(config, row) = list;
    return true;
}

static bool fits_domain(const char *part, struct buf *reason)
{
    if (strcmp(part, "*") == 0 || (strlen(part) <= 1023 && !strpbrk(part, " \t@/:<>&'\"*")))
        return true;
    buf_printf(reason, "\"%s\" is not a domain; write e.g. example.org, several with commas between, or * for any",
               part);
    return false;
}

static bool set_domains(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    if (*text)
        return set_list(config, row, text, reason, fits_domain);
    buf_add_str(reason, "has no value; name the domains to serve, e.g. example.org");
    return false;
}

static bool fits_path(const char *part, struct buf *reason)
{
    (void)part;
    (void)reason;
    return true; /* config_check opens what is in force */
}

static bool set_paths(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    return set_list(config, row, text, reason, fits_path);
}

/* --- WebSocket --------------------------------------------------------------------------------------------------- */

static bool is_url_text(const char *text)
{
    return !text[strcspn(text, " \t\"'<>&\\^`{|}?#\x7f")];
}

static bool set_url_path(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    if (*text == '/' && is_url_text(text))
        return set_text(config, row, text, reason);
    buf_add_str(reason, "is not a path; write for example /xmpp-websocket");
    return false;
}

static bool set_ws_url(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    bool good = strncmp(text, "wss://", 6) == 0 || strncmp(text, "ws://", 5) == 0;
    if (is_none(text) || (good && is_url_text(text)))
        return set_text(config, row, text, reason);
    buf_add_str(reason, "is not the URL of a WebSocket; write for example wss://chat.example.org/xmpp-websocket");
    return false;
}

/* As browsers tell it: scheme, host, and a port if it is not the usual one (RFC 6454 6.2). */
static bool fits_origin(const char *part, struct buf *reason)
{
    const char *host = strstr(part, "://");
    if (strcmp(part, "*") == 0 || strcmp(part, "null") == 0)
        return true;
    if (host && host > part && host[3] && !strchr(host + 3, '/') && is_url_text(part))
        return true;
    buf_printf(reason, "has %s, which is not an origin; write for example https://chat.example.org", part);
    return false;
}

static bool set_origins(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    return set_list(config, row, text, reason, fits_origin);
}

/* --- addresses --------------------------------------------------------------------------------------------------- */

/* Decimal digits alone, up to 65535; -1 for anything else. */
static int parse_port(const char *text)
{
    if (!*text || strlen(text) > 5 || text[strspn(text, "0123456789")])
        return -1;
    int port = atoi(text);
    return port <= 65535 ? port : -1;
}

static bool is_address(int family, struct slice host)
{
    char text[64];
    unsigned char binary[sizeof(struct in6_addr)];
    if (!host.n || host.n >= sizeof text)
        return false;
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    return inet_pton(family, text, binary) == 1;
}

void config_address_split(const char *text, struct slice *host_r, int *port_r)
{
    const char *colon = strrchr(text, ':');
    *host_r = colon ? slice_of(text, (size_t)(colon - text)) : SLICE_LIT("*");
    *port_r = parse_port(colon ? colon + 1 : text);
}

static bool fits_address(const char *part, struct buf *reason)
{
    struct slice host;
    int port;
    config_address_split(part, &host, &port);
    bool v6 = host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']';
    if (port >= 0 && (slice_eq_str(host, "*") ||
                      (v6 ? is_address(AF_INET6, slice_of(host.p + 1, host.n - 2)) : is_address(AF_INET, host))))
        return true;
    buf_printf(reason, "\"%s\" is not an address and port; write e.g. 127.0.0.1:5222, [::1]:5222 or *:5222", part);
    return false;
}

static bool set_addresses(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    return set_list(config, row, text, reason, fits_address);
}

static bool fits_source(const char *part, struct buf *reason)
{
    struct slice host = slice_of(part, strlen(part));
    if (is_address(AF_INET, host) || is_address(AF_INET6, host))
        return true;
    buf_printf(reason, "\"%s\" is not an address; write e.g. 192.0.2.10 or 2001:db8::10, without port and brackets",
               part);
    return false;
}

static bool set_sources(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    return set_list(config, row, text, reason, fits_source);
}

static bool fits_network(const char *part, struct buf *reason)
{
    struct network network;
    if (network_parse(&network, part))
        return true;
    buf_printf(reason, "\"%s\" is not a network; write e.g. 192.0.2.0/24, 2001:db8::/32 or 192.0.2.10", part);
    return false;
}

static void release_networks(struct config *config, const struct config_row *row)
{
    struct network_list *field = config_field(config, row);
    free(field->list);
    *field = (struct network_list){0};
}

static bool set_networks(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    char **list = fitting_list(text, reason, fits_network);
    struct network_list *field = config_field(config, row);
    if (!list)
        return false;
    release_networks(config, row);
    for (char **p = list; *p; p++) {
        field->list = mem_realloc(field->list, (field->n + 1) * sizeof *field->list);
        network_parse(&field->list[field->n++], *p);
    }
    free_list(list);
    return true;
}

static bool is_host(struct slice host)
{
    for (size_t i = 0; i < host.n; i++)
        if (!isalnum((unsigned char)host.p[i]) && !strchr(".-_", host.p[i]))
            return false;
    return host.n > 0 && host.n <= 255;
}

bool config_host_port(const char *text, char **host_r, int *port_r, struct buf *reason)
{
    struct slice host = slice_of(text, strcspn(text, ":"));
    const char *rest = text + host.n;
    bool good;
    if (*text == '[') {
        host = slice_of(text + 1, strcspn(text + 1, "]"));
        rest = text + 1 + host.n + (text[1 + host.n] == ']');
        good = rest[-1] == ']' && is_address(AF_INET6, host);
    } else {
        good = is_host(host);
    }
    int port = *rest == ':' ? parse_port(rest + 1) : *rest ? -1 : *port_r;
    if (!good || port < 0 || (*rest && port == 0)) {
        bool bare_v6 = is_address(AF_INET6, slice_str(text));
        buf_printf(reason,
                   bare_v6 ? "\"%s\" is an IPv6 address without brackets; write e.g. [2001:db8::1]:5222"
                           : "\"%s\" is not a host and port; write e.g. xmpp.example.org:5222 or [2001:db8::1]:5222",
                   text);
        return false;
    }
    *host_r = mem_dup(host);
    *port_r = port;
    return true;
}

static void release_upstream(struct config *config, const struct config_row *row)
{
    (void)row;
    free_list(config->upstream.hosts);
    free(config->upstream.ports);
    free(config->settings.upstream);
    memset(&config->upstream, 0, sizeof config->upstream);
    config->settings.upstream = NULL;
}

/* Takes over host. */
static void add_server(struct config_servers *servers, char *host, int port)
{
    size_t n = servers->n++;
    servers->hosts = mem_realloc(servers->hosts, (n + 2) * sizeof *servers->hosts);
    servers->ports = mem_realloc(servers->ports, (n + 1) * sizeof *servers->ports);
    servers->hosts[n] = host;
    servers->hosts[n + 1] = NULL;
    servers->ports[n] = port;
}

static bool read_server(struct config_servers *servers, const char *part, struct buf *reason)
{
    char *host;
    int port = 5222;
    if (strncmp(part, "srv:", 4) == 0) {
        buf_printf(reason, "\"%s\" cannot stand in a list; write it alone, or host:port for each server", part);
        return false;
    }
    if (!*part)
        buf_add_str(reason, "empty part in the list; remove the spare comma");
    if (!*part || !config_host_port(part, &host, &port, reason))
        return false;
    for (size_t i = 0; i < servers->n; i++) {
        if (servers->ports[i] == port && strcasecmp(servers->hosts[i], host) == 0) {
            buf_printf(reason, "\"%s\" is there twice; name each server once", part);
            free(host);
            return false;
        }
    }
    add_server(servers, host, port);
    return true;
}

static bool read_servers(struct config_servers *servers, const char *text, struct buf *reason)
{
    char **parts = split_list(text);
    bool good = *parts;
    if (!good)
        buf_add_str(reason, "has no value; name the XMPP server, e.g. 192.0.2.10:5222");
    for (char **p = parts; good && *p; p++)
        good = read_server(servers, *p, reason);
    if (good && servers->n > CONFIG_SERVERS_MAX) {
        buf_printf(reason, "%zu servers are too many; name up to %d", servers->n, CONFIG_SERVERS_MAX);
        good = false;
    }
    free_list(parts);
    return good;
}

static bool read_srv(struct config_servers *servers, const char *domain, struct buf *reason)
{
    if (!is_host(slice_str(domain))) {
        buf_printf(reason, "\"%s\" is not a domain to look up; write e.g. srv:example.org", domain);
        return false;
    }
    servers->srv = true;
    add_server(servers, mem_strdup(domain), 0);
    return true;
}

/* As it is logged, and part of what proves an account: the ports filled in. */
static char *servers_text(const struct config_servers *servers)
{
    struct buf out = {0};
    if (servers->srv)
        buf_printf(&out, "srv:%s", servers->hosts[0]);
    for (size_t i = 0; !servers->srv && i < servers->n; i++)
        buf_printf(&out, strchr(servers->hosts[i], ':') ? "%s[%s]:%d" : "%s%s:%d", i ? ", " : "", servers->hosts[i],
                   servers->ports[i]);
    return buf_steal(&out);
}

static bool set_upstream(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    struct config_servers servers = {0};
    bool srv = strncmp(text, "srv:", 4) == 0 && !strchr(text, ',');
    if (!(srv ? read_srv(&servers, text + 4, reason) : read_servers(&servers, text, reason))) {
        free_list(servers.hosts);
        free(servers.ports);
        return false;
    }
    release_upstream(config, row);
    config->upstream = servers;
    config->settings.upstream = servers_text(&servers);
    return true;
}

/* Adds it to a list as the resolver takes it: with its port. */
static bool add_name_server(struct buf *out, const char *part)
{
    struct buf unused = {0};
    char *host;
    int port = 53;
    bool good = config_host_port(part, &host, &port, &unused);
    buf_free(&unused);
    if (!good)
        return false;
    bool v6 = is_address(AF_INET6, slice_str(host));
    good = v6 || is_address(AF_INET, slice_str(host));
    if (good)
        buf_printf(out, v6 ? "%s[%s]:%d" : "%s%s:%d", out->n ? "," : "", host, port);
    free(host);
    return good;
}

static bool set_resolver(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    char **parts = split_list(text);
    struct buf out = {0};
    bool good = true;
    for (char **p = parts; good && *p; p++) {
        good = add_name_server(&out, *p);
        if (!good)
            buf_printf(reason, "\"%s\" is not the address of a name server; write e.g. 192.0.2.53 or [2001:db8::53]:53",
                       *p);
    }
    if (good) {
        release_text(config, row);
        *(char **)config_field(config, row) = out.n ? buf_steal(&out) : NULL;
    }
    buf_free(&out);
    free_list(parts);
    return good;
}

/* --- numbers and words ------------------------------------------------------------------------------------------- */

/* Digits and a unit. False when it is not of that form; what does not fit into 63 bits becomes INT64_MAX. */
static bool parse_number(const char *text, const struct unit *units, int64_t *out)
{
    size_t digits = strspn(text, "0123456789");
    int64_t n = 0;
    if (!digits)
        return false;
    for (size_t i = 0; i < digits; i++)
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, text[i] - '0', &n))
            n = INT64_MAX / 10;
    for (const struct unit *u = units; u->name; u++) {
        if (strcasecmp(text + digits, u->name) == 0 || (n == 0 && !text[digits])) {
            if (__builtin_mul_overflow(n, u->factor, out))
                *out = INT64_MAX;
            return true;
        }
    }
    return false;
}

static void add_number(struct buf *out, const struct unit *units, int64_t n)
{
    const struct unit *u = units;
    while (n && n % u->factor && u[1].name)
        u++;
    if (n)
        buf_printf(out, "%lld%s", (long long)(n / u->factor), u->name);
    else
        BUF_LIT(out, "0");
}

static bool read_number(const struct config_row *row, const char *text, const struct unit *units, const char *how,
                        int64_t *out, struct buf *reason)
{
    if (!parse_number(text, units, out)) {
        buf_printf(reason, "\"%s\" is not a %s; write %s", text, row->type->name, how);
        return false;
    }
    if (*out >= row->min && *out <= row->max)
        return true;
    buf_printf(reason, "%s is out of range; take a value from ", text);
    add_number(reason, units, row->min);
    BUF_LIT(reason, " to ");
    add_number(reason, units, row->max);
    return false;
}

static bool set_duration(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    int64_t n;
    if (!read_number(row, text, duration_units, "a number and a unit, e.g. 500ms, 30s, 10m, 12h or 7d", &n, reason))
        return false;
    *(usec *)config_field(config, row) = n;
    return true;
}

static bool set_size(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    int64_t n;
    if (!read_number(row, text, size_units, "bytes, or a number with k, m or g, e.g. 256k or 8m", &n, reason))
        return false;
    *(size_t *)config_field(config, row) = (size_t)n;
    return true;
}

static bool set_count(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    int64_t n;
    if (!read_number(row, text, plain_units, "a whole number", &n, reason))
        return false;
    if (row->type == &config_large_count)
        *(size_t *)config_field(config, row) = (size_t)n;
    else
        *(unsigned *)config_field(config, row) = (unsigned)n;
    return true;
}

/* The place of text among words with | between, -1 if it is none of them. */
static int word_index(const char *words, const char *text)
{
    size_t n = strlen(text);
    for (int i = 0; *words; i++) {
        size_t w = strcspn(words, "|");
        if (w == n && memcmp(words, text, n) == 0)
            return i;
        words += w + (words[w] == '|');
    }
    return -1;
}

static bool set_word(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    int i = word_index(row->words, text);
    if (i >= 0) {
        *(unsigned *)config_field(config, row) = (unsigned)i;
        return true;
    }
    buf_printf(reason, "\"%s\" is not known here; take one of: ", text);
    for (const char *p = row->words; *p; p++)
        buf_add_str(reason, *p == '|' ? ", " : (char[]){*p, '\0'});
    return false;
}

static bool set_bool(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    int i = word_index("no|yes|off|on|false|true", text);
    if (i >= 0) {
        *(bool *)config_field(config, row) = i % 2;
        return true;
    }
    buf_printf(reason, "\"%s\" is neither yes nor no; write yes or no", text);
    return false;
}

static bool set_mode(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    size_t n = strlen(text);
    if (n < 3 || n > 4 || strspn(text, "01234567") != n || (n == 4 && *text != '0')) {
        buf_printf(reason, "\"%s\" are no permissions; write them in octal, e.g. 0600 or 0660", text);
        return false;
    }
    *(unsigned *)config_field(config, row) = (unsigned)strtoul(text, NULL, 8);
    return true;
}

/* Keys that have no field yet. */
static bool set_later(struct config *config, const struct config_row *row, const char *text, struct buf *reason)
{
    (void)config;
    (void)row;
    (void)text;
    (void)reason;
    return true;
}

const struct config_type config_text = {"text", set_text, release_text};
const struct config_type config_file = {"file", set_text, release_text};
const struct config_type config_socket = {"file", set_socket, release_text};
const struct config_type config_mode = {"mode", set_mode, NULL};
const struct config_type config_store = {"text", set_store, release_text};
const struct config_type config_node = {"name", set_node, release_text};
const struct config_type config_location = {"host:port", set_location, release_text};
const struct config_type config_url_path = {"path", set_url_path, release_text};
const struct config_type config_ws_url = {"URL", set_ws_url, release_text};
const struct config_type config_web_origins = {"list of origins", set_origins, release_list};
const struct config_type config_domains = {"list of domains", set_domains, release_list};
const struct config_type config_paths = {"list of files", set_paths, release_list};
const struct config_type config_addresses = {"list of addresses", set_addresses, release_list};
const struct config_type config_sources = {"list of addresses", set_sources, release_list};
const struct config_type config_networks = {"list of networks", set_networks, release_networks};
const struct config_type config_upstream = {"list of servers", set_upstream, release_upstream};
const struct config_type config_resolver = {"list of addresses", set_resolver, release_text};
const struct config_type config_duration = {"duration", set_duration, NULL};
const struct config_type config_size = {"size", set_size, NULL};
const struct config_type config_count = {"number", set_count, NULL};
const struct config_type config_large_count = {"number", set_count, NULL};
const struct config_type config_bool = {"yes or no", set_bool, NULL};
const struct config_type config_word = {"word", set_word, NULL};
const struct config_type config_later = {"not built yet", set_later, NULL};
