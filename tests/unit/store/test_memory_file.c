/* store.file: what is saved comes back whole, and nothing of a damaged file is taken. */
#include "base/buf.h"
#include "base/mem.h"
#include "store/memory.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define HOUR (3600 * USEC_S)

struct fixture {
    char folder[32], path[64];
    struct memory_store *m;
};

static int set_up(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    strcpy(f->folder, "/tmp/holdfast-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/store", f->folder);
    f->m = memory_store_new(HOUR, HOUR, NULL);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    memory_store_free(f->m);
    unlink(f->path);
    rmdir(f->folder);
    free(f);
    return 0;
}

static void put_into(struct memory_store *m, enum store_box box, const char *account, const char *origin,
                     const char *stanza)
{
    struct store *s = memory_store_get(m);
    struct clock now;
    clock_read(&now);
    struct entry *e = entry_copy(slice_str(stanza), now.wall);
    e->origin = mem_strdup(origin);
    e->name_end = 8;
    e->open_end = e->n;
    e->close_at = e->n;
    s->ops->box_put(s, box, slice_str(account), e);
}

static void put(struct memory_store *m, const char *account, const char *origin, const char *stanza)
{
    put_into(m, BOX_MAIL, account, origin, stanza);
}

static void on_mail(void *ctx, struct entry *first, size_t n)
{
    struct buf *out = ctx;
    (void)n;
    for (struct entry *e = first, *next; e; e = next) {
        next = e->next;
        buf_printf(out, "%s %.*s %u\n", e->origin, SLICE_ARG(entry_slice(e)), e->name_end);
        entry_free(e);
    }
}

static char *content_of(struct memory_store *m, enum store_box box, const char *account)
{
    struct buf out = {0};
    struct store *s = memory_store_get(m);
    s->ops->box_take(s, box, slice_str(account), "sid", on_mail, &out);
    return buf_steal(&out);
}

static char *mails_of(struct memory_store *m, const char *account)
{
    return content_of(m, BOX_MAIL, account);
}

static void on_tombstone(void *ctx, const struct tombstone *t)
{
    *(uint64_t *)ctx = t ? t->h : UINT64_MAX;
}

static uint64_t h_of(struct memory_store *m, const char *sid, const char *account, const char *proof)
{
    uint64_t h = 0;
    struct store *s = memory_store_get(m);
    s->ops->tombstone_get(s, sid, account, proof, on_tombstone, &h);
    return h;
}

static void on_resent(void *ctx, const struct tombstone *t)
{
    *(char **)ctx = mem_dup(t->resent);
}

#define SID "0123456789abcdef0123456789abcdef0123456789abcdef"

static void fill(struct memory_store *m)
{
    struct store *s = memory_store_get(m);
    put(m, "romeo@example.org", "s/1", "<message id='1\n2'/>");
    put(m, "juliet@example.org", "s/2", "<message id='end 7'/>");
    put(m, "romeo@example.org", "s/3", "<message/>");
    put_into(m, BOX_OUT, "romeo@example.org", "s/up/3", "<message to='j'/>");
    s->ops->session_put(s, SID, SLICE_LIT("a record\nend 5\n"));
    struct tombstone t = {"romeo@example.org", "a\nb\nc", 42, "expired", SLICE_LIT("00ff")};
    s->ops->tombstone_put(s, SID, &t);
}

static void test_round_trip(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    fill(f->m);
    assert_null(memory_store_save(f->m, f->path));
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    struct memory_store *again = memory_store_new(HOUR, HOUR, NULL);
    assert_null(memory_store_load(again, f->path));
    assert_int_not_equal(access(f->path, F_OK), 0);
    char *romeo = mails_of(again, "romeo@example.org"), *juliet = mails_of(again, "juliet@example.org");
    assert_string_equal(romeo, "s/1 <message id='1\n2'/> 8\ns/3 <message/> 8\n");
    assert_string_equal(juliet, "s/2 <message id='end 7'/> 8\n");
    assert_int_equal(h_of(again, SID, NULL, "a\nb\nc"), 42);
    char *resent = NULL;
    struct store *s = memory_store_get(again);
    s->ops->tombstone_get(s, SID, "romeo@example.org", NULL, on_resent, &resent);
    assert_string_equal(resent, "00ff");
    free(resent);
    assert_int_equal(h_of(again, SID, "romeo@example.org", NULL), 42);
    assert_true(h_of(again, SID, "juliet@example.org", NULL) == UINT64_MAX);
    char *out = content_of(again, BOX_OUT, "romeo@example.org");
    assert_string_equal(out, "s/up/3 <message to='j'/> 8\n");
    char sid[SID_SIZE];
    struct buf record;
    struct store *store = memory_store_get(again);
    assert_true(store->ops->session_take(store, sid, &record));
    assert_string_equal(sid, SID);
    assert_true(slice_eq_str(buf_slice(&record), "a record\nend 5\n"));
    assert_false(store->ops->session_take(store, sid, &record));
    buf_free(&record);
    free(out);
    free(romeo);
    free(juliet);
    memory_store_free(again);
}

static void test_no_file_is_fine(void **state)
{
    struct fixture *f = *state;
    assert_null(memory_store_load(f->m, f->path));
    assert_int_equal(memory_store_figures(f->m).messages, 0);
}

static void write_cut(const char *path, struct slice all, size_t n)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(all.p, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

/* Cut anywhere, and with a byte of its numbers changed: refused as a whole. */
static void test_damage(void **state)
{
    struct fixture *f = *state;
    char all[4096];
    fill(f->m);
    assert_null(memory_store_save(f->m, f->path));
    FILE *file = fopen(f->path, "r");
    size_t n = fread(all, 1, sizeof all, file);
    fclose(file);
    assert_true(n > 100 && n < sizeof all);
    for (size_t cut = 1; cut < n; cut++) {
        struct memory_store *m = memory_store_new(HOUR, HOUR, NULL);
        write_cut(f->path, slice_of(all, n), cut);
        char *error = memory_store_load(m, f->path);
        assert_non_null(error);
        assert_non_null(strstr(error, "move it away"));
        assert_int_equal(memory_store_figures(m).messages, 0);
        assert_int_equal(access(f->path, F_OK), 0);
        free(error);
        memory_store_free(m);
    }
}

static void test_a_folder_that_is_not_there(void **state)
{
    struct fixture *f = *state;
    char *error = memory_store_save(f->m, "/nonexistent/store");
    assert_non_null(strstr(error, "/nonexistent/store.new: cannot be written: No such file"));
    free(error);
    (void)f;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_file_is_fine, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_folder_that_is_not_there, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
