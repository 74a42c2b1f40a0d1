#include "base/mem.h"
#include "tcp_private.h"
#include <errno.h>
#include <sys/socket.h>

/* All of it: flushing, our goodbye, the peer's. A peer that is merely slow gets what the kernel holds even later. */
#define GOODBYE_TIME (5 * USEC_S)

void tcp_goodbye_start(struct tcp *t)
{
    t->state = TCP_GOODBYE;
    t->due = 0;
    t->base.events = NULL;
    loop_unqueue(&t->next);
    t->next.run = tcp_goodbye_end;
    loop_queue(t->loop, LOOP_CLOSING, &t->next);
    loop_queue(t->loop, LOOP_FLUSH, &t->flush);
    tcp_set_deadline(t, loop_clock(t->loop)->mono + GOODBYE_TIME);
    tcp_watch(t);
}

void tcp_goodbye_step(struct tcp *t)
{
    if (!t->out.n && !t->said_goodbye) {
        enum io result = tcp_io_goodbye(t);
        t->blocked = result == IO_WAIT;
        if (result == IO_OK)
            shutdown(t->io.fd, SHUT_WR);
        if (result == IO_END)
            tcp_close(t, false);
        t->said_goodbye = result == IO_OK;
    }
    if (t->said_goodbye && t->peer_finished)
        tcp_close(t, false);
    else if (t->state == TCP_GOODBYE)
        tcp_watch(t);
}

/* What the peer still sends is thrown away: closing over unread bytes would make the kernel send a reset, which can
 * destroy our last words on their way. */
void tcp_goodbye_read(struct tcp *t)
{
    ssize_t n = recv(t->io.fd, loop_read_buffer(t->loop), LOOP_READ_SIZE, 0);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    t->peer_finished = true;
    if (n < 0 || t->said_goodbye)
        tcp_close(t, false);
    else
        tcp_watch(t);
}

void tcp_goodbye_end(struct loop_task *task)
{
    tcp_close(CONTAINER_OF(task, struct tcp, next), false);
}
