/* A sealed text:
 *
 *   1 byte    version; see VERSION
 *   4 bytes   id of the key, so that the right one of several is taken
 *   16 bytes  salt
 *   12 bytes  nonce
 *   n bytes   the text, encrypted with AES-256-GCM under a subkey: HMAC-SHA256(key, LABEL_SUBKEY salt)
 *   16 bytes  GCM's tag, over that and the context
 *
 * A nonce that comes twice under one key betrays both texts and lets others forge. Random ones need no memory of
 * what was used before, which a machine that is set back to an earlier image would not have; GCM takes 2^32 of them a
 * key until that is likelier than 2^-33 (NIST SP 800-38D, 8.3). A busy cluster is there within weeks, and the operator
 * is not to count. So the key of the file encrypts nothing itself: each sealer makes subkeys of it with random salts of
 * 128 bits, whose chance to meet can be left out of account, and takes a new one behind SUBKEY_TEXTS: the chance of a
 * nonce that comes twice is below 2^-49 for each of them, and below 2^-33 for 2^40 texts. */
#include "seal.h"
#include "base/key_file.h"
#include "base/mem.h"
#include "base/random.h"
#include <ctype.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* No text in clear begins with a byte from 0x80 to 0xbf: in UTF-8 none can, and stanzas begin with a small number. The
 * others of them are for versions to come. */
#define VERSION       0x81
#define VERSION_MASK  0xc0
#define VERSION_FIRST 0x80

#define FILE_MAX     16384
#define KEY_SIZE     32
#define ID_SIZE      4
#define SALT_SIZE    16
#define NONCE_SIZE   12
#define TAG_SIZE     16
#define HEADER_SIZE  (1 + ID_SIZE + SALT_SIZE + NONCE_SIZE)
#define SUBKEY_TEXTS (1u << 24)

#define LABEL_ID     "holdfast seal id"
#define LABEL_SUBKEY "holdfast seal 1 "

#define HEX_SIZE    (2 * KEY_SIZE)
#define BASE64_SIZE 44 /* of a key */

struct key {
    unsigned char id[ID_SIZE], secret[KEY_SIZE];
};

struct seal_keys {
    pthread_mutex_t lock;
    _Atomic unsigned version; /* another one: the keys are others */
    struct key key[SEAL_KEYS_MAX];
    size_t n;
};

struct subkey {
    unsigned char id[ID_SIZE], salt[SALT_SIZE];
    EVP_CIPHER_CTX *cipher;
    bool ready;
    unsigned used; /* texts that it has sealed */
};

struct sealer {
    struct seal_keys *shared;
    unsigned version;              /* of what follows */
    struct key key[SEAL_KEYS_MAX]; /* a copy */
    size_t n;
    struct subkey own, other; /* the one that seals; the one that has opened last: its texts come together */
};

/* ---- subkeys ---- */

static void derive(const struct key *key, const char *label, struct slice salt, unsigned char out[KEY_SIZE])
{
    unsigned char text[64];
    size_t n = strlen(label);
    memcpy(text, label, n);
    if (salt.n)
        memcpy(text + n, salt.p, salt.n);
    if (!HMAC(EVP_sha256(), key->secret, KEY_SIZE, text, n + salt.n, out, NULL))
        abort(); /* SHA-256 is always there */
}

static void set_id(struct key *key)
{
    unsigned char hash[KEY_SIZE];
    derive(key, LABEL_ID, SLICE_NONE, hash);
    memcpy(key->id, hash, ID_SIZE);
}

static void write_id(const unsigned char id[ID_SIZE], char out[SEAL_ID_SIZE])
{
    snprintf(out, SEAL_ID_SIZE, "%02x%02x%02x%02x", id[0], id[1], id[2], id[3]);
}

static void subkey_set(struct subkey *sub, const struct key *key, const unsigned char salt[SALT_SIZE], bool seals)
{
    unsigned char secret[KEY_SIZE];
    memcpy(sub->id, key->id, ID_SIZE);
    memcpy(sub->salt, salt, SALT_SIZE);
    derive(key, LABEL_SUBKEY, slice_of((const char *)salt, SALT_SIZE), secret);
    if (!sub->cipher && !(sub->cipher = EVP_CIPHER_CTX_new()))
        abort();
    if (EVP_CipherInit_ex(sub->cipher, EVP_aes_256_gcm(), NULL, secret, NULL, seals) != 1)
        abort(); /* it is always there, too; in clear is no way out */
    OPENSSL_cleanse(secret, sizeof secret);
    sub->ready = true;
    sub->used = 0;
}

static bool subkey_is(const struct subkey *sub, const unsigned char *id, const unsigned char *salt)
{
    return sub->ready && memcmp(sub->id, id, ID_SIZE) == 0 && memcmp(sub->salt, salt, SALT_SIZE) == 0;
}

/* ---- a sealer ---- */

struct sealer *sealer_new(struct seal_keys *k)
{
    struct sealer *s = MEM_NEW(struct sealer);
    s->shared = k;
    s->version = atomic_load(&k->version) - 1;
    return s;
}

void sealer_free(struct sealer *s)
{
    if (!s)
        return;
    EVP_CIPHER_CTX_free(s->own.cipher); /* wipes them */
    EVP_CIPHER_CTX_free(s->other.cipher);
    mem_wipe_free(s, sizeof *s);
}

/* Has the keys of now. */
static void look_for_keys(struct sealer *s)
{
    struct seal_keys *k = s->shared;
    if (s->version == atomic_load_explicit(&k->version, memory_order_relaxed))
        return;
    pthread_mutex_lock(&k->lock);
    s->version = atomic_load_explicit(&k->version, memory_order_relaxed);
    memcpy(s->key, k->key, sizeof s->key);
    s->n = k->n;
    pthread_mutex_unlock(&k->lock);
    s->own.ready = s->other.ready = false;
}

static const struct key *find_key(const struct sealer *s, const unsigned char *id)
{
    for (size_t i = 0; i < s->n; i++)
        if (memcmp(s->key[i].id, id, ID_SIZE) == 0)
            return &s->key[i];
    return NULL;
}

/* What OpenSSL takes in one go; no store holds a text that long. */
static int length_of(struct slice s)
{
    if (s.n > INT_MAX)
        abort();
    return (int)s.n;
}

void sealer_seal(struct sealer *s, struct slice context, struct slice plain, struct buf *out)
{
    look_for_keys(s);
    if (!s->n) {
        buf_add(out, plain);
        return;
    }
    struct subkey *own = &s->own;
    if (!own->ready || own->used >= SUBKEY_TEXTS) {
        unsigned char salt[SALT_SIZE];
        random_bytes(salt, sizeof salt);
        subkey_set(own, &s->key[0], salt, true);
    }
    own->used++;

    int n = length_of(plain), got = 0;
    unsigned char *p = (unsigned char *)buf_reserve(out, HEADER_SIZE + plain.n + TAG_SIZE), *nonce, *body;
    *p = VERSION;
    memcpy(p + 1, own->id, ID_SIZE);
    memcpy(p + 1 + ID_SIZE, own->salt, SALT_SIZE);
    nonce = p + 1 + ID_SIZE + SALT_SIZE;
    body = nonce + NONCE_SIZE;
    random_bytes(nonce, NONCE_SIZE);
    if (EVP_EncryptInit_ex(own->cipher, NULL, NULL, NULL, nonce) != 1 ||
        EVP_EncryptUpdate(own->cipher, NULL, &got, (const unsigned char *)context.p, length_of(context)) != 1 ||
        EVP_EncryptUpdate(own->cipher, body, &got, (const unsigned char *)plain.p, n) != 1 || got != n ||
        EVP_EncryptFinal_ex(own->cipher, body + n, &got) != 1 ||
        EVP_CIPHER_CTX_ctrl(own->cipher, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, body + n) != 1)
        abort();
    buf_commit(out, HEADER_SIZE + plain.n + TAG_SIZE);
}

/* ---- and open ---- */

static bool is_sealed(struct slice text)
{
    return text.n && ((unsigned char)text.p[0] & VERSION_MASK) == VERSION_FIRST;
}

static bool decrypt(EVP_CIPHER_CTX *cipher, struct slice context, const unsigned char *nonce, struct slice body,
                    const unsigned char *tag, struct buf *out)
{
    unsigned char copy[TAG_SIZE], *p = (unsigned char *)buf_reserve(out, body.n + 1);
    int n = length_of(body), got = 0;
    memcpy(copy, tag, TAG_SIZE); /* OpenSSL knows no const there */
    bool good = EVP_DecryptInit_ex(cipher, NULL, NULL, NULL, nonce) == 1 &&
                EVP_DecryptUpdate(cipher, NULL, &got, (const unsigned char *)context.p, length_of(context)) == 1 &&
                EVP_DecryptUpdate(cipher, p, &got, (const unsigned char *)body.p, n) == 1 && got == n &&
                EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, copy) == 1 &&
                EVP_DecryptFinal_ex(cipher, p + n, &got) == 1;
    if (good)
        buf_commit(out, body.n);
    return good;
}

bool sealer_open(struct sealer *s, struct slice context, struct slice sealed, struct buf *out)
{
    look_for_keys(s);
    if (!is_sealed(sealed)) {
        buf_add(out, sealed);
        return true;
    }
    const unsigned char *p = (const unsigned char *)sealed.p, *id = p + 1, *salt = id + ID_SIZE;
    if (*p != VERSION || sealed.n < HEADER_SIZE + TAG_SIZE)
        return false;
    if (!subkey_is(&s->other, id, salt)) {
        const struct key *key = find_key(s, id);
        if (!key)
            return false;
        subkey_set(&s->other, key, salt, false);
    }
    struct slice body = slice_of(sealed.p + HEADER_SIZE, sealed.n - HEADER_SIZE - TAG_SIZE);
    return decrypt(s->other.cipher, context, salt + SALT_SIZE, body, p + sealed.n - TAG_SIZE, out);
}

bool sealer_lacks_key(struct sealer *s, struct slice sealed, char id[SEAL_ID_SIZE])
{
    look_for_keys(s);
    if (!is_sealed(sealed))
        return false;
    snprintf(id, SEAL_ID_SIZE, "?");
    if ((unsigned char)sealed.p[0] != VERSION)
        return true;
    if (sealed.n < 1 + ID_SIZE)
        return false; /* cut off */
    write_id((const unsigned char *)sealed.p + 1, id);
    return !find_key(s, (const unsigned char *)sealed.p + 1);
}

/* ---- the file ---- */

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static bool read_hex(struct slice line, unsigned char secret[KEY_SIZE])
{
    if (line.n != HEX_SIZE)
        return false;
    for (size_t i = 0; i < KEY_SIZE; i++) {
        int high = hex_value(line.p[2 * i]), low = hex_value(line.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        secret[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

static bool read_base64(struct slice line, unsigned char secret[KEY_SIZE])
{
    unsigned char bytes[BASE64_SIZE / 4 * 3];
    bool good = line.n == BASE64_SIZE && line.p[BASE64_SIZE - 1] == '=' && line.p[BASE64_SIZE - 2] != '=' &&
                EVP_DecodeBlock(bytes, (const unsigned char *)line.p, BASE64_SIZE) == sizeof bytes;
    if (good)
        memcpy(secret, bytes, KEY_SIZE);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return good;
}

/* What does not fit is told, but for its content: it may be most of a key. */
static char *add_line(void *ctx, const char *file, int number, struct slice line)
{
    struct seal_keys *k = ctx;
    struct key key;
    char *error = NULL;
    while (isspace((unsigned char)line.p[0]))
        line = slice_skip(line, 1);
    if (line.p[0] == '#')
        return NULL;
    if (!read_hex(line, key.secret) && !read_base64(line, key.secret))
        error = mem_printf("%s:%d: not a key: %d hex digits, or %d bytes in base64", file, number, HEX_SIZE, KEY_SIZE);
    else if (k->n == SEAL_KEYS_MAX)
        error = mem_printf("%s:%d: more than %d keys", file, number, SEAL_KEYS_MAX);
    if (!error) {
        set_id(&key);
        k->key[k->n++] = key;
    }
    OPENSSL_cleanse(&key, sizeof key);
    return error;
}

static char *add_keys(void *ctx, const char *file, struct slice text)
{
    struct seal_keys *k = ctx;
    char *error = key_file_lines(file, text, add_line, k);
    return error || k->n ? error : mem_printf("%s: no key in it", file);
}

/* ---- life ---- */

struct seal_keys *seal_keys_new(const char *file, char **error_r)
{
    struct seal_keys *k = MEM_NEW(struct seal_keys);
    pthread_mutex_init(&k->lock, NULL);
    *error_r = file ? key_file_read(file, FILE_MAX, add_keys, k) : NULL;
    if (*error_r) {
        seal_keys_free(k);
        return NULL;
    }
    return k;
}

void seal_keys_free(struct seal_keys *k)
{
    if (!k)
        return;
    pthread_mutex_destroy(&k->lock);
    mem_wipe_free(k, sizeof *k);
}

void seal_keys_replace(struct seal_keys *k, struct seal_keys *fresh)
{
    pthread_mutex_lock(&k->lock);
    memcpy(k->key, fresh->key, sizeof k->key);
    k->n = fresh->n;
    atomic_fetch_add(&k->version, 1);
    pthread_mutex_unlock(&k->lock);
    seal_keys_free(fresh);
}

size_t seal_keys_count(struct seal_keys *k, char first[SEAL_ID_SIZE])
{
    pthread_mutex_lock(&k->lock);
    size_t n = k->n;
    snprintf(first, SEAL_ID_SIZE, "-");
    if (n)
        write_id(k->key[0].id, first);
    pthread_mutex_unlock(&k->lock);
    return n;
}
