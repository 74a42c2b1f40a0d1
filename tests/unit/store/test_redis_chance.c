/* Anything in any order: stanzas, acks, lost answers, refusals, outages, owners that die, or sleep through it. What was
 * told as committed is what the next owner finds; what an owner that wakes up alone has comes out of the mailbox, once.
 * A seed that fails is run alone by SEED=n. */
#include "redis_scene.h"

#define SEEDS 150
#define STEPS 80

struct world {
    struct scene *f;
    struct owner *o; /* who has the session, as far as the test knows */
    struct place *here, *there;
    uint64_t acked;    /* by the client */
    uint64_t released; /* uplink: confirmed by the server; a trim may come late, and be true */
    uint32_t random;
    unsigned stanzas; /* no two are alike */
};

static uint32_t chance(struct world *w, uint32_t below)
{
    w->random = w->random * 1664525 + 1013904223;
    return (w->random >> 8) % below;
}

static void add_some(struct world *w, struct owner *o, enum kept_queue which, unsigned n)
{
    while (n--) {
        char text[32];
        snprintf(text, sizeof text, "<stanza-%u/>", ++w->stanzas);
        owner_add_entry(o, which, stanza(text, CLASS_KEEP, NULL));
    }
}

static void release_some(struct world *w, enum kept_queue which)
{
    struct queue *q = &w->o->q[which];
    if (!q->first)
        return;
    uint64_t upto = q->first->number + chance(w, (uint32_t)q->count);
    if (which == KEPT_DOWN && upto > w->o->reserved) /* it was never written to the client */
        return;
    owner_release(w->o, which, upto);
    uint64_t *mark = which == KEPT_DOWN ? &w->acked : &w->released;
    *mark = upto > *mark ? upto : *mark;
}

static void strike(struct world *w)
{
    static const char *const name[] = {"XADD", "XADD", "XADD", "XTRIM", "note", "record", "open", "check"};
    static const enum fault fault[] = {FAULT_REFUSED, FAULT_REFUSED, FAULT_NOT_SENT, FAULT_HELD, FAULT_ANSWER_LOST};
    adapter_fault(w->here->r, fault[chance(w, 5)], name[chance(w, 8)], chance(w, 5));
}

static void connect_again(struct place *n)
{
    if (redis_why_away(n->r))
        adapter_back(n->r, false);
}

static const struct entry *find(const struct queue *q, uint64_t number)
{
    const struct entry *e = q->first;
    while (e && e->number < number)
        e = e->next;
    return e && e->number == number ? e : NULL;
}

/* All that the dead owner had been told as committed is here, unless it was released. */
static void check_promise(struct world *w, const struct owner *dead, const struct owner *next, uint64_t h)
{
    assert_true(next->claim.last[KEPT_UP] >= dead->committed[KEPT_UP]);
    for (int which = 0; which < 2; which++) {
        uint64_t gone = which == KEPT_UP ? w->released : h > w->acked ? h : w->acked;
        for (uint64_t n = gone + 1; n <= dead->committed[which]; n++) {
            const struct entry *was = find(&dead->q[which], n), *is = find(&next->q[which], n);
            assert_non_null(was);
            if (!is)
                fail_msg("%s %" PRIu64 " is lost", which ? "up" : "down", n);
            assert_true(slice_eq(entry_slice(was), entry_slice(is)));
        }
    }
}

/* How often that stanza is in the mailbox. */
static int mails(const struct taken *t, const struct entry *e)
{
    int n = 0;
    for (const struct entry *m = t->first; m; m = m->next)
        n += slice_eq(entry_slice(m), entry_slice(e));
    return n;
}

/* The old owner was not dead: it finds out, and saves what the next one has not. */
static void wake_up(struct world *w, struct owner *old, const struct owner *next, uint64_t h)
{
    adapter_fault(old->node->r, FAULT_NONE, "", 0);
    adapter_fault(next->node->r, FAULT_NONE, "", 0);
    connect_again(old->node);
    connect_again(next->node);
    add_some(w, old, KEPT_DOWN, 1);
    run_for(w->f, 10 * USEC_S);
    assert_int_equal(old->fenced, 1);
    struct owner shadow = {0};
    for (const struct entry *e = old->q[KEPT_DOWN].first; e; e = e->next)
        queue_append(&shadow.q[KEPT_DOWN], entry_copy(entry_slice(e), 0));
    uint64_t before = old->q[KEPT_DOWN].last_number - old->q[KEPT_DOWN].count, upto = old->fenced_upto;
    if (chance(w, 2))
        adapter_fault(old->node->r, FAULT_ANSWER_LOST, "spill", 0);
    owner_spill(old);
    run(w->f);
    struct taken first = take(w->f, next->node, BOX_MAIL, SID); /* and it leaves the mailbox */
    for (const struct entry *e = first.first; e; e = e->next)
        next->node->s->ops->box_done(next->node->s, BOX_MAIL, SLICE_LIT(ROMEO), slice_str(e->origin));
    run(w->f);
    connect_again(old->node);
    run_for(w->f, 10 * USEC_S);
    struct taken second = take(w->f, next->node, BOX_MAIL, SID);
    assert_int_equal(second.n, 0);
    for (const struct entry *e = shadow.q[KEPT_DOWN].first; e; e = e->next) {
        uint64_t number = e->number + before;
        const struct entry *its = find(&next->q[KEPT_DOWN], number);
        bool taken = number <= h || (its && slice_eq(entry_slice(its), entry_slice(e)));
        assert_int_equal(taken, number <= upto);
        assert_int_equal(mails(&first, e), taken ? 0 : 1);
    }
    drop(&first);
    owner_free(&shadow);
}

/* The owner dies, with what was on its way, or sleeps; another node takes over. */
static void change_owner(struct world *w)
{
    struct owner *dead = w->o, *next = MEM_NEW(struct owner);
    connect_again(w->there);
    struct seen seen = look(w->f, w->there);
    if (!seen.found) { /* it never came as far as Redis */
        assert_int_equal(dead->committed[KEPT_UP], 0);
        free(next);
        return;
    }
    bool sleeps = chance(w, 2);
    if (!sleeps) {
        dead->node->s->kept->free(dead->k);
        dead->k = NULL;
    }
    uint64_t most = dead->q[KEPT_DOWN].last_number < dead->reserved ? dead->q[KEPT_DOWN].last_number : dead->reserved;
    uint64_t h = w->acked + (most > w->acked ? chance(w, (uint32_t)(most - w->acked) + 1) : 0);
    uint64_t last = 0;
    assert_true(h <= seen.high_water);
    owner_claim(w->f, next, w->there, seen, h);
    if (!next->k) /* the last that the dead one had sent was to raise its own epoch */
        owner_claim(w->f, next, w->there, look(w->f, w->there), h);
    assert_non_null(next->k);
    check_promise(w, dead, next, h);
    last = next->claim.last[KEPT_DOWN] > h ? next->claim.last[KEPT_DOWN] : h;
    if (!next->q[KEPT_DOWN].first)
        next->q[KEPT_DOWN].last_number = last;
    if (next->q[KEPT_DOWN].first)
        assert_int_equal(next->q[KEPT_DOWN].first->number, h + 1);
    if (next->q[KEPT_UP].first)
        assert_true(next->q[KEPT_UP].first->number - 1 <= w->released);
    w->acked = h;
    if (sleeps)
        wake_up(w, dead, next, h);
    owner_free(dead);
    free(dead);
    w->o = next;
    struct place *place = w->here;
    w->here = w->there;
    w->there = place;
}

static void step(struct world *w)
{
    switch (chance(w, 13)) {
    case 0:
    case 1:
    case 2:
    case 3:
        add_some(w, w->o, (enum kept_queue)chance(w, 2), 1 + chance(w, 5));
        break;
    case 4:
        release_some(w, KEPT_DOWN);
        break;
    case 5:
        release_some(w, KEPT_UP);
        break;
    case 6:
        strike(w);
        break;
    case 7:
        w->here->s->turn(w->here->s);
        break;
    case 8:
        run(w->f);
        break;
    case 9:
        connect_again(w->here);
        break;
    case 10:
        adapter_let_go(w->here->r);
        break;
    case 11:
        run_for(w->f, (1 + chance(w, 4)) * USEC_S);
        break;
    default:
        if (chance(w, 3) == 0)
            change_owner(w);
    }
}

static void run_seed(struct scene *f, uint32_t seed)
{
    struct world w = {.f = f, .o = MEM_NEW(struct owner), .here = &f->a, .there = &f->b, .random = seed};
    adapter_let_go(f->a.r); /* what the seed before has left */
    adapter_let_go(f->b.r);
    freeReplyObject(server_ask(&f->server, "FLUSHALL"));
    adapter_fault(f->a.r, FAULT_NONE, "", 0);
    adapter_fault(f->b.r, FAULT_NONE, "", 0);
    connect_again(&f->a);
    connect_again(&f->b);

    owner_open(w.o, w.here);
    for (int i = 0; i < STEPS; i++)
        step(&w);
    adapter_fault(w.here->r, FAULT_NONE, "", 0);
    adapter_let_go(f->a.r);
    adapter_let_go(f->b.r);
    connect_again(w.here);
    run_for(f, 10 * USEC_S);
    assert_int_equal(w.o->fenced, 0);
    for (int which = 0; which < 2; which++)
        assert_true(w.o->committed[which] == w.o->q[which].last_number || w.o->q[which].count == 0);
    change_owner(&w);
    for (int which = 0; which < 2; which++)
        assert_int_equal(w.o->claim.last[which], w.o->q[which].last_number);
    run(f);
    owner_free(w.o);
    free(w.o);
    run(f);
}

static void test_chance(void **state)
{
    const char *one = getenv("SEED");
    for (uint32_t seed = one ? (uint32_t)atoi(one) : 1; seed <= (one ? (uint32_t)atoi(one) : SEEDS); seed++) {
        print_message("seed %u\n", seed);
        run_seed(*state, seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_chance, setup, teardown),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
