/* Mailboxes, outboxes and tombstones in Redis. */
#include "redis_scene.h"
#include "store/memory.h"

#define OTHER TAG_R "cccccccccccccccccccccccc"
#define MAIL  "hf:{" TAG_R "}:mail"

static size_t taken_and_dropped(struct scene *f, struct place *n, const char *sid)
{
    struct taken t = take(f, n, BOX_MAIL, sid);
    drop(&t);
    return t.n;
}

static void done(struct scene *f, struct place *n, enum store_box box, const char *origin)
{
    n->s->ops->box_done(n->s, box, SLICE_LIT(ROMEO), slice_str(origin));
    run(f);
}

static void test_put_take_done(void **state)
{
    struct scene *f = *state;
    put(f, &f->a, BOX_MAIL, "<one/>", "s/1");
    put(f, &f->a, BOX_MAIL, "<two/>", "s/2");
    put(f, &f->a, BOX_OUT, "<out/>", "s/up/1");
    put(f, &f->a, BOX_MAIL, "<one/>", "s/1"); /* spilled twice */
    assert_int_equal(counted(&f->a, METRIC_mailbox_kept), 2);
    assert_int_equal(counted(&f->a, METRIC_mailbox_doubled), 1);
    assert_int_equal(counted(&f->a, METRIC_outbox_kept), 1);
    struct taken t = take(f, &f->b, BOX_MAIL, SID);
    assert_int_equal(t.n, 2);
    assert_string_equal(t.first->origin, "s/1");
    assert_memory_equal(t.first->bytes, "<one/>", 6);
    assert_string_equal(t.first->next->origin, "s/2");
    drop(&t);
    assert_int_equal(taken_and_dropped(f, &f->a, OTHER), 0); /* lent */
    put(f, &f->b, BOX_MAIL, "<two/>", "s/2");                /* given back */
    assert_int_equal(taken_and_dropped(f, &f->a, OTHER), 1);
    done(f, &f->b, BOX_MAIL, "s/1");
    done(f, &f->a, BOX_MAIL, "s/2");
    done(f, &f->a, BOX_MAIL, "s/2");
    assert_int_equal(counted(&f->a, METRIC_mailbox_delivered) + counted(&f->b, METRIC_mailbox_delivered), 2);
    assert_int_equal(server_number(&f->server, "EXISTS " MAIL " " MAIL ":o"), 0);
    done(f, &f->a, BOX_OUT, "s/up/1");
    assert_int_equal(counted(&f->a, METRIC_outbox_sent), 1);
    f->a.s->ops->box_put(f->a.s, BOX_MAIL, SLICE_LIT("juliet@example.org"), stanza("<her/>", CLASS_KEEP, "s/3"));
    run(f);
    assert_int_equal(taken_and_dropped(f, &f->a, SID), 0);
}

/* What this node has no key for is free for one that has it, while the rest stays lent. */
static void test_take_without_the_key(void **state)
{
    struct scene *f = *state;
    put(f, &f->a, BOX_MAIL, "<one/>", "s/1");
    put(f, &f->a, BOX_MAIL, "<two/>", "s/2");
    put(f, &f->a, BOX_MAIL, "<three/>", "s/3");
    f->b.opens = 1;
    assert_int_equal(taken_and_dropped(f, &f->b, SID), 1);
    assert_int_equal(counted(&f->b, METRIC_store_unreadable_locked), 2);
    assert_int_equal(taken_and_dropped(f, &f->a, OTHER), 2);
    assert_int_equal(server_number(&f->server, "XLEN " MAIL), 3);
    f->b.opens = UINT_MAX;
    assert_int_equal(taken_and_dropped(f, &f->b, SID), 0);
}

/* More than a page, and more than one answer should hold. */
static void test_take_in_pages(void **state)
{
    struct scene *f = *state;
    char *big = mem_alloc(100001);
    memset(big, 'x', 100000);
    big[100000] = '\0';
    for (int i = 0; i < 420; i++) {
        char origin[16];
        snprintf(origin, sizeof origin, "s/%d", i);
        f->a.s->ops->box_put(f->a.s, BOX_MAIL, SLICE_LIT(ROMEO),
                             stanza(i % 20 == 0 ? big : "<message/>", CLASS_KEEP, origin));
    }
    free(big);
    run(f);
    struct taken t = take(f, &f->b, BOX_MAIL, SID);
    assert_int_equal(t.n, 420);
    int i = 0;
    for (struct entry *e = t.first; e; e = e->next) {
        char origin[16];
        snprintf(origin, sizeof origin, "s/%d", i++);
        assert_string_equal(e->origin, origin);
    }
    drop(&t);
}

/* Changes what the index of the mailbox holds under that origin: Redis has a clock of its own. */
static void set_index(struct scene *f, const char *origin, const char *pattern, const char *with)
{
    static const char script[] = "local v = redis.call('HGET', KEYS[1], ARGV[1]) or '' "
                                 "redis.call('HSET', KEYS[1], ARGV[1], (v:gsub(ARGV[2], ARGV[3])))";
    redisContext *c = redisConnectUnix(f->server.socket);
    redisReply *reply = redisCommand(c, "EVAL %s 1 " MAIL ":o %s %s %s", script, origin, pattern, with);
    assert_int_equal(reply->type, REDIS_REPLY_NIL);
    freeReplyObject(reply);
    redisFree(c);
}

/* What a session that is gone has borrowed is free again when its time is up; of one that lives it is not. */
static void test_lend_of_a_session_that_is_gone(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    put(f, &f->a, BOX_MAIL, "<one/>", "s/1");
    assert_int_equal(taken_and_dropped(f, &f->a, SID), 1);
    set_index(f, "s/1", "^(%S+ %d+ %S+) %d+", "%1 1"); /* its time is up */
    assert_int_equal(taken_and_dropped(f, &f->b, OTHER), 0);
    owner_end(&o, false);
    run(f);
    assert_int_equal(taken_and_dropped(f, &f->b, OTHER), 1);
    owner_free(&o);
}

static void lend(struct scene *f, struct place *n, const char *text, const char *origin)
{
    n->s->ops->box_lend(n->s, BOX_MAIL, SLICE_LIT(ROMEO), SID, stanza(text, CLASS_KEEP, origin));
    run(f);
}

/* A copy of what is on its way to a session that nobody can take over counts when it is put, not before. */
static void test_copies(void **state)
{
    struct scene *f = *state;
    lend(f, &f->a, "<one/>", "s/h1");
    lend(f, &f->a, "<two/>", "s/h2");
    assert_int_equal(taken_and_dropped(f, &f->b, OTHER), 0);
    done(f, &f->a, BOX_MAIL, "s/h1");
    assert_int_equal(counted(&f->a, METRIC_mailbox_kept) + counted(&f->a, METRIC_mailbox_delivered), 0);
    put(f, &f->a, BOX_MAIL, "<two/>", "s/h2");
    assert_int_equal(counted(&f->a, METRIC_mailbox_kept), 1);
    assert_int_equal(taken_and_dropped(f, &f->b, OTHER), 1);
    done(f, &f->b, BOX_MAIL, "s/h2");
    assert_int_equal(counted(&f->b, METRIC_mailbox_delivered), 1);
    assert_int_equal(counted(&f->a, METRIC_mailbox_doubled), 0);
    assert_int_equal(server_number(&f->server, "EXISTS " MAIL " " MAIL ":o"), 0);
}

static void assert_taken(struct scene *f, struct place *n, const char *origins)
{
    struct taken t = take(f, n, BOX_MAIL, OTHER);
    struct buf all = {0};
    for (const struct entry *e = t.first; e; e = e->next)
        buf_printf(&all, "%s ", e->origin);
    char *text = buf_steal(&all);
    assert_string_equal(text ? text : "", origins);
    free(text);
    drop(&t);
}

/* They are the account's next session's as soon as their node shows no sign of life, in their order among the rest. */
static void test_copies_of_a_node_that_is_gone(void **state)
{
    struct scene *f = *state;
    put(f, &f->b, BOX_MAIL, "<first/>", "s/1");
    lend(f, &f->a, "<one/>", "s/h1");
    put(f, &f->b, BOX_MAIL, "<last/>", "s/2");
    lend(f, &f->a, "<two/>", "s/h2");
    place_stop(&f->a);
    adapter_listen(f->b.r, "hf:nodes", f->b.r);
    assert_taken(f, &f->b, "s/1 s/2 "); /* its sign is still there */
    freeReplyObject(server_ask(&f->server, "DEL hf:n:a"));
    unsigned hints = f->b.hints;
    run_for(f, 30 * USEC_S);
    assert_true(f->b.hints > hints); /* to look again */
    put(f, &f->b, BOX_MAIL, "<first/>", "s/1");
    put(f, &f->b, BOX_MAIL, "<last/>", "s/2");
    assert_taken(f, &f->b, "s/1 s/h1 s/2 s/h2 ");
    assert_int_equal(counted(&f->b, METRIC_mailbox_kept), 4);
}

/* Another run of the node is not the one that had lent. */
static void test_copies_of_an_earlier_run(void **state)
{
    struct scene *f = *state;
    lend(f, &f->a, "<one/>", "s/h1");
    place_stop(&f->a);
    freeReplyObject(server_ask(&f->server, "SET hf:n:a boot2 EX 60"));
    assert_taken(f, &f->b, "s/h1 ");
}

/* What lives in a session that can be taken over stays its own, whatever becomes of its node. */
static void test_lend_of_a_session_that_can_be_resumed(void **state)
{
    struct scene *f = *state;
    struct owner o = {0};
    owner_open(&o, &f->a);
    put(f, &f->a, BOX_MAIL, "<one/>", "s/1");
    assert_int_equal(taken_and_dropped(f, &f->a, SID), 1);
    freeReplyObject(server_ask(&f->server, "DEL hf:n:a"));
    assert_taken(f, &f->b, "");
    owner_free(&o);
}

/* All nodes are told, but of what was only lent. */
static void test_others_are_told(void **state)
{
    struct scene *f = *state;
    adapter_listen(f->a.r, "hf:nodes", f->b.r);
    lend(f, &f->b, "<one/>", "s/h1");
    assert_int_equal(f->a.hints, 0);
    put(f, &f->b, BOX_MAIL, "<one/>", "s/h1");
    assert_int_equal(f->a.hints, 1);
    put(f, &f->b, BOX_OUT, "<out/>", "s/up/1");
    assert_int_equal(f->a.hints, 1);
}

/* One that was away for too long cannot take a message from its next holder. */
static void test_late_return_of_another_lend(void **state)
{
    struct scene *f = *state;
    put(f, &f->a, BOX_MAIL, "<one/>", "s/1");
    assert_int_equal(taken_and_dropped(f, &f->a, SID), 1);
    freeReplyObject(server_ask(&f->server, "DEL " MAIL " " MAIL ":o"));
    put(f, &f->b, BOX_MAIL, "<one/>", "s/1");
    assert_int_equal(taken_and_dropped(f, &f->b, OTHER), 1);
    put(f, &f->a, BOX_MAIL, "<one/>", "s/1");
    assert_int_equal(taken_and_dropped(f, &f->a, SID), 0);
    put(f, &f->b, BOX_MAIL, "<one/>", "s/1");
    assert_int_equal(taken_and_dropped(f, &f->a, SID), 1);
}

static void test_age(void **state)
{
    struct scene *f = *state;
    freeReplyObject(server_ask(&f->server, "XADD " MAIL " 1000-1 o s/1 0 xxxxx"));
    freeReplyObject(server_ask(&f->server, "HSET " MAIL ":o # 5"));
    set_index(f, "s/1", ".*", "1000-1 5 - 0 0");
    put(f, &f->a, BOX_MAIL, "<two/>", "s/2");
    assert_int_equal(counted(&f->a, METRIC_mailbox_expired), 1);
    assert_int_equal(taken_and_dropped(f, &f->a, SID), 1);
}

static void test_full(void **state)
{
    struct scene *f = *state;
    for (int i = 0; i < MAILBOX_MESSAGES + 5; i++) {
        char origin[16];
        snprintf(origin, sizeof origin, "s/%d", i);
        f->a.s->ops->box_put(f->a.s, BOX_MAIL, SLICE_LIT(ROMEO), stanza("<message/>", CLASS_KEEP, origin));
    }
    run(f);
    assert_int_equal(server_number(&f->server, "XLEN " MAIL), MAILBOX_MESSAGES);
    assert_int_equal(server_number(&f->server, "HLEN " MAIL ":o"), MAILBOX_MESSAGES + 1);
    assert_int_equal(counted(&f->a, METRIC_mailbox_overflown), 5);
    char *big = mem_alloc((8 << 20) + 1);
    memset(big, 'x', 8 << 20);
    big[8 << 20] = '\0';
    for (int i = 0; i < 5; i++) {
        char origin[16];
        snprintf(origin, sizeof origin, "big/%d", i);
        put(f, &f->a, BOX_OUT, big, origin);
    }
    free(big);
    assert_int_equal(server_number(&f->server, "XLEN hf:{" TAG_R "}:out"), 3);
    assert_int_equal(counted(&f->a, METRIC_outbox_overflown), 2);
}

static void on_purged(void *ctx, const struct store_purged *p)
{
    *(struct store_purged *)ctx = *p;
}

static void test_purged_copy(void **state)
{
    struct scene *f = *state;
    lend(f, &f->a, "<one/>", "s/h1");
    struct store_purged p = {0};
    f->b.s->ops->purge(f->b.s, SLICE_LIT(ROMEO), on_purged, &p);
    run(f);
    assert_int_equal(p.lent, 1);
    put(f, &f->a, BOX_MAIL, "<one/>", "s/h1");
    assert_int_equal(counted(&f->a, METRIC_mailbox_kept), 1);
    assert_int_equal(counted(&f->a, METRIC_mailbox_purged), 1);
    assert_taken(f, &f->b, "");
}

static void test_purge(void **state)
{
    struct scene *f = *state;
    struct tombstone t = {.account = ROMEO, .h = 7, .reason = "expired"};
    f->a.s->ops->tombstone_put(f->a.s, SID, &t);
    f->a.s->ops->tombstone_put(f->a.s, OTHER, &t);
    put(f, &f->a, BOX_MAIL, "<lent/>", "s/0");
    assert_int_equal(taken_and_dropped(f, &f->b, SID), 1);
    for (int i = 1; i <= 450; i++) {
        char origin[16];
        snprintf(origin, sizeof origin, "s/%d", i);
        f->a.s->ops->box_put(f->a.s, i % 2 ? BOX_MAIL : BOX_OUT, SLICE_LIT(ROMEO), stanza("<m/>", CLASS_KEEP, origin));
    }
    run(f);
    struct store_purged purged = {0};
    f->a.s->ops->purge(f->a.s, SLICE_LIT(ROMEO), on_purged, &purged);
    run(f);
    assert_int_equal(purged.messages, 450);
    assert_true(purged.bytes > 450 * 4);
    assert_int_equal(purged.lent, 1);
    assert_int_equal(purged.tombstones, 2);
    assert_int_equal(counted(&f->a, METRIC_mailbox_purged) + counted(&f->a, METRIC_outbox_purged), 450);
    put(f, &f->b, BOX_MAIL, "<lent/>", "s/0"); /* comes back, and is gone */
    assert_int_equal(counted(&f->b, METRIC_mailbox_purged), 1);
    redisReply *keys = server_ask(&f->server, "KEYS hf:{*");
    assert_int_equal(keys->elements, 0);
    freeReplyObject(keys);
}

struct found {
    int answers;
    bool known;
    uint64_t h;
    char reason[32], resent[32];
};

static void on_tombstone(void *ctx, const struct tombstone *t)
{
    struct found *found = ctx;
    found->answers++;
    found->known = t;
    if (t) {
        found->h = t->h;
        snprintf(found->reason, sizeof found->reason, "%s", t->reason);
        snprintf(found->resent, sizeof found->resent, "%.*s", SLICE_ARG(t->resent));
    }
}

static struct found find(struct scene *f, struct place *n, const char *account, const char *proof)
{
    struct found found = {0};
    n->s->ops->tombstone_get(n->s, SID, account, proof, on_tombstone, &found);
    run(f);
    assert_int_equal(found.answers, 1);
    return found;
}

static void test_tombstones(void **state)
{
    struct scene *f = *state;
    struct tombstone t = {.account = ROMEO,
                          .proof = "proof",
                          .h = 1234567890123,
                          .reason = "client_gone",
                          .resent = SLICE_LIT("00ff11aa")};
    assert_false(find(f, &f->b, ROMEO, NULL).known);
    f->a.s->ops->tombstone_put(f->a.s, SID, &t);
    run(f);
    struct found found = find(f, &f->b, ROMEO, NULL);
    assert_true(found.known);
    assert_true(found.h == 1234567890123);
    assert_string_equal(found.reason, "client_gone");
    assert_string_equal(found.resent, "00ff11aa");
    assert_true(find(f, &f->a, NULL, "proof").known);
    assert_false(find(f, &f->a, "juliet@example.org", "another").known);
    assert_false(find(f, &f->a, NULL, NULL).known);
    t.proof = NULL;
    f->a.s->ops->tombstone_put(f->a.s, SID, &t);
    run(f);
    assert_false(find(f, &f->a, NULL, "proof").known);
    assert_true(find(f, &f->a, ROMEO, "proof").known);
    assert_string_equal(find(f, &f->a, ROMEO, NULL).resent, "00ff11aa");
    freeReplyObject(server_ask(&f->server, "SET hf:{" TAG_R "}:t:" REST " nonsense PX 100000"));
    assert_false(find(f, &f->a, ROMEO, "proof").known);
}

/* Nothing that is given to the store while Redis is away is lost; questions are not kept waiting. */
static void test_away(void **state)
{
    struct scene *f = *state;
    struct tombstone t = {.account = ROMEO, .h = 3, .reason = "expired"};
    put(f, &f->a, BOX_MAIL, "<zero/>", "s/0");
    adapter_away(f->a.r);
    put(f, &f->a, BOX_MAIL, "<one/>", "s/1");
    put(f, &f->a, BOX_MAIL, "<two/>", "s/2");
    done(f, &f->a, BOX_MAIL, "s/0");
    f->a.s->ops->tombstone_put(f->a.s, SID, &t);
    run(f);
    assert_int_equal(redis_store_waiting(f->a.rs).operations, 4);
    assert_int_equal(counted(&f->a, METRIC_store_waiting), 4);
    assert_true(f->a.memory > 0);
    assert_int_equal(taken_and_dropped(f, &f->a, SID), 0);
    assert_false(find(f, &f->a, ROMEO, NULL).known);
    struct store_purged purged = {0};
    f->a.s->ops->purge(f->a.s, SLICE_LIT(ROMEO), on_purged, &purged);
    run(f);
    assert_int_equal(purged.messages, 0);
    adapter_back(f->a.r, false);
    run(f);
    assert_int_equal(redis_store_waiting(f->a.rs).operations, 0);
    assert_int_equal(counted(&f->a, METRIC_store_waiting), 0);
    assert_int_equal(f->a.memory, 0);
    struct taken taken = take(f, &f->b, BOX_MAIL, SID);
    assert_int_equal(taken.n, 2);
    assert_string_equal(taken.first->origin, "s/1");
    drop(&taken);
    assert_int_equal(find(f, &f->b, ROMEO, NULL).h, 3);
}

static void test_lost_answers(void **state)
{
    static const char *const command[] = {"put", "done", "bury"};
    struct scene *f = *state;
    struct tombstone t = {.account = ROMEO, .h = 3, .reason = "expired"};
    put(f, &f->a, BOX_MAIL, "<zero/>", "s/0");
    for (size_t i = 0; i < 3; i++) {
        adapter_fault(f->a.r, FAULT_ANSWER_LOST, command[i], 0);
        put(f, &f->a, BOX_MAIL, "<one/>", "s/1");
        done(f, &f->a, BOX_MAIL, "s/0");
        f->a.s->ops->tombstone_put(f->a.s, SID, &t);
        run(f);
        adapter_back(f->a.r, false);
        run(f);
        assert_int_equal(redis_store_waiting(f->a.rs).operations, 0);
        assert_int_equal(server_number(&f->server, "XLEN " MAIL), 1);
    }
    assert_int_equal(find(f, &f->b, ROMEO, NULL).h, 3);
    /* lent, and nobody knows to whom: free again as soon as Redis is back */
    adapter_fault(f->a.r, FAULT_ANSWER_LOST, "take", 0);
    assert_int_equal(taken_and_dropped(f, &f->a, SID), 0);
    assert_int_equal(taken_and_dropped(f, &f->b, OTHER), 0);
    adapter_back(f->a.r, false);
    run(f);
    assert_int_equal(taken_and_dropped(f, &f->b, OTHER), 1);
}

/* Questions that are open when the process stops are answered. */
static void test_stop(void **state)
{
    struct scene *f = *state;
    struct taken taken = {0};
    struct found found = {0};
    struct seen seen = {0};
    f->a.s->ops->box_take(f->a.s, BOX_MAIL, SLICE_LIT(ROMEO), SID, on_taken, &taken);
    f->a.s->ops->tombstone_get(f->a.s, SID, ROMEO, NULL, on_tombstone, &found);
    f->a.s->kept->look(f->a.s, SID, on_place, &seen);
    f->a.s->ops->box_put(f->a.s, BOX_MAIL, SLICE_LIT(ROMEO), stanza("<lost/>", CLASS_KEEP, "s/1"));
    place_stop(&f->a);
    assert_int_equal(taken.calls, 1);
    assert_int_equal(found.answers, 1);
    assert_true(seen.away);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_put_take_done, setup, teardown),
        cmocka_unit_test_setup_teardown(test_take_without_the_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_take_in_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lend_of_a_session_that_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_late_return_of_another_lend, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copies_of_a_node_that_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copies_of_an_earlier_run, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lend_of_a_session_that_can_be_resumed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_purged_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_others_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_age, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_purge, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tombstones, setup, teardown),
        cmocka_unit_test_setup_teardown(test_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
