#include "run/upstream_metrics.h"
#include "base/buf.h"
#include "base/counters.h"
#include "run/upstreams.h"
#include <inttypes.h>
#include <stdio.h>

/* Names of servers are host names and ports: nothing in them wants escaping. */

static void add_up(struct buf *out, const struct upstream_info *i)
{
    buf_printf(out, "holdfast_server_up{server=\"%s\"} %d\n", i->name, i->up);
}

static void add_drained(struct buf *out, const struct upstream_info *i)
{
    buf_printf(out, "holdfast_server_drained{server=\"%s\"} %d\n", i->name, i->drained);
}

static void add_sessions(struct buf *out, const struct upstream_info *i)
{
    buf_printf(out, "holdfast_server_sessions{server=\"%s\"} %zu\n", i->name, i->sessions);
}

static void add_dials(struct buf *out, const struct upstream_info *i)
{
    buf_printf(out,
               "holdfast_server_dials_total{server=\"%s\",result=\"ok\"} %" PRId64 "\n"
               "holdfast_server_dials_total{server=\"%s\",result=\"failed\"} %" PRId64 "\n",
               i->name, i->dials_ok, i->name, i->dials_failed);
}

static const struct family {
    const char *name, *labels;
    enum metric_type type;
    const char *help;
    void (*add)(struct buf *out, const struct upstream_info *i);
} families[] = {
    {"holdfast_server_up", "server", METRIC_GAUGE, "1 while this upstream server can be reached", add_up},
    {"holdfast_server_drained", "server", METRIC_GAUGE, "1 while this upstream server gets no new sessions",
     add_drained},
    {"holdfast_server_sessions", "server", METRIC_GAUGE,
     "Connections to this upstream server, those being made included", add_sessions},
    {"holdfast_server_dials", "server,result", METRIC_COUNTER, "Connections to this upstream server tried, by result",
     add_dials},
};
#define FAMILIES (sizeof families / sizeof *families)

void upstream_metrics_expose(struct upstreams *u, struct buf *out)
{
    size_t n;
    struct upstream_info *info = upstreams_info(u, &n);
    for (size_t f = 0; f < FAMILIES; f++) {
        counters_add_header(out, families[f].name, families[f].type, families[f].help);
        for (size_t i = 0; i < n; i++)
            families[f].add(out, &info[i]);
    }
    upstreams_info_free(info, n);
}

void upstream_metrics_describe(struct buf *out)
{
    for (size_t f = 0; f < FAMILIES; f++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s{%s}", families[f].name, families[f].type == METRIC_COUNTER ? "_total" : "",
                 families[f].labels);
        counters_add_description(out, name, families[f].type, families[f].help);
    }
}

static const char *json_bool(bool yes)
{
    return yes ? "true" : "false";
}

void upstream_metrics_json(struct upstreams *u, struct buf *out)
{
    size_t n;
    struct upstream_info *info = upstreams_info(u, &n);
    BUF_LIT(out, "\"servers\":[");
    for (size_t i = 0; i < n; i++)
        buf_printf(out,
                   "%s{\"server\":\"%s\",\"listed\":%s,\"up\":%s,\"drained\":%s,\"sessions\":%zu,"
                   "\"dials_ok\":%" PRId64 ",\"dials_failed\":%" PRId64 "}",
                   i ? "," : "", info[i].name, json_bool(info[i].listed), json_bool(info[i].up),
                   json_bool(info[i].drained), info[i].sessions, info[i].dials_ok, info[i].dials_failed);
    BUF_LIT(out, "]");
    upstreams_info_free(info, n);
}
