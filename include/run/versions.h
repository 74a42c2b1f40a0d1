/* What a report of a bug needs to know about the program and its libraries. */
#ifndef HOLDFAST_RUN_VERSIONS_H
#define HOLDFAST_RUN_VERSIONS_H

#include "base/buf.h"

void versions_describe(struct buf *out); /* a line for each part: as built, and as running */
const char *versions_openssl(void);      /* of the library that runs */
const char *versions_expat(void);

#endif
