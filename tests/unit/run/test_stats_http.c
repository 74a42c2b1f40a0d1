#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "../openmetrics_check.h"
#include "base/buf.h"
#include "base/counters.h"
#include "base/mem.h"
#include "run/process_metrics.h"
#include "run/stats_http.h"
#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- a source as the node would give it, with switches --- */

struct world {
    struct counters *counters;
    atomic_bool draining, stuck, workers_late;
    char asked_jid[64];
    struct stats_query asked; /* by the last request for sessions; read when that was answered */
    pthread_mutex_t lock;
    struct stats_http *http;
};

static bool source_ready(void *ctx, struct buf *reasons)
{
    struct world *w = ctx;
    if (atomic_load(&w->draining))
        BUF_LIT(reasons, "draining\nupstream: 0/2 up");
    return !atomic_load(&w->draining);
}

static bool source_alive(void *ctx, struct buf *reasons)
{
    struct world *w = ctx;
    if (atomic_load(&w->stuck))
        BUF_LIT(reasons, "worker 1: no turn for 12 s\n");
    return !atomic_load(&w->stuck);
}

static void source_metrics(void *ctx, struct buf *out)
{
    struct world *w = ctx;
    counters_expose(out, &w->counters, 1);
    process_metrics_expose(out, &(struct build_versions){"1.2.3", "3.0", "2.5"});
    counters_add_header(out, "holdfast_fake_gauge", METRIC_GAUGE, "1 while draining");
    BUF_LIT(out, "holdfast_fake_gauge 0\n");
}

static void source_figures(void *ctx, struct buf *out)
{
    struct world *w = ctx;
    BUF_LIT(out, "\"node\":\"a\",");
    counters_expose_json(out, &w->counters, 1);
}

/* Workers that are late never ask for the result: the wait ends by its deadline. */
static bool wait_for_workers(struct world *w)
{
    pthread_cond_t answered;
    struct timespec deadline;
    bool late = atomic_load(&w->workers_late);
    if (!late)
        return true;
    pthread_cond_init(&answered, NULL);
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_nsec += 20 * 1000 * 1000;
    deadline.tv_sec += deadline.tv_nsec / 1000000000;
    deadline.tv_nsec %= 1000000000;
    pthread_mutex_lock(&w->lock);
    while (pthread_cond_timedwait(&answered, &w->lock, &deadline) == 0) {
    }
    pthread_mutex_unlock(&w->lock);
    pthread_cond_destroy(&answered);
    return false;
}

static bool source_sessions(void *ctx, const struct stats_query *q, struct buf *out)
{
    struct world *w = ctx;
    BUF_LIT(out, "half of an answer");
    if (!wait_for_workers(w))
        return false;
    buf_clear(out);
    pthread_mutex_lock(&w->lock);
    w->asked = *q;
    snprintf(w->asked_jid, sizeof w->asked_jid, "%s", q->jid ? q->jid : "");
    pthread_mutex_unlock(&w->lock);
    if (q->json)
        BUF_LIT(out, "[{\"sid\":\"s1\"}]");
    else
        BUF_LIT(out, "sid state    unacked\ns1  attached       3\n");
    return true;
}

static bool source_session(void *ctx, struct slice sid, struct buf *out)
{
    if (!wait_for_workers(ctx))
        return false;
    if (slice_eq_str(sid, "s1") || slice_eq_str(sid, "a/b c"))
        buf_printf(out, "{\"sid\":\"%.*s\"}", SLICE_ARG(sid));
    return true;
}

static struct stats_source source_of(struct world *w)
{
    return (struct stats_source){
        .ctx = w,
        .ready = source_ready,
        .alive = source_alive,
        .metrics = source_metrics,
        .figures = source_figures,
        .sessions = source_sessions,
        .session = source_session,
    };
}

static int world_start(void **state)
{
    struct world *w = MEM_NEW(struct world);
    char *error = NULL;
    pthread_mutex_init(&w->lock, NULL);
    w->counters = counters_new();
    count_add(w->counters, METRIC_resumes_local, 17);
    count_observe(w->counters, METRIC_turn_time, 1234);
    struct stats_source source = source_of(w);
    w->http = stats_http_start("127.0.0.1:0", &source, &error);
    if (!w->http)
        fail_msg("%s", error);
    *state = w;
    return 0;
}

static int world_stop(void **state)
{
    struct world *w = *state;
    stats_http_stop(w->http);
    counters_free(w->counters);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return 0;
}

/* --- a client of sockets --- */

static int dial(int port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 20}, sizeof(struct timeval));
    return fd;
}

static void say(int fd, const char *text)
{
    size_t n = strlen(text);
    assert_int_equal(send(fd, text, n, MSG_NOSIGNAL), n);
}

/* All until the other side closes, then closes this side; the caller frees. */
static char *hear_all(int fd)
{
    struct buf all = {0};
    ssize_t n;
    while ((n = recv(fd, buf_reserve(&all, 4096), 4096, 0)) > 0)
        buf_commit(&all, (size_t)n);
    close(fd);
    return buf_steal(&all);
}

struct reply {
    char *whole; /* freed by reply_free() */
    int status;
    const char *body;
};

/* `method`, path with query, more header lines ("A: b\r\n"). */
static struct reply ask_with(const struct world *w, const char *method, const char *target, const char *headers)
{
    int fd = dial(stats_http_port(w->http));
    char *request =
        mem_printf("%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n", method, target, headers);
    say(fd, request);
    free(request);
    struct reply r = {.whole = hear_all(fd)};
    char *end = strstr(r.whole, "\r\n\r\n");
    if (sscanf(r.whole, "HTTP/1.1 %d ", &r.status) != 1 || !end)
        fail_msg("%s %s: no HTTP answer: %s", method, target, r.whole);
    end[2] = '\0';
    r.body = end + 4;
    return r;
}

static struct reply ask(const struct world *w, const char *target)
{
    return ask_with(w, "GET", target, "");
}

static void reply_free(struct reply *r)
{
    free(r->whole);
}

static bool has_header(const struct reply *r, const char *line)
{
    char *text = mem_printf("\r\n%s\r\n", line);
    bool has = strcasestr(r->whole, text) != NULL;
    free(text);
    return has;
}

static void assert_header(const struct reply *r, const char *line)
{
    if (!has_header(r, line))
        fail_msg("no header \"%s\" in: %s", line, r->whole);
}

static void assert_body_has(const struct reply *r, const char *text)
{
    if (!strstr(r->body, text))
        fail_msg("no \"%s\" in: %s", text, r->body);
}

/* Asks, and expects this status and this whole body. */
static void expect(const struct world *w, const char *target, int status, const char *body)
{
    struct reply r = ask(w, target);
    assert_int_equal(r.status, status);
    assert_string_equal(r.body, body);
    reply_free(&r);
}

/* --- routes --- */

static void root_lists_the_routes(void **state)
{
    struct reply r = ask(*state, "/");
    assert_int_equal(r.status, 200);
    assert_header(&r, "Content-Type: text/plain; charset=utf-8");
    assert_header(&r, "Cache-Control: no-store");
    assert_body_has(&r, "\n/metrics ");
    assert_body_has(&r, "\n/sessions/SID ");
    assert_body_has(&r, "\n/readyz ");
    reply_free(&r);
}

static void metrics_follow_accept(void **state)
{
    static const struct {
        const char *accept;
        bool openmetrics;
    } rows[] = {
        {"", false},
        {"Accept: */*\r\n", false},
        {"Accept: text/plain\r\n", false},
        {"Accept: application/openmetrics-text\r\n", true},
        {"Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n", true},
        {"Accept: text/plain;q=0.5 , Application/OpenMetrics-Text; version=1.0.0; q=0.7\r\n", true},
        {"Accept: application/openmetrics-text;q=0, text/plain\r\n", false},
        {"Accept: application/openmetrics-textual\r\n", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reply r = ask_with(*state, "GET", "/metrics", rows[i].accept);
        assert_int_equal(r.status, 200);
        assert_header(&r, rows[i].openmetrics
                              ? "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"
                              : "Content-Type: text/plain; version=0.0.4; charset=utf-8");
        assert_header(&r, "Cache-Control: no-store");
        char *error = metrics_check(slice_str(r.body), rows[i].openmetrics ? FORM_OPENMETRICS : FORM_PROMETHEUS);
        if (error)
            fail_msg("%s%s", rows[i].accept, error);
        assert_body_has(&r, "\nholdfast_resumes_total{result=\"local\"} 17\n");
        assert_body_has(&r, "\nholdfast_turn_seconds_bucket{le=\"0.0025\"} 1\n");
        assert_body_has(&r, "\nholdfast_build_info{version=\"1.2.3\",");
        reply_free(&r);
    }
}

static void older_text_names_families_as_their_samples(void **state)
{
    struct reply r = ask(*state, "/metrics");
    assert_body_has(&r, "# TYPE holdfast_resumes_total counter\n# HELP holdfast_resumes_total Resume requests");
    assert_body_has(&r, "# TYPE holdfast_build_info gauge\n# HELP holdfast_build_info ");
    assert_body_has(&r, "# TYPE holdfast_turn_seconds histogram\n# HELP holdfast_turn_seconds ");
    assert_body_has(&r, "# TYPE holdfast_fake_gauge gauge\n# HELP holdfast_fake_gauge 1 while draining\n");
    assert_null(strstr(r.body, "# UNIT"));
    reply_free(&r);
}

static void stats_json_is_one_object(void **state)
{
    struct reply r = ask(*state, "/stats.json");
    assert_int_equal(r.status, 200);
    assert_header(&r, "Content-Type: application/json");
    assert_body_has(&r, "{\"node\":\"a\",\"connections{transport=\\\"tcp\\\"}\":0,");
    assert_body_has(&r, ",\"resumes{result=\\\"local\\\"}\":17,");
    assert_true(strcmp(r.body + strlen(r.body) - 2, "}\n") == 0);
    reply_free(&r);
}

static void sessions_come_as_text_or_json(void **state)
{
    static const struct {
        const char *target, *headers;
        bool json;
    } rows[] = {
        {"/sessions", "", false},
        {"/sessions", "Accept: */*\r\n", false},
        {"/sessions", "Accept: application/json\r\n", true},
        {"/sessions?format=json", "", true},
        {"/sessions?format=text", "Accept: application/json\r\n", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reply r = ask_with(*state, "GET", rows[i].target, rows[i].headers);
        assert_int_equal(r.status, 200);
        assert_header(&r, rows[i].json ? "Content-Type: application/json" : "Content-Type: text/plain; charset=utf-8");
        assert_string_equal(r.body,
                            rows[i].json ? "[{\"sid\":\"s1\"}]\n" : "sid state    unacked\ns1  attached       3\n");
        reply_free(&r);
    }
}

static void session_query_is_parsed(void **state)
{
    static const struct {
        const char *target;
        struct stats_query q;
    } rows[] = {
        {"/sessions", {.limit = STATS_DEFAULT_LIMIT}},
        {"/sessions?state=any&sort=unacked", {.limit = STATS_DEFAULT_LIMIT}},
        {"/sessions?state=detached&sort=age&limit=5", {STATS_DETACHED, STATS_BY_AGE, .limit = 5}},
        {"/sessions?limit=0&sort=sid&state=attached", {STATS_ATTACHED, STATS_BY_SID, .limit = 0}},
        {"/sessions?format=json&state=unmanaged&other=1&limit=9", {STATS_UNMANAGED, .limit = 9, .json = true}},
        {"/sessions?sort=oldest&offset=20&limit=10", {.sort = STATS_BY_OLDEST, .offset = 20, .limit = 10}},
        {"/sessions?sort=slow&jid=a%40b/c%26d", {.sort = STATS_BY_ACK_TIME, .jid = "a@b/c&d", .limit = 1000}},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reply r = ask(w, rows[i].target);
        assert_int_equal(r.status, 200);
        pthread_mutex_lock(&w->lock);
        struct stats_query asked = w->asked;
        pthread_mutex_unlock(&w->lock);
        assert_int_equal(asked.state, rows[i].q.state);
        assert_int_equal(asked.sort, rows[i].q.sort);
        assert_int_equal(asked.limit, rows[i].q.limit);
        assert_int_equal(asked.offset, rows[i].q.offset);
        assert_string_equal(asked.jid ? w->asked_jid : "none", rows[i].q.jid ? rows[i].q.jid : "none");
        assert_int_equal(asked.json, rows[i].q.json);
        reply_free(&r);
    }
}

static void bad_session_query_is_explained(void **state)
{
    expect(*state, "/sessions?state=gone", 400, "state must be one of: any attached detached unmanaged\n");
    expect(*state, "/sessions?sort=", 400, "sort must be one of: unacked oldest slow age sid\n");
    expect(*state, "/sessions?format=xml", 400, "format must be one of: text json\n");
    expect(*state, "/sessions?limit=-1", 400, "limit must be a number\n");
    expect(*state, "/sessions?limit=", 400, "limit must be a number\n");
    expect(*state, "/sessions?offset=x", 400, "offset must be a number\n");
    expect(*state, "/sessions?limit=99999999999999999999", 400, "limit must be a number\n");
}

static void one_session_is_found_or_not(void **state)
{
    struct reply r = ask(*state, "/sessions/s1");
    assert_header(&r, "Content-Type: application/json");
    reply_free(&r);
    expect(*state, "/sessions/s1", 200, "{\"sid\":\"s1\"}\n");
    expect(*state, "/sessions/a%2Fb%20c", 200, "{\"sid\":\"a/b c\"}\n");
    expect(*state, "/sessions/s2", 404, "no such session\n");
}

static void late_workers_are_a_gateway_timeout(void **state)
{
    struct world *w = *state;
    atomic_store(&w->workers_late, true);
    expect(w, "/sessions?format=json", 504, "the workers did not answer in time\n");
    expect(w, "/sessions/s1", 504, "the workers did not answer in time\n");
    expect(w, "/healthz", 200, "ok\n");
    atomic_store(&w->workers_late, false);
    expect(w, "/sessions/s1", 200, "{\"sid\":\"s1\"}\n");
}

static void probes_tell_reasons(void **state)
{
    struct world *w = *state;
    expect(w, "/healthz", 200, "ok\n");
    expect(w, "/livez", 200, "ok\n");
    expect(w, "/readyz", 200, "ok\n");
    atomic_store(&w->draining, true);
    expect(w, "/readyz", 503, "draining\nupstream: 0/2 up\n");
    expect(w, "/healthz", 200, "ok\n");
    atomic_store(&w->stuck, true);
    expect(w, "/healthz", 503, "worker 1: no turn for 12 s\n");
    expect(w, "/livez", 503, "worker 1: no turn for 12 s\n");
}

/* --- HTTP --- */

static void head_has_the_headers_of_get(void **state)
{
    static const char *const targets[] = {"/", "/stats.json", "/sessions", "/sessions/s1", "/healthz", "/none"};
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        struct reply get = ask(*state, targets[i]), head = ask_with(*state, "HEAD", targets[i], "");
        char *length = mem_printf("Content-Length: %zu", strlen(get.body));
        assert_int_equal(head.status, get.status);
        assert_header(&get, length);
        assert_header(&head, length);
        assert_string_equal(head.body, "");
        free(length);
        reply_free(&get);
        reply_free(&head);
    }
}

static void other_methods_are_refused(void **state)
{
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        struct reply r = ask_with(*state, methods[i], "/sessions", "");
        assert_int_equal(r.status, 405);
        assert_header(&r, "Allow: GET, HEAD");
        reply_free(&r);
    }
    struct reply r = ask_with(*state, "POST", "/metrics", "Content-Length: 5\r\n\r\nhello");
    assert_int_equal(r.status, 405);
    reply_free(&r);
}

static void the_stats_port_never_acts(void **state)
{
    static const char *const orders[] = {"/drain", "/reload", "/purge?jid=a@b", "/sessions/s1/disconnect?end=yes"};
    static const char *const methods[] = {"POST", "GET", "PUT"};
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        for (size_t m = 0; m < sizeof methods / sizeof methods[0]; m++) {
            struct reply r = ask_with(*state, methods[m], orders[i], "");
            assert_int_equal(r.status, 403);
            assert_body_has(&r, "holdfastctl");
            reply_free(&r);
        }
    }
}

static void unknown_path_gets_the_routes(void **state)
{
    static const char *const targets[] = {"/nowhere", "/metrics/", "/sessions/", "/Metrics", "//"};
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        struct reply r = ask(*state, targets[i]);
        assert_int_equal(r.status, 404);
        assert_header(&r, "Cache-Control: no-store");
        assert_body_has(&r, "\n/metrics ");
        reply_free(&r);
    }
}

static void huge_request_is_refused(void **state)
{
    struct world *w = *state;
    char *long_path = mem_alloc(20001);
    memset(long_path, 'x', 20000);
    long_path[0] = '/';
    long_path[20000] = '\0';
    struct reply r = ask(w, long_path);
    assert_true(r.status == 414 || r.status == 431);
    reply_free(&r);
    free(long_path);
    expect(w, "/healthz", 200, "ok\n");
}

static void connection_is_kept_for_the_next_request(void **state)
{
    struct world *w = *state;
    int fd = dial(stats_http_port(w->http));
    say(fd, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nHEAD /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
            "GET /sessions/s1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    char *all = hear_all(fd);
    const char *first = strstr(all, "\r\n\r\nok\nHTTP/1.1 200 "), *second = strstr(all, "\r\n\r\nHTTP/1.1 200 ");
    assert_true(first && second && first < second);
    assert_non_null(strstr(all, "\r\n\r\n{\"sid\":\"s1\"}\n"));
    free(all);
}

/* --- many at once --- */

struct asker {
    const struct world *w;
    pthread_t thread;
    int right;
};

#define ASKERS    8
#define QUESTIONS 20

/* Without cmocka's assertions: they belong to the main thread. */
static void *ask_much(void *arg)
{
    struct asker *a = arg;
    static const char *const targets[] = {"/metrics", "/sessions", "/stats.json", "/readyz"};
    static const char *const bodies[] = {"holdfast_resumes_total", "attached", "\"node\"", "ok\n"};
    for (int i = 0; i < QUESTIONS; i++) {
        struct reply r = ask(a->w, targets[i % 4]);
        a->right += r.status == 200 && strstr(r.body, bodies[i % 4]);
        reply_free(&r);
    }
    return NULL;
}

static void concurrent_requests_are_all_answered(void **state)
{
    struct asker askers[ASKERS];
    struct world *w = *state;
    for (int i = 0; i < ASKERS; i++) {
        askers[i] = (struct asker){.w = w};
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_much, &askers[i]), 0);
    }
    for (int i = 0; i < 1000; i++) /* the worker goes on counting meanwhile */
        count(w->counters, METRIC_acks_sent);
    for (int i = 0; i < ASKERS; i++) {
        pthread_join(askers[i].thread, NULL);
        assert_int_equal(askers[i].right, QUESTIONS);
    }
}

static void connections_above_the_limit_wait_for_their_turn(void **state)
{
    struct world *w = *state;
    int idle[64];
    for (int i = 0; i < 64; i++)
        idle[i] = dial(stats_http_port(w->http));
    int fd = dial(stats_http_port(w->http));
    say(fd, "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    for (int i = 0; i < 64; i++)
        close(idle[i]);
    char *all = hear_all(fd);
    assert_non_null(strstr(all, "\r\n\r\nok\n"));
    free(all);
}

/* --- starting and stopping --- */

static void assert_refused(const char *address, const char *error)
{
    struct stats_source source = {0};
    char *told = NULL;
    assert_null(stats_http_start(address, &source, &told));
    assert_string_equal(told, error);
    free(told);
}

static void bad_addresses_are_explained(void **state)
{
    struct world *w = *state;
    char *address = mem_printf("127.0.0.1:%d", stats_http_port(w->http));
    char *error = mem_printf("stats port %s: Address already in use", address);
    assert_refused(address, error);
    free(error);
    free(address);
    assert_refused("127.0.0.1:", "stats port 127.0.0.1:: not an address:port");
    assert_refused("127.0.0.1:http", "stats port 127.0.0.1:http: not an address:port");
    assert_refused("127.0.0.1:65536", "stats port 127.0.0.1:65536: not an address:port");
    assert_refused("::1:9280", "stats port ::1:9280: not an address:port");
    assert_refused(":9280", "stats port :9280: not an address:port");
    assert_refused("", "stats port : not an address:port");
    assert_refused("192.0.2.1:0", "stats port 192.0.2.1:0: Cannot assign requested address");
}

/* All of them answer on 127.0.0.1, but for the IPv6 one, which a machine may lack. */
static void forms_of_addresses_are_served(void **state)
{
    static const char *const addresses[] = {"*:0", "0", "0.0.0.0:0", "[::]:0"};
    struct world *w = *state;
    struct stats_source source = source_of(w);
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        char *error = NULL;
        struct world other = {.http = stats_http_start(addresses[i], &source, &error)};
        if (!other.http && addresses[i][0] == '[') {
            free(error);
            continue;
        }
        assert_non_null(other.http);
        assert_true(stats_http_port(other.http) > 0);
        expect(&other, "/healthz", 200, "ok\n");
        stats_http_stop(other.http);
    }
}

static void stop_frees_the_port_and_cuts_idle_connections(void **state)
{
    struct world *w = *state;
    struct stats_source source = source_of(w);
    char *error = NULL, *address;
    expect(w, "/healthz", 200, "ok\n");
    int idle = dial(stats_http_port(w->http));
    address = mem_printf("127.0.0.1:%d", stats_http_port(w->http));
    stats_http_stop(w->http);
    free(hear_all(idle)); /* returns only when the connection is closed */
    w->http = stats_http_start(address, &source, &error);
    if (!w->http)
        fail_msg("%s", error);
    expect(w, "/healthz", 200, "ok\n");
    free(address);
    stats_http_stop(NULL);
}

/* A signal that every thread but one has blocked must not end up on the HTTP thread. */
static void http_thread_leaves_signals_alone(void **state)
{
    sigset_t one, pending;
    (void)state;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &one, NULL);
    kill(getpid(), SIGUSR1); /* would end the process on any thread that has not blocked it */
    expect(*state, "/healthz", 200, "ok\n");
    sigpending(&pending);
    assert_true(sigismember(&pending, SIGUSR1));
    sigwait(&one, &(int){0});
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
}

#define T(test) cmocka_unit_test_setup_teardown(test, world_start, world_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(root_lists_the_routes),
        T(metrics_follow_accept),
        T(older_text_names_families_as_their_samples),
        T(stats_json_is_one_object),
        T(sessions_come_as_text_or_json),
        T(session_query_is_parsed),
        T(bad_session_query_is_explained),
        T(one_session_is_found_or_not),
        T(late_workers_are_a_gateway_timeout),
        T(probes_tell_reasons),
        T(head_has_the_headers_of_get),
        T(other_methods_are_refused),
        T(the_stats_port_never_acts),
        T(unknown_path_gets_the_routes),
        T(huge_request_is_refused),
        T(connection_is_kept_for_the_next_request),
        T(concurrent_requests_are_all_answered),
        T(connections_above_the_limit_wait_for_their_turn),
        T(bad_addresses_are_explained),
        T(forms_of_addresses_are_served),
        T(stop_frees_the_port_and_cuts_idle_connections),
        T(http_thread_leaves_signals_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
