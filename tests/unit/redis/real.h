/* What the tests of redis/ share: real servers on free ports of loopback, each in a folder of its own and gone with the
 * test; a client of them that records what it is told; a way to look at a server from outside (hiredis, blocking). */
#ifndef HOLDFAST_TESTS_REDIS_REAL_H
#define HOLDFAST_TESTS_REDIS_REAL_H

#include "../net/support.h"
#include "base/counters.h"
#include "base/log.h"
#include "net/dialer.h"
#include "redis/redis.h"
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

/* --- Servers --- */

#define OPTIONS 32

struct real {
    pid_t pid;
    int port, bus, tls;
    char dir[40];
    char socket[64];
    char *args[2 * OPTIONS + 8];
    int argc;
};

/* A folder of its own, and where the server's socket in it is. */
UNUSED_OK static void real_make_dir(struct real *s)
{
    char dir[] = "/tmp/holdfast-redis-XXXXXX";
    assert_non_null(mkdtemp(dir));
    strcpy(s->dir, dir);
    snprintf(s->socket, sizeof s->socket, "%s/socket", dir);
}

UNUSED_OK static int free_port(void)
{
    int port = 0, fd = listen_loopback("127.0.0.1", &port);
    close(fd);
    return port;
}

UNUSED_OK static void real_option(struct real *s, const char *name, const char *value)
{
    s->args[s->argc++] = mem_printf("--%s", name);
    s->args[s->argc++] = mem_strdup(value);
}

UNUSED_OK static void real_number(struct real *s, const char *name, int value)
{
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    real_option(s, name, text);
}

/* What an own options may follow; real_start then. */
UNUSED_OK static void real_prepare(struct real *s)
{
    *s = (struct real){.port = free_port()};
    real_make_dir(s);
    s->args[s->argc++] = mem_strdup("redis-server");
    real_number(s, "port", s->port);
    real_option(s, "bind", "127.0.0.1 -::1");
    real_option(s, "dir", s->dir);
    real_option(s, "logfile", "log");
    real_option(s, "unixsocket", s->socket);
    real_option(s, "save", "");
    real_option(s, "repl-diskless-sync-delay", "0");
    real_option(s, "enable-debug-command", "yes");
}

/* A blocking connection for looking at it; the caller frees it. */
UNUSED_OK static redisContext *real_connect(const struct real *s)
{
    struct timeval limit = {5, 0};
    redisContext *c = redisConnectUnixWithTimeout(s->socket, limit);
    assert_non_null(c);
    redisSetTimeout(c, limit);
    return c;
}

UNUSED_OK static void real_pause(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

/* One command, words apart by blanks; the answer as text ("(nil)", a number, "a,b" for an array). */
UNUSED_OK static char *real_ask(const struct real *s, const char *format, ...)
{
    va_list args;
    redisContext *c = real_connect(s);
    va_start(args, format);
    redisReply *reply = redisvCommand(c, format, args);
    va_end(args);
    struct buf out = {0};
    if (!reply)
        buf_printf(&out, "(%s)", c->errstr);
    else if (reply->type == REDIS_REPLY_INTEGER)
        buf_printf(&out, "%lld", reply->integer);
    else if (reply->type == REDIS_REPLY_ARRAY)
        for (size_t i = 0; i < reply->elements; i++)
            buf_printf(&out, "%s%s", i ? "," : "", reply->element[i]->str ? reply->element[i]->str : "(nil)");
    else
        buf_printf(&out, "%s", reply->str ? reply->str : "(nil)");
    if (reply)
        freeReplyObject(reply);
    redisFree(c);
    return buf_steal(&out);
}

UNUSED_OK static void assert_asked(const struct real *s, const char *question, const char *answer)
{
    char *got = real_ask(s, question);
    assert_string_equal(got, answer);
    free(got);
}

/* Until the server says so. */
UNUSED_OK static void real_await(const struct real *s, const char *question, const char *part)
{
    for (int i = 0; i < 6000; i++) {
        char *got = real_ask(s, question);
        bool there = strstr(got, part) != NULL;
        if (i == 5999)
            fprintf(stderr, "%s: %s instead of %s\n", question, got, part);
        free(got);
        if (there)
            return;
        real_pause();
    }
    fail_msg("%s never told %s", question, part);
}

UNUSED_OK static void real_start(struct real *s)
{
    s->args[s->argc] = NULL;
    unlink(s->socket);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execvp(s->args[0], s->args);
        _exit(127);
    }
    for (int i = 0; i < 6000; i++) {
        int status;
        redisContext *c = redisConnectUnix(s->socket);
        bool there = c && !c->err;
        redisFree(c);
        if (there)
            return;
        if (waitpid(s->pid, &status, WNOHANG) == s->pid) {
            s->pid = 0;
            break;
        }
        real_pause();
    }
    fail_msg("%s did not start, see %s/log", s->args[0], s->dir);
}

UNUSED_OK static void real_kill(struct real *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        waitpid(s->pid, NULL, 0);
    }
    s->pid = 0;
}

UNUSED_OK static void real_end(struct real *s)
{
    real_kill(s);
    for (int i = 0; i < s->argc; i++)
        free(s->args[i]);
    char *remove = mem_printf("rm -rf '%s'", s->dir);
    assert_int_equal(system(remove), 0);
    free(remove);
}

/* --- A client --- */

struct answer {
    enum redis_answer answer;
    int number;
    char text[128]; /* of the reply */
};

struct client {
    struct loop *l;
    struct dialer *d;
    struct counters *counters;
    struct redis_url *url;
    struct tls_context *tls;
    struct redis *r;
    struct redis_events events;
    struct redis_options o;
    struct buf told;  /* "back 0-16383 fresh\n", "away 0-16383: why\n", "told TEXT\n" */
    struct buf log;
    int backs, aways;
    bool writable;
    struct answer *answers;
    size_t count, room;
    int sent;
    struct until until;
};

struct due {
    struct client *c;
    int number;
};

static void on_client_back(void *ctx, unsigned first, unsigned last, bool fresh)
{
    struct client *c = ctx;
    buf_printf(&c->told, "back %u-%u%s\n", first, last, fresh ? " fresh" : "");
    c->backs++;
    c->writable = true;
}

static void on_client_away(void *ctx, unsigned first, unsigned last, const char *why)
{
    struct client *c = ctx;
    buf_printf(&c->told, "away %u-%u: %s\n", first, last, why);
    c->aways++;
    c->writable = false;
}

static void on_client_told(void *ctx, struct slice message)
{
    buf_printf(&((struct client *)ctx)->told, "told %.*s\n", SLICE_ARG(message));
}

static void on_log(void *ctx, const char *line, size_t n)
{
    buf_append(&((struct client *)ctx)->log, line, n);
}

static void client_turn(void *ctx)
{
    struct client *c = ctx;
    if (c->r)
        redis_turn(c->r);
    if (c->until.holds && c->until.holds(c->until.ctx))
        loop_stop(c->l);
}

UNUSED_OK static void client_prepare(struct client *c)
{
    *c = (struct client){.l = loop_new(), .counters = counters_new()};
    c->d = dialer_new(c->l);
    c->events = (struct redis_events){on_client_back, on_client_away, on_client_told};
    c->o = (struct redis_options){
        .loop = c->l,
        .dialer = c->d,
        .connect_timeout = 2 * USEC_S,
        .command_timeout = 2 * USEC_S,
        .counters = c->counters,
        .events = &c->events,
        .ctx = c,
    };
    loop_on_turn_end(c->l, client_turn, c);
    log_set_sink(on_log, c);
}

UNUSED_OK static void client_open(struct client *c, const char *url)
{
    char *error = NULL;
    c->url = redis_url_parse(url, &error);
    if (!c->url)
        fail_msg("%s", error);
    c->o.url = c->url;
    c->r = redis_new(&c->o);
    assert_int_equal(c->told.n, 0);
}

UNUSED_OK static void client_open_port(struct client *c, int port)
{
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", port);
    client_open(c, url);
}

static void client_too_late(void *ctx)
{
    struct client *c = ctx;
    struct buf figures = {0};
    counters_expose_json(&figures, &c->counters, 1);
    fprintf(stderr, "%.*s%.*s%zu of %d answered, why: %s\n%.*s\n", SLICE_ARG(buf_slice(&c->log)),
            SLICE_ARG(buf_slice(&c->told)), c->count, c->sent, c->r ? redis_why_away(c->r) : "",
            SLICE_ARG(buf_slice(&figures)));
    until_too_late(NULL);
}

/* Ends with all that it knows at stderr, if that never holds. */
UNUSED_OK static void client_until(struct client *c, bool (*holds)(void *ctx), void *ctx)
{
    struct clock now;
    clock_read(&now);
    c->until = (struct until){.l = c->l, .holds = holds, .ctx = ctx, .guard = {.fire = client_too_late, .ctx = c}};
    timers_arm(loop_timers(c->l), &c->until.guard, now.mono + 50 * USEC_S);
    loop_run(c->l);
    timers_cancel(loop_timers(c->l), &c->until.guard);
    c->until.holds = NULL;
}

static bool is_writable(void *ctx)
{
    return ((struct client *)ctx)->writable;
}

static bool is_away(void *ctx)
{
    return !((struct client *)ctx)->writable;
}

static bool is_all_answered(void *ctx)
{
    struct client *c = ctx;
    return (int)c->count == c->sent;
}

UNUSED_OK static void client_until_writable(struct client *c)
{
    client_until(c, is_writable, c);
}

UNUSED_OK static void client_until_away(struct client *c)
{
    client_until(c, is_away, c);
}

UNUSED_OK static void client_until_answered(struct client *c)
{
    client_until(c, is_all_answered, c);
}

struct wanted_text {
    struct buf *in;
    const char *text;
};

static bool has_text(void *ctx)
{
    const struct wanted_text *w = ctx;
    buf_append(w->in, "", 1); /* a NUL to search up to; taken back */
    w->in->n--;
    return w->in->n && strstr(w->in->data + w->in->off, w->text) != NULL;
}

UNUSED_OK static void client_until_text(struct client *c, struct buf *in, const char *text)
{
    struct wanted_text w = {in, text};
    client_until(c, has_text, &w);
}

UNUSED_OK static bool buf_has(struct buf *in, const char *text)
{
    struct wanted_text w = {in, text};
    return has_text(&w);
}

static bool is_due(void *ctx)
{
    return *(bool *)ctx;
}

static void set_flag(void *ctx)
{
    *(bool *)ctx = true;
}

/* Lets the loop run for a while: where nothing is to happen. */
UNUSED_OK static void client_run_for(struct client *c, usec time)
{
    bool due = false;
    struct clock now;
    clock_read(&now);
    struct timer timer = {.fire = set_flag, .ctx = &due};
    timers_arm(loop_timers(c->l), &timer, now.mono + time);
    client_until(c, is_due, &due);
}

static void on_client_answer(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct due *due = ctx;
    struct client *c = due->c;
    if (c->count == c->room) {
        c->room = c->room ? 2 * c->room : 64;
        c->answers = mem_realloc(c->answers, c->room * sizeof *c->answers);
    }
    struct answer *it = &c->answers[c->count++];
    *it = (struct answer){.answer = a, .number = due->number};
    if (reply && reply->type == REDIS_REPLY_INTEGER)
        snprintf(it->text, sizeof it->text, "%lld", reply->integer);
    else if (reply && reply->str)
        snprintf(it->text, sizeof it->text, "%s", reply->str);
    assert_true(a == REDIS_AWAY || (reply == NULL) == (a == REDIS_UNKNOWN));
    free(due);
}

static size_t split(const char *line, struct slice *argv, size_t max)
{
    size_t n = 0;
    while (*line && n < max) {
        size_t word = strcspn(line, " ");
        argv[n++] = slice_of(line, word);
        line += word + (line[word] == ' ');
    }
    return n;
}

UNUSED_OK static struct due *client_due(struct client *c)
{
    struct due *due = MEM_NEW(struct due);
    *due = (struct due){c, c->sent++};
    return due;
}

/* Words apart by single blanks; the second one is the key. Its answer has the number that is returned. */
UNUSED_OK __attribute__((format(printf, 2, 3))) static int client_send(struct client *c, const char *format, ...)
{
    char line[512];
    struct slice argv[32];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    size_t n = split(line, argv, 32), had = c->count;
    struct due *due = client_due(c);
    int number = due->number;
    redis_send(c->r, redis_slot(argv[n > 1]), n, argv, on_client_answer, due);
    assert_int_equal(c->count, had);
    return number;
}

UNUSED_OK static void client_eval(struct client *c, struct redis_script *script, const char *key, const char *arg)
{
    const struct slice argv[] = {slice_str(key), slice_str(arg)};
    redis_eval(c->r, redis_slot(argv[0]), script, 1, 2, argv, on_client_answer, client_due(c));
}

UNUSED_OK static void assert_answer(const struct client *c, int number, enum redis_answer answer, const char *text)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->answers[i].number == number) {
            if (c->answers[i].answer != answer || !strstr(c->answers[i].text, text))
                fail_msg("command %d: %d %s", number, c->answers[i].answer, c->answers[i].text);
            return;
        }
    }
    fail_msg("command %d was not answered", number);
}

UNUSED_OK static void assert_in_order(const struct client *c)
{
    assert_int_equal(c->count, c->sent);
    for (size_t i = 0; i < c->count; i++)
        assert_int_equal(c->answers[i].number, i);
}

UNUSED_OK static void assert_told(struct client *c, const char *text)
{
    buf_append(&c->told, "", 1);
    c->told.n--;
    assert_string_equal(c->told.data + c->told.off, text);
}

UNUSED_OK static int64_t client_metric(struct client *c, enum metric m)
{
    return counters_sum(&c->counters, 1, m);
}

/* All that was sent must have been answered. */
UNUSED_OK static void client_end(struct client *c)
{
    redis_free(c->r);
    c->r = NULL;
    log_set_sink(NULL, NULL);
    if (getenv("SHOW_LOG") && c->log.n)
        fprintf(stderr, "%.*s", SLICE_ARG(buf_slice(&c->log)));
    redis_url_free(c->url);
    dialer_free(c->d);
    tls_free(c->tls);
    loop_end(c->l);
    counters_free(c->counters);
    buf_free(&c->told);
    buf_free(&c->log);
    free(c->answers);
}

#endif
