#include "base/mem.h"
#include "common/sockets.h"
#include "load/commands.h"
#include <stdlib.h>

enum { SECONDS_MAX = 600 };

/* Clients that log in, and how far that is. */
struct logins {
    unsigned next, end;
    unsigned at_once;
    unsigned started, before; /* `before`: the sum of finished() at the beginning */
    /* from the connection, and from <resume/>, to <resumed/> */
    struct samples arrivals, resumptions;
    /* who lost the connection and is to try again, as real clients do; NULL: that is a failure */
    unsigned *again, again_count, retries;
};

static unsigned finished(const struct load *l)
{
    return l->ready + l->failed;
}

static bool logins_done(struct load *l)
{
    struct logins *job = l->command;
    while (job->again_count)
        client_login(&l->clients[job->again[--job->again_count]]);
    while (job->next < job->end && job->started - (finished(l) - job->before) < job->at_once) {
        client_cut(&l->clients[job->next]);
        client_login(&l->clients[job->next++]);
        job->started++;
    }
    return job->next == job->end && finished(l) - job->before == job->started;
}

/* Tells in which state the first client is that is still not there. */
_Noreturn static void give_up(const struct load *l, unsigned first, unsigned count)
{
    unsigned missing = 0;
    const struct client *stuck = NULL;
    for (const struct client *c = &l->clients[first]; c < &l->clients[first + count]; c++)
        if (c->state != CLIENT_READY && c->state != CLIENT_OFF && missing++ == 0)
            stuck = c;
    die("no end of the logins: %u missing; user%u in state %d, link in state %d", missing, stuck ? stuck->number : 0,
        stuck ? stuck->state : 0, stuck ? stuck->link.state : 0);
}

static bool on_lost(struct load *l, struct client *c)
{
    struct logins *job = l->command;
    if (!job->again || c->state == CLIENT_READY)
        return false;
    client_cut(c);
    job->again[job->again_count++] = c->number;
    job->retries++;
    return true;
}

static void on_resumed(struct load *l, struct client *c)
{
    struct logins *job = l->command;
    uint64_t now = now_ns();
    samples_add(&job->arrivals, now - c->began);
    samples_add(&job->resumptions, now - c->asked);
}

static void log_in(struct load *l, unsigned first, unsigned count, unsigned at_once, bool retry, struct sample *end,
                   struct buf *out)
{
    struct logins job = {.next = first, .end = first + count, .at_once = at_once, .before = finished(l)};
    job.again = retry ? mem_alloc(count * sizeof(*job.again)) : NULL;
    l->command = &job;
    l->on_resumed = on_resumed;
    l->on_lost = on_lost;
    if (!commands_until(l, now_ns() + SECONDS_MAX * (uint64_t)NS, logins_done))
        give_up(l, first, count);
    l->command = NULL;
    l->on_resumed = NULL;
    l->on_lost = NULL;
    watch_sample(&l->watch, end);
    report_percentiles(out, "", &job.arrivals);
    report_percentiles(out, "resume_", &job.resumptions);
    report_number(out, "retries", job.retries);
    free(job.again);
    free(job.arrivals.values);
    free(job.resumptions.values);
}

void command_login(struct load *l, char **arguments, struct buf *out)
{
    unsigned first = commands_number(arguments[0]), count = commands_number(arguments[1]);
    struct sample begin, end;
    commands_need(l, first, count);
    watch_sample(&l->watch, &begin);
    log_in(l, first, count, commands_number(arguments[2]), false, &end, out);
    report_number(out, "sessions", count);
    report_costs(out, &l->watch, &begin, &end);
}

/* All connections break at the same moment, and all clients come back, AT_ONCE of them at a time. */
void command_storm(struct load *l, char **arguments, struct buf *out)
{
    unsigned first = commands_number(arguments[0]), count = commands_number(arguments[1]), resumed = l->resumed;
    struct sample begin, end;
    commands_need(l, first, count);
    watch_sample(&l->watch, &begin);
    for (unsigned i = first; i < first + count; i++)
        client_cut(&l->clients[i]);
    log_in(l, first, count, commands_number(arguments[2]), false, &end, out);
    report_number(out, "sessions", count);
    report_number(out, "resumed", l->resumed - resumed);
    report_costs(out, &l->watch, &begin, &end);
}

/* Their connections break, and they stay away. */
void command_cut(struct load *l, char **arguments, struct buf *out)
{
    unsigned first = commands_number(arguments[0]), count = commands_number(arguments[1]);
    commands_need(l, first, count);
    for (unsigned i = first; i < first + count; i++)
        client_cut(&l->clients[i]);
    report_number(out, "sessions", count);
}

/* Each breaks its connection off, if it has one, and comes back on another port, AT_ONCE of them at a time. */
void command_move(struct load *l, char **arguments, struct buf *out)
{
    unsigned first = commands_number(arguments[0]), count = commands_number(arguments[1]), resumed = l->resumed;
    struct sample begin, end;
    commands_need(l, first, count);
    l->port = commands_number(arguments[3]);
    watch_sample(&l->watch, &begin);
    log_in(l, first, count, commands_number(arguments[2]), true, &end, out);
    report_number(out, "sessions", count);
    report_number(out, "resumed", l->resumed - resumed);
    report_costs(out, &l->watch, &begin, &end);
}

static bool all_left(struct load *l)
{
    unsigned *target = l->command;
    return l->left + l->failed >= *target;
}

void command_logout(struct load *l, char **arguments, struct buf *out)
{
    unsigned first = commands_number(arguments[0]), count = commands_number(arguments[1]);
    unsigned target = l->left + l->failed + count;
    commands_need(l, first, count);
    for (unsigned i = first; i < first + count; i++)
        client_logout(&l->clients[i]);
    l->command = &target;
    if (!commands_until(l, now_ns() + SECONDS_MAX * (uint64_t)NS, all_left))
        die("no end of the logouts: %u missing", target - l->left - l->failed);
    l->command = NULL;
    report_number(out, "sessions", count);
}
