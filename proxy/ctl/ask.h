/* A question to the control socket: one HTTP request, one answer. */
#ifndef HOLDFAST_CTL_ASK_H
#define HOLDFAST_CTL_ASK_H

#include <stdbool.h>

struct reply {
    int status;
    char *body;
};

/* False with *error_r (free it), which says what to do. target: path with query. gone_r: whether nobody listens there;
 * may be NULL. */
bool ask(const char *socket_path, const char *method, const char *target, struct reply *reply_r, char **error_r,
         bool *gone_r);
void reply_free(struct reply *r);

/* For a query: all but letters, digits and a few signs as %XX. free() it. */
char *url_encode(const char *text);

#endif
