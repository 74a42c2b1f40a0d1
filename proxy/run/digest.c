#include "run/digest.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>
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
