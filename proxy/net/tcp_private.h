/* The inside of a TCP transport, shared by the files that make it up:
 *   tcp.c          its life, its place on a loop, the upcalls
 *   tcp_io.c       one read, write or handshake step, with or without TLS, and what its failure means
 *   tcp_goodbye.c  after a graceful free: flush, say goodbye, wait for the peer's
 *
 * Upcalls are made from two places alone, tcp_next and tcp_read, each as the last thing these do: the owner may free
 * the transport in them, or hand it to another thread. Whatever finds out something that the owner must hear of notes
 * it in `due`. */
#ifndef HOLDFAST_NET_TCP_PRIVATE_H
#define HOLDFAST_NET_TCP_PRIVATE_H

#include "base/buf.h"
#include "loop_work.h"
#include "net/tcp.h"
#include "tls_session.h"
#include <ev.h>

/*  dialling --> handshake <--> up <--> starttls      all but dialling --> ended (the peer is gone, or TLS failed)
 *      |           ^            ^        |             after free: goodbye, gone
 *      +-----------|------------+        |
 *                  +---------------------+  */
enum tcp_state {
    TCP_DIALLING, /* no socket yet: the dialer is at work */
    TCP_STARTTLS, /* the last bytes in clear are on their way out (dialled: the head), nothing is read */
    TCP_HANDSHAKE,
    TCP_UP,
    TCP_ENDED,   /* `closed` is due or was called */
    TCP_GOODBYE, /* freed by its owner, still flushing or waiting for the peer */
    TCP_GONE,    /* closed; the memory goes at the end of the turn */
};

enum tcp_due {
    TCP_DUE_HANDSHAKE = 1, /* a step of it */
    TCP_DUE_READY = 2,
    TCP_DUE_DRAINED = 4,
    TCP_DUE_CLOSED = 8,
    TCP_DUE_READ = 16, /* whatever the socket says: bytes may wait inside SSL */
};

/* Of a handshake, or of the goodbye. */
struct tcp_deadline {
    struct timer timer;
    usec at;                 /* outlives a move between loops */
    struct tls_context *tls; /* of the handshake */
};

struct tcp {
    struct transport base;
    struct loop *loop;            /* NULL while detached */
    struct loop_task next, flush; /* next: what is due; after free LOOP_CLOSING, then LOOP_FREE */
    ev_io io;                     /* its fd: -1 while dialling and after the end */

    SSL *ssl;
    struct buf out;

    struct tcp_deadline *deadline;    /* NULL: there is none */
    unsigned long long in, out_total; /* bytes in clear; SSL counts its own */

    char *detail; /* of `end`: the first failure; NULL before */

    /* The dialer's: the owner has freed the transport, while dialling, or being connected to base.server. */
    void (*gone)(void *ctx);
    void *gone_ctx;

    /* Small, as there are many of these. */
    uint32_t clear;     /* bytes at the front of `out` that leave before TLS */
    uint32_t read_turn; /* one read per turn */
    uint8_t due;
    uint8_t read_needs, write_needs; /* what a read (or handshake) or write waits for; TLS may need the other */
    enum tcp_state state : 4;
    enum transport_end end : 4;

    bool tls_up : 1, tls_broken : 1; /* broken: SSL must not be used any more, not even for a goodbye */
    bool reading : 1;                /* what the owner wants */
    bool yields : 1;                 /* likewise: reads wait in LOOP_YIELD */
    bool blocked : 1;                /* `out` waits for write_needs */
    bool late : 1;                   /* `out` outlived a turn, or was over the high-water mark: `drained` is owed */
    bool write_failed : 1;           /* nothing can be written; `end` tells why, `closed` waits until all was read */
    bool said_goodbye : 1, peer_finished : 1;
};

/* One that was accepted. */
struct tcp_accepted {
    struct tcp tcp;
    struct transport_client client;
};

static inline struct tcp *tcp_of(const struct transport *t)
{
    return (struct tcp *)t;
}

/* --- tcp_io.c --- */
enum io {
    IO_OK,
    IO_WAIT, /* read_needs or write_needs says for what */
    IO_END,  /* end and detail say why */
};
enum io tcp_io_read(struct tcp *t, char *p, size_t size, size_t *n_r);
enum io tcp_io_write(struct tcp *t, const char *p, size_t n, size_t *n_r);
enum io tcp_io_handshake(struct tcp *t);
/* Says the TLS goodbye. IO_WAIT: once more when write_needs is there. */
enum io tcp_io_goodbye(struct tcp *t);
bool tcp_io_holds(const struct tcp *t);      /* bytes that the socket does not tell of wait inside SSL */
bool tcp_io_has_unread(const struct tcp *t); /* inside SSL or in the kernel */
/* Keeps the first reason. Takes over detail. */
void tcp_io_note_end(struct tcp *t, enum transport_end end, char *detail);

/* --- tcp.c --- */
void tcp_watch(struct tcp *t);                 /* tells libev what the present state waits for */
void tcp_set_deadline(struct tcp *t, usec at); /* in the place of the one that there is */
void tcp_close(struct tcp *t, bool reset);     /* the end of everything; memory goes when the turn is over */

/* --- tcp_goodbye.c --- */
void tcp_goodbye_start(struct tcp *t);
void tcp_goodbye_step(struct tcp *t); /* whenever bytes have left */
void tcp_goodbye_read(struct tcp *t);
void tcp_goodbye_end(struct loop_task *task);

/* --- for the dialer --- */
/* A transport without a socket; `abandoned` is called if the owner frees it while dialling. */
struct transport *tcp_dialling(struct loop *l, void (*abandoned)(void *ctx), void *ctx);
/* What it is going to be connected to; `left` is called when the owner frees the transport. */
void tcp_set_server(struct transport *base, void *server, void (*left)(void *server));
/* The socket is connected; with tls the handshake begins, until deadline. head goes ahead of all else. */
void tcp_dialled(struct transport *base, int fd, struct slice head, struct tls_context *tls, const char *name,
                 usec deadline);
/* Dialling has failed; `closed` is called in the next turn. Takes over detail. */
void tcp_dial_failed(struct transport *base, enum transport_end end, char *detail);

#endif
