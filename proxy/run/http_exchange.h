/* One HTTP request and the answer that a route writes to it. */
#ifndef HOLDFAST_RUN_HTTP_EXCHANGE_H
#define HOLDFAST_RUN_HTTP_EXCHANGE_H

#include "base/buf.h"
#include <microhttpd.h>
#include <stdbool.h>

#define TYPE_TEXT "text/plain; charset=utf-8"
#define TYPE_JSON "application/json"

struct exchange {
    const struct stats_source *source;
    struct MHD_Connection *connection;
    struct slice rest; /* of the path, behind the route's prefix */
    unsigned status;
    const char *type;
    const char *allow; /* methods, for MHD_HTTP_METHOD_NOT_ALLOWED; else NULL */
    struct buf body;
};

/* Of the query; NULL if it is not there. */
const char *http_argument(const struct exchange *x, const char *name);
/* A plain answer of one line; replaces what the body had. */
void http_say(struct exchange *x, unsigned status, const char *text);

struct control_actions;

/* control_http.c: whether the path is that of an order; then, on a control socket, its answer. */
bool control_is_order(struct slice path);
void control_answer(struct exchange *x, const struct control_actions *actions, const char *method, struct slice path);

#endif
