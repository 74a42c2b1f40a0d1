/* TLS settings shared by transports: certificates of a listener, verification of an upstream. A context is used by one
 * loop only (OpenSSL contends on shared ones): each worker makes its own. */
#ifndef HOLDFAST_NET_TLS_H
#define HOLDFAST_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>

struct tls_context;
struct tls_tickets;

struct tls_pair {
    const char *certificate; /* PEM file with the chain */
    const char *key;         /* PEM file; NULL = the certificate's file */
};

/* Server side: TLS 1.2 and 1.3, ALPN `xmpp-client` where the client offers ALPN (XEP-0368; a client that offers only
 * others is refused with no_application_protocol), tickets on, released buffers, no renegotiation, no compression; of
 * TLS 1.3 TLS_AES_128_GCM_SHA256, unless the client puts ChaCha20 first or lacks it. The first pair is the default, the
 * others are chosen by SNI (by the names in the certificates, wildcards too). tickets outlive the context; NULL: keys
 * of its own. NULL with *error_r (free it) telling which file and why. */
struct tls_context *tls_server_new(const struct tls_pair *pairs, size_t n, struct tls_tickets *tickets, char **error_r);
/* Client side, for upstreams. ca: PEM file or NULL for the system's; verify: whether an unverified peer is refused.
 * hosts: names that its certificate may be for besides the one asked for (RFC 6120 13.7.2.1 wants the domain there),
 * NULL-terminated, or NULL; addresses among them are left out. */
struct tls_context *tls_client_new(const char *ca, bool verify, char *const *hosts, char **error_r);
/* Of a client context for another protocol than XMPP: no ALPN is offered, which such a peer might refuse. */
void tls_forgo_alpn(struct tls_context *tls);
/* Both ends prove that they know the key (of TLS_PSK_SIZE random bytes, copied) by TLS 1.3 with a pre-shared key; there
 * are no certificates, names or tickets. Whoever does not know it fails in the handshake. */
#define TLS_PSK_SIZE 32
struct tls_context *tls_psk_server_new(const unsigned char key[TLS_PSK_SIZE]);
struct tls_context *tls_psk_client_new(const unsigned char key[TLS_PSK_SIZE]);
/* Transports that use it keep what they need; the caller's reference ends. NULL is fine. */
void tls_free(struct tls_context *tls);

/* notAfter of the certificate of that pair, seconds since 1970; 0 where there is none (or on the client side). */
long long tls_expiry(const struct tls_context *tls, size_t pair);

#endif
