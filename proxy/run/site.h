/* What there is to be had on the ports for WebSockets: the WebSocket itself (RFC 7395), the documents by which clients
 * find it (XEP-0156), and for all else an answer that says so. */
#ifndef HOLDFAST_RUN_SITE_H
#define HOLDFAST_RUN_SITE_H

#include "base/counters.h"
#include "net/http.h"
#include "run/config.h"

/* Adds the answer to out, and tells by which metric it is counted: METRIC_web_upgraded for a WebSocket. secure: it came
 * over TLS, as far as is known. */
enum metric site_answer(const struct config *config, const struct http_request *r, bool secure, struct buf *out);
/* Adds the answer to a client for whom there is no room now. */
void site_no_room(const struct http_request *r, struct buf *out);

#endif
