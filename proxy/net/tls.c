#include "net/tls.h"
#include "base/mem.h"
#include "tls_session.h"
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* As RFC 7301 puts protocol names on the wire. */
static const unsigned char ALPN[] = "\x0bxmpp-client";
#define ALPN_SIZE (sizeof ALPN - 1)
static const unsigned char ALPN_HTTP[] = "\x08http/1.1";
#define ALPN_HTTP_SIZE (sizeof ALPN_HTTP - 1)

struct tls_context {
    atomic_int refs;
    bool server;
    bool verify;        /* client side */
    bool no_alpn;       /* likewise */
    unsigned char *key; /* pre-shared; NULL: certificates */
    char **hosts;       /* other names that the peer's certificate may be for; NULL-terminated, or NULL */
    SSL_CTX **ctx;      /* one per pair, the first is the default; a single one on the client side */
    size_t n;
};

char *tls_error_text(char out[TLS_TEXT])
{
    unsigned long e = ERR_peek_last_error();
    const char *reason = ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : ERR_reason_error_string(e);
    snprintf(out, TLS_TEXT, "%s", e && reason ? reason : "unknown error");
    ERR_clear_error();
    return out;
}

/* Files that are missing leave the system's error below a general one of OpenSSL's; the former says more. */
static char *file_error(const char *what, const char *file)
{
    char text[TLS_TEXT];
    unsigned long first = ERR_peek_error();
    if (ERR_SYSTEM_ERROR(first)) {
        snprintf(text, sizeof text, "%s", strerror(ERR_GET_REASON(first)));
        ERR_clear_error();
    } else {
        tls_error_text(text);
    }
    return mem_printf("%s %s: %s", what, file, text);
}

/* Keys with a passphrase are refused: OpenSSL would ask for it on the terminal. */
static int no_passphrase(char *p, int size, int writing, void *arg)
{
    (void)p, (void)size, (void)writing, (void)arg;
    return -1;
}

/* A client that offers ALPN must offer what is spoken on its port: a cross-protocol attack is refused here (RFC 7301
 * 3.2). */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *offered,
                       unsigned offered_n, void *arg)
{
    (void)arg;
    unsigned char *chosen;
    bool http = SSL_get_app_data(ssl) == ALPN_HTTP;
    if (SSL_select_next_proto(&chosen, n, http ? ALPN_HTTP : ALPN, http ? ALPN_HTTP_SIZE : ALPN_SIZE, offered,
                              offered_n) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* A certificate that has the very name goes before one that covers it with a wildcard. */
static int choose_certificate(SSL *ssl, int *alert, void *arg)
{
    (void)alert;
    struct tls_context *tls = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (!name)
        return SSL_TLSEXT_ERR_NOACK;
    const unsigned passes[] = {X509_CHECK_FLAG_NO_WILDCARDS, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS};
    for (size_t pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < tls->n; i++) {
            if (X509_check_host(SSL_CTX_get0_certificate(tls->ctx[i]), name, 0, passes[pass], NULL) == 1) {
                SSL_set_SSL_CTX(ssl, tls->ctx[i]);
                return SSL_TLSEXT_ERR_OK;
            }
        }
    }
    return SSL_TLSEXT_ERR_NOACK; /* an unknown name gets the default: the client decides what it thinks of it */
}

static SSL_CTX *context_new(const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    if (!ctx)
        abort(); /* out of memory, or a broken OpenSSL installation */
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    /* One read per record instead of two. Bytes may wait inside SSL then: readers ask SSL_has_pending. */
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    return ctx;
}

/* Clients with OpenSSL name AES-256 with SHA-384 first. The suite that all must have (RFC 8446 9.1) is as safe, and
 * costs both ends less: a handshake hashes a great deal, and each record has fewer rounds. Those that put ChaCha20
 * first, as they have no AES in hardware, are given that. */
static void prefer_cheap_suites(SSL_CTX *ctx)
{
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    if (SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") !=
        1)
        abort(); /* those of every OpenSSL with TLS 1.3 */
}

static char *load_pair(SSL_CTX *ctx, const struct tls_pair *pair)
{
    const char *key = pair->key ? pair->key : pair->certificate;
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ctx, pair->certificate) != 1)
        return file_error("certificate", pair->certificate);
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1)
        return file_error("key", key);
    return NULL;
}

static struct tls_context *tls_new(bool server, size_t n)
{
    struct tls_context *tls = MEM_NEW(struct tls_context);
    tls->refs = 1;
    tls->server = server;
    tls->ctx = mem_zalloc(n * sizeof *tls->ctx);
    return tls;
}

/* Once the handshake is over, and the context gone maybe, tickets are still sealed (TLS 1.3): by way of SSL_CTX, which
 * lives as long as its connections. */
struct tls_tickets *tls_tickets_of(SSL *ssl)
{
    return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
}

struct tls_context *tls_server_new(const struct tls_pair *pairs, size_t n, struct tls_tickets *tickets, char **error_r)
{
    struct tls_context *tls = tls_new(true, n ? n : 1);
    *error_r = n ? NULL : mem_strdup("no certificate");
    for (size_t i = 0; i < n && !*error_r; i++) {
        SSL_CTX *ctx = tls->ctx[tls->n++] = context_new(TLS_server_method());
        prefer_cheap_suites(ctx);
        SSL_CTX_set_dh_auto(ctx, 1);
        SSL_CTX_set_num_tickets(ctx, 1);
        SSL_CTX_set_session_id_context(ctx, ALPN, ALPN_SIZE);
        SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
        SSL_CTX_set_tlsext_servername_callback(ctx, choose_certificate);
        SSL_CTX_set_tlsext_servername_arg(ctx, tls);
        SSL_CTX_set_app_data(ctx, tickets);
        if (tickets)
            tls_tickets_serve(ctx);
        *error_r = load_pair(ctx, &pairs[i]);
    }
    if (*error_r) {
        tls_free(tls);
        return NULL;
    }
    return tls;
}

static bool is_literal(const char *name)
{
    unsigned char scratch[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, name, scratch) == 1 || inet_pton(AF_INET6, name, scratch) == 1;
}

/* A copy of those that are names. */
static char **copy_names(char *const *hosts)
{
    char **copy = MEM_NEW(char *);
    size_t n = 0;
    for (; hosts && *hosts; hosts++) {
        if (is_literal(*hosts))
            continue;
        copy = mem_realloc(copy, (n + 2) * sizeof *copy);
        copy[n++] = mem_strdup(*hosts);
        copy[n] = NULL;
    }
    return copy;
}

static void free_names(char **names)
{
    for (char **p = names; p && *p; p++)
        free(*p);
    free(names);
}

struct tls_context *tls_client_new(const char *ca, bool verify, char *const *hosts, char **error_r)
{
    struct tls_context *tls = tls_new(false, 1);
    SSL_CTX *ctx = tls->ctx[tls->n++] = context_new(TLS_client_method());
    tls->verify = verify;
    tls->hosts = copy_names(hosts);
    *error_r = NULL;
    ERR_clear_error();
    if (ca && SSL_CTX_load_verify_file(ctx, ca) != 1)
        *error_r = file_error("CA", ca);
    else if (!ca && verify && SSL_CTX_set_default_verify_paths(ctx) != 1)
        *error_r = file_error("CA", "of the system");
    if (*error_r) {
        tls_free(tls);
        return NULL;
    }
    SSL_CTX_set_verify(ctx, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    return tls;
}

void tls_forgo_alpn(struct tls_context *tls)
{
    tls->no_alpn = true;
}

static struct tls_context *psk_new(bool server, const unsigned char *key)
{
    struct tls_context *tls = tls_new(server, 1);
    SSL_CTX *ctx = tls->ctx[tls->n++] = context_new(server ? TLS_server_method() : TLS_client_method());
    tls->key = mem_copy(key, TLS_PSK_SIZE);
    tls_psk_use(ctx, tls->key);
    return tls;
}

struct tls_context *tls_psk_server_new(const unsigned char key[TLS_PSK_SIZE])
{
    return psk_new(true, key);
}

struct tls_context *tls_psk_client_new(const unsigned char key[TLS_PSK_SIZE])
{
    return psk_new(false, key);
}

struct tls_context *tls_ref(struct tls_context *tls)
{
    if (tls)
        atomic_fetch_add(&tls->refs, 1);
    return tls;
}

void tls_free(struct tls_context *tls)
{
    if (!tls || atomic_fetch_sub(&tls->refs, 1) > 1)
        return;
    for (size_t i = 0; i < tls->n; i++)
        SSL_CTX_free(tls->ctx[i]);
    free(tls->ctx);
    mem_wipe_free(tls->key, TLS_PSK_SIZE);
    free_names(tls->hosts);
    free(tls);
}

bool tls_is_server(const struct tls_context *tls)
{
    return tls->server;
}

long long tls_expiry(const struct tls_context *tls, size_t pair)
{
    struct tm tm;
    if (!tls->server || tls->key || pair >= tls->n ||
        ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(tls->ctx[pair])), &tm) != 1)
        return 0;
    return timegm(&tm);
}

/* SNI must not carry addresses (RFC 6066 3); a certificate can still be for one. */
static bool expect_name(SSL *ssl, const char *name, const struct tls_context *tls)
{
    bool literal = is_literal(name);
    if (!literal && SSL_set_tlsext_host_name(ssl, name) != 1)
        return false;
    if (!tls->verify)
        return true;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (literal)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    bool good = SSL_set1_host(ssl, name) == 1;
    for (char **host = tls->hosts; good && *host; host++)
        good = SSL_add1_host(ssl, *host) == 1;
    return good;
}

SSL *tls_session_new(struct tls_context *tls, int fd, const char *name, enum tls_protocol protocol, char **error_r)
{
    ERR_clear_error();
    SSL *ssl = SSL_new(tls->ctx[0]);
    *error_r = NULL;
    if (!ssl || SSL_set_fd(ssl, fd) != 1)
        abort(); /* out of memory */
    if (tls->server) {
        SSL_set_accept_state(ssl);
        if (protocol == TLS_FOR_HTTP)
            SSL_set_app_data(ssl, (void *)ALPN_HTTP);
        return ssl;
    }
    SSL_set_connect_state(ssl);
    if (tls->key)
        return ssl;
    if (protocol == TLS_FOR_XMPP && !tls->no_alpn)
        SSL_set_alpn_protos(ssl, ALPN, ALPN_SIZE);
    if (tls->verify && !(name && *name))
        *error_r = mem_strdup("no name to verify the certificate for");
    else if (name && *name && !expect_name(ssl, name, tls))
        *error_r = mem_printf("%s cannot be a name in a certificate", name);
    if (*error_r) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}
