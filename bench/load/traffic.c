#include "common/sockets.h"
#include "load/commands.h"
#include <stdlib.h>

enum { DRAIN_SECONDS = 120, WINDOW_SECONDS = 60 };

/* Clients 2i and 2i + 1 talk to each other. */
struct traffic {
    unsigned clients, body;
    bool answering;
    uint64_t sent, received, receipts;
    uint64_t sampled_from; /* stamps before it are of the warm-up */
    struct samples delays;
    unsigned settled; /* clients up to here have acks for all that they sent */
};

static void send_to_peer(struct load *l, struct client *c, uint64_t stamp)
{
    struct traffic *t = l->command;
    const char *to = l->clients[c->number ^ 1].jid;
    if (c->state != CLIENT_READY || !to)
        return;
    client_send_message(c, to, t->body, stamp);
    t->sent++;
}

static void answer(struct load *l, struct client *c, struct slice message)
{
    struct traffic *t = l->command;
    if (!load_check(l, c, message))
        return;
    t->received++;
    if (t->answering)
        send_to_peer(l, c, 1);
}

static void measure(struct load *l, struct client *c, struct slice message)
{
    struct traffic *t = l->command;
    uint64_t stamp = load_check(l, c, message);
    if (!stamp)
        return;
    t->received++;
    if (stamp >= t->sampled_from)
        samples_add(&t->delays, now_ns() - stamp);
}

static bool drained(struct load *l)
{
    struct traffic *t = l->command;
    return t->received >= t->sent;
}

static bool settled(struct load *l)
{
    struct traffic *t = l->command;
    const struct client *c = &l->clients[t->settled];
    for (; t->settled < t->clients && (c->state != CLIENT_READY || !c->enabled || c->acked == c->sent); c++)
        t->settled++;
    return t->settled == t->clients;
}

static struct traffic begin_traffic(struct load *l, char **arguments,
                                    void (*on_message)(struct load *, struct client *, struct slice))
{
    struct traffic t = {.clients = 2 * commands_number(arguments[0]), .body = commands_number(arguments[1])};
    commands_need(l, 0, t.clients);
    if (t.clients == 0)
        die("no pairs");
    for (unsigned i = 0; i < t.clients; i++)
        if (l->clients[i].state != CLIENT_READY)
            die("user%u is not logged in", i);
    l->on_message = on_message;
    return t;
}

/* Waits for what is under way, and for the last acks; what does not come is told. */
static void end_traffic(struct load *l, struct traffic *t, struct buf *out)
{
    uint64_t deadline = now_ns() + DRAIN_SECONDS * (uint64_t)NS;
    t->answering = false;
    commands_until(l, deadline, drained);
    for (unsigned i = 0; i < t->clients && l->stream_management; i++)
        if (l->clients[i].state == CLIENT_READY && l->clients[i].enabled && l->clients[i].acked != l->clients[i].sent)
            client_ask(&l->clients[i]);
    commands_until(l, deadline, settled);
    report_number(out, "sent", (double)t->sent);
    report_number(out, "lost", (double)(int64_t)(t->sent - t->received));
    report_number(out, "unacked", t->clients - t->settled);
    l->on_message = NULL;
    l->command = NULL;
}

/* At least so many messages too: a slow server shall not have a window in which nothing came. */
static void run_for(struct load *l, unsigned ms, uint64_t messages)
{
    struct traffic *t = l->command;
    uint64_t until = now_ns() + (uint64_t)ms * NS_PER_MS, deadline = until + WINDOW_SECONDS * (uint64_t)NS;
    uint64_t enough = t->received + messages;
    while (now_ns() < until)
        load_turn(l, until);
    while (t->received < enough && now_ns() < deadline)
        load_turn(l, deadline);
}

void command_pairs(struct load *l, char **arguments, struct buf *out)
{
    struct traffic t = begin_traffic(l, arguments, answer);
    unsigned in_flight = commands_number(arguments[2]);
    struct sample begin, end;
    l->command = &t; // cppcheck-suppress autoVariables ; end_traffic takes it back
    t.answering = true;
    for (unsigned k = 0; k < in_flight; k++)
        for (unsigned i = 0; i < t.clients; i += 2)
            send_to_peer(l, &l->clients[i], 1);
    uint64_t all = (uint64_t)in_flight * (t.clients / 2);
    run_for(l, commands_number(arguments[3]), all);
    uint64_t before = t.received;
    watch_sample(&l->watch, &begin);
    run_for(l, commands_number(arguments[4]), all);
    watch_sample(&l->watch, &end);
    report_number(out, "messages", (double)(t.received - before));
    report_costs(out, &l->watch, &begin, &end);
    end_traffic(l, &t, out);
}

/* A message is due each 1/RATE seconds, whether those before have arrived or not, and its stamp says when it was due.
 */
void command_open(struct load *l, char **arguments, struct buf *out)
{
    struct traffic t = begin_traffic(l, arguments, measure);
    uint64_t gap = NS / commands_number(arguments[2]), due = now_ns();
    uint64_t warm = due + commands_number(arguments[3]) * (uint64_t)NS_PER_MS;
    uint64_t until = warm + commands_number(arguments[4]) * (uint64_t)NS_PER_MS;
    struct sample begin = {0}, end;
    l->command = &t; // cppcheck-suppress autoVariables ; end_traffic takes it back
    t.sampled_from = warm;
    bool sampling = false;
    uint64_t before = 0;
    for (; due < until; due += gap) {
        if (!sampling && due >= warm) {
            sampling = true;
            before = t.received;
            watch_sample(&l->watch, &begin);
        }
        while (now_ns() < due)
            load_turn(l, due);
        send_to_peer(l, &l->clients[2 * t.sent % t.clients], due);
    }
    watch_sample(&l->watch, &end);
    report_number(out, "messages", (double)(t.received - before));
    report_costs(out, &l->watch, &begin, &end);
    end_traffic(l, &t, out);
    report_percentiles(out, "", &t.delays);
    free(t.delays.values);
}

static void post_next(struct load *l, struct client *c)
{
    if (c->next_number != c->stop)
        send_to_peer(l, c, 1);
}

/* Only those with even numbers send. */
static void on_posted(struct load *l, struct client *c, struct slice message)
{
    struct traffic *t = l->command;
    if (load_check(l, c, message)) {
        t->received++;
        post_next(l, &l->clients[c->number ^ 1]);
    } else if (memmem(message.p, message.n, "<received ", 10)) {
        t->receipts++;
    }
}

static bool receipts_came(struct load *l)
{
    struct traffic *t = l->command;
    return t->receipts >= t->sent;
}

/* So many messages from each client 2i to 2i + 1, and all that they bring about, to the last ack and receipt. */
void command_post(struct load *l, char **arguments, struct buf *out)
{
    struct traffic t = begin_traffic(l, arguments, on_posted);
    unsigned count = commands_number(arguments[2]), in_flight = commands_number(arguments[3]);
    struct sample begin, end;
    l->asks_receipts = commands_number(arguments[4]);
    l->command = &t; // cppcheck-suppress autoVariables ; end_traffic takes it back
    watch_sample(&l->watch, &begin);
    for (unsigned i = 0; i < t.clients; i += 2) {
        l->clients[i].stop = l->clients[i].next_number + count;
        for (unsigned k = 0; k < in_flight; k++)
            post_next(l, &l->clients[i]);
    }
    uint64_t deadline = now_ns() + DRAIN_SECONDS * (uint64_t)NS;
    if (commands_until(l, deadline, drained) && l->asks_receipts)
        commands_until(l, deadline, receipts_came);
    l->asks_receipts = false;
    end_traffic(l, &t, out);
    watch_sample(&l->watch, &end);
    report_number(out, "messages", (double)t.received);
    report_number(out, "receipts", (double)t.receipts);
    report_costs(out, &l->watch, &begin, &end);
}
