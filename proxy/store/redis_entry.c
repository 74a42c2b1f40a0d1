/* A stanza as Redis keeps it: a header of fixed size with what is known of it, then its bytes, sealed together. Number,
 * class and origin stand beside it, for scripts read them: the class is the name of the field, as Redis takes a tenth
 * less time for one field than for two. */
#include "base/mem.h"
#include "redis_impl.h"
#include <inttypes.h>
#include <string.h>

#define VERSION     1
#define HEADER_SIZE (2 + 8 + 3 * 4)

enum flag { FLAG_DELAYED = 1, FLAG_STAMP = 2, FLAG_RECEIPTED = 4 };

/* Little-endian, whatever the machine. */
static char *write_int(char *p, uint64_t n, int bytes)
{
    for (int i = 0; i < bytes; i++)
        *p++ = (char)(n >> (8 * i));
    return p;
}

static uint64_t read_int(const char **p, int bytes)
{
    uint64_t n = 0;
    for (int i = 0; i < bytes; i++)
        n |= (uint64_t)(unsigned char)*(*p)++ << (8 * i);
    return n;
}

void entry_write(const struct redis_store *s, const char *tag, const struct entry *e, struct buf *out)
{
    struct buf plain = {0};
    struct buf *to = s->o.seal ? &plain : out;
    char *p = buf_reserve(to, HEADER_SIZE + e->n);
    *p++ = VERSION;
    *p++ = (char)((e->delayed ? FLAG_DELAYED : 0) | (e->stamp ? FLAG_STAMP : 0) | (e->receipted ? FLAG_RECEIPTED : 0));
    p = write_int(p, (uint64_t)e->arrived, 8);
    p = write_int(p, e->name_end, 4);
    p = write_int(p, e->open_end, 4);
    p = write_int(p, e->close_at, 4);
    if (e->n)
        memcpy(p, e->bytes, e->n);
    buf_commit(to, HEADER_SIZE + e->n);
    if (s->o.seal)
        s->o.seal(s->o.ctx, slice_of(tag, TAG_SIZE - 1), buf_slice(&plain), out);
    buf_free(&plain);
}

/* With its epoch, as in the stream (so does the script that reaps): two owners may have given one number to two
 * stanzas, of which one was never committed. */
char *entry_origin(const struct entry *e, const char *sid, enum store_box kind, const struct side *d, uint64_t epoch)
{
    if (e->origin)
        return mem_strdup(e->origin);
    return mem_printf(kind == BOX_MAIL ? "%s/%" PRIu64 "-%" PRIu64 : "%s/up/%" PRIu64 "-%" PRIu64, sid,
                      side_epoch_of(d, epoch, e->number), e->number);
}

static struct entry *read_plain(struct slice plain)
{
    if (plain.n < HEADER_SIZE || plain.p[0] != VERSION)
        return NULL;
    const char *p = plain.p + 1;
    unsigned flags = (unsigned char)*p++;
    usec arrived = (usec)read_int(&p, 8);
    struct entry *e = entry_copy(slice_skip(plain, HEADER_SIZE), arrived);
    e->name_end = (uint32_t)read_int(&p, 4);
    e->open_end = (uint32_t)read_int(&p, 4);
    e->close_at = (uint32_t)read_int(&p, 4);
    e->delayed = flags & FLAG_DELAYED;
    e->stamp = flags & FLAG_STAMP;
    e->receipted = flags & FLAG_RECEIPTED;
    if (e->name_end > e->n || e->open_end > e->n || e->close_at > e->n) {
        entry_free(e);
        return NULL;
    }
    return e;
}

enum redis_opened entry_read(const struct redis_store *s, const char *tag, const struct redisReply *r,
                             struct entry **e_r)
{
    struct buf plain = {0};
    struct stanza_fields f = reply_stanza(r);
    enum redis_opened opened = store_open(s, tag, f.payload, &plain);
    struct entry *e = opened == OPENED ? read_plain(buf_slice(&plain)) : NULL;
    buf_free(&plain);
    *e_r = e;
    if (opened == OPENED && !e) {
        count(s->o.counters, METRIC_store_unreadable_damaged);
        return OPENED_DAMAGED;
    }
    if (!e)
        return opened;
    e->number = reply_id(reply_at(r, 0)).number;
    if (f.class.n == 1 && f.class.p[0] >= '0' && f.class.p[0] <= '0' + CLASS_PRESENCE)
        e->class = (uint8_t)(f.class.p[0] - '0');
    if (f.origin.n)
        e->origin = mem_dup(f.origin);
    return OPENED;
}
