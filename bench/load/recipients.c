/* What the clients 2i + 1 do with what 2i sends them, when it is not what clients do by themselves. */
#include "common/sockets.h"
#include "load/commands.h"

enum { ANSWER_SECONDS = 120 };

static unsigned clients_of(struct load *l, const char *pairs)
{
    unsigned count = 2 * commands_number(pairs);
    commands_need(l, 0, count);
    return count;
}

/* They ack what they have got, and nothing more until they are told to. */
void command_hold(struct load *l, char **arguments, struct buf *out)
{
    unsigned count = clients_of(l, arguments[0]);
    for (unsigned i = 1; i < count; i += 2) {
        client_ack(&l->clients[i], l->clients[i].got);
        l->clients[i].holds = true;
    }
    report_number(out, "clients", count / 2.0);
}

struct release {
    unsigned step, wanted; /* stanzas for one ack; answers */
    unsigned answers;
};

/* The server's own ack is the proof that it has come so far. */
static void ack_next(struct load *l, struct client *c)
{
    const struct release *job = l->command;
    client_ack(c, c->told + job->step);
    client_ask(c);
}

static void on_answer(struct load *l, struct client *c)
{
    struct release *job = l->command;
    if (!c->holds)
        return;
    job->answers++;
    if (c->told != c->stop)
        ack_next(l, c);
}

static bool answered(struct load *l)
{
    const struct release *job = l->command;
    return job->answers >= job->wanted;
}

/* Each of those that hold acks STEP stanzas more, COUNT times, each time with a request for an ack that it waits for.
 */
void command_release(struct load *l, char **arguments, struct buf *out)
{
    unsigned clients = clients_of(l, arguments[0]), count = commands_number(arguments[1]);
    struct release job = {.step = commands_number(arguments[2]), .wanted = clients / 2 * count};
    struct sample begin, end;
    l->command = &job; // cppcheck-suppress autoVariables ; taken back below
    l->on_ack = on_answer;
    watch_sample(&l->watch, &begin);
    for (unsigned i = 1; i < clients; i += 2) {
        struct client *c = &l->clients[i];
        if (!c->holds || c->got - c->told < count * job.step)
            die("user%u does not hold so many", i);
        c->stop = c->told + count * job.step;
        ack_next(l, c);
    }
    if (!commands_until(l, now_ns() + ANSWER_SECONDS * (uint64_t)NS, answered))
        die("no answer to %u acks", job.wanted - job.answers);
    watch_sample(&l->watch, &end);
    l->on_ack = NULL;
    l->command = NULL;
    report_number(out, "acks", job.answers);
    report_costs(out, &l->watch, &begin, &end);
}

/* They let their partners see that they are there: by directed presence, which makes these their contacts. */
void command_greet(struct load *l, char **arguments, struct buf *out)
{
    unsigned count = clients_of(l, arguments[0]);
    for (unsigned i = 1; i < count; i += 2) {
        struct client *c = &l->clients[i];
        buf_printf(&c->link.out, "<presence to='%s'/>", l->clients[i - 1].jid);
        c->sent++;
        load_dirty(l, c);
    }
    report_number(out, "clients", count / 2.0);
}
