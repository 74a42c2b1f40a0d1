#include "run/stats_http.h"
#include "base/buf.h"
#include "base/mem.h"
#include "prometheus_text.h"
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* Enough for people and scrapers, and little enough that nobody can hurt the proxy through here. */
#define CONNECTIONS_MAX   64u
#define TIMEOUT_SECONDS   10u
#define CONNECTION_MEMORY (16 * 1024)

#define TYPE_TEXT        "text/plain; charset=utf-8"
#define TYPE_JSON        "application/json"
#define TYPE_OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define TYPE_PROMETHEUS  "text/plain; version=0.0.4; charset=utf-8"

struct stats_http {
    struct stats_source source;
    struct MHD_Daemon *daemon;
    int port;
};

/* One request and the answer that a route writes to it. */
struct exchange {
    const struct stats_source *source;
    struct MHD_Connection *connection;
    struct slice rest; /* of the path, behind the route's prefix */
    unsigned status;
    const char *type;
    struct buf body;
};

/* --- what the client asks for --- */

/* Is the type listed in Accept, and not with q=0? Wildcards do not count: what they get is the default. */
static bool accepts(const struct exchange *x, const char *type)
{
    const char *at = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
    size_t n = strlen(type);
    while (at && *at) {
        at += strspn(at, " \t,");
        size_t item = strcspn(at, ",");
        if (item >= n && strncasecmp(at, type, n) == 0 && strchr("; \t,", at[n])) {
            char *q = mem_dup(slice_of(at + n, item - n));
            const char *weight = strstr(q, "q=");
            bool wanted = !weight || strtod(weight + 2, NULL) > 0;
            free(q);
            if (wanted)
                return true;
        }
        at += item;
    }
    return false;
}

static const char *argument(const struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, name);
}

/* A plain answer of one line; replaces what the body had. */
static void say(struct exchange *x, unsigned status, const char *text)
{
    x->status = status;
    x->type = TYPE_TEXT;
    buf_clear(&x->body);
    buf_printf(&x->body, "%s\n", text);
}

/* The index of an argument's value among words; 0 if the argument is absent; -1 if it is none of them, refused. */
static int choose(struct exchange *x, const char *name, const char *const *words)
{
    const char *value = argument(x, name);
    if (!value)
        return 0;
    for (int i = 0; words[i]; i++)
        if (strcmp(value, words[i]) == 0)
            return i;
    struct buf why = {0};
    buf_printf(&why, "%s must be one of:", name);
    for (int i = 0; words[i]; i++)
        buf_printf(&why, " %s", words[i]);
    char *text = buf_steal(&why);
    say(x, MHD_HTTP_BAD_REQUEST, text);
    free(text);
    return -1;
}

static bool parse_limit(struct exchange *x, size_t *limit)
{
    const char *value = argument(x, "limit");
    if (!value)
        return true;
    if (*value && strlen(value) <= 9 && strspn(value, "0123456789") == strlen(value)) {
        *limit = (size_t)strtoul(value, NULL, 10);
        return true;
    }
    say(x, MHD_HTTP_BAD_REQUEST, "limit must be a number");
    return false;
}

static bool parse_query(struct exchange *x, struct stats_query *q)
{
    static const char *const states[] = {"any", "attached", "detached", "unmanaged", NULL};
    static const char *const sorts[] = {"unacked", "age", "sid", NULL};
    static const char *const formats[] = {"text", "json", NULL};
    int state = choose(x, "state", states);
    int sort = state < 0 ? -1 : choose(x, "sort", sorts);
    int format = sort < 0 ? -1 : choose(x, "format", formats);
    if (format < 0)
        return false;
    *q = (struct stats_query){
        .state = (enum stats_state)state,
        .sort = (enum stats_sort)sort,
        .limit = STATS_DEFAULT_LIMIT,
        .json = argument(x, "format") ? format == 1 : accepts(x, TYPE_JSON),
    };
    return parse_limit(x, &q->limit);
}

/* --- routes --- */

static void list_routes(struct buf *out);

static void answer_root(struct exchange *x)
{
    BUF_LIT(&x->body, "Holdfast\n\n");
    list_routes(&x->body);
}

static void answer_metrics(struct exchange *x)
{
    struct buf text = {0};
    x->source->metrics(x->source->ctx, &text);
    if (accepts(x, "application/openmetrics-text")) {
        x->type = TYPE_OPENMETRICS;
        buf_add(&x->body, buf_slice(&text));
        BUF_LIT(&x->body, "# EOF\n");
    } else {
        x->type = TYPE_PROMETHEUS;
        prometheus_text_convert(&x->body, buf_slice(&text));
    }
    buf_free(&text);
}

static void answer_figures(struct exchange *x)
{
    x->type = TYPE_JSON;
    BUF_LIT(&x->body, "{");
    x->source->figures(x->source->ctx, &x->body);
    BUF_LIT(&x->body, "}\n");
}

static void refuse_late(struct exchange *x)
{
    say(x, MHD_HTTP_GATEWAY_TIMEOUT, "the workers did not answer in time");
}

static void end_line(struct buf *b)
{
    if (b->n && b->data[b->off + b->n - 1] != '\n')
        BUF_LIT(b, "\n");
}

static void answer_sessions(struct exchange *x)
{
    struct stats_query q;
    if (!parse_query(x, &q))
        return;
    x->type = q.json ? TYPE_JSON : TYPE_TEXT;
    if (!x->source->sessions(x->source->ctx, &q, &x->body))
        refuse_late(x);
    else
        end_line(&x->body);
}

static void answer_session(struct exchange *x)
{
    x->type = TYPE_JSON;
    if (!x->source->session(x->source->ctx, x->rest, &x->body))
        refuse_late(x);
    else if (x->body.n == 0)
        say(x, MHD_HTTP_NOT_FOUND, "no such session");
    else
        end_line(&x->body);
}

static void answer_probe(struct exchange *x, bool (*probe)(void *ctx, struct buf *reasons))
{
    if (probe(x->source->ctx, &x->body)) {
        say(x, MHD_HTTP_OK, "ok");
        return;
    }
    x->status = MHD_HTTP_SERVICE_UNAVAILABLE;
    if (x->body.n == 0)
        BUF_LIT(&x->body, "no reason given");
    end_line(&x->body);
}

static void answer_healthz(struct exchange *x)
{
    answer_probe(x, x->source->alive);
}

static void answer_readyz(struct exchange *x)
{
    answer_probe(x, x->source->ready);
}

/* A path that ends in a slash (but the root) stands for all below it. */
static const struct route {
    const char *path;
    void (*answer)(struct exchange *x);
    const char *shown, *about;
} routes[] = {
    {"/", answer_root, "/", "this page"},
    {"/metrics", answer_metrics, "/metrics", "OpenMetrics or Prometheus text"},
    {"/stats.json", answer_figures, "/stats.json", "the same figures as JSON"},
    {"/sessions", answer_sessions, "/sessions",
     "?state=any|attached|detached|unmanaged &sort=unacked|age|sid &limit=N &format=text|json"},
    {"/sessions/", answer_session, "/sessions/SID", "one session as JSON"},
    {"/healthz", answer_healthz, "/healthz", "200 while the process is alive (also /livez)"},
    {"/livez", answer_healthz, NULL, NULL},
    {"/readyz", answer_readyz, "/readyz", "200 while clients may be sent here, else 503 and why"},
};
#define ROUTES (sizeof routes / sizeof routes[0])

static void list_routes(struct buf *out)
{
    for (size_t i = 0; i < ROUTES; i++)
        if (routes[i].shown)
            buf_printf(out, "%-14s %s\n", routes[i].shown, routes[i].about);
}

static bool route_matches(const struct route *r, struct slice path)
{
    struct slice own = slice_str(r->path);
    bool folder = own.n > 1 && own.p[own.n - 1] == '/';
    return folder ? path.n > own.n && slice_starts(path, own) : slice_eq(path, own);
}

static void answer(struct exchange *x, const char *method, struct slice path)
{
    const struct route *r = routes;
    while (r < routes + ROUTES && !route_matches(r, path))
        r++;
    if (r == routes + ROUTES) {
        say(x, MHD_HTTP_NOT_FOUND, "no such page; there are:\n");
        list_routes(&x->body);
    } else if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        say(x, MHD_HTTP_METHOD_NOT_ALLOWED, "this port is for reading: GET and HEAD");
    } else {
        x->rest = slice_skip(path, strlen(r->path));
        r->answer(x);
    }
}

/* --- libmicrohttpd --- */

static enum MHD_Result send_answer(struct exchange *x)
{
    size_t n = x->body.n;
    struct MHD_Response *response = MHD_create_response_from_buffer(n, buf_steal(&x->body), MHD_RESPMEM_MUST_FREE);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, x->type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (x->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(x->connection, x->status, response);
    MHD_destroy_response(response);
    return result;
}

/* Called once with the headers, then for each piece of a body (which nobody wants), then with none. */
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_n, void **seen)
{
    struct stats_http *h = ctx;
    (void)version;
    (void)upload;
    if (!*seen) {
        *seen = h;
        return MHD_YES;
    }
    if (*upload_n) {
        *upload_n = 0;
        return MHD_YES;
    }
    struct exchange x = {
        .source = &h->source,
        .connection = connection,
        .status = MHD_HTTP_OK,
        .type = TYPE_TEXT,
    };
    answer(&x, method, slice_str(url));
    return send_answer(&x);
}

/* --- the port --- */

static int bind_one(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (fd < 0)
        return -1;
    /* reuse after a restart; one IPv6 socket takes IPv4 as well if it is bound to all addresses */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (a->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, (int)CONNECTIONS_MAX) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* Splits "host:port", "[v6]:port", "*:port", "port"; *host is NULL for all addresses. False if it is none of these. */
static bool split_address(const char *address, char **host, const char **port)
{
    const char *colon = strrchr(address, ':');
    struct slice name = colon ? slice_of(address, (size_t)(colon - address)) : SLICE_LIT("*");
    *host = NULL;
    *port = colon ? colon + 1 : address;
    if (name.n > 2 && name.p[0] == '[' && name.p[name.n - 1] == ']')
        name = slice_of(name.p + 1, name.n - 2);
    else if (name.n == 0 || memchr(name.p, ':', name.n))
        return false;
    if (**port == '\0' || strlen(*port) > 5 || strspn(*port, "0123456789") != strlen(*port) || atoi(*port) > 65535)
        return false;
    if (!slice_eq_str(name, "*"))
        *host = mem_dup(name);
    return true;
}

/* The first of the addresses that can be bound; -1 with a reason. All addresses: an IPv6 socket that takes IPv4 as
 * well, but for IPv4 alone where the machine has no IPv6. */
static int bind_any(const char *host, const char *port, const char **reason)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *all = NULL;
    const int families[] = {host ? AF_UNSPEC : AF_INET6, AF_INET};
    int fd = -1;
    for (int i = 0; i < (host ? 1 : 2) && fd < 0; i++) {
        hints.ai_family = families[i];
        int failure = getaddrinfo(host, port, &hints, &all);
        if (failure) {
            *reason = gai_strerror(failure);
            continue;
        }
        for (const struct addrinfo *a = all; a && fd < 0; a = a->ai_next)
            fd = bind_one(a);
        int error = errno;
        freeaddrinfo(all);
        *reason = fd < 0 ? strerror(error) : NULL;
        if (fd < 0 && error == EADDRINUSE)
            break;
    }
    return fd;
}

static int open_port(const char *address, const char **reason)
{
    char *host;
    const char *port;
    if (!split_address(address, &host, &port)) {
        *reason = "not an address:port";
        return -1;
    }
    int fd = bind_any(host, port, reason);
    free(host);
    return fd;
}

static int port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } name = {0};
    socklen_t n = sizeof name;
    if (getsockname(fd, &name.any, &n) != 0)
        return 0;
    return ntohs(name.any.sa_family == AF_INET6 ? name.v6.sin6_port : name.v4.sin_port);
}

/* The thread starts with all signals blocked: they are for the threads that run loops. poll() because select() fails
 * with descriptors above 1023, and a busy proxy has these. */
static struct MHD_Daemon *start_daemon(struct stats_http *h, int fd)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ITC, 0, NULL, NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, TIMEOUT_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return daemon;
}

struct stats_http *stats_http_adopt(int fd, const struct stats_source *source, char **error_r)
{
    struct stats_http *h = MEM_NEW(struct stats_http);
    h->source = *source;
    h->port = port_of(fd);
    h->daemon = start_daemon(h, fd); /* owns fd from here on */
    if (!h->daemon) {
        *error_r = mem_printf("stats port %d: the HTTP thread does not start: %s", h->port, strerror(errno));
        free(h);
        return NULL;
    }
    return h;
}

struct stats_http *stats_http_start(const char *address, const struct stats_source *source, char **error_r)
{
    const char *reason = NULL;
    int fd = open_port(address, &reason);
    if (fd >= 0)
        return stats_http_adopt(fd, source, error_r);
    *error_r = mem_printf("stats port %s: %s", address, reason);
    return NULL;
}

int stats_http_port(const struct stats_http *h)
{
    return h->port;
}

void stats_http_stop(struct stats_http *h)
{
    if (!h)
        return;
    MHD_stop_daemon(h->daemon);
    free(h);
}
