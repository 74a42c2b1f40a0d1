/* store.file. Text lines that say what follows, then that many bytes, so that it can be looked at; the last line counts
 * what came before, so that a file cut short is noticed:
 *
 *   holdfast-store 1
 *   mail ACCOUNT-BYTES ORIGIN-BYTES STANZA-BYTES ARRIVED NAME-END OPEN-END CLOSE-AT DELAYED
 *   …
 *   out (the same, of outboxes)
 *   …
 *   session SID BYTES
 *   …
 *   tombstone SID UNTIL H ACCOUNT-BYTES PROOF-BYTES RESENT-BYTES
 *   …
 *   end COUNT
 */
#include "base/buf.h"
#include "base/mem.h"
#include "memory_visit.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADLINE "holdfast-store 1\n"

/* ---- save ---- */

struct saving {
    struct buf out;
    size_t count;
};

static const char *const box_word[BOXES] = {"mail", "out"};

static void save_mail(void *ctx, enum store_box box, const char *account, const struct entry *e)
{
    struct saving *s = ctx;
    buf_printf(&s->out, "%s %zu %zu %" PRIu32 " %" PRId64 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %d\n", box_word[box],
               strlen(account), strlen(e->origin), e->n, e->arrived, e->name_end, e->open_end, e->close_at, e->delayed);
    buf_printf(&s->out, "%s%s", account, e->origin);
    buf_add(&s->out, entry_slice(e));
    BUF_LIT(&s->out, "\n");
    s->count++;
}

static void save_session(void *ctx, const char *sid, struct slice record)
{
    struct saving *s = ctx;
    buf_printf(&s->out, "session %s %zu\n", sid, record.n);
    buf_add(&s->out, record);
    BUF_LIT(&s->out, "\n");
    s->count++;
}

static void save_grave(void *ctx, const char *sid, const struct tombstone *t, usec until)
{
    struct saving *s = ctx;
    const char *proof = t->proof ? t->proof : "";
    buf_printf(&s->out, "tombstone %s %" PRId64 " %" PRIu64 " %zu %zu %zu\n%s%s%.*s\n", sid, until, t->h,
               strlen(t->account), strlen(proof), t->resent.n, t->account, proof, SLICE_ARG(t->resent));
    s->count++;
}

static char *failure(const char *path, const char *what)
{
    return mem_printf("%s: %s: %s", path, what, strerror(errno));
}

static bool write_all(int fd, struct slice bytes)
{
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno != EINTR)
            return false;
        bytes = slice_skip(bytes, n > 0 ? (size_t)n : 0);
    }
    return fsync(fd) == 0;
}

static char *write_file(const char *path, struct slice bytes)
{
    char *beside = mem_printf("%s.new", path), *error = NULL;
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0)
        error = failure(beside, "cannot be written");
    else if (!write_all(fd, bytes))
        error = failure(beside, "cannot be written");
    if (fd >= 0 && close(fd) != 0 && !error)
        error = failure(beside, "cannot be written");
    if (!error && rename(beside, path) != 0)
        error = failure(path, "cannot be replaced");
    free(beside);
    return error;
}

char *memory_store_save(struct memory_store *m, const char *path)
{
    static const struct memory_visitor visitor = {save_mail, save_session, save_grave};
    struct saving s = {0};
    BUF_LIT(&s.out, HEADLINE);
    memory_store_visit(m, &visitor, &s);
    buf_printf(&s.out, "end %zu\n", s.count);
    char *error = write_file(path, buf_slice(&s.out));
    buf_free(&s.out);
    return error;
}

/* ---- load ---- */

struct loading {
    struct slice rest;
    size_t count;
    struct memory_store *m; /* NULL: only look whether all is well */
};

/* The next n bytes and the newline behind them. */
static bool take(struct loading *l, size_t n, struct slice *out)
{
    if (l->rest.n <= n || l->rest.p[n] != '\n')
        return false;
    *out = slice_of(l->rest.p, n);
    l->rest = slice_skip(l->rest, n + 1);
    return true;
}

static bool take_line(struct loading *l, char *line, size_t size)
{
    const char *end = memchr(l->rest.p, '\n', l->rest.n);
    size_t n = end ? (size_t)(end - l->rest.p) : size;
    if (n >= size)
        return false;
    memcpy(line, l->rest.p, n);
    line[n] = '\0';
    l->rest = slice_skip(l->rest, n + 1);
    return true;
}

static bool load_mail(struct loading *l, const char *line)
{
    char word[8];
    size_t account_n, origin_n, n;
    uint32_t name_end, open_end, close_at;
    int64_t arrived;
    int delayed, box = 0;
    struct slice all;
    if (sscanf(line, "%7s %zu %zu %zu %" SCNd64 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %d", word, &account_n, &origin_n,
               &n, &arrived, &name_end, &open_end, &close_at, &delayed) != 9)
        return false;
    while (box < BOXES && strcmp(word, box_word[box]) != 0)
        box++;
    if (box == BOXES)
        return false;
    if (account_n > l->rest.n || origin_n > l->rest.n || n > UINT32_MAX || !take(l, account_n + origin_n + n, &all))
        return false;
    if (!n || !origin_n || !account_n || name_end > open_end || open_end > n || close_at > n)
        return false;
    if (l->m) {
        struct entry *e = entry_copy(slice_skip(all, account_n + origin_n), arrived);
        struct store *store = memory_store_get(l->m);
        e->origin = mem_dup(slice_of(all.p + account_n, origin_n));
        e->name_end = name_end;
        e->open_end = open_end;
        e->close_at = close_at;
        e->delayed = delayed;
        e->class = CLASS_KEEP;
        store->ops->box_put(store, (enum store_box)box, slice_of(all.p, account_n), e);
    }
    return true;
}

static bool load_session(struct loading *l, const char *line)
{
    char sid[SID_SIZE];
    size_t n;
    struct slice record;
    if (sscanf(line, "session %48s %zu", sid, &n) != 2 || strlen(sid) != SID_SIZE - 1 || !take(l, n, &record))
        return false;
    if (l->m) {
        struct store *store = memory_store_get(l->m);
        store->ops->session_put(store, sid, record);
    }
    return true;
}

static bool load_tombstone(struct loading *l, const char *line)
{
    char sid[SID_SIZE];
    int64_t until;
    uint64_t h;
    size_t account_n, proof_n, resent_n = 0;
    struct slice all;
    if (sscanf(line, "tombstone %48s %" SCNd64 " %" SCNu64 " %zu %zu %zu", sid, &until, &h, &account_n, &proof_n,
               &resent_n) < 5 ||
        strlen(sid) != SID_SIZE - 1)
        return false;
    if (account_n > l->rest.n || proof_n > l->rest.n || resent_n > l->rest.n)
        return false;
    /* a proof has lines of its own, so they are taken by their lengths */
    if (!take(l, account_n + proof_n + resent_n, &all))
        return false;
    if (l->m) {
        char *account = mem_dup(slice_of(all.p, account_n));
        char *proof = proof_n ? mem_dup(slice_of(all.p + account_n, proof_n)) : NULL;
        struct tombstone t = {account, proof, h, "shutdown", slice_skip(all, account_n + proof_n)};
        memory_store_bury(l->m, sid, &t, until);
        free(account);
        free(proof);
    }
    return true;
}

static bool load_all(struct loading *l)
{
    char line[256];
    unsigned long long count;
    if (!slice_starts(l->rest, SLICE_LIT(HEADLINE)))
        return false;
    l->rest = slice_skip(l->rest, sizeof HEADLINE - 1);
    while (take_line(l, line, sizeof line)) {
        if (sscanf(line, "end %llu", &count) == 1)
            return count == l->count && l->rest.n == 0;
        if (!load_mail(l, line) && !load_session(l, line) && !load_tombstone(l, line))
            return false;
        l->count++;
    }
    return false;
}

static char *read_file(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? NULL : failure(path, "cannot be read");
    ssize_t n;
    while ((n = read(fd, buf_reserve(out, 65536), 65536)) > 0)
        buf_commit(out, (size_t)n);
    char *error = n < 0 ? failure(path, "cannot be read") : NULL;
    close(fd);
    return error;
}

char *memory_store_load(struct memory_store *m, const char *path)
{
    struct buf in = {0};
    char *error = read_file(path, &in);
    struct loading look = {.rest = buf_slice(&in)}, real = {.rest = buf_slice(&in), .m = m};
    if (!error && in.n && !load_all(&look))
        error =
            mem_printf("%s: damaged, or not a file of this store; move it away (byte %zu)", path, in.n - look.rest.n);
    if (!error && in.n) {
        load_all(&real);
        memory_store_loaded(m);
        if (unlink(path) != 0)
            error = failure(path, "cannot be removed");
    }
    buf_free(&in);
    return error;
}
