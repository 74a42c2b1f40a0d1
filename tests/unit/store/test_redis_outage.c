/* Redis goes away and comes back: as it was, without its newest entries, empty, full, or with an old owner. */
#include "redis_scene.h"

#define KEY(kind) "hf:{" TAG_R "}:" kind ":" REST

static void restart(struct scene *f, bool with_dump)
{
    server_kill(&f->server);
    if (!with_dump)
        server_drop_dump(&f->server);
    server_start(&f->server);
}

/* What another node would find is what the owner holds. */
static void check_as_claimed(struct scene *f, struct owner *o)
{
    struct owner next = {0};
    struct seen seen = look(f, &f->b);
    assert_true(seen.found && !seen.stale);
    freeReplyObject(server_ask(&f->server, "HDEL " KEY("s") " cl")); /* time has passed */
    owner_claim(f, &next, &f->b, seen, 0);
    assert_non_null(next.k);
    for (int which = 0; which < 2; which++) {
        assert_int_equal(next.claim.last[which], o->q[which].last_number);
        assert_int_equal(next.q[which].count, o->q[which].count);
        const struct entry *mine = o->q[which].first, *its = next.q[which].first;
        for (; mine; mine = mine->next, its = its->next) {
            assert_int_equal(mine->number, its->number);
            assert_true(slice_eq(entry_slice(mine), entry_slice(its)));
        }
    }
    assert_true(next.claim.high_water >= o->reserved);
    assert_true(strlen(next.claimed_record) > 0);
    owner_free(&next);
}

static void begin(struct scene *f, struct owner *o)
{
    owner_open(o, &f->a);
    owner_add(o, KEPT_DOWN, 5);
    owner_add(o, KEPT_UP, 4);
    run(f);
    owner_release(o, KEPT_DOWN, 1);
    owner_release(o, KEPT_UP, 2);
    run(f);
}

static void test_restart_empty(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    begin(f, &o);
    restart(f, false);
    owner_add(&o, KEPT_DOWN, 1);
    owner_release(&o, KEPT_UP, 3);
    run(f);
    assert_int_equal(o.committed[KEPT_DOWN], 5);
    adapter_back(f->a.r, true);
    adapter_back(f->b.r, true);
    run(f);
    assert_int_equal(o.committed[KEPT_DOWN], 6);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("d")), 5);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("u")), 1);
    assert_int_equal(counted(&f->a, METRIC_store_resyncs_rewritten), 1);
    check_as_claimed(f, &o);
    owner_free(&o);
}

static void test_restart_with_old_dump(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    begin(f, &o);
    server_keep_dump(&f->server);
    owner_add(&o, KEPT_DOWN, 3);
    owner_release(&o, KEPT_DOWN, 4);
    owner_add(&o, KEPT_UP, 2);
    o.record = "newer";
    f->a.s->kept->changed(o.k, true);
    run(f);
    assert_int_equal(o.committed[KEPT_DOWN], 8);
    restart(f, true);
    adapter_back(f->a.r, true);
    adapter_back(f->b.r, true);
    run(f);
    assert_int_equal(counted(&f->a, METRIC_store_resyncs_same), 1); /* went on where the dump ends */
    owner_add(&o, KEPT_DOWN, 1);
    run(f);
    assert_int_equal(o.committed[KEPT_DOWN], 9);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("d")), 5);
    assert_int_equal(server_number(&f->server, "STRLEN " KEY("j")), strlen("sealed for " TAG_R ":newer"));
    check_as_claimed(f, &o);
    owner_free(&o);
}

/* The newest entries are lost and everything that is left was acked meanwhile. */
static void test_old_dump_of_what_is_acked(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    begin(f, &o);
    server_keep_dump(&f->server);
    owner_add(&o, KEPT_DOWN, 3);
    run(f);
    owner_release(&o, KEPT_DOWN, 7);
    owner_release(&o, KEPT_UP, 4);
    run(f);
    restart(f, true);
    adapter_back(f->a.r, true);
    adapter_back(f->b.r, true);
    run(f);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("d")), 1);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("u")), 0);
    check_as_claimed(f, &o);
    owner_free(&o);
}

/* The dump is older than the claim, or there is none: the old owner is there again, in Redis, or comes first. */
static void test_old_owner_comes_back(void **state)
{
    struct scene *f = *state;
    for (int i = 0; i < 4; i++) {
        bool first = i & 1, dump = i & 2;
        struct owner o = {0}, next = {0};
        freeReplyObject(server_ask(&f->server, "FLUSHALL"));
        begin(f, &o);
        server_keep_dump(&f->server);
        owner_claim(f, &next, &f->b, look(f, &f->b), 3);
        owner_add(&next, KEPT_DOWN, 2);
        run(f);
        assert_int_equal(next.committed[KEPT_DOWN], 7);
        assert_int_equal(o.fenced, 0);
        restart(f, dump);
        adapter_back(first ? f->a.r : f->b.r, true);
        run(f);
        adapter_back(first ? f->b.r : f->a.r, true);
        run(f);
        owner_add(&o, KEPT_DOWN, 1);
        owner_add(&next, KEPT_DOWN, 1);
        run(f);
        assert_int_equal(o.fenced, 1);
        assert_int_equal(next.fenced, 0);
        assert_int_equal(next.committed[KEPT_DOWN], 8);
        assert_int_equal(server_number(&f->server, "XLEN " KEY("d")), 5);
        check_as_claimed(f, &next);
        owner_free(&o);
        owner_free(&next);
    }
}

/* Its owner is dead, and Redis is another run: what it holds may be older than what was told. */
static void test_stale_session(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, next = {0};
    begin(f, &o);
    assert_false(look(f, &f->b).stale);
    server_keep_dump(&f->server);
    owner_add(&o, KEPT_UP, 1);
    run(f);
    assert_int_equal(o.committed[KEPT_UP], 5);
    place_stop(&f->a);
    o.k = NULL;
    restart(f, true);
    adapter_back(f->b.r, true);
    struct seen seen = look(f, &f->b);
    assert_true(seen.found && seen.stale && seen.unsettled);
    owner_claim(f, &next, &f->b, seen, 0);
    assert_true(next.claimed_none);
    run_for(f, 31 * USEC_S);
    seen = look(f, &f->b);
    assert_true(seen.stale && !seen.unsettled);
    assert_int_equal(server_number(&f->server, "HGET " KEY("s") " ep"), seen.epoch); /* as it was */
    owner_free(&o);
    owner_free(&next);
}

/* The owner lives: it says that all is there when all is, and not before. */
static void test_owner_confirms(void **state)
{
    struct scene *f = *state;
    for (int lost = 0; lost < 3; lost++) {
        struct owner o = {0};
        freeReplyObject(server_ask(&f->server, "FLUSHALL"));
        begin(f, &o);
        if (lost != 2)
            server_keep_dump(&f->server);
        if (lost) {
            owner_add(&o, KEPT_DOWN, 1);
            owner_add(&o, KEPT_UP, 1);
            run(f);
        }
        restart(f, lost != 2);
        if (lost)
            adapter_fault(f->a.r, FAULT_REFUSED, "XADD", lost == 2 ? 5 : 1); /* the last of them */
        adapter_back(f->a.r, true);
        adapter_back(f->b.r, true);
        for (int i = 0; i < 3; i++)
            f->a.s->turn(f->a.s);
        if (lost)
            assert_true(look(f, &f->b).stale);
        run_for(f, 10 * USEC_S);
        assert_false(look(f, &f->b).stale);
        check_as_claimed(f, &o);
        owner_free(&o);
    }
}

/* One that was fenced before Redis began anew may not know: a resumption waits until the true owner has come. */
static void test_attached_when_owners_are_back(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    begin(f, &o);
    int attached = o.attached;
    server_keep_dump(&f->server);
    restart(f, true);
    adapter_back(f->a.r, true);
    adapter_back(f->b.r, true);
    f->a.s->kept->attached(o.k, MAX);
    run_for(f, 29 * USEC_S);
    assert_int_equal(o.attached, attached);
    run_for(f, 2 * USEC_S);
    assert_int_equal(o.attached, attached + 1);
    struct seen seen = look(f, &f->b);
    assert_true(!seen.stale && seen.unsettled); /* nor does anybody claim it */
    freeReplyObject(server_ask(&f->server, "HDEL " KEY("s") " cl"));
    assert_false(look(f, &f->b).unsettled);
    adapter_back(f->a.r, false); /* the same run: nothing can be lost */
    f->a.s->kept->attached(o.k, MAX);
    run(f);
    assert_int_equal(o.attached, attached + 2);
    owner_free(&o);
}

/* Behind a failover, where answers wait for replicas: the new master has all of it. */
static void test_another_run_that_has_all(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, next = {0};
    char command[256];
    begin(f, &o);
    place_stop(&f->a);
    o.k = NULL;
    snprintf(command, sizeof command, "HSET " KEY("s") " rn %040d:%040d:%lld", 1, 2, 1LL);
    freeReplyObject(server_ask(&f->server, command));
    assert_true(look(f, &f->b).stale);
    place_stop(&f->b);
    f->b.waits = true;
    place_start(f, &f->b, "b");
    struct seen seen = look(f, &f->b);
    assert_true(!seen.stale && !seen.unsettled);
    owner_claim(f, &next, &f->b, seen, 0);
    assert_non_null(next.k);
    assert_int_equal(next.attached, 1);
    f->b.s->kept->attached(next.k, MAX);
    run(f);
    assert_int_equal(next.attached, 2); /* nobody is waited for */
    owner_free(&o);
    owner_free(&next);
}

/* Up to when an owner may be sure that nobody ends the session: never beyond the deadline that Redis has. */
static void test_lease(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, next = {0};
    begin(f, &o);
    usec lease = MAX + MAX / 2, first = o.silent_at;
    assert_in_range(first - f->clock.mono, lease * 9 / 10, lease - 1);
    run_for(f, MAX / 4 + USEC_S); /* it is pushed ahead */
    assert_true(o.silent_at > first);
    first = o.silent_at;
    adapter_away(f->a.r);
    f->a.s->kept->attached(o.k, MAX);
    run_for(f, MAX);
    assert_int_equal(o.silent_at, first);
    adapter_fault(f->a.r, FAULT_REFUSED, "note", 0);
    adapter_back(f->a.r, false);
    for (int i = 0; i < 3; i++)
        f->a.s->turn(f->a.s);
    assert_int_equal(o.silent_at, first); /* an older word was answered, the newest was not */
    run_for(f, 10 * USEC_S);
    assert_true(o.silent_at > first);
    f->a.s->kept->detached(o.k, USEC_S);
    run(f);
    assert_in_range(o.silent_at - f->clock.mono, 0, 6 * USEC_S);
    owner_claim(f, &next, &f->b, look(f, &f->b), 0);
    assert_in_range(next.claim.silent_at - f->clock.mono, lease * 9 / 10, lease - 1);
    owner_free(&o);
    owner_free(&next);
}

/* Nobody tells that all is gone: the next append is answered so. */
static void test_flushed(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    begin(f, &o);
    freeReplyObject(server_ask(&f->server, "FLUSHALL"));
    owner_add(&o, KEPT_UP, 1);
    run(f);
    assert_int_equal(o.committed[KEPT_UP], 5);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("d")), 4);
    check_as_claimed(f, &o);
    owner_free(&o);
}

/* The session was ended by another node: nobody brings it back. */
static void test_gone_with_a_tombstone(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    struct tombstone t = {.account = ROMEO, .reason = "expired"};
    begin(f, &o);
    freeReplyObject(server_ask(&f->server, "DEL " KEY("s") " " KEY("d") " " KEY("u") " " KEY("j")));
    f->b.s->ops->tombstone_put(f->b.s, SID, &t);
    run(f);
    owner_add(&o, KEPT_DOWN, 1);
    run(f);
    assert_int_equal(o.fenced, 1);
    assert_int_equal(o.fenced_upto, 5); /* nothing is recorded: what it knew */
    assert_int_equal(server_number(&f->server, "EXISTS " KEY("s") " " KEY("d")), 0);
    owner_free(&o);
}

static void test_away(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, late = {0};
    begin(f, &o);
    adapter_away(f->a.r);
    owner_add(&o, KEPT_DOWN, 3);
    owner_add(&o, KEPT_UP, 3);
    owner_release(&o, KEPT_UP, 5);
    f->a.s->kept->detached(o.k, MAX);
    owner_open_as(&late, &f->a, TAG_R "0123456789abcdef01234568");
    owner_add(&late, KEPT_UP, 1);
    run(f);
    run_for(f, 20 * USEC_S);
    assert_int_equal(o.committed[KEPT_DOWN], 5);
    assert_int_equal(redis_store_waiting(f->a.rs).sessions, 2);
    assert_int_equal(counted(&f->a, METRIC_store_uncommitted), 3 + 2 + 1);
    assert_true(look(f, &f->a).away);
    struct owner none = {0};
    owner_claim(f, &none, &f->a, (struct seen){.epoch = 1}, 0);
    assert_true(none.claim_away);
    adapter_back(f->a.r, false);
    run(f);
    assert_int_equal(o.committed[KEPT_DOWN], 8);
    assert_int_equal(o.committed[KEPT_UP], 7);
    assert_int_equal(late.committed[KEPT_UP], 1);
    assert_true(late.reserved > 0);
    assert_int_equal(redis_store_waiting(f->a.rs).sessions, 0);
    check_as_claimed(f, &o);
    owner_free(&o);
    owner_free(&late);
    owner_free(&none);
}

/* All that was said has been confirmed, and has left the queue, before Redis is there (again): it is told as committed
 * nevertheless, though there is nothing to append. */
static void test_confirmed_while_away(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, late = {0};
    begin(f, &o);
    restart(f, false);
    owner_add(&o, KEPT_UP, 3);
    owner_open_as(&late, &f->a, TAG_R "0123456789abcdef01234568");
    owner_add(&late, KEPT_UP, 3);
    run(f);
    owner_release(&o, KEPT_UP, 7);
    owner_release(&late, KEPT_UP, 3);
    run(f);
    assert_int_equal(o.committed[KEPT_UP], 4);
    assert_int_equal(late.committed[KEPT_UP], 0);
    adapter_back(f->a.r, true);
    adapter_back(f->b.r, true);
    run(f);
    assert_int_equal(o.committed[KEPT_UP], 7);
    assert_int_equal(late.committed[KEPT_UP], 3);
    check_as_claimed(f, &o);
    owner_free(&o);
    owner_free(&late);
}

/* A session that ends while Redis is away: it does when Redis has been back for a while. */
static void test_end_while_away(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    begin(f, &o);
    adapter_away(f->a.r);
    owner_add(&o, KEPT_DOWN, 1);
    owner_end(&o, true);
    run(f);
    assert_int_equal(redis_store_waiting(f->a.rs).operations, 1);
    assert_true(f->a.memory > 0);
    adapter_back(f->a.r, false);
    run_for(f, 29 * USEC_S);
    assert_int_equal(server_number(&f->server, "EXISTS " KEY("s")), 1);
    run_for(f, 10 * USEC_S);
    assert_int_equal(server_number(&f->server, "EXISTS " KEY("s") " " KEY("d") " " KEY("u")), 0);
    assert_int_equal(server_number(&f->server, "EXISTS " KEY("t")), 1);
    assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:mail"), 5);
    assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:out"), 2);
    assert_int_equal(f->a.memory, 0);
    owner_free(&o);
}

/* One that never was in Redis; and one of which Redis has lost all meanwhile. */
static void test_end_of_what_is_not_there(void **state)
{
    struct scene *f = *state;
    for (int was = 0; was < 2; was++) {
        struct owner o = {0};
        freeReplyObject(server_ask(&f->server, "FLUSHALL"));
        if (was)
            owner_open(&o, &f->a);
        run(f);
        adapter_away(f->a.r);
        if (!was)
            owner_open(&o, &f->a);
        owner_add(&o, KEPT_DOWN, 2);
        run(f);
        owner_end(&o, false);
        run(f);
        freeReplyObject(server_ask(&f->server, "FLUSHALL"));
        adapter_back(f->a.r, true);
        run_for(f, 40 * USEC_S);
        assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:mail"), 2);
        assert_int_equal(server_number(&f->server, "EXISTS " KEY("t")), 1);
        owner_free(&o);
    }
}

/* Full: stanzas wait; acks and ends of sessions make room. */
static void test_full(void **state)
{
    struct scene *f = *state;
    struct owner o = {0}, other = {0};
    begin(f, &o);
    owner_open_as(&other, &f->a, TAG_R "0123456789abcdef01234568");
    owner_add(&other, KEPT_DOWN, 3);
    run(f);
    freeReplyObject(server_ask(&f->server, "CONFIG SET maxmemory 1"));
    owner_add(&o, KEPT_DOWN, 1);
    run(f);
    assert_int_equal(o.committed[KEPT_DOWN], 5);
    owner_release(&o, KEPT_DOWN, 3);
    run_for(f, 10 * USEC_S);
    assert_int_equal(server_number(&f->server, "XLEN " KEY("d")), 2);
    owner_end(&other, false);
    run(f);
    assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:mail"), 3);
    assert_int_equal(server_number(&f->server, "EXISTS hf:{" TAG_R "}:d:0123456789abcdef01234568"), 0);
    struct owner next = {0};
    owner_claim(f, &next, &f->b, look(f, &f->b), 4);
    assert_int_equal(next.q[KEPT_DOWN].count, 1);
    freeReplyObject(server_ask(&f->server, "CONFIG SET maxmemory 0"));
    run_for(f, 10 * USEC_S);
    assert_int_equal(o.fenced, 1);
    owner_add(&next, KEPT_DOWN, 1);
    run(f);
    assert_int_equal(next.committed[KEPT_DOWN], 6);
    owner_free(&o);
    owner_free(&next);
    owner_free(&other);
}

static void test_full_for_a_while(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    begin(f, &o);
    freeReplyObject(server_ask(&f->server, "CONFIG SET maxmemory 1"));
    owner_add(&o, KEPT_UP, 3);
    run_for(f, 20 * USEC_S);
    assert_int_equal(o.committed[KEPT_UP], 4);
    freeReplyObject(server_ask(&f->server, "CONFIG SET maxmemory 0"));
    run_for(f, 10 * USEC_S);
    assert_int_equal(o.committed[KEPT_UP], 7);
    check_as_claimed(f, &o);
    owner_free(&o);
}

/* Many sessions after an outage: a turn's worth at a time, and all of them. */
static void test_many_sessions(void **state)
{
    enum { MANY = 1500 };
    struct scene *f = *state;
    struct owner *all = mem_zalloc(MANY * sizeof *all);
    for (int i = 0; i < MANY; i++) {
        char sid[SID_SIZE];
        snprintf(sid, sizeof sid, "%024d%024d", i, i);
        owner_open_as(&all[i], &f->a, sid);
        owner_add(&all[i], KEPT_UP, 1);
    }
    run(f);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(all[i].committed[KEPT_UP], 1);
    freeReplyObject(server_ask(&f->server, "FLUSHALL"));
    adapter_back(f->a.r, true);
    run(f);
    assert_int_equal(counted(&f->a, METRIC_store_resyncs_rewritten), MANY);
    redisReply *keys = server_ask(&f->server, "KEYS hf:{*:u:*");
    assert_int_equal(keys->elements, MANY);
    freeReplyObject(keys);
    for (int i = 0; i < MANY; i++)
        owner_free(&all[i]);
    free(all);
    freeReplyObject(server_ask(&f->server, "FLUSHALL"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_restart_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_confirmed_while_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restart_with_old_dump, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_dump_of_what_is_acked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_owner_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stale_session, setup, teardown),
        cmocka_unit_test_setup_teardown(test_owner_confirms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attached_when_owners_are_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_run_that_has_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flushed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone_with_a_tombstone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_end_while_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_end_of_what_is_not_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_for_a_while, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_sessions, setup, teardown),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
