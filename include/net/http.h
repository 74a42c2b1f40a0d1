/* The head of an HTTP/1.1 request, read strictly (RFC 9112): what two readers could understand differently is refused.
 * Enough for a WebSocket upgrade and for small documents; bodies are not read. Pure. */
#ifndef HOLDFAST_NET_HTTP_H
#define HOLDFAST_NET_HTTP_H

#include "base/endpoint.h"
#include "base/slice.h"
#include <stdbool.h>
#include <stddef.h>

#define HTTP_HEAD_MAX    ((size_t)16 * 1024)
#define HTTP_HEADERS_MAX 100

struct http_header {
    struct slice name, value; /* value without white space around it */
};

struct http_request {
    struct slice method;
    struct slice path; /* of the target, without its query */
    unsigned minor;    /* HTTP/1.minor */
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t header_count;
    size_t size;       /* of the head, with the empty line */
    const char *fault; /* when it is bad */
};

enum http_result { HTTP_MORE, HTTP_DONE, HTTP_BAD, HTTP_TOO_LARGE };

/* Slices of bytes. */
enum http_result http_request_parse(struct slice bytes, struct http_request *out);

/* The value of the only header of that name; .p == NULL if there is none, or are several. */
struct slice http_header(const struct http_request *r, const char *name);
bool http_has_header(const struct http_request *r, const char *name);
/* Whether a comma-separated header has that token, in any case. */
bool http_has_token(const struct http_request *r, const char *name, const char *token);

/* The client's address as load balancers have told it in that header, each adding to the list: the last one that is not
 * of the load balancers themselves. peer: who sent the request. header: "x-forwarded-for" or "forwarded" (RFC 7239).
 * The peer where nothing is told. */
struct endpoint http_forwarded(const struct http_request *r, const char *header, const struct network *balancers,
                               size_t n, const struct endpoint *peer);

#endif
