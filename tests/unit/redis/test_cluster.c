#include "real_cluster.h"
#include <pthread.h>

#define KEYS   30
#define WINDOW 40
#define ROUNDS 400

static void each_slot_has_its_server(void **state)
{
    struct fixture *f = *state;
    start(f, 3); /* any node tells the map */
    assert_int_equal(f->c.backs, 3);
    assert_int_equal(f->c.aways, 0);
    assert_true(buf_has(&f->c.told, "back 0-5460 fresh\n"));
    assert_true(buf_has(&f->c.told, "back 5461-10922 fresh\n"));
    assert_true(buf_has(&f->c.told, "back 10923-16383 fresh\n"));
    for (int i = 0; i < 3000; i++)
        client_send(&f->c, "SET key:%d %d", i, i);
    client_until_answered(&f->c);
    for (size_t i = 0; i < f->c.count; i++)
        assert_int_equal(f->c.answers[i].answer, REDIS_DONE);
    assert_int_equal(client_metric(&f->c, METRIC_redis_redirects_moved), 0);
    int sum = 0;
    for (int i = 0; i < 3; i++) {
        char *size = real_ask(&f->node[i], "DBSIZE");
        assert_true(atoi(size) > 500);
        sum += atoi(size);
        free(size);
    }
    assert_int_equal(sum, 3000);
}

/* --- A slot that is moved --- */

struct move {
    struct fixture *f;
    unsigned slot;
    int from, to;
    bool done;
    pthread_t thread;
};

static void move_begin(struct move *m)
{
    tell(&m->f->node[m->to], "CLUSTER SETSLOT %u IMPORTING %s", m->slot, m->f->id[m->from]);
    tell(&m->f->node[m->from], "CLUSTER SETSLOT %u MIGRATING %s", m->slot, m->f->id[m->to]);
}

/* One key; false: there is none left. */
static bool move_key(struct move *m)
{
    char question[64];
    snprintf(question, sizeof question, "CLUSTER GETKEYSINSLOT %u 1", m->slot);
    char *key = real_ask(&m->f->node[m->from], question);
    bool any = *key;
    if (any)
        tell(&m->f->node[m->from], "MIGRATE 127.0.0.1 %d %s 0 5000", m->f->node[m->to].port, key);
    free(key);
    return any;
}

static void move_end(struct move *m)
{
    tell(&m->f->node[m->to], "CLUSTER SETSLOT %u NODE %s", m->slot, m->f->id[m->to]);
    tell(&m->f->node[m->from], "CLUSTER SETSLOT %u NODE %s", m->slot, m->f->id[m->to]);
}

static void *move_slowly(void *ctx)
{
    struct move *m = ctx;
    move_begin(m);
    while (move_key(m))
        real_pause();
    move_end(m);
    __atomic_store_n(&m->done, true, __ATOMIC_RELEASE);
    return NULL;
}

/* Keys of one slot, each with a window of appends under way, whose answers tell their order. */
struct load {
    struct fixture *f;
    const char *tag;
    int rounds;
    struct row {
        struct load *load;
        int number, sent, answered;
    } rows[KEYS];
    int left;
};

static void load_send(struct row *row);

static void on_appended(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct row *row = ctx;
    if (a != REDIS_DONE)
        fail_msg("answer %d: %s", a, reply ? reply->str : "");
    /* The list's length: what was sent before is in it, and nothing that was sent behind. */
    assert_int_equal(reply->integer, ++row->answered);
    if (row->sent < row->load->rounds)
        load_send(row);
    else if (row->answered == row->load->rounds)
        row->load->left--;
}

static void load_send(struct row *row)
{
    char key[64], value[16];
    snprintf(key, sizeof key, "list:{%s}:%d", row->load->tag, row->number);
    snprintf(value, sizeof value, "%d", row->sent++);
    const struct slice argv[] = {SLICE_LIT("RPUSH"), slice_str(key), slice_str(value)};
    redis_send(row->load->f->c.r, redis_slot(argv[1]), 3, argv, on_appended, row);
}

static void load_start(struct load *load, struct fixture *f, const char *tag, int rounds)
{
    *load = (struct load){.f = f, .tag = tag, .rounds = rounds, .left = KEYS};
    for (int i = 0; i < KEYS; i++) {
        load->rows[i] = (struct row){.load = load, .number = i};
        for (int n = 0; n < WINDOW; n++)
            load_send(&load->rows[i]);
    }
}

static bool load_is_done(void *ctx)
{
    return ((struct load *)ctx)->left == 0;
}

/* Each list holds 0, 1, 2, ... in order. */
static void assert_loaded(struct load *load, struct real *node)
{
    redisContext *look = real_connect(node);
    for (int i = 0; i < KEYS; i++) {
        redisReply *reply = redisCommand(look, "LRANGE list:{%s}:%d 0 -1", load->tag, i);
        assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
        assert_int_equal(reply->elements, load->rounds);
        for (int n = 0; n < load->rounds; n++)
            assert_int_equal(atoi(reply->element[n]->str), n);
        freeReplyObject(reply);
    }
    redisFree(look);
}

static bool load_is_on(void *ctx)
{
    const struct load *load = ctx;
    for (int i = 0; i < KEYS; i++)
        if (load->rows[i].answered < ROUNDS)
            return false;
    return true;
}

#define NO_END (1 << 30)

/* The load lasts as long as the move does, and some more. */
static bool load_is_moved(void *ctx)
{
    struct move *m = ((void **)ctx)[0];
    struct load *load = ((void **)ctx)[1];
    if (load->rounds == NO_END && __atomic_load_n(&m->done, __ATOMIC_ACQUIRE)) {
        load->rounds = ROUNDS;
        for (int i = 0; i < KEYS; i++)
            if (load->rounds < load->rows[i].sent + ROUNDS)
                load->rounds = load->rows[i].sent + ROUNDS;
    }
    return load_is_done(load);
}

static void move_under_load(struct fixture *f, int to)
{
    struct load load, other;
    struct move m = {.f = f, .slot = redis_slot(slice_str("moved")), .to = to};
    void *both[] = {&m, &load};
    m.from = node_of(m.slot);
    assert_int_not_equal(m.from, to);
    load_start(&load, f, "moved", NO_END);
    load_start(&other, f, "stays", 2 * ROUNDS);
    client_until(&f->c, load_is_on, &load);
    assert_int_equal(pthread_create(&m.thread, NULL, move_slowly, &m), 0);
    client_until(&f->c, load_is_moved, both);
    client_until(&f->c, load_is_done, &other);
    pthread_join(m.thread, NULL);
    for (int i = 0; i < KEYS; i++)
        assert_int_equal(load.rows[i].answered, load.rounds);
    assert_loaded(&load, &f->node[to]);
    assert_loaded(&other, &f->node[node_of(redis_slot(slice_str("stays")))]);
    assert_true(client_metric(&f->c, METRIC_redis_redirects_ask) > 0);
    assert_true(client_metric(&f->c, METRIC_redis_redirects_moved) > 0);
    assert_int_equal(f->c.aways, 0);
    assert_int_equal(redis_backlog(f->c.r), 0);
}

static void a_slot_is_moved_under_load(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    move_under_load(f, (node_of(redis_slot(slice_str("moved"))) + 1) % 3);
}

/* To one that is not in the map before: it has no slot. */
static void a_slot_is_moved_to_a_new_server(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    move_under_load(f, 3);
}

static void assert_length(struct real *node, const char *list, int length)
{
    redisContext *look = real_connect(node);
    freeReplyObject(redisCommand(look, "ASKING"));
    redisReply *reply = redisCommand(look, "LLEN %s", list);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    assert_int_equal(reply->integer, length);
    freeReplyObject(reply);
    redisFree(look);
}

/* One key of the slot is on a server that hangs: what comes behind, of the other key, does not go ahead. */
static void what_is_asked_elsewhere_is_not_overtaken(void **state)
{
    struct fixture *f = *state;
    struct move m = {.f = f, .slot = redis_slot(slice_str("{moved}a")), .to = 3};
    m.from = node_of(m.slot);
    f->c.o.command_timeout = 20 * USEC_S;
    start(f, 0);
    client_send(&f->c, "RPUSH {moved}a 1");
    client_send(&f->c, "RPUSH {moved}b 1");
    client_until_answered(&f->c);
    move_begin(&m);
    tell(&f->node[m.from], "MIGRATE 127.0.0.1 %d {moved}a 0 5000", f->node[3].port);
    client_send(&f->c, "RPUSH {moved}a 2"); /* makes the connection to the new server */
    client_until_answered(&f->c);
    kill(f->node[3].pid, SIGSTOP);
    client_send(&f->c, "RPUSH {moved}a 3");
    client_run_for(&f->c, 100 * USEC_MS);
    client_send(&f->c, "RPUSH {moved}b 2");
    client_run_for(&f->c, 200 * USEC_MS);
    assert_length(&f->node[m.from], "{moved}b", 1);
    kill(f->node[3].pid, SIGCONT);
    client_until_answered(&f->c);
    assert_in_order(&f->c);
    assert_answer(&f->c, 3, REDIS_DONE, "3");
    assert_answer(&f->c, 4, REDIS_DONE, "2");
}

/* A slot goes elsewhere while its old server hangs: what is under way there is not overtaken by what comes after. */
static void what_is_under_way_is_not_overtaken(void **state)
{
    struct fixture *f = *state;
    struct move m = {.f = f, .slot = redis_slot(slice_str("{moved}a")), .to = 3};
    m.from = node_of(m.slot);
    struct move other = {.f = f, .from = (m.from + 1) % 3, .to = 3};
    other.slot = first_slot[other.from];
    f->c.o.command_timeout = 20 * USEC_S;
    start(f, 3);
    for (int i = 0; i < NODES; i++)
        tell(&f->node[i], "CONFIG SET cluster-node-timeout 60000");
    move_begin(&m);
    kill(f->node[m.from].pid, SIGSTOP);
    client_send(&f->c, "RPUSH {moved}a 1");
    client_run_for(&f->c, 50 * USEC_MS);
    tell(&f->node[3], "CLUSTER SETSLOT %u NODE %s", m.slot, f->id[3]);
    move_begin(&other);
    move_end(&other);
    char key[32];
    for (int i = 0;; i++) {
        snprintf(key, sizeof key, "k%d", i);
        if (redis_slot(slice_str(key)) == other.slot)
            break;
    }
    client_send(&f->c, "SET %s 1", key); /* MOVED: the map is asked for again */
    char told[64];
    snprintf(told, sizeof told, "back %u-%u\n", m.slot, m.slot);
    client_until_text(&f->c, &f->c.told, told);
    client_send(&f->c, "RPUSH {moved}a 2");
    client_run_for(&f->c, 200 * USEC_MS);
    assert_length(&f->node[3], "{moved}a", 0);
    kill(f->node[m.from].pid, SIGCONT);
    client_until_answered(&f->c);
    assert_answer(&f->c, 0, REDIS_DONE, "1");
    assert_answer(&f->c, 2, REDIS_DONE, "");
    assert_int_equal(f->c.answers[0].number, 1);
    assert_int_equal(f->c.answers[1].number, 0);
    assert_int_equal(f->c.answers[2].number, 2);
}

/* A script of two keys, one of which has gone ahead, waits for the other one; what comes behind it as well. */
static void keys_apart_are_waited_for(void **state)
{
    struct fixture *f = *state;
    struct redis_script both = {.name = "both",
                                .text = "#!lua\nreturn redis.call('APPEND', KEYS[1], 'x') + "
                                        "redis.call('APPEND', KEYS[2], 'x')"};
    const struct slice argv[] = {SLICE_LIT("{moved}a"), SLICE_LIT("{moved}b")};
    struct move m = {.f = f, .slot = redis_slot(argv[0])};
    m.from = node_of(m.slot);
    m.to = 3;
    start(f, 0);
    client_send(&f->c, "SET {moved}a 1");
    client_send(&f->c, "SET {moved}b 1");
    client_until_answered(&f->c);
    move_begin(&m);
    assert_true(move_key(&m));
    redis_eval(f->c.r, m.slot, &both, 2, 2, argv, on_client_answer, client_due(&f->c));
    client_send(&f->c, "STRLEN {moved}a");
    client_run_for(&f->c, 300 * USEC_MS);
    assert_int_equal(f->c.count, 2);
    assert_true(move_key(&m));
    move_end(&m);
    client_until_answered(&f->c);
    assert_in_order(&f->c);
    assert_answer(&f->c, 2, REDIS_DONE, "4");
    assert_answer(&f->c, 3, REDIS_DONE, "");
    assert_true(client_metric(&f->c, METRIC_redis_redirects_again) > 2);
    assert_int_equal(f->c.aways, 0);
}

/* They stay apart: the answer is away, and so is the slot, for a moment. */
static void keys_that_stay_apart_are_given_up(void **state)
{
    struct fixture *f = *state;
    struct redis_script both = {.name = "both", .text = "#!lua\nreturn redis.call('MGET', KEYS[1], KEYS[2])"};
    const struct slice argv[] = {SLICE_LIT("{moved}a"), SLICE_LIT("{moved}b")};
    struct move m = {.f = f, .slot = redis_slot(argv[0])};
    m.from = node_of(m.slot);
    m.to = 3;
    f->c.o.command_timeout = 500 * USEC_MS;
    start(f, 0);
    client_send(&f->c, "SET {moved}a 1");
    client_send(&f->c, "SET {moved}b 1");
    client_until_answered(&f->c);
    move_begin(&m);
    assert_true(move_key(&m));
    buf_clear(&f->c.told);
    redis_eval(f->c.r, m.slot, &both, 2, 2, argv, on_client_answer, client_due(&f->c));
    client_until_answered(&f->c);
    assert_answer(&f->c, 2, REDIS_AWAY, "");
    client_until_writable(&f->c);
    char told[96];
    snprintf(told, sizeof told, "back %u-%u\n", m.slot, m.slot);
    assert_true(buf_has(&f->c.told, told));
    snprintf(told, sizeof told, "away %u-%u: ", m.slot, m.slot);
    assert_true(buf_has(&f->c.told, told));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_slot_has_its_server),
        TEST(a_slot_is_moved_under_load),
        TEST(a_slot_is_moved_to_a_new_server),
        TEST(what_is_asked_elsewhere_is_not_overtaken),
        TEST(what_is_under_way_is_not_overtaken),
        TEST(keys_apart_are_waited_for),
        TEST(keys_that_stay_apart_are_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
