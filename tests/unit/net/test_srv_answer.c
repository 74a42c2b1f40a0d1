#include "../../../proxy/net/srv_answer.h"
#include "base/buf.h"
#include "base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TYPE_CNAME 5
#define TYPE_SRV   33

static void add_number(struct buf *b, unsigned n, int bytes)
{
    while (bytes--)
        buf_append(b, (char[]){(char)(n >> 8 * bytes)}, 1);
}

static void add_name(struct buf *b, const char *name)
{
    while (*name) {
        size_t n = strcspn(name, ".");
        add_number(b, (unsigned)n, 1);
        buf_append(b, name, n);
        name += n + (name[n] == '.');
    }
    add_number(b, 0, 1);
}

/* The head of an answer to _x._tcp.a with so many records. */
static struct buf answer_begin(unsigned records)
{
    struct buf b = {0};
    add_number(&b, 0x00018180, 4);
    add_number(&b, 1, 2);
    add_number(&b, records, 2);
    add_number(&b, 0, 4);
    add_name(&b, "_x._tcp.a");
    add_number(&b, TYPE_SRV, 2);
    add_number(&b, 1, 2);
    return b;
}

static void add_record(struct buf *b, unsigned type, unsigned ttl, const struct buf *data)
{
    add_number(b, 0xc00c, 2);
    add_number(b, type, 2);
    add_number(b, 1, 2);
    add_number(b, ttl, 4);
    add_number(b, (unsigned)data->n, 2);
    buf_add(b, buf_slice(data));
}

static void add_srv(struct buf *b, unsigned ttl, unsigned priority, unsigned weight, unsigned port, const char *host)
{
    struct buf data = {0};
    add_number(&data, priority, 2);
    add_number(&data, weight, 2);
    add_number(&data, port, 2);
    add_name(&data, host);
    add_record(b, TYPE_SRV, ttl, &data);
    buf_free(&data);
}

static bool parse(const struct buf *b, size_t n, struct srv_answer *out)
{
    unsigned char *copy = mem_copy(b->data + b->off, n ? n : 1); /* of that size: what reads beyond it is found out */
    bool good = srv_answer_parse(copy, (int)n, out);
    free(copy);
    return good;
}

static void records_and_the_shortest_ttl(void **state)
{
    (void)state;
    struct srv_answer a;
    struct buf b = answer_begin(3), data = {0};
    add_srv(&b, 300, 10, 60, 5222, "one.example");
    add_srv(&b, 60, 20, 0, 5223, "two.example");
    add_name(&data, "elsewhere.example");
    add_record(&b, TYPE_CNAME, 7, &data);
    assert_true(parse(&b, b.n, &a));
    assert_int_equal(a.n, 2);
    assert_int_equal(a.ttl, 7);
    for (size_t i = 0; i < 2; i++) {
        bool one = strcmp(a.records[i].host, "one.example") == 0;
        assert_true(one || strcmp(a.records[i].host, "two.example") == 0);
        assert_int_equal(a.records[i].priority, one ? 10 : 20);
        assert_int_equal(a.records[i].weight, one ? 60 : 0);
        assert_int_equal(a.records[i].port, one ? 5222 : 5223);
    }
    srv_answer_free(&a);
    assert_int_equal(a.n, 0);
    buf_free(&b);
    buf_free(&data);
}

static void no_service(void **state)
{
    (void)state;
    struct srv_answer a;
    struct buf b = answer_begin(1);
    add_srv(&b, 300, 0, 0, 0, "");
    assert_true(parse(&b, b.n, &a));
    assert_int_equal(a.n, 1);
    assert_string_equal(a.records[0].host, ".");
    srv_answer_free(&a);
    buf_free(&b);
}

static void no_records(void **state)
{
    (void)state;
    struct srv_answer a;
    struct buf b = answer_begin(0);
    assert_true(parse(&b, b.n, &a));
    assert_int_equal(a.n, 0);
    buf_free(&b);
}

/* They go into logs and figures. */
static void hosts_that_are_none_are_left_out(void **state)
{
    (void)state;
    struct srv_answer a;
    struct buf b = answer_begin(4);
    add_srv(&b, 300, 0, 0, 1, "a\"b.example");
    add_srv(&b, 300, 0, 0, 1, "a\nb.example");
    add_srv(&b, 300, 0, 0, 1, "a b.example");
    add_srv(&b, 300, 0, 0, 1, "a-b_1.example");
    assert_true(parse(&b, b.n, &a));
    assert_int_equal(a.n, 1);
    assert_string_equal(a.records[0].host, "a-b_1.example");
    srv_answer_free(&a);
    buf_free(&b);
}

static void no_more_than_can_be_used(void **state)
{
    (void)state;
    struct srv_answer a;
    struct buf b = answer_begin(SRV_RECORDS_MAX + 10);
    for (unsigned i = 0; i < SRV_RECORDS_MAX + 10; i++)
        add_srv(&b, 300, 0, 0, i + 1, "a.example");
    assert_true(parse(&b, b.n, &a));
    assert_int_equal(a.n, SRV_RECORDS_MAX);
    srv_answer_free(&a);
    buf_free(&b);
}

static void a_part_is_no_answer(void **state)
{
    (void)state;
    struct srv_answer a;
    struct buf b = answer_begin(2);
    add_srv(&b, 300, 10, 60, 5222, "one.example");
    add_srv(&b, 60, 20, 0, 5223, "two.example");
    for (size_t n = 0; n < b.n; n++) {
        assert_false(parse(&b, n, &a));
        assert_int_equal(a.n, 0);
    }
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_and_the_shortest_ttl),
        cmocka_unit_test(no_service),
        cmocka_unit_test(no_records),
        cmocka_unit_test(hosts_that_are_none_are_left_out),
        cmocka_unit_test(no_more_than_can_be_used),
        cmocka_unit_test(a_part_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
