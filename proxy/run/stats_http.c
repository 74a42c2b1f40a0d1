#include "run/stats_http.h"
#include "base/mem.h"
#include "http_exchange.h"
#include "http_socket.h"
#include "prometheus_text.h"
#include "run/control_http.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <strings.h>

/* Enough for people and scrapers, and little enough that nobody can hurt the proxy through here. */
#define CONNECTIONS_MAX   64u
#define TIMEOUT_SECONDS   10u
#define CONNECTION_MEMORY (16 * 1024)

#define TYPE_OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define TYPE_PROMETHEUS  "text/plain; version=0.0.4; charset=utf-8"

struct stats_http {
    struct stats_source source;
    struct control_actions actions; /* of a control socket */
    bool acts;
    struct MHD_Daemon *daemon;
    int port;
    struct http_unix *file; /* of a control socket: to be removed at the end */
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

const char *http_argument(const struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, name);
}

void http_say(struct exchange *x, unsigned status, const char *text)
{
    x->status = status;
    x->type = TYPE_TEXT;
    buf_clear(&x->body);
    buf_printf(&x->body, "%s\n", text);
}

/* The index of an argument's value among words; 0 if the argument is absent; -1 if it is none of them, refused. */
static int choose(struct exchange *x, const char *name, const char *const *words)
{
    const char *value = http_argument(x, name);
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
    http_say(x, MHD_HTTP_BAD_REQUEST, text);
    free(text);
    return -1;
}

static bool parse_number(struct exchange *x, const char *name, size_t *number)
{
    const char *value = http_argument(x, name);
    if (!value)
        return true;
    if (*value && strlen(value) <= 9 && strspn(value, "0123456789") == strlen(value)) {
        *number = (size_t)strtoul(value, NULL, 10);
        return true;
    }
    char *why = mem_printf("%s must be a number", name);
    http_say(x, MHD_HTTP_BAD_REQUEST, why);
    free(why);
    return false;
}

static bool parse_query(struct exchange *x, struct stats_query *q)
{
    static const char *const states[] = {"any", "attached", "detached", "unmanaged", NULL};
    static const char *const sorts[] = {"unacked", "oldest", "slow", "age", "sid", NULL};
    static const char *const formats[] = {"text", "json", NULL};
    int state = choose(x, "state", states);
    int sort = state < 0 ? -1 : choose(x, "sort", sorts);
    int format = sort < 0 ? -1 : choose(x, "format", formats);
    if (format < 0)
        return false;
    *q = (struct stats_query){
        .state = (enum stats_state)state,
        .sort = (enum stats_sort)sort,
        .jid = http_argument(x, "jid"),
        .limit = STATS_DEFAULT_LIMIT,
        .json = http_argument(x, "format") ? format == 1 : accepts(x, TYPE_JSON),
    };
    return parse_number(x, "limit", &q->limit) && parse_number(x, "offset", &q->offset);
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
    http_say(x, MHD_HTTP_GATEWAY_TIMEOUT, "the workers did not answer in time");
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
        http_say(x, MHD_HTTP_NOT_FOUND, "no such session");
    else
        end_line(&x->body);
}

static void answer_probe(struct exchange *x, bool (*probe)(void *ctx, struct buf *reasons))
{
    if (probe(x->source->ctx, &x->body)) {
        http_say(x, MHD_HTTP_OK, "ok");
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
     "?state=any|attached|detached|unmanaged &jid=JID &sort=unacked|oldest|slow|age|sid &offset=N &limit=N "
     "&format=text|json"},
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

static void answer_reading(struct exchange *x, const char *method, struct slice path)
{
    const struct route *r = routes;
    while (r < routes + ROUTES && !route_matches(r, path))
        r++;
    if (r == routes + ROUTES) {
        http_say(x, MHD_HTTP_NOT_FOUND, "no such page; there are:\n");
        list_routes(&x->body);
    } else if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        http_say(x, MHD_HTTP_METHOD_NOT_ALLOWED, "this page is for reading: GET and HEAD");
        x->allow = "GET, HEAD";
    } else {
        x->rest = slice_skip(path, strlen(r->path));
        r->answer(x);
    }
}

static void answer(struct stats_http *h, struct exchange *x, const char *method, struct slice path)
{
    if (!control_is_order(path))
        answer_reading(x, method, path);
    else if (!h->acts)
        http_say(x, MHD_HTTP_FORBIDDEN, "this is for the control socket alone: see holdfastctl(8)");
    else
        control_answer(x, &h->actions, method, path);
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
    if (x->allow)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, x->allow);
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
    answer(h, &x, method, slice_str(url));
    return send_answer(&x);
}

/* --- the port --- */

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

/* Takes fd over. actions: NULL for one that only reads. NULL with *error_r. */
static struct stats_http *start_on(int fd, const char *what, const struct stats_source *source,
                                   const struct control_actions *actions, char **error_r)
{
    struct stats_http *h = MEM_NEW(struct stats_http);
    h->source = *source;
    h->acts = actions != NULL;
    if (actions)
        h->actions = *actions;
    h->port = http_port_of(fd);
    h->daemon = start_daemon(h, fd); /* owns fd from here on */
    if (!h->daemon) {
        *error_r = mem_printf("%s: the HTTP thread does not start: %s", what, strerror(errno));
        free(h);
        return NULL;
    }
    return h;
}

struct stats_http *stats_http_adopt(int fd, const struct stats_source *source, char **error_r)
{
    char *what = mem_printf("stats port %d", http_port_of(fd));
    struct stats_http *h = start_on(fd, what, source, NULL, error_r);
    free(what);
    return h;
}

struct stats_http *stats_http_start(const char *address, const struct stats_source *source, char **error_r)
{
    const char *reason = NULL;
    int fd = http_listen_tcp(address, (int)CONNECTIONS_MAX, &reason);
    if (fd < 0) {
        *error_r = mem_printf("stats port %s: %s", address, reason);
        return NULL;
    }
    char *what = mem_printf("stats port %s", address);
    struct stats_http *h = start_on(fd, what, source, NULL, error_r);
    free(what);
    return h;
}

struct stats_http *control_http_start_fd(int fd, const struct stats_source *source,
                                         const struct control_actions *actions, char **error_r)
{
    return start_on(fd, "control socket", source, actions, error_r);
}

struct stats_http *control_http_start(const char *path, unsigned mode, const struct stats_source *source,
                                      const struct control_actions *actions, char **error_r)
{
    struct http_unix *file = NULL;
    int fd = http_listen_unix(path, mode, (int)CONNECTIONS_MAX, &file, error_r);
    if (fd < 0)
        return NULL;
    struct stats_http *h = control_http_start_fd(fd, source, actions, error_r);
    if (h)
        h->file = file;
    else
        http_remove_unix(file);
    return h;
}

int stats_http_port(const struct stats_http *h)
{
    return h->port;
}

void stats_http_stop(struct stats_http *h)
{
    if (!h)
        return;
    http_remove_unix(h->file);
    MHD_stop_daemon(h->daemon);
    free(h);
}
