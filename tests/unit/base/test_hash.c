#include "base/hash.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* SipHash-1-3 with the key 00 01 … 0f of the bytes 00 01 … n-1. */
static void test_known_values(void **state)
{
    (void)state;
    static const struct hash_key key = {{0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL}};
    static const struct {
        size_t n;
        uint64_t hash;
    } wanted[] = {{0, 0xabac0158050fc4dcULL},  {1, 0xc9f49bf37d57ca93ULL}, {7, 0xd3927d989bb11140ULL},
                  {8, 0x369095118d299a8eULL},  {9, 0x25a48eb36c063de4ULL}, {15, 0xd320d86d2a519956ULL},
                  {16, 0xcc4fdd1a7d908b66ULL}, {63, 0x9d199062b7bbb3a8ULL}};
    char bytes[64];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)i;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        assert_true(hash_of(&key, slice_of(bytes, wanted[i].n)) == wanted[i].hash);
}

static void test_keys_differ(void **state)
{
    (void)state;
    struct hash_key a = hash_key_new(), b = hash_key_new();
    assert_true(hash_of(&a, SLICE_LIT("x")) != hash_of(&b, SLICE_LIT("x")));
    assert_true(hash_of(&a, SLICE_LIT("x")) == hash_of(&a, SLICE_LIT("x")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_keys_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
