/* The figures of each upstream server: rows that the table of base/counters.h cannot hold, since the servers are known
 * only as the proxy runs. */
#ifndef HOLDFAST_RUN_UPSTREAM_METRICS_H
#define HOLDFAST_RUN_UPSTREAM_METRICS_H

struct buf;
struct upstreams;

/* As counters_expose, counters_describe. */
void upstream_metrics_expose(struct upstreams *u, struct buf *out);
void upstream_metrics_describe(struct buf *out);
/* A member `"servers":[…]` of a JSON object. */
void upstream_metrics_json(struct upstreams *u, struct buf *out);

#endif
