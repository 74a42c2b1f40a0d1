/* The keys' file, and what they seal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../../proxy/run/seal.h"

#define HEX_1    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define HEX_2    "FFfefdfcfbfaf9f8f7f6f5f4f3f2f1f0efeeedecebeae9e8e7e6e5e4e3e2e1e0"
#define BASE64_1 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define TAG      SLICE_LIT("aaaaaaaaaaaaaaaaaaaaaaaa")
#define OTHER    SLICE_LIT("bbbbbbbbbbbbbbbbbbbbbbbb")
#define TEXT     SLICE_LIT("<message><body>It was the lark</body></message>")
#define OVERHEAD 49 /* version, id, salt, nonce, tag */

struct fixture {
    char dir[32], file[64];
};

static int begin(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    strcpy(f->dir, "/tmp/holdfast-seal-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->file, sizeof f->file, "%s/keys", f->dir);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    unlink(f->file);
    rmdir(f->dir);
    free(f);
    return 0;
}

static struct seal_keys *read_keys(const struct fixture *f, const char *text, char **error_r)
{
    FILE *out = fopen(f->file, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
    return seal_keys_new(f->file, error_r);
}

static struct seal_keys *keys_of(const struct fixture *f, const char *text)
{
    char *error = NULL;
    struct seal_keys *k = read_keys(f, text, &error);
    if (!k)
        fail_msg("%s", error);
    return k;
}

static void expect_open(struct sealer *s, struct slice sealed, struct slice text)
{
    struct buf out = {0};
    buf_add_str(&out, "ahead");
    assert_true(sealer_open(s, TAG, sealed, &out));
    assert_int_equal(out.n, 5 + text.n);
    assert_memory_equal(buf_slice(&out).p, "ahead", 5);
    if (text.n)
        assert_memory_equal(buf_slice(&out).p + 5, text.p, text.n);
    buf_free(&out);
}

static void expect_refused(struct sealer *s, struct slice context, struct slice sealed)
{
    struct buf out = {0};
    assert_false(sealer_open(s, context, sealed, &out));
    assert_int_equal(out.n, 0);
    buf_free(&out);
}

/* ---- the file ---- */

static void test_file(void **state)
{
    struct fixture *f = *state;
    char hex[SEAL_ID_SIZE], base64[SEAL_ID_SIZE], last[SEAL_ID_SIZE], error_text[200], *error = NULL;
    struct seal_keys *k = keys_of(f, "# of today\n\n  " HEX_1 " \r\n" HEX_2);
    assert_int_equal(seal_keys_count(k, hex), 2);
    seal_keys_free(k);
    k = keys_of(f, BASE64_1 "\n");
    assert_int_equal(seal_keys_count(k, base64), 1);
    assert_string_equal(hex, base64);
    seal_keys_free(k);
    k = keys_of(f, HEX_2 "\n" HEX_1 "\n");
    seal_keys_count(k, last);
    assert_string_not_equal(hex, last);
    seal_keys_free(k);
    k = seal_keys_new(NULL, &error);
    assert_int_equal(seal_keys_count(k, last), 0);
    assert_string_equal(last, "-");
    seal_keys_free(k);

    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", ": no key in it"},
        {"# nothing\n", ": no key in it"},
        {HEX_1 "\n" HEX_2 "0\n", ":2: not a key: 64 hex digits, or 32 bytes in base64"},
        {"\n#\n000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1g", ":3: not a key"},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==\n", ":1: not a key"}, /* 31 bytes */
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8*\n", ":1: not a key"},
        {HEX_1 " " HEX_2 "\n", ":1: not a key"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(read_keys(f, bad[i].text, &error));
        snprintf(error_text, sizeof error_text, "%s%s", f->file, bad[i].why);
        assert_memory_equal(error, error_text, strlen(error_text));
        assert_null(strstr(error, "0001020304"));
        free(error);
    }
    unlink(f->file);
    assert_null(seal_keys_new(f->file, &error));
    assert_non_null(strstr(error, "No such file"));
    free(error);
}

static void test_too_many_keys(void **state)
{
    struct fixture *f = *state;
    struct buf text = {0};
    char *error = NULL;
    for (int i = 0; i < SEAL_KEYS_MAX; i++)
        buf_printf(&text, "%064x\n", i);
    char *all = mem_dup(buf_slice(&text));
    struct seal_keys *k = keys_of(f, all);
    char first[SEAL_ID_SIZE];
    assert_int_equal(seal_keys_count(k, first), SEAL_KEYS_MAX);
    seal_keys_free(k);
    free(all);
    buf_add_str(&text, HEX_1 "\n");
    all = buf_steal(&text);
    assert_null(read_keys(f, all, &error));
    assert_non_null(strstr(error, ":17: more than 16 keys"));
    free(error);
    free(all);
}

/* ---- sealing ---- */

static void test_sealed_text_opens_for_its_context_alone(void **state)
{
    struct fixture *f = *state;
    struct seal_keys *k = keys_of(f, HEX_1);
    struct sealer *s = sealer_new(k), *elsewhere = sealer_new(k);
    struct buf one = {0}, two = {0}, none = {0};
    char id[SEAL_ID_SIZE], first[SEAL_ID_SIZE];
    sealer_seal(s, TAG, TEXT, &one);
    sealer_seal(s, TAG, TEXT, &two);
    sealer_seal(s, TAG, SLICE_LIT(""), &none);
    assert_int_equal(one.n, TEXT.n + OVERHEAD);
    assert_int_equal(none.n, OVERHEAD);
    assert_null(memmem(one.data, one.n, "lark", 4));
    assert_memory_equal(one.data, two.data, 21); /* one key, one salt; then the nonce */
    assert_memory_not_equal(one.data + 21, two.data + 21, 12);
    assert_memory_not_equal(one.data + 33, two.data + 33, TEXT.n);
    for (int i = 0; i < 2; i++) {
        struct sealer *by = i ? elsewhere : s;
        expect_open(by, buf_slice(&one), TEXT);
        expect_open(by, buf_slice(&two), TEXT);
        expect_open(by, buf_slice(&none), SLICE_NONE);
        expect_refused(by, OTHER, buf_slice(&one));
        expect_open(by, buf_slice(&one), TEXT); /* a failure leaves nothing behind */
        assert_false(sealer_lacks_key(by, buf_slice(&one), id));
    }
    seal_keys_count(k, first);
    assert_string_equal(id, first);
    buf_free(&one);
    buf_free(&two);
    buf_free(&none);
    sealer_free(s);
    sealer_free(elsewhere);
    seal_keys_free(k);
}

static void test_any_change_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct seal_keys *k = keys_of(f, HEX_1);
    struct sealer *s = sealer_new(k);
    struct buf sealed = {0};
    char id[SEAL_ID_SIZE];
    sealer_seal(s, TAG, TEXT, &sealed);
    for (size_t i = 1; i < sealed.n; i++) {
        sealed.data[i] ^= 1;
        expect_refused(s, TAG, buf_slice(&sealed));
        assert_int_equal(sealer_lacks_key(s, buf_slice(&sealed), id), i < 5); /* the id was changed */
        sealed.data[i] ^= 1;
    }
    for (size_t n = 1; n < sealed.n; n++) {
        char *cut = mem_alloc(n); /* of its own: a sanitizer sees where reading ends */
        memcpy(cut, sealed.data, n);
        expect_refused(s, TAG, slice_of(cut, n));
        assert_false(sealer_lacks_key(s, slice_of(cut, n), id));
        free(cut);
    }
    sealed.data[0] = (char)0x82; /* of a version to come: this one lacks more than a key */
    expect_refused(s, TAG, buf_slice(&sealed));
    assert_true(sealer_lacks_key(s, buf_slice(&sealed), id));
    assert_string_equal(id, "?");
    buf_free(&sealed);
    sealer_free(s);
    seal_keys_free(k);
}

/* What was stored before there were keys: stanzas begin with a small number, all else is text. */
static void test_clear_text_opens(void **state)
{
    static const char *const clear[] = {"\1\2 a stanza", "1\n", "romeo@example.org/balcony", "\xc3\xa9@example.org"};
    struct fixture *f = *state;
    struct seal_keys *with = keys_of(f, HEX_1);
    char *error = NULL, id[SEAL_ID_SIZE];
    struct seal_keys *without = seal_keys_new(NULL, &error);
    struct sealer *s[] = {sealer_new(with), sealer_new(without)};
    struct buf out = {0};
    for (int i = 0; i < 2; i++)
        for (size_t c = 0; c < sizeof clear / sizeof *clear; c++) {
            expect_open(s[i], slice_str(clear[c]), slice_str(clear[c]));
            assert_false(sealer_lacks_key(s[i], slice_str(clear[c]), id));
        }
    sealer_seal(s[1], TAG, TEXT, &out);
    assert_true(slice_eq(buf_slice(&out), TEXT));
    buf_clear(&out);
    sealer_seal(s[0], TAG, TEXT, &out);
    expect_refused(s[1], TAG, buf_slice(&out));
    assert_true(sealer_lacks_key(s[1], buf_slice(&out), id));
    buf_free(&out);
    for (int i = 0; i < 2; i++)
        sealer_free(s[i]);
    seal_keys_free(with);
    seal_keys_free(without);
}

/* ---- rotation ---- */

static void test_rotation(void **state)
{
    struct fixture *f = *state;
    struct seal_keys *k = keys_of(f, HEX_1);
    struct sealer *s = sealer_new(k);
    struct buf old = {0}, new = {0}, clear = {0};
    char id[SEAL_ID_SIZE], first[SEAL_ID_SIZE], *error = NULL;
    sealer_seal(s, TAG, TEXT, &old);
    seal_keys_replace(k, keys_of(f, HEX_2 "\n" HEX_1));
    expect_open(s, buf_slice(&old), TEXT);
    sealer_seal(s, TAG, TEXT, &new);
    expect_open(s, buf_slice(&new), TEXT);
    assert_memory_not_equal(old.data + 1, new.data + 1, 4);
    seal_keys_replace(k, keys_of(f, HEX_2));
    expect_open(s, buf_slice(&new), TEXT);
    expect_refused(s, TAG, buf_slice(&old));
    assert_true(sealer_lacks_key(s, buf_slice(&old), id));
    seal_keys_replace(k, keys_of(f, HEX_1));
    seal_keys_count(k, first);
    assert_string_equal(id, first); /* the name that was told is that of the key that is needed */
    expect_open(s, buf_slice(&old), TEXT);
    seal_keys_replace(k, seal_keys_new(NULL, &error));
    sealer_seal(s, TAG, TEXT, &clear);
    assert_true(slice_eq(buf_slice(&clear), TEXT));
    buf_free(&old);
    buf_free(&new);
    buf_free(&clear);
    sealer_free(s);
    seal_keys_free(k);
}

/* The envelope as it is documented, put together by hand: what is in a Redis today must open for later programs. */
static void test_format(void **state)
{
    struct fixture *f = *state;
    struct seal_keys *k = keys_of(f, HEX_1);
    struct sealer *s = sealer_new(k);
    unsigned char key[32], subkey[32], id[32], sealed[49 + 5] = {0x81}, label[32] = "holdfast seal 1 ";
    int n;
    for (int i = 0; i < 32; i++)
        key[i] = (unsigned char)i;
    HMAC(EVP_sha256(), key, 32, (const unsigned char *)"holdfast seal id", 16, id, NULL);
    memcpy(sealed + 1, id, 4);
    memset(sealed + 5, 's', 16);
    memset(sealed + 21, 'n', 12);
    memset(label + 16, 's', 16);
    HMAC(EVP_sha256(), key, 32, label, 32, subkey, NULL);
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, subkey, sealed + 21);
    EVP_EncryptUpdate(cipher, NULL, &n, (const unsigned char *)TAG.p, (int)TAG.n);
    EVP_EncryptUpdate(cipher, sealed + 33, &n, (const unsigned char *)"hello", 5);
    EVP_EncryptFinal_ex(cipher, sealed + 38, &n);
    EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, 16, sealed + 38);
    EVP_CIPHER_CTX_free(cipher);
    expect_open(s, slice_of((const char *)sealed, sizeof sealed), SLICE_LIT("hello"));
    sealer_free(s);
    seal_keys_free(k);
}

/* ---- threads: workers seal while the keys are replaced ---- */

static void *seal_and_open(void *arg)
{
    struct sealer *s = sealer_new(arg);
    for (int i = 0; i < 3000; i++) {
        struct buf sealed = {0}, out = {0};
        sealer_seal(s, TAG, TEXT, &sealed);
        if (!sealer_open(s, TAG, buf_slice(&sealed), &out) || !slice_eq(buf_slice(&out), TEXT))
            abort();
        buf_free(&sealed);
        buf_free(&out);
    }
    sealer_free(s);
    return NULL;
}

static void test_reload_under_workers(void **state)
{
    struct fixture *f = *state;
    struct seal_keys *k = keys_of(f, HEX_1);
    pthread_t worker[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&worker[i], NULL, seal_and_open, k), 0);
    for (int i = 0; i < 100; i++) /* both are there all the time, each first in turn */
        seal_keys_replace(k, keys_of(f, i % 2 ? HEX_1 "\n" HEX_2 : HEX_2 "\n" HEX_1));
    for (int i = 0; i < 2; i++)
        pthread_join(worker[i], NULL);
    seal_keys_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file, begin, end),
        cmocka_unit_test_setup_teardown(test_too_many_keys, begin, end),
        cmocka_unit_test_setup_teardown(test_sealed_text_opens_for_its_context_alone, begin, end),
        cmocka_unit_test_setup_teardown(test_any_change_is_noticed, begin, end),
        cmocka_unit_test_setup_teardown(test_clear_text_opens, begin, end),
        cmocka_unit_test_setup_teardown(test_rotation, begin, end),
        cmocka_unit_test_setup_teardown(test_format, begin, end),
        cmocka_unit_test_setup_teardown(test_reload_under_workers, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
