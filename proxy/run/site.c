#include "site.h"
#include "net/web.h"
#include "net/websocket.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Scripts of any origin may read the answers: nothing here depends on who asks, and nothing is secret. */
#define FOR_ALL "Access-Control-Allow-Origin: *\r\n"
#define PREFLIGHT                                                                                                      \
    FOR_ALL "Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\nAccess-Control-Allow-Headers: Content-Type\r\n"       \
            "Access-Control-Max-Age: 86400\r\n"
#define TEXT        "text/plain; charset=utf-8"
#define SUBPROTOCOL "xmpp"

static void respond_text(const struct http_request *r, struct buf *out, unsigned status, const char *text)
{
    char *line = NULL;
    struct buf body = {0};
    buf_printf(&body, "%s\n", text);
    line = buf_steal(&body);
    web_respond(out, r->method, status, FOR_ALL, TEXT, slice_str(line));
    free(line);
}

void site_no_room(const struct http_request *r, struct buf *out)
{
    respond_text(r, out, 503, "There are too many connections; try again later.");
}

/* --- Where the WebSocket is --- */

/* It goes into documents as it is. */
static bool is_plain_host(struct slice host)
{
    for (size_t i = 0; i < host.n; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]", host.p[i]) || !host.p[i])
            return false;
    return host.n > 0;
}

/* As the operator says, else by the name under which we were asked. False: there is none. */
static bool add_url(struct buf *out, const struct config *config, const struct http_request *r, bool secure)
{
    struct slice host = http_header(r, "Host");
    if (config->listen.ws_url)
        buf_add_str(out, config->listen.ws_url);
    else if (is_plain_host(host))
        buf_printf(out, "%s://%.*s%s", secure ? "wss" : "ws", SLICE_ARG(host), config->listen.ws_path);
    return out->n > 0;
}

static bool is_to_read(const struct http_request *r)
{
    return slice_eq_str(r->method, "GET") || slice_eq_str(r->method, "HEAD");
}

static void add_xml(struct buf *out, const char *url)
{
    buf_printf(out,
               "<?xml version='1.0' encoding='UTF-8'?>\n<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>\n"
               "  <Link rel='urn:xmpp:alt-connections:websocket' href='%s'/>\n</XRD>\n",
               url);
}

static void add_json(struct buf *out, const char *url)
{
    buf_printf(out, "{\"links\":[{\"rel\":\"urn:xmpp:alt-connections:websocket\",\"href\":\"%s\"}]}\n", url);
}

static enum metric discover(const struct config *config, const struct http_request *r, bool secure, bool json,
                            struct buf *out)
{
    struct buf url = {0}, body = {0};
    if (!is_to_read(r)) {
        respond_text(r, out, 405, "This document can be read, by GET.");
        return METRIC_web_refused;
    }
    if (!add_url(&url, config, r, secure)) {
        respond_text(r, out, 400, "The request has no proper Host.");
        return METRIC_web_refused;
    }
    char *text = buf_steal(&url);
    if (json)
        add_json(&body, text);
    else
        add_xml(&body, text);
    web_respond(out, r->method, 200, FOR_ALL, json ? "application/json" : "application/xrd+xml", buf_slice(&body));
    buf_free(&body);
    free(text);
    return METRIC_web_discovery;
}

/* BOSH above all: who asks for it is told what there is. */
static enum metric nothing_here(const struct config *config, const struct http_request *r, bool secure, struct buf *out)
{
    struct buf text = {0};
    BUF_LIT(&text, "There is nothing here. XMPP is spoken over WebSocket (RFC 7395), at ");
    if (!add_url(&text, config, r, secure))
        buf_add_str(&text, config->listen.ws_path);
    BUF_LIT(&text, "; BOSH is not.");
    char *line = buf_steal(&text);
    respond_text(r, out, 404, line);
    free(line);
    return METRIC_web_not_found;
}

/* --- The WebSocket --- */

/* Browsers tell where the script came from; other clients say nothing, and could say anything. */
static bool is_welcome(const struct config *config, const struct http_request *r)
{
    struct slice origin = http_header(r, "Origin");
    if (!http_has_header(r, "Origin"))
        return true;
    for (char **o = config->listen.ws_origins; *o; o++)
        if (strcmp(*o, "*") == 0 || (strlen(*o) == origin.n && strncasecmp(*o, origin.p, origin.n) == 0))
            return true;
    return false;
}

static enum metric upgrade(const struct config *config, const struct http_request *r, struct buf *out)
{
    const char *fault = NULL;
    if (!is_welcome(config, r)) {
        respond_text(r, out, 403, "Scripts of this origin may not connect; listen.ws_origins names those that may.");
        return METRIC_web_origin;
    }
    unsigned status = websocket_accept(r, SUBPROTOCOL, out, &fault);
    if (!status)
        return METRIC_web_upgraded;
    respond_text(r, out, status, fault);
    return METRIC_web_refused;
}

enum metric site_answer(const struct config *config, const struct http_request *r, bool secure, struct buf *out)
{
    if (slice_eq_str(r->method, "OPTIONS")) {
        web_respond(out, r->method, 204, PREFLIGHT, TEXT, SLICE_NONE);
        return METRIC_web_discovery;
    }
    if (slice_eq_str(r->path, config->listen.ws_path))
        return upgrade(config, r, out);
    if (slice_eq_str(r->path, "/.well-known/host-meta"))
        return discover(config, r, secure, false, out);
    if (slice_eq_str(r->path, "/.well-known/host-meta.json"))
        return discover(config, r, secure, true, out);
    return nothing_here(config, r, secure, out);
}
