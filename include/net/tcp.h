/* A socket as a transport, with or without TLS on it. Reads into a buffer of the loop's, so that an idle connection
 * owns none; OpenSSL's are released too. */
#ifndef HOLDFAST_NET_TCP_H
#define HOLDFAST_NET_TCP_H

#include "base/clock.h"
#include "net/loop.h"
#include "net/tls.h"
#include "net/transport.h"

/* TCP_NODELAY, keep-alive, TCP_USER_TIMEOUT and TCP_NOTSENT_LOWAT, for one that was dialled; or for one that listens:
 * what it accepts has them as well. */
void tcp_set_options(int fd);

/* Takes over a connected, non-blocking socket. With tls a server handshake comes first (direct TLS, bounded by
 * handshake_timeout); `ready` tells when it is done. Without, `ready` is called in the next turn. told: the ends of the
 * client's connection, where it is not this one (its load balancer's); NULL, or an end that is none: this one's. */
struct transport *tcp_accept(struct loop *l, int fd, struct tls_context *tls, usec handshake_timeout,
                             const struct endpoints *told);

/* The same for a port of HTTP clients: those that offer ALPN must offer http/1.1, and not xmpp-client. */
struct transport *tcp_accept_web(struct loop *l, int fd, struct tls_context *tls, usec handshake_timeout,
                                 const struct endpoints *told);

/* STARTTLS (RFC 6120 5): what was written so far leaves in clear, then the handshake begins; what is written from now
 * on waits for its end. `ready` is called again then. The server side fails the transport with TRANSPORT_TLS if bytes
 * that arrived in clear are still unread (the owner has been given all up to the last `bytes`, and checks itself what
 * it holds). name: SNI and the name to verify, for the client side; NULL on the server side. */
void tcp_starttls(struct transport *base, struct tls_context *tls, const char *name, usec handshake_timeout);

/* True once TLS is up. Version ("TLSv1.3") and cipher for logs, "" before. */
bool tcp_is_tls(const struct transport *t);
const char *tcp_tls_version(const struct transport *base);
const char *tcp_tls_cipher(const struct transport *base);

/* Bytes read and written on the wire-facing side so far, for the stats. */
void tcp_bytes(const struct transport *base, unsigned long long *in, unsigned long long *out);

#endif
