/* From a context to the SSL of one connection, and OpenSSL's errors as text. */
#ifndef HOLDFAST_NET_TLS_SESSION_H
#define HOLDFAST_NET_TLS_SESSION_H

#include "net/tls.h"
#include <openssl/ssl.h>

/* One more reference, ended by tls_free; on any thread. NULL stays NULL. */
struct tls_context *tls_ref(struct tls_context *tls);
bool tls_is_server(const struct tls_context *tls);

/* What is spoken inside. Where TLS comes from the first byte, a client tells it by ALPN (XEP-0368); after STARTTLS it is
 * known. */
enum tls_protocol { TLS_AFTER_STARTTLS, TLS_FOR_XMPP, TLS_FOR_HTTP };

/* name: for clients, SNI (unless it is an address) and what the certificate must be for. The context must outlive the
 * handshake. NULL with *error_r (free it). */
SSL *tls_session_new(struct tls_context *tls, int fd, const char *name, enum tls_protocol protocol, char **error_r);

/* tls_tickets.c: has the context seal and open tickets with the keys that tls_tickets_of tells. */
void tls_tickets_serve(SSL_CTX *ctx);
/* The keys that the context of that connection was made with. */
struct tls_tickets *tls_tickets_of(SSL *ssl);

/* tls_psk.c: has the context prove, and demand, that the other end knows the key, and nothing else. The key
 * (TLS_PSK_SIZE bytes) must outlive the handshakes. */
void tls_psk_use(SSL_CTX *ctx, const unsigned char *key);

#define TLS_TEXT 256
/* Why the last OpenSSL call failed; empties the thread's error queue. Returns out. */
char *tls_error_text(char out[TLS_TEXT]);

#endif
