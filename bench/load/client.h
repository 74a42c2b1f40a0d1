/* An XMPP client: logs in, keeps the counts of XEP-0198, resumes. What it does with messages is the load's. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include "base/list.h"
#include "load/link.h"

enum client_state {
    CLIENT_OFF,
    CLIENT_OPENING,   /* up to the features of the first stream */
    CLIENT_STARTTLS,  /* asked for TLS */
    CLIENT_SECURE,    /* up to the features inside TLS */
    CLIENT_AUTH,      /* sent the password */
    CLIENT_PROVEN,    /* up to the features behind the login */
    CLIENT_BIND,      /* asked for a resource */
    CLIENT_ENABLE,    /* asked for stream management */
    CLIENT_RESUME,    /* asked for the old session */
    CLIENT_READY,     /* has a session */
    CLIENT_LEAVING,   /* said its end tag */
    CLIENT_INTRUDING, /* is on a stream without login, to do harm */
};

struct client {
    struct load *load;
    struct link link;
    unsigned number;  /* its place among load.clients */
    unsigned account; /* userN */
    enum client_state state;
    char *jid, *previd;
    bool enabled;          /* stream management */
    bool attacker;         /* answers nothing, and acks to it are not compared */
    bool holds;            /* acks nothing unless it is told to */
    uint32_t got, sent;    /* stanzas on this session since <enable/> */
    uint32_t acked;        /* of those sent, by the server's own word */
    uint32_t unasked;      /* sent since the last <r/> */
    uint32_t told;         /* of those it got, by its own last ack */
    uint32_t last_number;  /* of the messages that came */
    uint32_t next_number;  /* of the next message of its own */
    uint32_t stop;         /* where the command under way ends: at the number of a message of its own, or at an h */
    struct list dirty;     /* in load.dirty: has something to write */
    uint64_t began, asked; /* when it connected, and when it asked for the old session (now_ns) */
};

extern const struct link_upcalls client_upcalls;

/* From the connection to CLIENT_READY; resumes the session it had, if that can be. */
void client_login(struct client *c);
void client_logout(struct client *c);
/* Breaks its connection off, by reset; it can log in again. */
void client_cut(struct client *c);

/* A message to `to` of `body` bytes that carries `stamp` and the number of this client's messages. It asks for a
 * receipt if load.asks_receipts. */
void client_send_message(struct client *c, const char *to, unsigned body, uint64_t stamp);
/* Asks for an ack. */
void client_ask(struct client *c);
/* Acks the first `h` stanzas of its session. */
void client_ack(struct client *c, uint32_t h);
/* Number and stamp of a message made by client_send_message; false of any other. */
bool client_read_message(struct slice message, uint32_t *number, uint64_t *stamp);

#endif
