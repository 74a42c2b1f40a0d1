/* A client resumes a session that another node had. The store is the test's: it answers when the test says so. */
#include "rebuild.h"

struct kept {
    const struct kept_events *events;
    void *ctx;
    int attached, detached, mails;
};

/* The store, and the session as the other node has left it there. */
struct other_node {
    struct fixture *f;
    char sid[SID_SIZE];
    char *account, *proof;
    struct buf record;
    uint64_t down, up; /* last numbers */
    struct kept kept;
    int looks, claims;
    kept_place_fn *looked; /* to be answered */
    kept_claim_fn *claimed;
    void *look_ctx, *claim_ctx;
};

static struct other_node *there; /* what calls of the store are about, which name no test */

static void fake_appended(struct kept *k, enum kept_queue which)
{
    (void)k;
    (void)which;
}

static void fake_releasing(struct kept *k, enum kept_queue which, uint64_t upto)
{
    (void)k;
    (void)which;
    (void)upto;
}

static void fake_changed(struct kept *k, bool urgent)
{
    (void)k;
    (void)urgent;
}

static void fake_attached(struct kept *k, usec max)
{
    (void)max;
    k->attached++;
}

static void fake_detached(struct kept *k, usec left)
{
    (void)left;
    k->detached++;
}

static void fake_spill(struct kept *k, struct entry *mail)
{
    struct store *s = memory_store_get(there->f->w.memory_store);
    for (struct entry *next; mail; mail = next) {
        next = mail->next;
        mail->next = NULL;
        assert_null(mail->origin); /* the store knows best */
        mail->origin = mem_printf("origin/%d", ++k->mails);
        s->ops->box_put(s, BOX_MAIL, SLICE_LIT("romeo@example.org"), mail);
    }
}

static void fake_end(struct kept *k, const struct tombstone *t, struct entry *mail, struct entry *out)
{
    (void)t;
    assert_null(out);
    fake_spill(k, mail);
}

static void fake_free(struct kept *k)
{
    (void)k;
}

static void fake_look(struct store *s, const char *sid, kept_place_fn *done, void *ctx)
{
    (void)s;
    assert_string_equal(sid, there->sid);
    there->looks++;
    there->looked = done;
    there->look_ctx = ctx;
}

static void fake_claim(struct store *s, const struct kept_origin *o, struct kept_version seen, uint64_t h,
                       kept_claim_fn *done, void *ctx)
{
    struct other_node *n = there;
    (void)s;
    assert_int_equal(seen.epoch, 7);
    assert_int_equal(seen.words, 3);
    assert_int_equal(h, n->down);
    n->claims++;
    n->kept = (struct kept){.events = o->events, .ctx = o->ctx};
    n->claimed = done;
    n->claim_ctx = ctx;
}

static const struct kept_ops fake_ops = {.appended = fake_appended,
                                         .releasing = fake_releasing,
                                         .changed = fake_changed,
                                         .attached = fake_attached,
                                         .detached = fake_detached,
                                         .end = fake_end,
                                         .spill = fake_spill,
                                         .free = fake_free,
                                         .look = fake_look,
                                         .claim = fake_claim};

/* Romeo's session becomes one that another node has left. */
static void give_away(struct fixture *f, struct other_node *n)
{
    struct owner_place place = {0};
    *n = (struct other_node){.f = f};
    there = n;
    memory_store_get(f->w.memory_store)->kept = &fake_ops;
    memcpy(n->sid, f->s->sid, SID_SIZE);
    assert_true(owner_find(f->w.owner, n->sid, &place));
    n->account = mem_strdup(f->s->jid);
    n->proof = mem_strdup(place.proof);
    n->down = f->s->out.queue.last_number;
    n->up = f->s->in.safe;
    freeze_head(f->s, &n->record);
    freeze_rest(f->s, &n->record);
    owner_place_clear(&place);
    session_leave(f->s, CLOSE_FENCED);
    world_run(&f->w);
    assert_true(f->c.closed);
    assert_null(client_session(&f->c));
    f->s = NULL;
}

static void end(struct fixture *f, struct other_node *n)
{
    world_stop(&f->w);
    world_run(&f->w);
    buf_free(&n->record);
    free(n->account);
    free(n->proof);
}

static struct kept_place place_of(const struct other_node *n)
{
    return (struct kept_place){.found = true,
                               .version = {7, 3},
                               .acked = n->down,
                               .high_water = n->down + 1024,
                               .node = "other",
                               .boot = "1",
                               .account = n->account,
                               .proof = n->proof};
}

static void answer_look(struct other_node *n, const struct kept_place *p)
{
    kept_place_fn *done = n->looked;
    assert_non_null(done);
    n->looked = NULL;
    done(n->look_ctx, p);
    world_run(&n->f->w);
}

static void answer_claim(struct other_node *n)
{
    kept_claim_fn *done = n->claimed;
    struct kept_claim claim = {.kept = &n->kept,
                               .record = buf_slice(&n->record),
                               .last = {n->down, n->up},
                               .high_water = n->down + 1024,
                               .deadline_left = 500 * USEC_S};
    assert_non_null(done);
    n->claimed = NULL;
    done(n->claim_ctx, &claim);
    world_run(&n->f->w);
}

static void tell_attached(struct other_node *n)
{
    assert_int_equal(n->kept.attached, 1);
    n->kept.events->attached(n->kept.ctx);
    world_run(&n->f->w);
}

static void test_takeover(void **state)
{
    struct fixture *f = *state;
    struct other_node n;
    give_away(f, &n);
    client_resume(&f->c, 0, "romeo", f->c.h);
    struct kept_place p = place_of(&n);
    answer_look(&n, &p);
    answer_claim(&n);
    assert_false(f->c.closed);
    client_hears_nothing(&f->c);
    tell_attached(&n);
    expect_resumed(&f->c, (uint32_t)n.up);
    end(f, &n);
}

/* Its client leaves while it is claimed, and comes back at another worker before that is answered: nobody claims it a
 * second time, which would take it from the first; and nobody binds at the server for a client that has left. */
static void test_client_leaves_and_comes_back(void **state)
{
    struct fixture *f = *state;
    struct other_node n;
    give_away(f, &n);
    client_resume(&f->c, 0, "romeo", f->c.h);
    struct kept_place p = place_of(&n);
    answer_look(&n, &p);
    assert_int_equal(n.claims, 1);
    client_cut(&f->c);
    world_run(&f->w);
    client_resume(&f->c, 1, "romeo", f->c.h);
    p.mine = true; /* the claim is done, and its answer on the way */
    answer_look(&n, &p);
    assert_int_equal(n.claims, 1);
    answer_claim(&n);
    struct session *s = client_session(&f->c);
    assert_non_null(s);
    assert_ptr_equal(s->cx, &f->w.worker[0]);
    assert_true(is_stranded(s));
    world_wait(&f->w, USEC_S);
    assert_int_equal(n.claims, 1);
    tell_attached(&n);
    expect_resumed(&f->c, (uint32_t)n.up);
    assert_ptr_equal(client_session(&f->c), s);
    end(f, &n);
}

/* The store has begun anew, and the owner is dead: the client waits for owners to come back, and is not lied to. */
static void test_stale(void **state)
{
    struct fixture *f = *state;
    struct other_node n;
    give_away(f, &n);
    struct kept_place p = place_of(&n);
    p.stale = p.unsettled = true;
    client_resume(&f->c, 0, "romeo", f->c.h);
    for (usec since = f->w.clock.mono; !f->c.closed; world_wait(&f->w, 50 * USEC_MS)) {
        assert_true(f->w.clock.mono < since + 11 * USEC_S);
        if (n.looked)
            answer_look(&n, &p);
    }
    assert_false(f->c.ended); /* cut: it comes again */
    client_resume(&f->c, 0, "romeo", f->c.h);
    answer_look(&n, &p);
    world_wait(&f->w, USEC_S);
    p.unsettled = false;
    answer_look(&n, &p);
    client_expect(&f->c, "<failed xmlns='urn:xmpp:sm:3'><item-not-found");
    assert_false(f->c.closed);
    assert_int_equal(n.claims, 0);
    assert_int_equal(sum(f, METRIC_store_claims_stale), 1);
    end(f, &n);
}

/* Behind the time up to which the store is sure of the session nothing is written, and the client is to come again. */
static void test_silent(void **state)
{
    struct fixture *f = *state;
    struct other_node n;
    give_away(f, &n);
    client_resume(&f->c, 0, "romeo", f->c.h);
    struct kept_place p = place_of(&n);
    answer_look(&n, &p);
    answer_claim(&n);
    tell_attached(&n);
    expect_resumed(&f->c, (uint32_t)n.up);
    f->conn = server_newest(&f->server);
    n.kept.events->reserved(n.kept.ctx, n.down + 1024);
    n.kept.events->leased(n.kept.ctx, f->w.clock.mono + 10 * USEC_S);
    world_wait(&f->w, 9 * USEC_S);
    down(f, 1);
    world_run(&f->w);
    expect_down(&f->c, 1);
    n.kept.events->leased(n.kept.ctx, f->w.clock.mono + 5 * USEC_S); /* pushed ahead */
    world_wait(&f->w, 4 * USEC_S);
    assert_false(f->c.closed);
    f->w.clock.mono += 2 * USEC_S; /* it has slept, and the server's words come first */
    down(f, 2);
    client_forget_heard(&f->c);
    assert_true(f->c.closed && !f->c.ended);
    client_hears_nothing(&f->c);
    assert_int_equal(client_session(&f->c)->out.queue.count, 2);
    assert_int_equal(client_session(&f->c)->state, SESSION_DETACHED);
    end(f, &n);
    assert_int_equal(n.kept.mails, 2);
}

/* Messages that the next owner has not taken over go to the mailbox; nothing more is told to anybody. */
static void test_fenced(void **state)
{
    struct fixture *f = *state;
    struct other_node n;
    give_away(f, &n);
    client_resume(&f->c, 0, "romeo", f->c.h);
    struct kept_place p = place_of(&n);
    answer_look(&n, &p);
    answer_claim(&n);
    tell_attached(&n);
    f->conn = server_newest(&f->server);
    for (unsigned i = 1; i <= 3; i++) /* nothing is reserved: not one is written */
        down(f, i);
    world_run(&f->w);
    client_forget_heard(&f->c);
    n.kept.events->fenced(n.kept.ctx, n.down + 1);
    world_run(&f->w);
    assert_int_equal(n.kept.mails, 2);
    assert_true(f->c.closed && !f->c.ended);
    client_hears_nothing(&f->c);
    assert_null(client_session(&f->c));
    end(f, &n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_takeover), TEST(test_client_leaves_and_comes_back), TEST(test_stale), TEST(test_silent),
        TEST(test_fenced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
