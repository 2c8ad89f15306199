/* metrics.h - GET /metrics: the host's counters in Prometheus' text format 0.0.4. */
#pragma once

#include "util/buf.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Appends everything: counters and histograms are sums over all workers of this host, dead ones
 * included; gauges are given for each living worker (labels worker and pid). Any thread. */
void metrics_text(struct buf *out);
