/* Credentials on their way to the server: at once, late or not at all (limits.login_failures_*), and what became of
 * them. */
#include "base/log.h"
#include "base/mem.h"
#include "login.h"
#include "xmpp/xml.h"
#include <stdlib.h>

/* What servers answer when it was not the credentials that failed. */
static bool is_about_credentials(const struct node *failure)
{
    static const char *const other[] = {
        "aborted",           "temporary-auth-failure", "encryption-required", "incorrect-encoding",
        "invalid-mechanism", "malformed-request",      "mechanism-too-weak",  "conflict",
        "not-acceptable",    "internal-server-error",  "resource-constraint", "service-unavailable"};
    for (const struct node *n = failure ? failure->first_child : NULL; n; n = n->next)
        for (size_t i = 0; i < sizeof other / sizeof *other; i++)
            if (slice_eq_str(n->name, other[i]))
                return false;
    return true;
}

static void forget_late(struct client_leg *c)
{
    struct login *l = c->login;
    timers_cancel(c->leg.cx->timers, &l->late_timer);
    mem_wipe_free(l->late.data, l->late.cap);
    l->late = (struct buf){0};
}

static void on_late(void *ctx)
{
    struct client_leg *c = ctx;
    struct login *l = c->login;
    l->reached_server = true;
    leg_write(&l->up->leg, buf_slice(&l->late));
    forget_late(c);
}

bool login_try(struct client_leg *c, const struct element *e, const char *user)
{
    struct login *l = c->login;
    struct context *cx = c->leg.cx;
    free(l->tried);
    l->tried = user ? mem_printf("%s\n%s", l->domain, user) : mem_strdup("");
    if (!cx->ops->login_allowed(cx, transport_peer(c->leg.transport), l->tried, &l->pass)) {
        count(cx->counters, METRIC_logins_refused);
        if (context_may_tell(cx))
            LOG(LOG_WARN, "login refused: too many have failed", LF_INT("leg", c->number),
                LF("peer", transport_peer(c->leg.transport)), LF("user", user ? user : ""));
        free(l->tried);
        l->tried = NULL;
        return false;
    }
    struct slice bytes = leg_outside(&c->leg, e, &cx->scratch);
    l->reached_server = !l->pass.late;
    if (l->reached_server) {
        leg_write(&l->up->leg, bytes);
    } else {
        buf_add(&l->late, bytes);
        l->late_timer = (struct timer){.fire = on_late, .ctx = c};
        timers_arm(cx->timers, &l->late_timer, cx->clock->mono + l->pass.late);
    }
    return true;
}

static void tell(struct client_leg *c, enum login_end end)
{
    struct login *l = c->login;
    forget_late(c); /* the server has answered, asked or not */
    if (!l->tried)
        return;
    c->leg.cx->ops->login_ended(c->leg.cx, transport_peer(c->leg.transport), l->tried, &l->pass, end);
    free(l->tried);
    l->tried = NULL;
}

void login_succeeded(struct client_leg *c)
{
    count(c->leg.cx->counters, METRIC_logins_success);
    stream_set_limits(c->leg.stream, &c->leg.cx->settings->limits.stream);
    tell(c, LOGIN_SUCCEEDED);
}

void login_failed(struct client_leg *c, const struct node *failure)
{
    count(c->leg.cx->counters, METRIC_logins_failure);
    tell(c, is_about_credentials(failure) ? LOGIN_FAILED : LOGIN_UNDECIDED);
}

void login_left(struct client_leg *c, enum close_reason reason)
{
    bool by_client = reason == CLOSE_CLIENT_END || reason == CLOSE_PEER_FIN || reason == CLOSE_PEER_RESET ||
                     reason == CLOSE_BAD_STREAM || reason == CLOSE_TLS_FAILED;
    tell(c, by_client && c->login->reached_server ? LOGIN_FAILED : LOGIN_UNDECIDED);
}
