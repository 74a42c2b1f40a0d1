#include "real_cluster.h"

/* --- A master that dies --- */

static void a_master_dies_and_its_replica_follows(void **state)
{
    struct fixture *f = *state;
    char *tag = NULL;
    for (int i = 0; !tag; i++) { /* a key of the first node */
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        if (node_of(redis_slot(slice_str(key))) == 0)
            tag = mem_strdup(key);
    }
    tell(&f->node[3], "CLUSTER REPLICATE %s", f->id[0]);
    real_await(&f->node[0], "INFO replication", "state=online");
    real_await(&f->node[1], "CLUSTER NODES", "slave");
    start(f, 1);
    client_send(&f->c, "SET %s 1", tag);
    client_until_answered(&f->c);
    real_await(&f->node[3], "DBSIZE", "1"); /* before that the replica does not have it, and it would be lost */
    buf_clear(&f->c.told);
    real_kill(&f->node[0]);
    client_until_text(&f->c, &f->c.told, "away 0-5460: ");
    int refused = client_send(&f->c, "SET %s 2", tag);
    client_until_answered(&f->c);
    assert_answer(&f->c, refused, REDIS_AWAY, "");
    client_until_text(&f->c, &f->c.told, "back 0-5460 fresh\n");
    client_until(&f->c, is_whole, f);
    int get = client_send(&f->c, "GET %s", tag), set = client_send(&f->c, "SET %s 3", tag);
    client_until_answered(&f->c);
    assert_answer(&f->c, get, REDIS_DONE, "1");
    assert_answer(&f->c, set, REDIS_DONE, "OK");
    real_await(&f->node[3], "INFO replication", "role:master");
    free(tag);
}

/* Without a replica its slots are gone, and soon the cluster says that it is down: all is away, and comes back. */
static void a_cluster_that_is_down_comes_back(void **state)
{
    struct fixture *f = *state;
    start(f, 1);
    real_kill(&f->node[0]);
    client_until_text(&f->c, &f->c.told, "away 0-5460: ");
    real_await(&f->node[1], "CLUSTER INFO", "cluster_state:fail");
    buf_clear(&f->c.told);
    for (int i = 0; !buf_has(&f->c.told, "CLUSTERDOWN"); i++) {
        client_send(&f->c, "SET key:%d 1", i);
        client_until_answered(&f->c);
    }
    assert_false(is_whole(f));
    real_start(&f->node[0]);
    for (int i = 0; i < 3; i++)
        real_await(&f->node[i], "CLUSTER INFO", "cluster_state:ok");
    client_until(&f->c, is_whole, f);
    int sent = f->c.sent;
    for (int i = 0; i < 100; i++)
        client_send(&f->c, "SET key:%d 1", i);
    client_until_answered(&f->c);
    for (int i = 0; i < 100; i++)
        assert_answer(&f->c, sent + i, REDIS_DONE, "OK");
}

/* --- What is no cluster --- */

static void a_server_without_cluster_is_told(void **state)
{
    struct fixture *f = *state;
    struct real single;
    char url[64];
    real_prepare(&single);
    real_start(&single);
    snprintf(url, sizeof url, "redis+cluster://127.0.0.1:%d", single.port);
    client_open(&f->c, url);
    client_until_text(&f->c, &f->c.log, "This instance has cluster support disabled");
    assert_non_null(strstr(redis_why_away(f->c.r), "This instance has cluster support disabled"));
    real_end(&single);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_master_dies_and_its_replica_follows),
        TEST(a_cluster_that_is_down_comes_back),
        TEST(a_server_without_cluster_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
