#include "errors.h"
#include "slot.h"
#include <strings.h>

/* By the first word of the text. */
static const struct {
    const char *code;
    enum verdict verdict;
} codes[] = {
    {"OOM", VERDICT_AWAY},         /* maxmemory */
    {"MISCONF", VERDICT_AWAY},     /* its disk takes nothing more */
    {"NOREPLICAS", VERDICT_AWAY},  /* min-replicas-to-write */
    {"BUSY", VERDICT_AWAY},        /* a script runs for seconds */
    {"LOADING", VERDICT_AWAY},     /* it reads its dump */
    {"CLUSTERDOWN", VERDICT_AWAY}, /* a slot has no server, or the cluster no majority */
    {"TRYAGAIN", VERDICT_AGAIN},
    {"READONLY", VERDICT_DISCOVER},   /* it has become a replica */
    {"MASTERDOWN", VERDICT_DISCOVER}, /* likewise, and its master is gone */
    {"MOVED", VERDICT_MOVED},
    {"ASK", VERDICT_ASK},
    {"NOSCRIPT", VERDICT_NOSCRIPT},
    {"NOAUTH", VERDICT_FAULT},
    {"NOPERM", VERDICT_FAULT},
    {"WRONGPASS", VERDICT_FAULT},
    {"WRONGTYPE", VERDICT_FAULT}, /* a key of ours is someone else's */
    {"DENIED", VERDICT_FAULT},    /* protected mode */
};

/* What has no code of its own, by its beginning; letter case differs between versions. */
static const struct {
    const char *start;
    enum verdict verdict;
} starts[] = {
    {"ERR unknown ", VERDICT_FAULT}, /* command, subcommand: too old a server, or renamed commands */
    {"ERR invalid password", VERDICT_FAULT},
    {"ERR AUTH ", VERDICT_FAULT}, /* called without any password configured */
    {"ERR Client sent AUTH", VERDICT_FAULT},
    {"ERR DB index", VERDICT_FAULT},
    {"ERR invalid DB index", VERDICT_FAULT},
    {"ERR SELECT is not allowed", VERDICT_FAULT},
    {"ERR This instance has cluster support disabled", VERDICT_FAULT},
    {"ERR max number of clients", VERDICT_AWAY},
};

enum verdict verdict_of(struct slice error)
{
    const char *space = memchr(error.p, ' ', error.n);
    struct slice code = slice_of(error.p, space ? (size_t)(space - error.p) : error.n);
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (slice_eq_str(code, codes[i].code))
            return codes[i].verdict;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        size_t n = strlen(starts[i].start);
        if (error.n >= n && strncasecmp(error.p, starts[i].start, n) == 0)
            return starts[i].verdict;
    }
    return VERDICT_REFUSED;
}

/* Digits up to the end of s; false where there is anything else, or a greater number. */
static bool read_number(struct slice s, unsigned max, unsigned *out)
{
    *out = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || (*out = *out * 10 + (unsigned)(s.p[i] - '0')) > max)
            return false;
    }
    return s.n > 0;
}

bool redirect_parse(struct redirect *out, struct slice error)
{
    const char *first = memchr(error.p, ' ', error.n);
    struct slice rest = first ? slice_skip(error, (size_t)(first - error.p) + 1) : SLICE_NONE;
    const char *second = rest.n ? memchr(rest.p, ' ', rest.n) : NULL;
    struct slice where = second ? slice_skip(rest, (size_t)(second - rest.p) + 1) : SLICE_NONE;
    const char *colon = where.n ? memrchr(where.p, ':', where.n) : NULL;
    if (!colon)
        return false;
    struct slice host = slice_of(where.p, (size_t)(colon - where.p));
    unsigned port;
    if (!read_number(slice_of(rest.p, (size_t)(second - rest.p)), SLOTS - 1, &out->slot) ||
        !read_number(slice_skip(where, host.n + 1), 65535, &port) || !port || host.n >= sizeof out->host)
        return false;
    memcpy(out->host, host.p, host.n);
    out->host[host.n] = '\0';
    out->port = (int)port;
    return true;
}
