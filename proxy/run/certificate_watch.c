#include "certificate_watch.h"
#include "base/log.h"
#include "base/mem.h"
#include <stdlib.h>
#include <time.h>

#define DAY_S 86400
#define SOON  (14 * DAY_S)

struct certificate {
    char *file;
    long long end; /* seconds since 1970 */
};

struct certificate_watch {
    struct certificate *list;
    size_t n;
    usec warned; /* monotonic */
};

struct certificate_watch *certificate_watch_new(void)
{
    return MEM_NEW(struct certificate_watch);
}

static void clear(struct certificate_watch *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->list[i].file);
    free(c->list);
    c->list = NULL;
    c->n = 0;
}

void certificate_watch_free(struct certificate_watch *c)
{
    if (!c)
        return;
    clear(c);
    free(c);
}

static void warn(struct certificate_watch *c, const struct clock *now)
{
    c->warned = now->mono;
    for (size_t i = 0; i < c->n; i++) {
        time_t end = (time_t)c->list[i].end;
        long long left = end - now->wall / USEC_S;
        char date[32];
        struct tm tm;
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&end, &tm));
        if (left < SOON)
            LOG(LOG_WARN, left > 0 ? "a certificate ends soon" : "a certificate has ended", LF("file", c->list[i].file),
                LF("end", date), LF_INT("days_left", left > 0 ? left / DAY_S : 0));
    }
}

long long certificate_watch_note(struct certificate_watch *c, const struct config *config,
                                 const struct tls_context *server, const struct clock *now)
{
    long long earliest = 0;
    clear(c);
    c->n = server ? config->tls.pair_count : 0;
    c->list = mem_zalloc((c->n + 1) * sizeof *c->list);
    for (size_t i = 0; i < c->n; i++) {
        long long end = tls_expiry(server, i);
        c->list[i] = (struct certificate){mem_strdup(config->tls.pairs[i].certificate), end};
        earliest = !earliest || end < earliest ? end : earliest;
    }
    warn(c, now);
    return earliest;
}

void certificate_watch_look(struct certificate_watch *c, const struct clock *now)
{
    if (now->mono - c->warned >= DAY_S * USEC_S)
        warn(c, now);
}
