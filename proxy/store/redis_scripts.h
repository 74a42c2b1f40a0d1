/* What has to happen in Redis in one step, as Lua. Each script answers an array whose first element is a word: "ok", or
 * why not. All keys are named in KEYS and lie in one slot; all can run while Redis is full, so that it can be emptied.
 * None is on the path of a stanza. */
#ifndef HOLDFAST_STORE_REDIS_SCRIPTS_H
#define HOLDFAST_STORE_REDIS_SCRIPTS_H

enum script {
    /* Of a session; keys: the first so many of enum session_key. */
    SCRIPT_OPEN,   /* 5 + tombstone */
    SCRIPT_CHECK,  /* 6 */
    SCRIPT_NOTE,   /* 5 */
    SCRIPT_RECORD, /* 4 */
    SCRIPT_LOOK,   /* 2 */
    SCRIPT_CLAIM,  /* 9 */
    SCRIPT_END,    /* 11 */
    SCRIPT_REAP,   /* 11 */
    SCRIPT_SPILL,  /* 9 */
    SCRIPT_BURY,   /* 7 */
    /* Of a box; keys: the stream, its index; of TAKE the account's list and the session's hash too. */
    SCRIPT_PUT,
    SCRIPT_TAKE,
    SCRIPT_DONE,
    SCRIPT_LEND,
    SCRIPT_LENDS,
    SCRIPT_PURGE,
    SCRIPTS,
};

extern const char *const script_text[SCRIPTS];
extern const char *const script_name[SCRIPTS];

/* What happened in a box: the order of the counts in answers. */
enum box_count {
    BOX_COUNT_PUT,
    BOX_COUNT_RETURNED,
    BOX_COUNT_DOUBLED,
    BOX_COUNT_OVERFLOWN,
    BOX_COUNT_EXPIRED,
    BOX_COUNT_PURGED,
    BOX_COUNTS,
};

#endif
