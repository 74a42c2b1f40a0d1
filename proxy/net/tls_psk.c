/* External pre-shared keys of TLS 1.3 (RFC 8446 4.2.11): a session of an earlier handshake that never was. The key
 * exchange is ephemeral all the same (psk_dhe_ke), so that who learns the key later cannot read what was said. */
#include "tls_session.h"
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

/* Not a secret: it tells apart what else may be spoken with keys of ours one day. */
static const unsigned char IDENTITY[] = "holdfast-peer-1";
#define IDENTITY_SIZE (sizeof IDENTITY - 1)

/* A key goes with one hash function (RFC 8446 4.2.11); this suite has SHA-256. */
#define SUITE "TLS_AES_128_GCM_SHA256"
static const unsigned char SUITE_ID[] = {0x13, 0x01};

static SSL_SESSION *session_of_key(SSL *ssl)
{
    const unsigned char *key = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const SSL_CIPHER *suite = SSL_CIPHER_find(ssl, SUITE_ID);
    SSL_SESSION *s = SSL_SESSION_new();
    if (!suite || !s || SSL_SESSION_set1_master_key(s, key, TLS_PSK_SIZE) != 1 ||
        SSL_SESSION_set_cipher(s, suite) != 1 || SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION) != 1 ||
        SSL_SESSION_set1_id_context(s, IDENTITY, IDENTITY_SIZE) != 1)
        abort(); /* out of memory, or an OpenSSL without the suite that RFC 8446 demands */
    return s;
}

/* Who offers something else goes on without a key, and fails for lack of a certificate. */
static int find_session(SSL *ssl, const unsigned char *identity, size_t n, SSL_SESSION **session_r)
{
    bool ours = n == IDENTITY_SIZE && memcmp(identity, IDENTITY, n) == 0;
    *session_r = ours ? session_of_key(ssl) : NULL;
    return 1;
}

static int use_session(SSL *ssl, const EVP_MD *md, const unsigned char **identity_r, size_t *n_r,
                       SSL_SESSION **session_r)
{
    *identity_r = IDENTITY;
    *n_r = IDENTITY_SIZE;
    *session_r = md && EVP_MD_get_type(md) != NID_sha256 ? NULL : session_of_key(ssl);
    return 1;
}

void tls_psk_use(SSL_CTX *ctx, const unsigned char *key)
{
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 || SSL_CTX_set_ciphersuites(ctx, SUITE) != 1)
        abort(); /* likewise */
    SSL_CTX_set_app_data(ctx, (void *)key);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_psk_find_session_callback(ctx, find_session);
    SSL_CTX_set_psk_use_session_callback(ctx, use_session);
    /* A server that does not know the key could answer with a certificate: there is none that would be believed. */
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_id_context(ctx, IDENTITY, IDENTITY_SIZE);
}
