/* Figures of the process itself under the names that Prometheus client libraries use, and what it was built from. */
#ifndef HOLDFAST_RUN_PROCESS_METRICS_H
#define HOLDFAST_RUN_PROCESS_METRICS_H

struct buf;

struct build_versions {
    const char *holdfast, *openssl, *expat; /* of the libraries that run, not of their headers */
};

/* Appends OpenMetrics text (without `# EOF`): process_* read from /proc/self (what cannot be read is left out) and
 * holdfast_build_info. Thread-safe. */
void process_metrics_expose(struct buf *out, const struct build_versions *versions);
/* Their lines for --describe-metrics. */
void process_metrics_describe(struct buf *out);

#endif
