#include "run/digest.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <stdlib.h>

static void write_hex(const unsigned char *hash, char *out, size_t n)
{
    static const char digit[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digit[hash[i] >> 4];
        out[2 * i + 1] = digit[hash[i] & 15];
    }
    out[2 * n] = '\0';
}

void digest_hex(struct slice text, char *out, size_t n)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    if (!EVP_Digest(text.p, text.n, hash, NULL, EVP_sha256(), NULL))
        abort(); /* SHA-256 is always there */
    write_hex(hash, out, n);
}

void digest_keyed_hex(struct slice key, struct slice text, char *out, size_t n)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    if (!HMAC(EVP_sha256(), key.p, (int)key.n, (const unsigned char *)text.p, text.n, hash, NULL))
        abort(); /* likewise */
    write_hex(hash, out, n);
}

void digest_derive(struct slice secret, const char *purpose, unsigned char *out, size_t n)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
    if (!ctx || EVP_PKEY_derive_init(ctx) != 1 || EVP_PKEY_CTX_set_hkdf_md(ctx, EVP_sha256()) != 1 ||
        EVP_PKEY_CTX_set1_hkdf_key(ctx, (const unsigned char *)secret.p, (int)secret.n) != 1 ||
        EVP_PKEY_CTX_add1_hkdf_info(ctx, (const unsigned char *)purpose, (int)strlen(purpose)) != 1 ||
        EVP_PKEY_derive(ctx, out, &n) != 1)
        abort(); /* likewise */
    EVP_PKEY_CTX_free(ctx);
}
