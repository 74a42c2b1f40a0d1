#include "command.h"
#include "base/mem.h"
#include <stdlib.h>
#include <strings.h>

/* "$5\r\n", "*3\r\n": by hand, for each word of each command has one. */
static size_t digits(size_t value)
{
    size_t n = 1;
    while (value >= 10) {
        value /= 10;
        n++;
    }
    return n;
}

static size_t head_size(size_t value)
{
    return 1 + digits(value) + 2;
}

static char *put_head(char *at, char mark, size_t value)
{
    size_t n = digits(value);
    *at = mark;
    for (size_t i = n; i > 0; i--, value /= 10)
        at[i] = (char)('0' + value % 10);
    memcpy(at + 1 + n, "\r\n", 2);
    return at + n + 3;
}

struct command *command_new(unsigned slot, size_t argc, const struct slice *argv, usec since)
{
    size_t size = head_size(argc);
    for (size_t i = 0; i < argc; i++)
        size += head_size(argv[i].n) + argv[i].n + 2;
    struct command *c = mem_alloc(sizeof *c + size);
    *c = (struct command){.slot = (uint16_t)slot, .since = since, .n = size};
    list_init(&c->queue);
    list_init(&c->lane);
    char *at = put_head(c->bytes, '*', argc);
    for (size_t i = 0; i < argc; i++) {
        at = put_head(at, '$', argv[i].n);
        if (argv[i].n)
            memcpy(at, argv[i].p, argv[i].n);
        memcpy(at + argv[i].n, "\r\n", 2);
        at += argv[i].n + 2;
    }
    return c;
}

#define WORDS 8

struct command *command_internal(void (*answered)(void *ctx, const struct redisReply *reply), void *ctx, usec since,
                                 const char *const *words)
{
    struct slice argv[WORDS];
    size_t argc = 0;
    while (argc < WORDS && words[argc]) {
        argv[argc] = slice_str(words[argc]);
        argc++;
    }
    struct command *c = command_new(0, argc, argv, since);
    c->internal = answered;
    c->ctx = ctx;
    return c;
}

void command_free(struct command *c)
{
    list_remove(&c->queue);
    list_remove(&c->lane);
    if (c->reply)
        freeReplyObject(c->reply);
    free(c);
}

struct slice command_name(const struct command *c)
{
    const char *dollar = memchr(c->bytes, '$', c->n);
    size_t n = strtoul(dollar + 1, NULL, 10);
    return slice_of(dollar + head_size(n), n);
}

/* What is not known to change nothing is taken for a write. */
bool command_writes(const struct command *c)
{
    static const char *const readers[] = {
        "ASKING", "EXISTS", "GET",     "HGET",  "HGETALL", "HLEN",      "HMGET",     "MGET",
        "PING",   "PTTL",   "PUBLISH", "SCARD", "SCRIPT",  "SISMEMBER", "SMEMBERS",  "STRLEN",
        "TIME",   "TTL",    "XINFO",   "XLEN",  "XRANGE",  "WAIT",      "XREAD",     "ZCARD",
        "ZRANGE", "ZSCORE", "INFO",    "ROLE",  "TYPE",    "HEXISTS",   "XREVRANGE",
    };
    struct slice name = command_name(c);
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        if (strlen(readers[i]) == name.n && strncasecmp(readers[i], name.p, name.n) == 0)
            return false;
    return true;
}
