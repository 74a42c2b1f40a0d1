/* A session changes its owner: the fence, what the new owner finds, what a dead one left behind. */
#include "redis_scene.h"

#define KEY(kind) "hf:{" TAG_R "}:" kind ":" REST

/* Kept by node a: five messages down, three up, all committed. */
static void begin(struct scene *f, struct owner *o)
{
    o->record = "what a rebuild needs";
    owner_open(o, &f->a);
    owner_add(o, KEPT_DOWN, 5);
    owner_add(o, KEPT_UP, 3);
    run(f);
    assert_int_equal(o->committed[KEPT_DOWN], 5);
}

static void test_fence(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, next = {0};
    begin(f, &o);
    struct seen seen = look(f, &f->b);
    owner_claim(f, &next, &f->b, seen, 2);
    assert_non_null(next.k);
    assert_string_equal(next.claimed_record, "what a rebuild needs");
    assert_int_equal(next.claim.first[KEPT_DOWN]->number, 3);
    assert_memory_equal(next.claim.first[KEPT_DOWN]->bytes, "<down/3>", 8);
    assert_int_equal(next.claim.last[KEPT_DOWN], 5);
    assert_int_equal(next.claim.last[KEPT_UP], 3);
    assert_int_equal(next.claim.high_water, o.reserved);
    assert_true(next.claim.deadline_left > MAX);
    assert_int_equal(o.fenced, 0); /* it has not tried anything */
    owner_add(&o, KEPT_DOWN, 1);
    owner_release(&o, KEPT_UP, 1); /* late, and true: no harm */
    run(f);
    assert_int_equal(o.fenced, 1);
    assert_int_equal(o.fenced_upto, 5);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("d")), 3);
    assert_int_equal(counted(&f->a, METRIC_store_fenced), 1);
    assert_int_equal(counted(&f->b, METRIC_store_claims_won), 1);
    owner_add(&next, KEPT_DOWN, 2);
    owner_add(&next, KEPT_UP, 1);
    run(f);
    assert_int_equal(next.committed[KEPT_DOWN], 7);
    assert_int_equal(next.committed[KEPT_UP], 4);
    owner_release(&next, KEPT_DOWN, 6);
    owner_release(&next, KEPT_UP, 4);
    run(f);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("d")), 1);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("u")), 0);
    owner_free(&o);
    owner_free(&next);
}

/* All else that a fenced owner may try changes nothing either. */
static void test_fenced_owner_changes_nothing(void **state)
{
    struct scene *f = *state;
    for (int what = 0; what < 4; what++) {
        struct owner o = {0}, next = {0};
        freeReplyObject(server_ask(&f->server, "FLUSHALL"));
        begin(f, &o);
        struct seen seen = look(f, &f->b);
        owner_claim(f, &next, &f->b, seen, 0);
        if (what == 0)
            f->a.s->kept->changed(o.k, true);
        else if (what == 1)
            f->a.s->kept->detached(o.k, 0);
        else if (what == 2)
            f->a.s->kept->release(o.k, on_let_go, &o);
        else
            owner_end(&o, true);
        run(f);
        assert_int_equal(o.fenced, what == 3 ? 0 : 1); /* k is gone for who has ended it */
        assert_int_equal(o.let_go, 0);
        seen = look(f, &f->b);
        assert_true(seen.found && seen.mine && !seen.released);
        assert_int_equal(server_number(&f->server, "XLEN " KEY("d")), 5);
        assert_int_equal(server_number(&f->server, "EXISTS hf:{" TAG_R "}:mail " KEY("t")), 0);
        owner_free(&o);
        owner_free(&next);
    }
}

/* A fenced owner that ends the session saves what it alone has. */
static void test_fenced_end_saves_what_was_not_committed(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, next = {0};
    begin(f, &o);
    struct seen seen = look(f, &f->b);
    owner_claim(f, &next, &f->b, seen, 4);
    owner_add(&o, KEPT_DOWN, 2);
    owner_end(&o, false);
    run(f);
    assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:mail"), 2);
    struct taken taken = take(f, &f->b, BOX_MAIL, SID);
    char origin[128];
    snprintf(origin, sizeof origin, SID "/%" PRIu64 "-6", seen.epoch);
    assert_string_equal(taken.first->origin, origin);
    drop(&taken);
    owner_free(&o);
    owner_free(&next);
}

static long long mails(struct scene *f)
{
    return server_number(&f->server, "XLEN hf:{" TAG_R "}:mail");
}

/* All that is in the mailbox is taken out of it, by some other session. */
static int deliver(struct scene *f)
{
    struct taken t = take(f, &f->b, BOX_MAIL, TAG_R "cccccccccccccccccccccccc");
    for (struct entry *e = t.first; e; e = e->next)
        f->b.s->ops->box_done(f->b.s, BOX_MAIL, SLICE_LIT(ROMEO), slice_str(e->origin));
    run(f);
    drop(&t);
    return (int)t.n;
}

/* An append arrives whose answer does not: the next owner has it, and the fenced one must not take it for its own. */
static void test_fenced_spills_above_the_record(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, next = {0};
    begin(f, &o);
    adapter_fault(f->a.r, FAULT_ANSWER_LOST, "XADD", 0);
    owner_add(&o, KEPT_DOWN, 1);
    run(f);
    owner_claim(f, &next, &f->b, look(f, &f->b), 0);
    assert_int_equal(next.claim.last[KEPT_DOWN], 6);
    owner_release(&next, KEPT_DOWN, 6); /* its client has it */
    run(f);
    owner_add(&o, KEPT_DOWN, 1);
    adapter_back(f->a.r, false);
    run(f);
    assert_int_equal(o.fenced, 1);
    assert_int_equal(o.committed[KEPT_DOWN], 5);
    assert_int_equal(o.fenced_upto, 6);
    owner_spill(&o);
    run(f);
    assert_int_equal(mails(f), 1);
    struct taken t = take(f, &f->b, BOX_MAIL, SID);
    assert_memory_equal(t.first->bytes, "<down/7>", 8);
    drop(&t);
    owner_free(&o);
    owner_free(&next);
}

/* Others go on at larger numbers, claim it again, and it ends: what was taken from the first owner stays known. */
static void test_record_outlives_claims_and_session(void **state)
{
    struct scene *f = *state;
    for (int ended = 0; ended < 3; ended++) {
        struct owner o = {0}, next = {0}, third = {0};
        freeReplyObject(server_ask(&f->server, "FLUSHALL"));
        begin(f, &o);
        adapter_away(f->a.r);
        owner_add(&o, KEPT_DOWN, 2);
        owner_claim(f, &next, &f->b, look(f, &f->b), 5);
        owner_add(&next, KEPT_DOWN, 7);
        run(f);
        owner_claim(f, &third, &f->b, look(f, &f->b), 12);
        if (ended == 1)
            owner_end(&third, false);
        run(f);
        if (ended == 2) {
            expire(f, SID);
            place_stop(&f->b);
            next.k = third.k = NULL;
            place_start(f, &f->b, "b");
            run_for(f, MAX + 20 * USEC_S);
            assert_int_equal(server_number(&f->server, "EXISTS " KEY("t")), 1);
        }
        adapter_back(f->a.r, false);
        run(f);
        assert_int_equal(o.fenced, 1);
        assert_int_equal(o.fenced_upto, 5);
        owner_spill(&o);
        run(f);
        assert_int_equal(mails(f), 2);
        owner_free(&o);
        owner_free(&next);
        owner_free(&third);
    }
}

/* The entry that a lost answer was about has left the mailbox before it comes again, in the hash or in the tombstone.
 */
static void test_spill_is_repeated(void **state)
{
    struct scene *f = *state;
    for (int ended = 0; ended < 2; ended++) {
        struct owner o = {0}, next = {0};
        freeReplyObject(server_ask(&f->server, "FLUSHALL"));
        begin(f, &o);
        adapter_away(f->a.r);
        owner_add(&o, KEPT_DOWN, 150); /* in two parts */
        owner_claim(f, &next, &f->b, look(f, &f->b), 0);
        if (ended)
            owner_end(&next, false);
        run(f);
        assert_int_equal(deliver(f), ended ? 5 : 0);
        adapter_back(f->a.r, false);
        run(f);
        assert_int_equal(o.fenced, 1);
        owner_spill(&o);
        adapter_fault(f->a.r, FAULT_ANSWER_LOST, "spill", 1);
        run(f);
        assert_int_equal(deliver(f), 150);
        adapter_back(f->a.r, false);
        run(f);
        assert_int_equal(mails(f), 0);
        assert_int_equal(redis_store_waiting(f->a.rs).operations, 0);
        assert_true(!ended || server_number(&f->server, "PTTL " KEY("t")) > 1000);
        owner_free(&o);
        owner_free(&next);
    }
}

/* Its part of the unacked queue is gone with the claim of one that found a gap: it saves all of it. */
static void test_fenced_spills_above_a_gap(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, next = {0};
    begin(f, &o);
    adapter_fault(f->a.r, FAULT_REFUSED, "XADD", 0);
    owner_add(&o, KEPT_DOWN, 3); /* 6 is refused */
    f->a.s->turn(f->a.s);
    adapter_away(f->a.r);
    owner_claim(f, &next, &f->b, look(f, &f->b), 0);
    assert_int_equal(next.claim.last[KEPT_DOWN], 5);
    adapter_back(f->a.r, false);
    run(f);
    assert_int_equal(o.fenced_upto, 5);
    owner_spill(&o);
    run(f);
    assert_int_equal(mails(f), 3);
    owner_free(&o);
    owner_free(&next);
}

/* Of what others have taken from it since nothing is known: it goes by what it knew. */
static void test_too_many_owners(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    begin(f, &o);
    adapter_fault(f->a.r, FAULT_NOT_SENT, "XADD", 0);
    owner_add(&o, KEPT_DOWN, 1);
    run(f);
    for (int i = 0; i < 17; i++) {
        struct owner next = {0};
        owner_claim(f, &next, &f->b, look(f, &f->b), 0);
        owner_free(&next);
    }
    assert_in_range(server_number(&f->server, "HSTRLEN " KEY("s") " fe"), 16 * 20, 16 * 21);
    adapter_back(f->a.r, false);
    run(f);
    assert_int_equal(o.fenced_upto, 5);
    owner_free(&o);
}

/* What the old owner could not append, and what the new one did: two stanzas, and the mailbox gets both. */
static void test_one_number_of_two_owners(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, next = {0};
    begin(f, &o);
    struct seen seen = look(f, &f->b);
    adapter_away(f->a.r);
    owner_add(&o, KEPT_DOWN, 1);
    owner_claim(f, &next, &f->b, seen, 5);
    owner_add_entry(&next, KEPT_DOWN, stanza("<another/>", CLASS_KEEP, NULL));
    run(f);
    assert_int_equal(o.q[KEPT_DOWN].last_number, next.q[KEPT_DOWN].last_number);
    owner_end(&next, false);
    run(f);
    assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:mail"), 1);
    owner_end(&o, false);
    adapter_back(f->a.r, false);
    run_for(f, 40 * USEC_S);
    assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:mail"), 2);
    owner_free(&o);
    owner_free(&next);
}

static void test_one_claim_wins(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, first = {0}, second = {0};
    begin(f, &o);
    struct seen seen = look(f, &f->b);
    struct kept_origin one = origin_of(&first, SID), two = origin_of(&second, SID);
    first.node = &f->a;
    second.node = &f->b;
    f->a.s->kept->claim(f->a.s, &one, (struct kept_version){seen.epoch, seen.words}, 0, on_claimed, &first);
    f->b.s->kept->claim(f->b.s, &two, (struct kept_version){seen.epoch, seen.words}, 0, on_claimed, &second);
    run(f);
    assert_true((first.k != NULL) != (second.k != NULL));
    assert_true(first.k ? second.claimed_none : first.claimed_none);
    assert_int_equal(counted(&f->a, METRIC_store_claims_lost) + counted(&f->b, METRIC_store_claims_lost), 1);
    struct seen now = look(f, &f->b);
    assert_true(now.epoch > seen.epoch);
    assert_int_equal(now.mine, second.k != NULL);
    owner_free(&o);
    owner_free(&first);
    owner_free(&second);
}

/* A claim that hangs comes when the client has gone back to the old owner: it must not take a living session away. */
static void test_late_claim_of_what_was_attached_again(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, next = {0};
    begin(f, &o);
    f->a.s->kept->detached(o.k, MAX);
    run(f);
    struct seen seen = look(f, &f->b);
    adapter_fault(f->b.r, FAULT_HELD, "claim", 0);
    owner_claim(f, &next, &f->b, seen, 0);
    assert_true(next.claim_away);
    int attached = o.attached;
    f->a.s->kept->attached(o.k, MAX);
    run(f);
    assert_int_equal(o.attached, attached + 1);
    adapter_let_go(f->b.r);
    owner_add(&o, KEPT_DOWN, 1);
    run(f);
    assert_int_equal(o.fenced, 0);
    assert_int_equal(o.committed[KEPT_DOWN], 6);
    adapter_back(f->b.r, false);
    owner_claim(f, &next, &f->b, seen, 0);
    assert_true(next.claimed_none);
    owner_claim(f, &next, &f->b, look(f, &f->b), 0);
    assert_non_null(next.k);
    owner_free(&o);
    owner_free(&next);
}

static void test_high_water_mark(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, next = {0};
    begin(f, &o);
    place_stop(&f->a);
    o.k = NULL;
    struct seen seen = look(f, &f->b);
    assert_int_equal(seen.high_water, o.reserved);
    owner_claim(f, &next, &f->b, seen, o.reserved + 1);
    assert_true(next.claimed_none);
    assert_int_equal(look(f, &f->b).epoch, seen.epoch); /* nothing has changed */
    assert_int_equal(server_number(&f->server, "XLEN " KEY("d")), 5);
    /* the client knows more than Redis: it was written to it, and not committed */
    owner_claim(f, &next, &f->b, seen, 9);
    assert_null(next.claim.first[KEPT_DOWN]);
    assert_int_equal(next.claim.last[KEPT_DOWN], 5);
    next.q[KEPT_DOWN].last_number = 9;
    owner_add(&next, KEPT_DOWN, 1);
    run(f);
    assert_int_equal(next.committed[KEPT_DOWN], 10);
    owner_free(&o);
    owner_free(&next);
}

static void test_queues_of_many_pages(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, next = {0};
    owner_open(&o, &f->a);
    owner_add(&o, KEPT_DOWN, 450);
    owner_add(&o, KEPT_UP, 700);
    run(f);
    place_stop(&f->a);
    o.k = NULL;
    owner_claim(f, &next, &f->b, look(f, &f->b), 230);
    assert_int_equal(next.q[KEPT_DOWN].count, 220);
    assert_true(next.claim_told > 0 && next.claim_told <= 230); /* a page of what h acks is told of */
    assert_int_equal(next.q[KEPT_UP].count, 700);
    assert_int_equal(next.q[KEPT_DOWN].first->number, 231);
    assert_int_equal(next.q[KEPT_UP].first->number, 1);
    owner_free(&o);
    owner_free(&next);
}

/* Who asks is told that nobody knows; the next look tells that it is its own, and the next claim has it. */
static void test_lost_answers(void **state)
{
    static const char *const command[] = {"claim", "XRANGE", "look"};
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    owner_add(&o, KEPT_DOWN, 450);
    run(f);
    struct seen seen = look(f, &f->b);
    for (int i = 0; i < 3; i++) {
        struct owner next = {0};
        adapter_fault(f->b.r, FAULT_ANSWER_LOST, command[i], 0);
        if (i < 2) {
            owner_claim(f, &next, &f->b, seen, 0);
            assert_true(next.claim_away);
            assert_null(next.k);
        }
        seen = look(f, &f->b);
        assert_true(seen.away);
        adapter_back(f->b.r, false);
        seen = look(f, &f->b);
        assert_true(seen.mine);
        owner_claim(f, &next, &f->b, seen, 0);
        assert_int_equal(next.q[KEPT_DOWN].count, 450);
        owner_free(&next);
        seen = look(f, &f->b);
    }
    owner_free(&o);
}

/* Messages of the mailbox: those that h acks are out of it, those in the queue stay lent, the others are free. */
static void test_mail_in_a_claimed_session(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, next = {0};
    owner_open(&o, &f->a);
    run(f);
    for (int i = 0; i < 3; i++) {
        char origin[8] = {(char)('a' + i), '/', '1', 0};
        put(f, &f->a, BOX_MAIL, "<mail/>", origin);
    }
    struct taken lent = take(f, &f->a, BOX_MAIL, SID);
    assert_int_equal(lent.n, 3);
    struct entry *one = lent.first, *two = one->next, *three = two->next;
    owner_add_entry(&o, KEPT_DOWN, one);
    owner_add_entry(&o, KEPT_DOWN, two);
    entry_free(three); /* the node dies with it */
    run(f);
    owner_claim(f, &next, &f->b, look(f, &f->b), 1);
    assert_int_equal(next.q[KEPT_DOWN].count, 1);
    assert_string_equal(next.q[KEPT_DOWN].first->origin, "b/1");
    struct taken taken = take(f, &f->b, BOX_MAIL, TAG_R "cccccccccccccccccccccccc");
    assert_int_equal(taken.n, 1);
    assert_string_equal(taken.first->origin, "c/1");
    drop(&taken);
    /* the old owner comes back to life, and gives back what is not its any more */
    put(f, &f->a, BOX_MAIL, "<mail/>", "b/1");
    taken = take(f, &f->b, BOX_MAIL, TAG_R "cccccccccccccccccccccccc");
    assert_int_equal(taken.n, 0);
    f->b.s->ops->box_done(f->b.s, BOX_MAIL, SLICE_LIT(ROMEO), SLICE_LIT("b/1"));
    run(f);
    assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:mail"), 1);
    owner_free(&o);
    owner_free(&next);
}

/* The owner died when Redis had refused an append in the midst of others. */
static void test_gap_of_a_dead_owner(void **state)
{
    struct scene *f = *state;
    for (int which = 0; which < 2; which++) {
        struct owner o = {0}, next = {0};
        freeReplyObject(server_ask(&f->server, "FLUSHALL"));
        if (!f->a.rs)
            place_start(f, &f->a, "a");
        owner_open(&o, &f->a);
        owner_add(&o, (enum kept_queue)which, 2);
        run(f);
        adapter_fault(f->a.r, FAULT_REFUSED, "XADD", 0);
        owner_add(&o, (enum kept_queue)which, 3); /* 3 is refused */
        f->a.s->turn(f->a.s);
        place_stop(&f->a);
        o.k = NULL;
        assert_int_equal(o.committed[which], 2);
        owner_claim(f, &next, &f->b, look(f, &f->b), 0);
        assert_int_equal(next.claim.last[which], 2);
        assert_int_equal(next.q[which].count, 2);
        owner_add(&next, (enum kept_queue)which, 1);
        run(f);
        assert_int_equal(next.committed[which], 3);
        struct owner third = {0};
        owner_claim(f, &third, &f->b, look(f, &f->b), 0);
        assert_int_equal(third.q[which].count, 3);
        owner_free(&o);
        owner_free(&next);
        owner_free(&third);
    }
}

static void test_damaged_stanza(void **state)
{
    struct scene *f = *state;
    for (int which = 0; which < 2; which++) {
        struct owner o = {0}, next = {0};
        char command[256];
        freeReplyObject(server_ask(&f->server, "FLUSHALL"));
        if (!f->a.rs)
            place_start(f, &f->a, "a");
        owner_open(&o, &f->a);
        owner_add(&o, (enum kept_queue)which, 2);
        run(f);
        struct seen seen = look(f, &f->b);
        for (int number = 3; number < 5; number++) {
            snprintf(command, sizeof command, "XADD hf:{" TAG_R "}:%s:" REST " %" PRIu64 "-%d 0 nonsense",
                     which ? "u" : "d", seen.epoch, number);
            freeReplyObject(server_ask(&f->server, command));
        }
        place_stop(&f->a);
        o.k = NULL;
        owner_claim(f, &next, &f->b, seen, 0);
        assert_int_equal(next.claim.last[which], which == KEPT_UP ? 4 : 2); /* uplink: the number was told */
        owner_add(&next, (enum kept_queue)which, 1);
        run(f);
        assert_int_equal(next.committed[which], which == KEPT_UP ? 5 : 3);
        owner_free(&o);
        owner_free(&next);
    }
}

/* The first append of some is refused, when the queue is empty: nothing of what is there tells so. */
static void test_gap_ahead_of_all(void **state)
{
    struct scene *f = *state;
    for (int which = 0; which < 2; which++) {
        struct owner o = {0}, next = {0};
        freeReplyObject(server_ask(&f->server, "FLUSHALL"));
        if (!f->a.rs)
            place_start(f, &f->a, "a");
        owner_open(&o, &f->a);
        owner_add(&o, (enum kept_queue)which, 4);
        run(f);
        owner_release(&o, (enum kept_queue)which, 4);
        run(f);
        adapter_fault(f->a.r, FAULT_REFUSED, "XADD", 0);
        owner_add(&o, (enum kept_queue)which, 2); /* 5 is refused */
        f->a.s->turn(f->a.s);
        place_stop(&f->a);
        o.k = NULL;
        struct seen seen = look(f, &f->b);
        if (which == KEPT_DOWN)
            assert_int_equal(seen.acked, 4);
        owner_claim(f, &next, &f->b, seen, which == KEPT_DOWN ? 4 : 0);
        assert_int_equal(next.claim.last[which], 4);
        assert_int_equal(next.q[which].count, 0);
        owner_free(&o);
        owner_free(&next);
    }
}

/* Of what a claim reads it can open the first `opens` alone: it gives the session back, and the next one has it all. */
static void claim_without_the_key(struct scene *f, unsigned opens)
{
    struct owner o = {0}, next = {0}, third = {0};
    freeReplyObject(server_ask(&f->server, "FLUSHALL"));
    begin(f, &o);
    f->a.s->kept->detached(o.k, 100 * USEC_S);
    run(f);
    long long deadline = server_number(&f->server, "HGET " KEY("s") " dl");
    struct seen seen = look(f, &f->b);
    f->b.opens = opens;
    owner_claim(f, &next, &f->b, seen, 1);
    assert_null(next.k);
    assert_true(next.claim_unreadable);
    f->b.opens = UINT_MAX;
    assert_int_equal(server_number(&f->server, "XLEN " KEY("d")), 4); /* the client has the first */
    assert_int_equal(server_number(&f->server, "XLEN " KEY("u")), 3);
    assert_in_range(server_number(&f->server, "HGET " KEY("s") " dl"), deadline, deadline + 20000);
    seen = look(f, &f->b);
    assert_true(seen.found && seen.released);
    owner_claim(f, &third, &f->b, seen, 1);
    assert_non_null(third.k);
    assert_string_equal(third.claimed_record, "what a rebuild needs");
    assert_int_equal(third.q[KEPT_DOWN].count, 4);
    assert_int_equal(third.q[KEPT_UP].count, 3);
    owner_free(&o);
    owner_free(&third);
}

static void test_without_the_key(void **state)
{
    enum { RECORD_ACCOUNT_PROOF = 3, STANZAS = 4 + 3 };
    struct scene *f = *state;
    for (unsigned opens = 0; opens < RECORD_ACCOUNT_PROOF + STANZAS; opens++)
        claim_without_the_key(f, opens);
    assert_int_equal(counted(&f->b, METRIC_store_claims_unreadable), RECORD_ACCOUNT_PROOF + STANZAS);
    assert_int_equal(counted(&f->b, METRIC_store_unreadable_locked), RECORD_ACCOUNT_PROOF + STANZAS);
    struct owner o = {0};
    freeReplyObject(server_ask(&f->server, "FLUSHALL"));
    begin(f, &o);
    f->b.opens = 1; /* whose it is, but not the proof */
    assert_false(look(f, &f->b).found);
    owner_free(&o);
}

static void test_life_sign(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    begin(f, &o);
    run_for(f, USEC_S);
    assert_true(look(f, &f->b).alive);
    assert_true(server_number(&f->server, "PTTL hf:n:a") > 10000);
    freeReplyObject(server_ask(&f->server, "SET hf:n:a boot2 PX 1000")); /* another run of it */
    assert_false(look(f, &f->b).alive);
    freeReplyObject(server_ask(&f->server, "DEL hf:n:a"));
    assert_false(look(f, &f->b).alive);
    run_for(f, 6 * USEC_S);
    assert_true(look(f, &f->b).alive);
    owner_free(&o);
}

static void test_unknown(void **state)
{
    struct scene *f = *state;
    struct owner next = {0};
    assert_false(look(f, &f->a).found);
    owner_claim(f, &next, &f->a, (struct seen){.epoch = 1}, 0);
    assert_true(next.claimed_none);
    assert_int_equal(server_number(&f->server, "EXISTS " KEY("s") " " KEY("d")), 0);
    owner_free(&next);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fenced_owner_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fenced_end_saves_what_was_not_committed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fenced_spills_above_the_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_record_outlives_claims_and_session, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spill_is_repeated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fenced_spills_above_a_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_owners, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_number_of_two_owners, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_claim_wins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_late_claim_of_what_was_attached_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_high_water_mark, setup, teardown),
        cmocka_unit_test_setup_teardown(test_queues_of_many_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mail_in_a_claimed_session, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gap_of_a_dead_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gap_ahead_of_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_life_sign, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_stanza, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_the_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown, setup, teardown),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
