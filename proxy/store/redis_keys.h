/* Names of keys. {T}: the tag of an account, the first 24 digits of a sid; SID: the other 24. All keys of an account
 * lie in one slot.
 *
 *   hf:{T}:s:SID  hash    ep epoch, ow owner "NODE/BOOT", nc mark of the handle that owns it, st state: a attached,
 *                         d detached, r released, e ending; hw high-water mark, dl deadline (ms), mx its max (ms),
 *                         ac account, pr proof, ln 1: has messages of boxes lent, fe what was taken from owners that
 *                         were fenced, ec the last part of its end that is done, ed up to where that took the unacked
 *                         queue,
 *                         rn under which run of the server its owner has vouched for it, cl until when nobody is to
 *                         go on from it all the same (ms),
 *                         os, ns, rs serials of the newest making, note, record
 *   hf:{T}:d:SID  stream  unacked queue, ids EPOCH-NUMBER: c class, o origin if it comes out of a mailbox, d payload
 *   hf:{T}:u:SID  stream  unconfirmed queue, the same
 *   hf:{T}:j:SID  string  the record that a rebuild needs
 *   hf:{T}:t:SID  string  tombstone: fe of the hash, "\nH REASON MARK ACCOUNT-BYTES PROOF-BYTES\n", account,
 *                         proof, what its client may send again; of a session that was reaped without PROOF-BYTES and
 *                         what is behind the proof
 *   hf:{T}:a      zset    the account's sessions: when they were detached (ms), 0 for attached ones
 *   hf:{T}:g      zset    the account's tombstones: when they are forgotten (ms)
 *   hf:{T}:mail   stream  mailbox, ids by time: o origin, c class, d payload
 *   hf:{T}:mail:o hash    beside it: origin -> "ID BYTES LENDER UNTIL DOOMED", "-" for no lender (SID:MARK:OWNER);
 *                         DOOMED 0 or 1, with a c behind it: a copy of what is on its way; "#": bytes in all
 *   hf:{T}:out    stream  outbox; hf:{T}:out:o beside it
 *   hf:exp:B      zset    64 of them: sid -> deadline (ms), a list of what may be due
 *   hf:n:NODE     string  "BOOT PEER VERSION" of a node that lives; also the channel of that node
 *   hf:nodes              the channel of all nodes */
#ifndef HOLDFAST_STORE_REDIS_KEYS_H
#define HOLDFAST_STORE_REDIS_KEYS_H

#include "redis/redis.h"
#include "store/store.h"

/* The keys of a script that concerns a session, always in this order; a script gets the first so many of them. */
enum session_key {
    KEY_HASH,
    KEY_DOWN,
    KEY_UP,
    KEY_RECORD,
    KEY_ACCOUNT,
    KEY_TOMBSTONE,
    KEY_GRAVES,
    KEY_MAIL,
    KEY_MAIL_INDEX,
    KEY_OUT,
    KEY_OUT_INDEX,
    SESSION_KEYS,
};

#define KEY_SIZE  64
#define DEADLINES 64

/* Each writes into out and returns it. */
struct slice key_of_session(char out[KEY_SIZE], const char *sid, enum session_key key);
/* tag: its first 24 bytes. */
struct slice key_of_account(char out[KEY_SIZE], const char *tag, enum session_key key);
struct slice key_of_deadlines(char out[KEY_SIZE], unsigned bucket);
unsigned deadlines_of(const char *sid); /* the bucket */
unsigned slot_of_tag(const char *tag);  /* of all keys of that account */

/* The words of one command. Texts are the caller's, and stay as they are until it is sent; numbers are copied. */
#define ARGS_MAX 448
struct args {
    size_t n, used;
    struct slice v[ARGS_MAX];
    char text[16 * 24 + SESSION_KEYS * KEY_SIZE];
};
static inline void args_begin(struct args *a)
{
    a->n = a->used = 0;
}
void args_add(struct args *a, struct slice s);
void args_str(struct args *a, const char *text); /* NULL: an empty one */
void args_number(struct args *a, int64_t n);
void args_id(struct args *a, uint64_t epoch, uint64_t number);                /* EPOCH-NUMBER */
void args_session_key(struct args *a, const char *sid, enum session_key key); /* one */
void args_session_keys(struct args *a, const char *sid, size_t n);            /* the first n */
void args_account_key(struct args *a, const char *tag, enum session_key key); /* one */

#endif
