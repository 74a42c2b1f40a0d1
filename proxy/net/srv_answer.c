#include "srv_answer.h"
#include "base/mem.h"
#include <ares.h>
#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define HEADER     12
#define TYPE_CNAME 5
#define TYPE_SRV   33
#define HOST_MAX   253

/* What was not read yet. */
struct reader {
    const unsigned char *all, *at;
    int size;
};

static long left(const struct reader *r)
{
    return r->all + r->size - r->at;
}

static unsigned number(const unsigned char *p, int bytes)
{
    unsigned n = 0;
    while (bytes--)
        n = n << 8 | *p++;
    return n;
}

static bool skip(struct reader *r, long n)
{
    if (left(r) < n)
        return false;
    r->at += n;
    return true;
}

/* A name, perhaps with a pointer to an earlier one. */
static bool skip_name(struct reader *r)
{
    char *name;
    long n;
    if (left(r) <= 0 || ares_expand_name(r->at, r->all, r->size, &name, &n) != ARES_SUCCESS)
        return false;
    ares_free_string(name);
    return skip(r, n);
}

/* The shortest TTL of the records that make up the answer. */
static bool read_ttl(const unsigned char *bytes, int n, unsigned *ttl_r)
{
    struct reader r = {bytes, bytes, n};
    *ttl_r = UINT_MAX;
    if (!skip(&r, HEADER))
        return false;
    for (unsigned questions = number(bytes + 4, 2); questions; questions--)
        if (!skip_name(&r) || !skip(&r, 4))
            return false;
    for (unsigned answers = number(bytes + 6, 2); answers; answers--) {
        const unsigned char *fixed; /* type, class, TTL, size of the data */
        if (!skip_name(&r) || (fixed = r.at, !skip(&r, 10)) || !skip(&r, number(fixed + 8, 2)))
            return false;
        unsigned type = number(fixed, 2), ttl = number(fixed + 4, 4);
        if ((type == TYPE_SRV || type == TYPE_CNAME) && ttl < *ttl_r)
            *ttl_r = ttl;
    }
    return true;
}

static bool is_host(const char *host)
{
    size_t n = strlen(host);
    for (const char *p = host; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr(".-_", *p))
            return false;
    return n <= HOST_MAX;
}

static void take_record(struct srv_answer *out, const struct ares_srv_reply *reply)
{
    if (out->n == SRV_RECORDS_MAX || !is_host(reply->host))
        return;
    out->records = mem_realloc(out->records, (out->n + 1) * sizeof *out->records);
    out->records[out->n++] = (struct srv_record){
        .host = mem_strdup(*reply->host ? reply->host : "."), /* c-ares has "" for the root */
        .port = reply->port,
        .priority = reply->priority,
        .weight = reply->weight,
    };
}

bool srv_answer_parse(const unsigned char *bytes, int n, struct srv_answer *out)
{
    struct ares_srv_reply *list = NULL;
    unsigned ttl = 0;
    *out = (struct srv_answer){0};
    int status = ares_parse_srv_reply(bytes, n, &list);
    bool good = (status == ARES_SUCCESS || status == ARES_ENODATA) && read_ttl(bytes, n, &ttl);
    for (const struct ares_srv_reply *it = good ? list : NULL; it; it = it->next)
        take_record(out, it);
    if (out->n)
        out->ttl = ttl;
    if (list)
        ares_free_data(list);
    return good;
}

void srv_answer_free(struct srv_answer *answer)
{
    for (size_t i = 0; i < answer->n; i++)
        free(answer->records[i].host);
    free(answer->records);
    *answer = (struct srv_answer){0};
}
