/* What the files of the Redis store share.
 *
 *   redis_store.c    the store: what comes back, its turn, hints, the life sign of the node
 *   redis_kept.c     a session that is kept: what changes is noted, and written in the turn
 *   redis_resync.c   making it in Redis, and comparing with what is there
 *   redis_claim.c    looking for a session, taking it over
 *   redis_end.c      the end of a session by its owner
 *   redis_spill.c    what a fenced owner alone has
 *   redis_reap.c     the end of sessions whose owners are gone
 *   redis_boxes.c    mailboxes and outboxes
 *   redis_take.c     what they have for a session
 *   redis_graves.c   tombstones, purge
 *   redis_signs.c    which nodes live
 *   redis_jobs.c     operations that are repeated until they are done
 *   redis_entry.c    stanzas as payloads
 *   redis_scripts.c  Lua */
#ifndef HOLDFAST_STORE_REDIS_IMPL_H
#define HOLDFAST_STORE_REDIS_IMPL_H

#include "base/list.h"
#include "base/map.h"
#include "redis_keys.h"
#include "redis_reply.h"
#include "redis_scripts.h"
#include "store/redis.h"

#define MARK_SIZE 17 /* 16 hex digits and NUL */
#define PAGE      200

struct calming {
    unsigned first, last;
    usec until;
};

struct redis_store {
    struct store store; /* first: a struct store * is a struct redis_store * */
    struct redis_store_options o;
    char *node, *boot, *peer, *owner, *channel;
    struct redis *redis;
    struct redis_script scripts[SCRIPTS];

    struct map *kept;    /* sid -> the struct kept that is told of it */
    struct list idle;    /* struct kept.link: nothing to do */
    struct list dirty;   /* the turn has to see to them */
    struct list stalled; /* wait for Redis */

    struct list jobs, waiting; /* struct job.link: sent, and not done while Redis was away */
    size_t waiting_count;
    struct map *looks_again; /* tag of an account -> the struct take that will look for mail of dead nodes once more */
    struct map *has_mail;    /* tag of an account -> anything: other nodes are to be told */
    struct map *lent[BOXES]; /* origin -> char *token under which the box has lent it to a session here */

    bool met;                                 /* it has been told `back` once */
    unsigned char met_slots[REDIS_SLOTS / 8]; /* those of which it has: a bit for each */
    usec harmless_until;                      /* nothing is ended before */
    struct calming *calming;                  /* slots that have got another run of a server lately */
    size_t calming_count;
    usec reap_after; /* nothing is reaped before */
    usec retry_delay;
    struct timer retry, soon, beat, reap;
    usec deadlines_ttl; /* of the lists of deadlines: the longest that was needed */
};

static inline struct redis_store *redis_store_self(struct store *s)
{
    return (struct redis_store *)s;
}
static inline usec now_mono(const struct redis_store *s)
{
    return s->o.clock->mono;
}
static inline int64_t to_ms(usec t)
{
    return t / USEC_MS;
}
/* Up to a tenth longer, so that what was made together does not go together. In ms. */
int64_t ttl_with_jitter(usec ttl);

void store_eval(struct redis_store *s, unsigned slot, enum script script, size_t nkeys, const struct args *a,
                redis_done_fn *done, void *ctx);
void store_send(struct redis_store *s, unsigned slot, const struct args *a, redis_done_fn *done, void *ctx);
void store_publish(struct redis_store *s, const char *channel, const char *word, const char *sid);
void store_memory(struct redis_store *s, int64_t n);
/* There is something new in the mailbox of the account with that tag (or of that sid): all nodes are told in the turn.
 */
void store_tell_mail(struct redis_store *s, const char *tag);
/* Something waits for Redis: it is tried again after a while, if `back` does not come first. */
void store_retry_later(struct redis_store *s);
/* Puts the sid on its list of deadlines, or takes it off (left < 0). */
void store_set_deadline(struct redis_store *s, const char *sid, usec left);
/* Seals; what is empty stays empty. */
void store_seal(const struct redis_store *s, const char *tag, struct slice plain, struct buf *out);
enum redis_opened store_open(const struct redis_store *s, const char *tag, struct slice sealed, struct buf *out);
/* Before that (mono) no session of that slot is taken for lost: Redis has begun anew, and owners come back to it. */
usec store_calm_at(const struct redis_store *s, unsigned slot);
void mark_new(char mark[MARK_SIZE]);

/* ---- jobs (redis_jobs.c): repeated until done, over any outage ---- */

struct job {
    struct list link;
    struct redis_store *s;
    void (*send)(struct job *j); /* sends the next command, whose answer calls job_away or goes on */
    void (*release)(
        struct job *j); /* frees it; a question answers "nothing known" first, if it has not been answered */
    unsigned slot;
    size_t cost; /* bytes that it holds */
    bool ends;   /* it destroys: not while the store may be out of date */
};

void job_start(struct redis_store *s, struct job *j);
void job_away(struct job *j); /* not done, or nobody knows: sent again later */
void job_done(struct job *j); /* releases it */
void jobs_retry(struct redis_store *s, unsigned first_slot, unsigned last_slot);
void jobs_free(struct redis_store *s);
/* True if the answer came; else the job waits and is to be left alone. */
bool job_answered(struct job *j, enum redis_answer a, const struct redisReply *reply);

/* ---- stanzas (redis_entry.c) ---- */

struct side;

/* Appends the payload of an entry, sealed. */
void entry_write(const struct redis_store *s, const char *tag, const struct entry *e, struct buf *out);
/* Where it came from: out of a box, or out of that queue; to be freed. epoch: of the handle, as in side_epoch_of. */
char *entry_origin(const struct entry *e, const char *sid, enum store_box kind, const struct side *d, uint64_t epoch);
/* An entry out of a stream [id, fields], NULL unless OPENED. Its number is that of the id. */
enum redis_opened entry_read(const struct redis_store *s, const char *tag, const struct redisReply *r,
                             struct entry **e_r);

/* ---- kept sessions ---- */

/* Ids up to `upto` were given under that epoch, those above under the next one or that of the session. */
struct era {
    uint64_t epoch, upto;
};

struct side {
    struct entry *next; /* the first entry of the queue that is not sent; NULL: none */
    uint64_t sent, released, trimmed;
    uint64_t committed; /* Redis holds it, as far as is known; it may lose its newest */
    uint64_t told;      /* to the owner as committed: never less */
    uint64_t mark;      /* when the answer to this one comes, the time is taken */
    usec marked_at;
    struct era *eras; /* oldest first */
    size_t era_count;
};

enum kept_state {
    KEPT_MAKING,  /* is to be made in Redis, or made anew */
    KEPT_LIVE,    /* all that changes is written */
    KEPT_STALLED, /* what Redis holds is not known: it is to be compared */
    KEPT_FENCED,
};

struct kept {
    struct list link; /* in idle, dirty or stalled of the store */
    struct redis_store *s;
    char sid[SID_SIZE], mark[MARK_SIZE];
    unsigned slot;
    enum kept_state state;
    bool asked;   /* the command that makes or compares it is under way */
    bool gone;    /* for its owner; it waits for answers */
    bool made;    /* has been in Redis */
    bool cut_all; /* when it is made anew nothing of the old queues is kept */
    bool restore; /* made anew under its own epoch: Redis has lost that */
    bool rewind;  /* `next` of both sides is to be found anew */
    bool noting;  /* state, deadline or high-water mark are to be written */
    bool recording, record_urgent;
    bool resealing;  /* the next note is to bring account and proof, too */
    bool confirming; /* the session is to be vouched for as soon as all is there */
    usec calm_at;    /* not attached before */
    bool attached, attached_told;
    bool releasing, release_asked;
    unsigned due; /* commands without an answer */
    unsigned notes_due;
    uint64_t epoch;
    uint64_t high_water, high_water_asked;
    struct side side[2];
    unsigned serial; /* of what would do harm if it were executed late, behind a newer one */
    const struct queue *queue[2];
    size_t uncommitted; /* as counted in the gauge */
    const struct kept_events *events;
    void *ctx;
    char *account, *proof;
    usec max, left, detached_at, detached_wall;
    usec push_at, record_at; /* mono; -1: not due */
    usec silent_asked;       /* what the newest word on the deadline makes of it, once it is committed */
    struct timer timer;
    char *asker; /* node that wants to have it */
    void (*released)(void *ctx);
    void *released_ctx;
};

/* What one turn may still write. */
struct budget {
    size_t commands, bytes;
};

extern const struct kept_ops redis_kept_ops;

struct kept *kept_new(struct redis_store *s, const struct kept_origin *o);
void kept_set_dirty(struct kept *k);
/* Redis has not taken something, or may not have. at_once: it is there, and is to be asked. */
void kept_stall(struct kept *k, bool at_once);
/* record: what was taken from it, as a script tells; "": nobody knows any more, and what it knew committed is taken for
 * that. */
void kept_tell_fenced(struct kept *k, const struct redisReply *record);
void kept_tell_committed(struct kept *k, enum kept_queue which, uint64_t upto);
void kept_tell_made(struct kept *k, enum kept_queue which); /* it is in Redis, as far as it is committed now */
void kept_drop_due(struct kept *k);                         /* an answer has come; k may be freed by it */
/* Writes what there is to write; false: there is more, and no budget. */
bool kept_flush(struct kept *k, struct budget *b);
void kept_free_all(struct redis_store *s);
void kept_count_uncommitted(struct kept *k);
usec kept_left(const struct kept *k); /* until its deadline, as its state wants it */
usec kept_left_attached(usec max);
/* The deadline was sent, so that it is at least that far ahead; and it is committed. */
void kept_ask_lease(struct kept *k, usec sent, usec left);
void kept_tell_lease(struct kept *k);
/* Back in step: the state, the record and what is not there is written. */
void kept_set_live(struct kept *k);
void kept_told(struct redis_store *s, struct slice message);
void kept_release_asked(struct store *store, const char *sid, const char *node); /* ops.ask_release */

/* epoch: the handle's, in which all is that no era is known of. */
uint64_t side_epoch_of(const struct side *d, uint64_t epoch, uint64_t number);
struct stream_id side_oldest_id(const struct side *d, uint64_t epoch); /* of the first that is not released */
void side_add_era(struct side *d, uint64_t epoch, uint64_t upto);
void side_cut_eras(struct side *d, uint64_t upto); /* none above */
void side_find_next(struct side *d, const struct queue *q);

/* ---- redis_resync.c ---- */
void resync_make(struct kept *k);
void resync_check(struct kept *k);

/* ---- redis_claim.c ---- */
void claim_look(struct store *store, const char *sid, kept_place_fn *done, void *ctx);
void claim_begin(struct store *store, const struct kept_origin *o, struct kept_version seen, uint64_t h,
                 kept_claim_fn *done, void *ctx);

/* ---- redis_end.c ---- */
void end_begin(struct kept *k, const struct tombstone *t, struct entry *mail, struct entry *out);

/* ---- redis_spill.c ---- */
/* Entries of the unacked queue that a claim has not taken over (ascending numbers; taken over) go to the mailbox, each
 * once. mark, epoch, down: of the handle; the eras of down are taken over, too. */
void spill_begin(struct redis_store *s, const char *sid, const char *mark, uint64_t epoch, struct side *down,
                 struct entry *first);

/* ---- redis_reap.c ---- */
void reap_init(struct redis_store *s);

/* ---- redis_boxes.c ---- */
void box_put(struct store *store, enum store_box kind, struct slice account, struct entry *e);
/* box_put, with the tag of the account (or a sid). */
void box_give_back(struct redis_store *s, enum store_box kind, const char *tag, struct entry *e);
void box_lend(struct store *store, enum store_box kind, struct slice account, const char *sid, struct entry *e);
void box_done(struct store *store, enum store_box kind, struct slice account, struct slice origin);
void box_add_keys(struct args *a, const char *tag, enum store_box kind);
void box_add_limits(const struct redis_store *s, struct args *a); /* the last arguments of scripts with boxes */
/* Where there is something new for others in the mailbox, these are told; tag (or a sid) NULL: there is not. */
void box_count_all(struct redis_store *s, enum store_box kind, const char *tag, const struct redisReply *counts);
#define LEND_TIME (600 * USEC_S) /* longer than any session that is gone without a word could still hand it over */
char *box_token(const struct redis_store *s, const char *sid); /* a new one, to free */
void box_keep_token(struct redis_store *s, enum store_box kind, const char *origin, const char *token);
char *box_take_token(struct redis_store *s, enum store_box kind, struct slice origin); /* "" or the token, to free */
void box_forget_lends(struct redis_store *s);
/* Of a session that was claimed: what it holds of a mailbox is lent to it anew, the rest of its loans is free. */
void box_relend(struct redis_store *s, const char *sid, struct entry *first);
/* What that token lends is free, but for these. */
void box_free_others(struct redis_store *s, enum store_box kind, const char *tag, const char *token,
                     const struct entry *held);

/* ---- redis_take.c ---- */
void box_take(struct store *store, enum store_box kind, struct slice account, const char *sid, store_mail_fn *done,
              void *ctx);

/* ---- redis_signs.c ---- */
#define SIGN_TTL (15 * USEC_S) /* so long a sign outlasts its node */
enum sign { SIGN_LIVES, SIGN_NONE, SIGN_UNKNOWN /* there was no answer */ };
/* peer: where it listens for other nodes, empty: nowhere; valid during the call. */
typedef void sign_fn(void *ctx, enum sign sign, struct slice peer);
/* Of that run of the node. */
void sign_ask(struct redis_store *s, const char *node, const char *boot, sign_fn *done, void *ctx);
void sign_beat(void *ctx); /* ctx: the struct redis_store; shows that this node lives, again and again */
/* NODE/BOOT, in place: NODE is what owner points to from now on; returns BOOT. */
char *owner_split(char *owner);

/* ---- redis_graves.c ---- */
void tombstone_put(struct store *store, const char *sid, const struct tombstone *t);
void tombstone_get(struct store *store, const char *sid, const char *account, const char *proof,
                   store_tombstone_fn *done, void *ctx);
void purge(struct store *store, struct slice account, store_purge_fn *done, void *ctx);
void tombstone_write(const struct redis_store *s, const char *sid, const struct tombstone *t, const char *mark,
                     struct buf *out);

#endif
