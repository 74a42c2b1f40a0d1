/* The control socket: HTTP over a UNIX socket. It shows all that the stats port shows, and it acts:
 *
 *   POST /drain                       as SIGTERM: drains, then stops. 202 at once
 *   POST /reload                      as SIGHUP. 200, or 422 when the file is bad: nothing has changed then
 *   POST /sessions/SID/disconnect     cuts the client's connection; ?end=yes ends the session
 *   POST /purge?jid=JID               removes what is kept for the account, ends its detached sessions
 *   GET /messages/ID                  what became of the stanzas with that id, as far as this node knows. 404: nothing
 *
 * Answers are JSON objects; those of what was not done have a member `error`. */
#ifndef HOLDFAST_RUN_CONTROL_HTTP_H
#define HOLDFAST_RUN_CONTROL_HTTP_H

#include "run/stats_http.h"

enum control_result {
    CONTROL_DONE,
    CONTROL_BEGUN,
    CONTROL_REFUSED, /* it cannot be done as things are */
    CONTROL_UNKNOWN, /* there is no such thing */
    CONTROL_LATE,    /* whether it was done is not known: the one to do it did not answer in time */
};

/* Called on the thread of the control socket, one at a time; they may wait for others, with a deadline. Each writes the
 * members of a JSON object into out (without the braces; none is fine), or, when it was not done, the error's text. */
struct control_actions {
    void *ctx;
    enum control_result (*drain)(void *ctx, struct buf *out);
    /* CONTROL_REFUSED: still members, of which one tells the problems. */
    enum control_result (*reload)(void *ctx, struct buf *out);
    enum control_result (*disconnect)(void *ctx, struct slice sid, bool end, struct buf *out);
    enum control_result (*purge)(void *ctx, struct slice jid, struct buf *out);
    enum control_result (*message)(void *ctx, struct slice id, struct buf *out);
};

/* As stats_http_start, on a socket at that path with those permissions. What a dead process left there is replaced.
 * stats_http_stop() ends it and removes the file. */
struct stats_http *control_http_start(const char *path, unsigned mode, const struct stats_source *source,
                                      const struct control_actions *actions, char **error_r);
/* On a socket that listens already, which is taken over; its file, if it has one, stays. */
struct stats_http *control_http_start_fd(int fd, const struct stats_source *source,
                                         const struct control_actions *actions, char **error_r);

#endif
