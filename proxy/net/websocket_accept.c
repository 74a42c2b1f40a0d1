#include "net/websocket.h"
#include <openssl/evp.h>
#include <stdlib.h>

#define ACCEPT_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

/* RFC 6455 4.2.2: base64 of the SHA-1 of both. */
static void add_accept(struct buf *out, struct slice key)
{
    unsigned char digest[EVP_MAX_MD_SIZE], text[2 * EVP_MAX_MD_SIZE];
    unsigned n = 0;
    struct buf both = {0};
    buf_add(&both, key);
    BUF_LIT(&both, ACCEPT_GUID);
    if (EVP_Digest(both.data + both.off, both.n, digest, &n, EVP_sha1(), NULL) != 1)
        abort(); /* out of memory */
    buf_append(out, text, (size_t)EVP_EncodeBlock(text, digest, (int)n));
    buf_free(&both);
}

/* 16 bytes in base64. */
static bool is_key(struct slice key)
{
    unsigned char bytes[18];
    return key.n == 24 && key.p[22] == '=' && key.p[23] == '=' &&
           EVP_DecodeBlock(bytes, (const unsigned char *)key.p, (int)key.n) == 18;
}

unsigned websocket_accept(const struct http_request *r, const char *protocol, struct buf *out, const char **fault_r)
{
    struct slice key = http_header(r, "Sec-WebSocket-Key");
    unsigned status = 400;
    if (!http_has_token(r, "Upgrade", "websocket") || !http_has_token(r, "Connection", "upgrade")) {
        *fault_r = "This is the place of a WebSocket: ask for an upgrade to one.";
        status = 426;
    } else if (!slice_eq_str(r->method, "GET") || r->minor < 1 || !http_header(r, "Host").p) {
        *fault_r = "A WebSocket is asked for by GET in HTTP/1.1, with a Host.";
    } else if (!slice_eq_str(http_header(r, "Sec-WebSocket-Version"), "13")) {
        *fault_r = "Version 13 of WebSocket is spoken here.";
        status = 426;
    } else if (!is_key(key)) {
        *fault_r = "Sec-WebSocket-Key must be 16 bytes in base64.";
    } else if (!http_has_token(r, "Sec-WebSocket-Protocol", protocol)) {
        *fault_r = "The subprotocol must be xmpp (RFC 7395).";
    } else {
        BUF_LIT(out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: ");
        add_accept(out, key);
        buf_printf(out, "\r\nSec-WebSocket-Protocol: %s\r\n\r\n", protocol);
        return 0;
    }
    return status;
}
