/* OpenMetrics text as the older Prometheus format, for scrapers that do not ask for the newer one. */
#ifndef HOLDFAST_RUN_PROMETHEUS_TEXT_H
#define HOLDFAST_RUN_PROMETHEUS_TEXT_H

#include "base/slice.h"

struct buf;

/* Appends `openmetrics` (of families whose TYPE line comes first) as Prometheus text 0.0.4: there a counter's family is
 * named with its `_total`, an info is a gauge named `_info`, and units do not exist. Samples stay as they are. */
void prometheus_text_convert(struct buf *out, struct slice openmetrics);

#endif
