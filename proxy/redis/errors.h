/* What an error of a server asks for, by its text. Pure. */
#ifndef HOLDFAST_REDIS_ERRORS_H
#define HOLDFAST_REDIS_ERRORS_H

#include "base/slice.h"
#include <stdbool.h>

enum verdict {
    VERDICT_REFUSED,  /* the command's own fault */
    VERDICT_FAULT,    /* configuration: repeating it helps nobody */
    VERDICT_AWAY,     /* the server cannot do it now: not done, and it says when it can */
    VERDICT_DISCOVER, /* it is no master any more: find out who is */
    VERDICT_MOVED,    /* another server has the slot, see redirect_parse */
    VERDICT_ASK,      /* another server has the key, this once */
    VERDICT_AGAIN,    /* the keys are on two servers just now (a slot is being moved) */
    VERDICT_NOSCRIPT, /* it does not have the script */
};

enum verdict verdict_of(struct slice error);

#define REDIRECT_HOST 256
struct redirect {
    unsigned slot;
    char host[REDIRECT_HOST]; /* without brackets; "": the one who said so */
    int port;
};
/* Of "MOVED 3999 127.0.0.1:6381" and "ASK ...". */
bool redirect_parse(struct redirect *out, struct slice error);

#endif
