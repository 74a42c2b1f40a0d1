#include "redis/url.h"
#include "base/buf.h"
#include "base/mem.h"
#include <stdlib.h>
#include <sys/un.h>

#define PORT_SERVER   6379
#define PORT_SENTINEL 26379
#define DB_MAX        65535

/* What is left to be read, and the first fault; once there is one nothing else matters. */
struct reading {
    struct slice rest;
    struct redis_url *u;
    const char *fault;
};

static void fail(struct reading *r, const char *fault)
{
    if (!r->fault)
        r->fault = fault;
}

/* What stands ahead of the first of these characters; the rest begins with it. */
static struct slice take_until(struct reading *r, const char *ends)
{
    size_t n = 0;
    while (n < r->rest.n && !strchr(ends, r->rest.p[n]))
        n++;
    struct slice taken = slice_of(r->rest.p, n);
    r->rest = slice_skip(r->rest, n);
    return taken;
}

static bool take_char(struct reading *r, char c)
{
    if (!r->rest.n || r->rest.p[0] != c)
        return false;
    r->rest = slice_skip(r->rest, 1);
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static char *decode(struct reading *r, struct slice s)
{
    struct buf out = {0};
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            int high = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1, low = i + 2 < s.n ? hex_digit(s.p[i + 2]) : -1;
            if (high < 0 || low < 0 || !(high | low)) {
                fail(r, "a % that is not followed by two hex digits (a % itself is written %25)");
                break;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        buf_append(&out, &c, 1);
    }
    return buf_steal(&out);
}

/* Strict decimal; -1: it is none, or greater than max. */
static int number(struct slice s, int max)
{
    long n = 0;
    if (!s.n || s.n > 9)
        return -1;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -1;
        n = n * 10 + (s.p[i] - '0');
    }
    return n > max ? -1 : (int)n;
}

static void read_scheme(struct reading *r)
{
    static const struct {
        const char *name;
        enum redis_form form;
        bool tls;
    } schemes[] = {
        {"redis", REDIS_FORM_SERVER, false},
        {"rediss", REDIS_FORM_SERVER, true},
        {"redis+unix", REDIS_FORM_UNIX, false},
        {"redis+sentinel", REDIS_FORM_SENTINEL, false},
        {"rediss+sentinel", REDIS_FORM_SENTINEL, true},
        {"redis+cluster", REDIS_FORM_CLUSTER, false},
        {"rediss+cluster", REDIS_FORM_CLUSTER, true},
    };
    struct slice scheme = take_until(r, ":");
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        if (slice_eq_str(scheme, schemes[i].name)) {
            r->u->form = schemes[i].form;
            r->u->tls = schemes[i].tls;
            if (!slice_starts(r->rest, SLICE_LIT("://")))
                break;
            r->rest = slice_skip(r->rest, 3);
            return;
        }
    }
    fail(r, "it begins with none of redis:// rediss:// redis+unix:// redis+sentinel:// redis+cluster://");
}

/* A password may hold an @: what counts is the last one. */
static void read_user(struct reading *r)
{
    struct reading ahead = *r;
    struct slice authority = take_until(&ahead, "/?#");
    size_t n = authority.n;
    if (memchr(ahead.rest.p, '@', ahead.rest.n) && r->u->form != REDIS_FORM_UNIX) {
        fail(r, "an @ behind the first of / ? # (in a password these are written %2F %3F %23)");
        return;
    }
    while (n > 0 && authority.p[n - 1] != '@')
        n--;
    if (!n)
        return;
    struct slice both = slice_of(authority.p, n - 1);
    const char *colon = memchr(both.p, ':', both.n);
    if (!colon) {
        fail(r, "a user without a password (a password alone is written :password@)");
        return;
    }
    struct slice user = slice_of(both.p, (size_t)(colon - both.p));
    r->u->user = user.n ? decode(r, user) : NULL;
    r->u->password = decode(r, slice_skip(both, user.n + 1));
    r->rest = slice_skip(r->rest, n);
}

static struct slice read_host_name(struct reading *r)
{
    if (!take_char(r, '[')) {
        struct slice name = take_until(r, ":,/?#");
        if (!name.n)
            fail(r, "a host name is missing");
        return name;
    }
    struct slice name = take_until(r, "]");
    if (!name.n || !take_char(r, ']'))
        fail(r, "an IPv6 address that is not closed by ]");
    return name;
}

static void read_hosts(struct reading *r)
{
    struct redis_url *u = r->u;
    do {
        struct slice name = read_host_name(r);
        struct redis_host host = {.port = u->form == REDIS_FORM_SENTINEL ? PORT_SENTINEL : PORT_SERVER};
        if (take_char(r, ':'))
            host.port = number(take_until(r, ",/?#"), 65535);
        if (host.port < 1)
            fail(r, "a port that is no number from 1 to 65535 (IPv6 addresses are written in brackets)");
        host.host = decode(r, name);
        u->hosts = mem_realloc(u->hosts, (u->host_count + 1) * sizeof *u->hosts);
        u->hosts[u->host_count++] = host;
    } while (!r->fault && take_char(r, ','));
    if (u->form == REDIS_FORM_SERVER && u->host_count > 1)
        fail(r, "more than one host (several are for redis+sentinel:// and redis+cluster://)");
}

static void read_db(struct reading *r)
{
    struct slice db = take_until(r, "?#");
    r->u->db = number(db, DB_MAX);
    if (r->u->db < 0)
        fail(r, "a database that is no number");
    else if (r->u->db && r->u->form == REDIS_FORM_CLUSTER)
        fail(r, "a database other than 0: Redis Cluster has no others");
}

static void read_path(struct reading *r)
{
    struct redis_url *u = r->u;
    if (r->rest.n && r->rest.p[0] != '/')
        fail(r, "a path has to begin with /");
    struct slice path = take_until(r, "?#");
    u->path = decode(r, path);
    if (path.n < 2)
        fail(r, "the path of the socket is missing: redis+unix:///path");
    else if (strlen(u->path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        fail(r, "the path of the socket is too long for the system");
    if (take_char(r, '?')) {
        if (!slice_starts(r->rest, SLICE_LIT("db=")))
            fail(r, "behind the ? there is something else than db=N");
        r->rest = slice_skip(r->rest, 3);
        read_db(r);
    }
}

static void read_name(struct reading *r)
{
    struct slice name = take_char(r, '/') ? take_until(r, "/?#") : SLICE_NONE;
    if (!name.n)
        fail(r, "the master's name is missing: redis+sentinel://host:port/NAME");
    r->u->name = decode(r, name);
}

static void read_url(struct reading *r)
{
    read_scheme(r);
    if (!r->fault)
        read_user(r);
    if (r->fault)
        return;
    if (r->u->form == REDIS_FORM_UNIX)
        read_path(r);
    else
        read_hosts(r);
    if (r->u->form == REDIS_FORM_SENTINEL && !r->fault)
        read_name(r);
    if (take_char(r, '/') && r->rest.n)
        read_db(r);
    if (r->rest.n)
        fail(r, "something follows that does not belong there");
}

static char *text_of(const struct redis_url *u)
{
    static const char *const forms[] = {"", "+unix", "+sentinel", "+cluster"};
    struct buf out = {0};
    buf_printf(&out, "redis%s%s://", u->tls ? "s" : "", forms[u->form]);
    for (size_t i = 0; i < u->host_count; i++) {
        const struct redis_host *h = &u->hosts[i];
        buf_printf(&out, strchr(h->host, ':') ? "%s[%s]:%d" : "%s%s:%d", i ? "," : "", h->host, h->port);
    }
    if (u->path)
        buf_add_str(&out, u->path);
    if (u->name)
        buf_printf(&out, "/%s", u->name);
    if (u->db)
        buf_printf(&out, u->path ? "?db=%d" : "/%d", u->db);
    return buf_steal(&out);
}

struct redis_url *redis_url_parse(const char *text, char **error_r)
{
    struct reading r = {.rest = slice_str(text), .u = MEM_NEW(struct redis_url)};
    read_url(&r);
    if (r.fault) {
        redis_url_free(r.u);
        *error_r = mem_printf("not a Redis URL: %s", r.fault);
        return NULL;
    }
    *error_r = NULL;
    r.u->text = text_of(r.u);
    return r.u;
}

void redis_url_free(struct redis_url *u)
{
    if (!u)
        return;
    for (size_t i = 0; i < u->host_count; i++)
        free(u->hosts[i].host);
    free(u->hosts);
    free(u->user);
    mem_wipe_free(u->password, u->password ? strlen(u->password) : 0);
    free(u->path);
    free(u->name);
    free(u->text);
    free(u);
}
