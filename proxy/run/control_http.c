#include "run/control_http.h"
#include "base/json.h"
#include "base/mem.h"
#include "http_exchange.h"
#include <stdlib.h>
#include <string.h>

static const unsigned status_of[] = {
    [CONTROL_DONE] = MHD_HTTP_OK,
    [CONTROL_BEGUN] = MHD_HTTP_ACCEPTED,
    [CONTROL_REFUSED] = MHD_HTTP_CONFLICT,
    [CONTROL_UNKNOWN] = MHD_HTTP_NOT_FOUND,
    [CONTROL_LATE] = MHD_HTTP_GATEWAY_TIMEOUT,
};

static void say_error(struct exchange *x, unsigned status, struct slice text)
{
    struct buf body = {0};
    BUF_LIT(&body, "{\"error\":");
    json_quote(&body, text);
    BUF_LIT(&body, "}\n");
    buf_free(&x->body);
    x->body = body;
    x->status = status;
    x->type = TYPE_JSON;
}

static void say_members(struct exchange *x, unsigned status, struct slice members)
{
    buf_clear(&x->body);
    buf_printf(&x->body, "{%.*s}\n", SLICE_ARG(members));
    x->status = status;
    x->type = TYPE_JSON;
}

static void say_result(struct exchange *x, enum control_result result, struct buf *out)
{
    if (result == CONTROL_DONE || result == CONTROL_BEGUN)
        say_members(x, status_of[result], buf_slice(out));
    else
        say_error(x, status_of[result], buf_slice(out));
}

static void order_drain(struct exchange *x, const struct control_actions *a, struct buf *out)
{
    say_result(x, a->drain(a->ctx, out), out);
}

static void order_reload(struct exchange *x, const struct control_actions *a, struct buf *out)
{
    enum control_result result = a->reload(a->ctx, out);
    if (result == CONTROL_REFUSED)
        say_members(x, MHD_HTTP_UNPROCESSABLE_CONTENT, buf_slice(out));
    else
        say_result(x, result, out);
}

static void order_disconnect(struct exchange *x, const struct control_actions *a, struct buf *out)
{
    const char *end = http_argument(x, "end");
    if (end && strcmp(end, "yes") != 0 && strcmp(end, "no") != 0)
        say_error(x, MHD_HTTP_BAD_REQUEST, SLICE_LIT("end must be yes or no"));
    else
        say_result(x, a->disconnect(a->ctx, x->rest, end && strcmp(end, "yes") == 0, out), out);
}

static void order_purge(struct exchange *x, const struct control_actions *a, struct buf *out)
{
    const char *jid = http_argument(x, "jid");
    if (!jid || !*jid)
        say_error(x, MHD_HTTP_BAD_REQUEST, SLICE_LIT("name the account: /purge?jid=user@example.org"));
    else
        say_result(x, a->purge(a->ctx, slice_str(jid), out), out);
}

static void tell_message(struct exchange *x, const struct control_actions *a, struct buf *out)
{
    say_result(x, a->message(a->ctx, x->rest, out), out);
}

/* What stands between head and tail, where there is a tail, is the order's object. The last one only reads, but what it
 * shows is not for everybody who may read figures. */
static const struct order {
    const char *method, *head, *tail;
    void (*act)(struct exchange *x, const struct control_actions *actions, struct buf *out);
} orders[] = {
    {MHD_HTTP_METHOD_POST, "/drain", NULL, order_drain},
    {MHD_HTTP_METHOD_POST, "/reload", NULL, order_reload},
    {MHD_HTTP_METHOD_POST, "/purge", NULL, order_purge},
    {MHD_HTTP_METHOD_POST, "/sessions/", "/disconnect", order_disconnect},
    {MHD_HTTP_METHOD_GET, "/messages/", "", tell_message},
};

static bool matches(const struct order *o, struct slice path, struct slice *object_r)
{
    struct slice head = slice_str(o->head), tail = slice_str(o->tail);
    if (!o->tail)
        return slice_eq(path, head);
    if (path.n <= head.n + tail.n || !slice_starts(path, head) ||
        !slice_eq(slice_of(path.p + (path.n - tail.n), tail.n), tail))
        return false;
    *object_r = slice_of(path.p + head.n, path.n - head.n - tail.n);
    return true;
}

static const struct order *find(struct slice path, struct slice *object_r)
{
    *object_r = SLICE_NONE;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        if (matches(&orders[i], path, object_r))
            return &orders[i];
    return NULL;
}

bool control_is_order(struct slice path)
{
    struct slice object;
    return find(path, &object) != NULL;
}

void control_answer(struct exchange *x, const struct control_actions *actions, const char *method, struct slice path)
{
    struct buf out = {0};
    const struct order *o = find(path, &x->rest);
    if (strcmp(method, o->method) != 0) {
        bool reads = strcmp(o->method, MHD_HTTP_METHOD_GET) == 0;
        say_error(x, MHD_HTTP_METHOD_NOT_ALLOWED,
                  reads ? SLICE_LIT("this is for reading: GET it") : SLICE_LIT("this is an order: POST it"));
        x->allow = o->method;
    } else {
        o->act(x, actions, &out);
    }
    buf_free(&out);
}
