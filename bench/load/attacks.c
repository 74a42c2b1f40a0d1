#include "base/mem.h"
#include "common/sockets.h"
#include "load/commands.h"
#include <stdlib.h>

enum { PUMP_BYTES = 64 << 10, TRICKLE_BYTES = 32, INTRUDER_BODY = 1000, TRICKLE_BODY = 100 };

static void start_attack(struct load *l, unsigned first, unsigned count)
{
    commands_need(l, first, count);
    for (unsigned i = first; i < first + count; i++)
        l->clients[i].attacker = true;
}

/* Goes on at once where there is something to do, else when a socket is ready. */
static void turn(struct load *l, bool busy)
{
    load_turn(l, busy ? 0 : now_ns() + 10 * NS_PER_MS);
}

/* As many messages as the connection takes. */
static bool pump(struct client *c, const char *to, unsigned body)
{
    if (c->link.state != LINK_OPEN || c->link.write)
        return false;
    while (c->link.out.n < PUMP_BYTES)
        client_send_message(c, to, body, 1);
    return true;
}

static unsigned messages_of(const struct load *l, unsigned first, unsigned count)
{
    unsigned sum = 0;
    for (unsigned i = first; i < first + count; i++)
        sum += l->clients[i].next_number - 1;
    return sum;
}

/* Clients 2i write to 2i + 1, which do not read. */
void command_slow(struct load *l, char **arguments, struct buf *out)
{
    unsigned clients = 2 * commands_number(arguments[0]), body = commands_number(arguments[1]);
    start_attack(l, 0, clients);
    for (unsigned i = 1; i < clients; i += 2)
        link_listen(&l->clients[i].link, false);
    while (!l->command_waits) {
        bool busy = false;
        for (unsigned i = 0; i < clients; i += 2)
            busy |= pump(&l->clients[i], l->clients[i + 1].jid, body);
        turn(l, busy);
    }
    report_number(out, "messages", messages_of(l, 0, clients));
}

static void intrude(struct client *c)
{
    client_login(c);
    c->state = CLIENT_INTRUDING;
}

static bool intrude_again(struct load *l, struct client *c)
{
    unsigned *connections = l->command;
    ++*connections;
    client_cut(c);
    intrude(c);
    return true;
}

/* Connections without a login on which stanzas are sent as fast as they are taken; each that is closed is made anew. */
void command_intrude(struct load *l, char **arguments, struct buf *out)
{
    unsigned first = commands_number(arguments[0]), count = commands_number(arguments[1]), connections = count;
    start_attack(l, first, count);
    l->command = &connections;
    l->on_lost = intrude_again;
    for (unsigned i = first; i < first + count; i++)
        intrude(&l->clients[i]);
    while (!l->command_waits) {
        bool busy = false;
        for (unsigned i = first; i < first + count; i++)
            busy |= pump(&l->clients[i], l->domain, INTRUDER_BODY);
        turn(l, busy);
    }
    l->on_lost = NULL;
    l->command = NULL;
    for (unsigned i = first; i < first + count; i++)
        client_cut(&l->clients[i]);
    report_number(out, "connections", connections);
    report_number(out, "messages", messages_of(l, first, count));
}

/* One byte a write, which inside TLS is one record for each. */
static bool drip(struct client *c, struct buf *rest)
{
    for (unsigned i = 0; i < TRICKLE_BYTES; i++) {
        if (c->link.state != LINK_OPEN || c->link.write)
            return false;
        if (!rest->n) {
            client_send_message(c, c->jid, TRICKLE_BODY, 1);
            buf_add(rest, buf_slice(&c->link.out));
            buf_clear(&c->link.out);
        }
        buf_append(&c->link.out, buf_slice(rest).p, 1);
        buf_consume(rest, 1);
        if (!link_flush(&c->link))
            client_upcalls.lost(c);
    }
    return true;
}

/* What waited in `out` when the dripping began (an ack) goes along in single bytes. */
void command_trickle(struct load *l, char **arguments, struct buf *out)
{
    unsigned first = commands_number(arguments[0]), count = commands_number(arguments[1]);
    struct buf *rests = mem_zalloc(count * sizeof(*rests));
    start_attack(l, first, count);
    while (!l->command_waits) {
        bool busy = false;
        for (unsigned i = 0; i < count; i++)
            busy |= drip(&l->clients[first + i], &rests[i]);
        turn(l, busy);
    }
    for (unsigned i = 0; i < count; i++)
        buf_free(&rests[i]);
    free(rests);
    report_number(out, "messages", messages_of(l, first, count));
}
