/* A reader of INI text: `[section]`, `key = value`, comments on lines of their own that begin with # or ;. White space
 * around sections, keys and values is dropped; CRLF and a leading byte order mark are tolerated. No continuation lines,
 * no quoting, no comments behind values. It goes on behind an error, so that one run tells them all. */
#ifndef HOLDFAST_RUN_INI_H
#define HOLDFAST_RUN_INI_H

#include "base/slice.h"

#define INI_LINE_MAX 8192 /* bytes of one line */

struct ini_events {
    void (*section)(void *ctx, int line, struct slice name);
    void (*value)(void *ctx, int line, struct slice key, struct slice value); /* value may be empty */
    /* The line was skipped: why, and what to do. Values behind a broken section line are not reported, as nobody knows
     * where they belong; values ahead of the first section are errors. */
    void (*error)(void *ctx, int line, const char *reason);
};

/* Slices point into text. */
void ini_parse(struct slice text, const struct ini_events *events, void *ctx);

#endif
