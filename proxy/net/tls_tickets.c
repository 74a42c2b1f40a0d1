#include "net/tls_tickets.h"
#include "base/buf.h"
#include "base/key_file.h"
#include "base/mem.h"
#include "tls_session.h"
#include <ctype.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define KEY_SIZE    80
#define BASE64_SIZE 108 /* of a key */
#define KEYS_MAX    64
#define FILE_MAX    (KEYS_MAX * (BASE64_SIZE + 256)) /* more than keys can take: then it is refused for its size */

struct key {
    unsigned char name[16], aes[32], hmac[32];
};
_Static_assert(sizeof(struct key) == KEY_SIZE, "a key is read as it stands in the file");

struct tls_tickets {
    pthread_rwlock_t lock;
    bool from_file;
    struct key key[KEYS_MAX];
    size_t n;
};

/* --- Sealing and opening --- */

/* Copies are made under the lock: the keys may be replaced at any time. */
static struct key first_key(struct tls_tickets *t)
{
    pthread_rwlock_rdlock(&t->lock);
    struct key key = t->key[0];
    pthread_rwlock_unlock(&t->lock);
    return key;
}

static bool find_key(struct tls_tickets *t, const unsigned char name[16], struct key *key_r, bool *is_first_r)
{
    size_t i = 0;
    pthread_rwlock_rdlock(&t->lock);
    while (i < t->n && memcmp(t->key[i].name, name, sizeof t->key[i].name) != 0)
        i++;
    bool found = i < t->n;
    if (found)
        *key_r = t->key[i];
    *is_first_r = i == 0;
    pthread_rwlock_unlock(&t->lock);
    return found;
}

static bool use_key(const struct key *key, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, bool seal)
{
    char sha256[] = "SHA256";
    unsigned char hmac[sizeof key->hmac];
    memcpy(hmac, key->hmac, sizeof hmac); /* OSSL_PARAM knows no const */
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, hmac, sizeof hmac),
                                 OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
                                 OSSL_PARAM_construct_end()};
    bool good = EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv, seal) == 1 &&
                EVP_MAC_CTX_set_params(mac, params) == 1;
    OPENSSL_cleanse(hmac, sizeof hmac);
    return good;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): -1 failed, 0 no such key (a full handshake follows), 1 good, 2 good, and the
 * client should get a new ticket. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                     int seal)
{
    struct tls_tickets *t = tls_tickets_of(ssl);
    struct key key;
    bool is_first = true;
    if (seal) {
        key = first_key(t);
        memcpy(name, key.name, sizeof key.name);
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
            return -1;
    } else if (!find_key(t, name, &key, &is_first)) {
        return 0;
    }
    bool good = use_key(&key, iv, cipher, mac, seal);
    OPENSSL_cleanse(&key, sizeof key);
    return !good ? -1 : is_first ? 1 : 2;
}

void tls_tickets_serve(SSL_CTX *ctx)
{
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
}

/* --- The file --- */

static bool is_text(struct slice bytes)
{
    for (size_t i = 0; i < bytes.n; i++)
        if (!isprint((unsigned char)bytes.p[i]) && !isspace((unsigned char)bytes.p[i]))
            return false;
    return true;
}

/* What does not fit is told, but for its content: it may be most of a key. */
static char *add_line(void *ctx, const char *file, int number, struct slice line)
{
    struct tls_tickets *t = ctx;
    unsigned char key[BASE64_SIZE / 4 * 3];
    if (line.n != BASE64_SIZE || line.p[BASE64_SIZE - 1] != '=' || line.p[BASE64_SIZE - 2] == '=' ||
        EVP_DecodeBlock(key, (const unsigned char *)line.p, BASE64_SIZE) != sizeof key)
        return mem_printf("%s:%d: not a key: %d bytes in base64 (openssl rand -base64 %d | tr -d '\\n')", file, number,
                          KEY_SIZE, KEY_SIZE);
    if (t->n == KEYS_MAX)
        return mem_printf("%s:%d: more than %d keys", file, number, KEYS_MAX);
    memcpy(&t->key[t->n++], key, KEY_SIZE);
    OPENSSL_cleanse(key, sizeof key);
    return NULL;
}

static char *add_keys(void *ctx, const char *file, struct slice bytes)
{
    struct tls_tickets *t = ctx;
    char *error = NULL;
    if (is_text(bytes))
        error = key_file_lines(file, bytes, add_line, t);
    else if (bytes.n % KEY_SIZE || bytes.n / KEY_SIZE > KEYS_MAX)
        error = mem_printf("%s: %zu bytes, not one key of %d bytes or several (at most %d)", file, bytes.n, KEY_SIZE,
                           KEYS_MAX);
    else
        for (; bytes.n; bytes = slice_skip(bytes, KEY_SIZE))
            memcpy(&t->key[t->n++], bytes.p, KEY_SIZE);
    return error || t->n ? error : mem_printf("%s: no key in it", file);
}

/* --- Life --- */

static void make_key(struct key *key)
{
    if (RAND_bytes((unsigned char *)key, sizeof *key) != 1)
        abort(); /* no randomness, no TLS */
}

struct tls_tickets *tls_tickets_new(const char *file, char **error_r)
{
    struct tls_tickets *t = MEM_NEW(struct tls_tickets);
    pthread_rwlock_init(&t->lock, NULL);
    t->from_file = file != NULL;
    *error_r = file ? key_file_read(file, FILE_MAX, add_keys, t) : NULL;
    if (!file)
        make_key(&t->key[t->n++]);
    if (*error_r) {
        tls_tickets_free(t);
        return NULL;
    }
    return t;
}

void tls_tickets_free(struct tls_tickets *t)
{
    if (!t)
        return;
    pthread_rwlock_destroy(&t->lock);
    mem_wipe_free(t, sizeof *t);
}

void tls_tickets_replace(struct tls_tickets *t, struct tls_tickets *fresh)
{
    pthread_rwlock_wrlock(&t->lock);
    if (t->from_file || fresh->from_file) {
        t->from_file = fresh->from_file;
        memcpy(t->key, fresh->key, sizeof t->key);
        t->n = fresh->n;
    }
    pthread_rwlock_unlock(&t->lock);
    tls_tickets_free(fresh);
}

void tls_tickets_rotate(struct tls_tickets *t)
{
    pthread_rwlock_wrlock(&t->lock);
    if (!t->from_file) {
        t->key[1] = t->key[0];
        make_key(&t->key[0]);
        t->n = 2;
    }
    pthread_rwlock_unlock(&t->lock);
}
