/* The control socket: its file, its orders, its answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mem.h"
#include "run/control_http.h"
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct world {
    char folder[64], path[96];
    struct stats_http *http;
    enum control_result result; /* what actions answer */
    const char *text;
    char did[128]; /* the last action */
};

static enum control_result note(struct world *w, struct buf *out, const char *what)
{
    snprintf(w->did, sizeof w->did, "%s", what);
    buf_add_str(out, w->text);
    return w->result;
}

static enum control_result do_drain(void *ctx, struct buf *out)
{
    return note(ctx, out, "drain");
}

static enum control_result do_reload(void *ctx, struct buf *out)
{
    return note(ctx, out, "reload");
}

static enum control_result do_disconnect(void *ctx, struct slice sid, bool end, struct buf *out)
{
    char what[96];
    snprintf(what, sizeof what, "disconnect %.*s %s", SLICE_ARG(sid), end ? "end" : "cut");
    return note(ctx, out, what);
}

static enum control_result do_purge(void *ctx, struct slice jid, struct buf *out)
{
    char what[96];
    snprintf(what, sizeof what, "purge %.*s", SLICE_ARG(jid));
    return note(ctx, out, what);
}

static enum control_result do_message(void *ctx, struct slice id, struct buf *out)
{
    char what[96];
    snprintf(what, sizeof what, "message %.*s", SLICE_ARG(id));
    return note(ctx, out, what);
}

static bool yes(void *ctx, struct buf *reasons)
{
    (void)ctx;
    (void)reasons;
    return true;
}

static void some_text(void *ctx, struct buf *out)
{
    (void)ctx;
    BUF_LIT(out, "\"a\":1");
}

static bool no_sessions(void *ctx, const struct stats_query *q, struct buf *out)
{
    (void)ctx;
    (void)q;
    BUF_LIT(out, "[]");
    return true;
}

static bool any_session(void *ctx, struct slice sid, struct buf *out)
{
    (void)ctx;
    buf_printf(out, "{\"sid\":\"%.*s\"}", SLICE_ARG(sid));
    return true;
}

static struct stats_http *start(struct world *w, unsigned mode, char **error_r)
{
    struct stats_source source = {w, yes, yes, some_text, some_text, no_sessions, any_session};
    struct control_actions actions = {w, do_drain, do_reload, do_disconnect, do_purge, do_message};
    return control_http_start(w->path, mode, &source, &actions, error_r);
}

static int world_start(void **state)
{
    struct world *w = MEM_NEW(struct world);
    char *error = NULL;
    signal(SIGPIPE, SIG_IGN);
    w->text = "";
    snprintf(w->folder, sizeof w->folder, "/tmp/holdfast-control-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    snprintf(w->path, sizeof w->path, "%s/socket", w->folder);
    w->http = start(w, 0600, &error);
    if (!w->http)
        fail_msg("%s", error);
    *state = w;
    return 0;
}

static int world_stop(void **state)
{
    struct world *w = *state;
    stats_http_stop(w->http);
    unlink(w->path);
    assert_int_equal(rmdir(w->folder), 0);
    free(w);
    return 0;
}

static int dial(const struct world *w)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", w->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

/* The whole answer; free() it. */
static char *ask(const struct world *w, const char *method, const char *target)
{
    int fd = dial(w);
    char *request = mem_printf("%s %s HTTP/1.0\r\nHost: x\r\n\r\n", method, target);
    struct buf all = {0};
    ssize_t n;
    assert_true(fd >= 0);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    while ((n = recv(fd, buf_reserve(&all, 4096), 4096, 0)) > 0)
        buf_commit(&all, (size_t)n);
    close(fd);
    free(request);
    return buf_steal(&all);
}

static void expect(const struct world *w, const char *method, const char *target, int status, const char *body)
{
    char *all = ask(w, method, target);
    const char *got = strstr(all, "\r\n\r\n");
    int is = 0;
    sscanf(all, "HTTP/1.%*d %d", &is);
    if (is != status || !got || strcmp(got + 4, body) != 0)
        fail_msg("%s %s: wanted %d %s, got: %s", method, target, status, body, all);
    free(all);
}

static void orders_reach_their_actions(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *target, *did;
    } rows[] = {
        {"/drain", "drain"},
        {"/reload", "reload"},
        {"/purge?jid=a%40b.c", "purge a@b.c"},
        {"/sessions/0123/disconnect", "disconnect 0123 cut"},
        {"/sessions/0123/disconnect?end=no", "disconnect 0123 cut"},
        {"/sessions/0123/disconnect?end=yes", "disconnect 0123 end"},
        {"/sessions/a/b/disconnect", "disconnect a/b cut"},
    };
    w->text = "\"n\":1";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        expect(w, "POST", rows[i].target, 200, "{\"n\":1}\n");
        assert_string_equal(w->did, rows[i].did);
    }
    w->result = CONTROL_BEGUN;
    expect(w, "POST", "/drain", 202, "{\"n\":1}\n");
}

static void messages_are_read_here_alone(void **state)
{
    struct world *w = *state;
    w->text = "\"n\":1";
    expect(w, "GET", "/messages/a%2Fb%20c", 200, "{\"n\":1}\n");
    assert_string_equal(w->did, "message a/b c");
    w->did[0] = '\0';
    expect(w, "POST", "/messages/1", 405, "{\"error\":\"this is for reading: GET it\"}\n");
    assert_string_equal(w->did, "");
    w->result = CONTROL_UNKNOWN;
    w->text = "nothing";
    expect(w, "GET", "/messages/1", 404, "{\"error\":\"nothing\"}\n");
}

static void what_was_not_done_has_an_error(void **state)
{
    struct world *w = *state;
    static const struct {
        enum control_result result;
        int status;
    } rows[] = {{CONTROL_REFUSED, 409}, {CONTROL_UNKNOWN, 404}, {CONTROL_LATE, 504}};
    w->text = "because \"so\"";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        w->result = rows[i].result;
        expect(w, "POST", "/sessions/0123/disconnect", rows[i].status, "{\"error\":\"because \\\"so\\\"\"}\n");
    }
    w->result = CONTROL_REFUSED; /* a bad file: its problems are told */
    w->text = "\"errors\":[]";
    expect(w, "POST", "/reload", 422, "{\"errors\":[]}\n");
}

static void bad_orders_do_nothing(void **state)
{
    struct world *w = *state;
    expect(w, "GET", "/drain", 405, "{\"error\":\"this is an order: POST it\"}\n");
    expect(w, "PUT", "/reload", 405, "{\"error\":\"this is an order: POST it\"}\n");
    expect(w, "POST", "/purge", 400, "{\"error\":\"name the account: /purge?jid=user@example.org\"}\n");
    expect(w, "POST", "/purge?jid=", 400, "{\"error\":\"name the account: /purge?jid=user@example.org\"}\n");
    expect(w, "POST", "/sessions/1/disconnect?end=maybe", 400, "{\"error\":\"end must be yes or no\"}\n");
    char *none = ask(w, "POST", "/pause");
    assert_non_null(strstr(none, " 404 "));
    free(none);
    none = ask(w, "POST", "/sessions");
    assert_non_null(strstr(none, " 405 "));
    assert_non_null(strstr(none, "Allow: GET, HEAD"));
    free(none);
    assert_string_equal(w->did, "");
}

static void it_reads_as_the_stats_port_does(void **state)
{
    expect(*state, "GET", "/healthz", 200, "ok\n");
    expect(*state, "GET", "/stats.json", 200, "{\"a\":1}\n");
    expect(*state, "GET", "/sessions?format=json", 200, "[]\n");
    expect(*state, "GET", "/sessions/disconnect", 200, "{\"sid\":\"disconnect\"}\n");
}

/* ---- the file ---- */

static unsigned mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    return st.st_mode & 0777;
}

static void the_file_has_its_mode_and_goes_with_it(void **state)
{
    struct world *w = *state;
    char *error = NULL;
    mode_t before = umask(0);
    assert_int_equal(mode_of(w->path), 0600);
    stats_http_stop(w->http);
    assert_int_equal(access(w->path, F_OK), -1);
    umask(0177);
    w->http = start(w, 0660, &error);
    umask(before);
    assert_non_null(w->http);
    assert_int_equal(mode_of(w->path), 0660);
}

static void a_live_socket_is_left_alone(void **state)
{
    struct world *w = *state;
    char *error = NULL;
    assert_null(start(w, 0600, &error));
    assert_non_null(strstr(error, "a process listens there already"));
    assert_non_null(strstr(error, w->path));
    free(error);
    expect(w, "GET", "/healthz", 200, "ok\n");
}

static void a_dead_one_is_replaced(void **state)
{
    struct world *w = *state;
    char *error = NULL;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    stats_http_stop(w->http);
    snprintf(name.sun_path, sizeof name.sun_path, "%s", w->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(fd, 1), 0);
    close(fd); /* as a crash: the file stays */
    w->http = start(w, 0600, &error);
    if (!w->http)
        fail_msg("%s", error);
    expect(w, "GET", "/healthz", 200, "ok\n");
}

static void another_file_is_not_touched(void **state)
{
    struct world *w = *state;
    char *error = NULL;
    stats_http_stop(w->http);
    FILE *file = fopen(w->path, "w");
    fputs("precious", file);
    fclose(file);
    w->http = start(w, 0600, &error);
    assert_null(w->http);
    assert_non_null(strstr(error, "not a socket"));
    free(error);
    assert_int_equal(access(w->path, R_OK), 0);
}

static void what_took_its_place_stays(void **state)
{
    struct world *w = *state;
    assert_int_equal(unlink(w->path), 0);
    FILE *file = fopen(w->path, "w");
    fclose(file);
    stats_http_stop(w->http);
    w->http = NULL;
    assert_int_equal(access(w->path, F_OK), 0);
}

static void a_path_that_cannot_be_is_explained(void **state)
{
    struct world w = *(struct world *)*state;
    char *error = NULL;
    snprintf(w.path, sizeof w.path, "%.60s/none/socket", w.folder);
    assert_null(start(&w, 0600, &error));
    assert_non_null(strstr(error, "its folder must be there"));
    free(error);
}

/* As a service manager hands it over: the file is not ours. */
static void a_socket_that_listens_is_taken_over(void **state)
{
    struct world *w = *state;
    struct stats_source source = {w, yes, yes, some_text, some_text, no_sessions, any_session};
    struct control_actions actions = {w, do_drain, do_reload, do_disconnect, do_purge, do_message};
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char *error = NULL;
    stats_http_stop(w->http);
    snprintf(name.sun_path, sizeof name.sun_path, "%s", w->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(fd, 8), 0);
    w->http = control_http_start_fd(fd, &source, &actions, &error);
    assert_non_null(w->http);
    expect(w, "POST", "/drain", 200, "{}\n");
    stats_http_stop(w->http);
    w->http = NULL;
    assert_int_equal(access(w->path, F_OK), 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, world_start, world_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(orders_reach_their_actions),         T(messages_are_read_here_alone),
        T(what_was_not_done_has_an_error),     T(bad_orders_do_nothing),
        T(it_reads_as_the_stats_port_does),    T(the_file_has_its_mode_and_goes_with_it),
        T(a_live_socket_is_left_alone),        T(a_dead_one_is_replaced),
        T(another_file_is_not_touched),        T(what_took_its_place_stays),
        T(a_path_that_cannot_be_is_explained), T(a_socket_that_listens_is_taken_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
