#include "redis_adapter.h"
#include "base/buf.h"
#include "base/mem.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- server ---- */

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "redis-server: %s: %s\n", what, strerror(errno));
        abort();
    }
}

void server_make(struct redis_server *s)
{
    snprintf(s->dir, sizeof s->dir, "/tmp/holdfast-redis-XXXXXX");
    must(mkdtemp(s->dir) != NULL, "mkdtemp");
    snprintf(s->socket, sizeof s->socket, "%s/socket", s->dir);
    s->pid = 0;
    signal(SIGPIPE, SIG_IGN); /* hiredis writes to servers that are gone */
}

static redisContext *connect_to(struct redis_server *s)
{
    redisContext *c = redisConnectUnix(s->socket);
    must(c != NULL, "no memory");
    if (c->err) {
        redisFree(c);
        return NULL;
    }
    return c;
}

/* Loads its dump before it answers. */
static bool answers(struct redis_server *s)
{
    redisContext *c = connect_to(s);
    redisReply *reply = c ? redisCommand(c, "PING") : NULL;
    bool good = reply && reply->type == REDIS_REPLY_STATUS;
    if (reply)
        freeReplyObject(reply);
    if (c)
        redisFree(c);
    return good;
}

void server_start(struct redis_server *s)
{
    s->pid = fork();
    must(s->pid >= 0, "fork");
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that crashes leaves nothing behind */
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", s->socket, "--dir", s->dir, "--save", "",
               "--appendonly", "no", "--enable-debug-command", "local", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 1000 && !answers(s); i++) {
        must(waitpid(s->pid, NULL, WNOHANG) == 0, "does not start (is it installed?)");
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
    must(answers(s), "does not answer");
}

void server_kill(struct redis_server *s)
{
    if (s->pid <= 0)
        return;
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
    unlink(s->socket);
}

void server_drop_dump(struct redis_server *s)
{
    char path[128];
    snprintf(path, sizeof path, "%s/dump.rdb", s->dir);
    unlink(path);
}

void server_remove(struct redis_server *s)
{
    server_kill(s);
    server_drop_dump(s);
    rmdir(s->dir);
}

struct redisReply *server_ask(struct redis_server *s, const char *command)
{
    redisContext *c = connect_to(s);
    must(c != NULL, "is not there");
    redisReply *reply = redisCommand(c, command);
    must(reply != NULL, command);
    redisFree(c);
    return reply;
}

long long server_number(struct redis_server *s, const char *command)
{
    redisReply *reply = server_ask(s, command);
    long long n = reply->type == REDIS_REPLY_INTEGER ? reply->integer : reply->str ? strtoll(reply->str, NULL, 10) : -1;
    freeReplyObject(reply);
    return n;
}

void server_keep_dump(struct redis_server *s)
{
    freeReplyObject(server_ask(s, "SAVE"));
}

/* ---- client ---- */

struct command {
    char *bytes;
    int n;
    char name[24];
    redis_done_fn *done;
    void *ctx;
    enum redis_answer answer;
    bool executed;
};

struct redis {
    struct redis_server *server;
    redisContext *c;
    const struct redis_events *events;
    void *ctx;
    struct command *pending;
    size_t n, cap;
    bool away;
    enum fault fault;
    char fault_name[24];
    unsigned fault_after;
    struct buf held; /* commands that a server which hangs has not executed yet */
    size_t held_count;
    struct redis *listener;
    char *channel;
};

struct redis *adapter_new(struct redis_server *server, const struct redis_events *events, void *ctx)
{
    struct redis *r = MEM_NEW(struct redis);
    r->server = server;
    r->events = events;
    r->ctx = ctx;
    r->away = true;
    return r;
}

static void disconnect(struct redis *r)
{
    if (r->c)
        redisFree(r->c);
    r->c = NULL;
}

void redis_free(struct redis *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->pending[i].bytes);
    free(r->pending);
    free(r->channel);
    buf_free(&r->held);
    disconnect(r);
    free(r);
}

void adapter_fault(struct redis *r, enum fault fault, const char *name, unsigned after)
{
    r->fault = fault;
    snprintf(r->fault_name, sizeof r->fault_name, "%s", name);
    r->fault_after = after;
}

void adapter_let_go(struct redis *r)
{
    redisContext *c = connect_to(r->server);
    must(c != NULL, "is not there");
    redisAppendFormattedCommand(c, buf_slice(&r->held).p, r->held.n);
    for (; r->held_count; r->held_count--) {
        redisReply *reply = NULL;
        must(redisGetReply(c, (void **)&reply) == REDIS_OK, "does not answer");
        freeReplyObject(reply);
    }
    buf_clear(&r->held);
    redisFree(c);
}

void adapter_away(struct redis *r)
{
    disconnect(r);
    r->away = true;
    r->events->away(r->ctx, 0, 16383, "told so by a test");
}

void adapter_back(struct redis *r, bool fresh)
{
    disconnect(r);
    r->c = connect_to(r->server);
    assert(r->c);
    r->away = false;
    r->events->back(r->ctx, 0, 16383, fresh);
}

size_t adapter_pending(const struct redis *r)
{
    return r->n;
}

void adapter_listen(struct redis *r, const char *channel, struct redis *speaker)
{
    speaker->listener = r;
    speaker->channel = mem_strdup(channel);
}

/* CRC16 (XMODEM) of what is in the braces. */
unsigned redis_slot(struct slice key)
{
    const char *open = memchr(key.p, '{', key.n);
    const char *close = open ? memchr(open, '}', key.n - (size_t)(open - key.p)) : NULL;
    if (close && close > open + 1)
        key = slice_of(open + 1, (size_t)(close - open) - 1);
    unsigned crc = 0;
    for (size_t i = 0; i < key.n; i++) {
        crc ^= (unsigned)(unsigned char)key.p[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1) & 0xffff;
    }
    return crc % 16384;
}

static void queue(struct redis *r, const char *name, size_t argc, const char **argv, const size_t *n,
                  redis_done_fn *done, void *ctx)
{
    struct command c = {.done = done, .ctx = ctx};
    snprintf(c.name, sizeof c.name, "%s", name);
    c.n = redisFormatCommandArgv(&c.bytes, (int)argc, argv, n);
    assert(c.n > 0);
    if (r->n == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 64;
        r->pending = mem_realloc(r->pending, r->cap * sizeof *r->pending);
    }
    r->pending[r->n++] = c;
}

#define WORDS_MAX 512

/* A script's keys must be in the slot that it is sent to, as those of any command. */
static void send_words(struct redis *r, const char *name, size_t head, const struct slice *first, size_t argc,
                       const struct slice *argv, redis_done_fn *done, void *ctx)
{
    const char *p[WORDS_MAX];
    size_t n[WORDS_MAX];
    assert(head + argc <= WORDS_MAX);
    for (size_t i = 0; i < head + argc; i++) {
        struct slice word = i < head ? first[i] : argv[i - head];
        p[i] = word.p ? word.p : "";
        n[i] = word.n;
    }
    queue(r, name, head + argc, p, n, done, ctx);
}

void redis_send(struct redis *r, unsigned slot, size_t argc, const struct slice *argv, redis_done_fn *done, void *ctx)
{
    char name[24];
    snprintf(name, sizeof name, "%.*s", SLICE_ARG(argv[0]));
    assert(redis_slot(argv[1]) == slot);
    send_words(r, name, 0, NULL, argc, argv, done, ctx);
    if (strcmp(name, "PUBLISH") == 0 && r->listener && !r->away && slice_eq_str(argv[1], r->channel))
        r->listener->events->told(r->listener->ctx, argv[2]);
}

void redis_eval(struct redis *r, unsigned slot, struct redis_script *script, size_t nkeys, size_t argc,
                const struct slice *argv, redis_done_fn *done, void *ctx)
{
    char count[24];
    snprintf(count, sizeof count, "%zu", nkeys);
    for (size_t i = 0; i < nkeys; i++)
        assert(redis_slot(argv[i]) == slot);
    struct slice head[3] = {SLICE_LIT("EVAL"), slice_str(script->text), slice_str(count)};
    send_words(r, script->name, 3, head, argc, argv, done, ctx);
}

/* Nobody really subscribes here. */
bool redis_counts_listeners(const struct redis *r)
{
    (void)r;
    return false;
}

size_t redis_backlog(const struct redis *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++)
        n += (size_t)r->pending[i].n;
    return n;
}

const char *redis_why_away(const struct redis *r)
{
    return r->away ? "told so by a test" : NULL;
}

static enum fault fault_of(struct redis *r, const struct command *c)
{
    if (r->fault == FAULT_NONE || strcmp(r->fault_name, c->name) != 0 || r->fault_after-- > 0)
        return FAULT_NONE;
    enum fault fault = r->fault;
    r->fault = FAULT_NONE;
    return fault;
}

/* Sends what is to be executed, and decides what each is answered. */
static void execute(struct redis *r, struct command *all, size_t n)
{
    enum fault broken = FAULT_NONE;
    for (size_t i = 0; i < n; i++) {
        struct command *c = &all[i];
        enum fault fault = broken ? broken : r->away ? FAULT_REFUSED : fault_of(r, c);
        if (fault == FAULT_NOT_SENT || fault == FAULT_HELD || fault == FAULT_ANSWER_LOST)
            broken = fault;
        c->answer = fault == FAULT_NONE ? REDIS_DONE : fault == FAULT_REFUSED ? REDIS_AWAY : REDIS_UNKNOWN;
        c->executed = !r->away && (fault == FAULT_NONE || fault == FAULT_ANSWER_LOST);
        if (c->executed)
            redisAppendFormattedCommand(r->c, c->bytes, (size_t)c->n);
        if (fault == FAULT_HELD) {
            buf_append(&r->held, c->bytes, (size_t)c->n);
            r->held_count++;
        }
    }
    if (broken)
        r->away = true;
}

static enum redis_answer meaning_of(const redisReply *reply)
{
    static const char *const away[] = {"OOM", "MISCONF", "LOADING", "BUSY"};
    if (reply->type != REDIS_REPLY_ERROR)
        return REDIS_DONE;
    for (size_t i = 0; i < sizeof away / sizeof *away; i++)
        if (strncmp(reply->str, away[i], strlen(away[i])) == 0)
            return REDIS_AWAY;
    return REDIS_ERROR;
}

void redis_turn(struct redis *r)
{
    struct command *all = r->pending;
    size_t n = r->n;
    r->pending = NULL;
    r->n = r->cap = 0;
    execute(r, all, n);
    for (size_t i = 0; i < n; i++) {
        redisReply *reply = NULL;
        if (all[i].executed && redisGetReply(r->c, (void **)&reply) != REDIS_OK) {
            all[i].answer = REDIS_UNKNOWN; /* the server itself has gone */
            reply = NULL;
        }
        if (reply && all[i].answer == REDIS_DONE)
            all[i].answer = meaning_of(reply);
        if (reply && all[i].answer == REDIS_ERROR && all[i].done == NULL)
            fprintf(stderr, "%s: %s\n", all[i].name, reply->str);
        if (all[i].done)
            all[i].done(all[i].ctx, all[i].answer, all[i].answer == REDIS_UNKNOWN ? NULL : reply);
        if (reply)
            freeReplyObject(reply);
        free(all[i].bytes);
    }
    free(all);
}
