/* Names of stream errors (RFC 6120 4.9.3) and stanza errors (8.3.3), and their XML. */
#ifndef HOLDFAST_XMPP_STREAM_ERROR_H
#define HOLDFAST_XMPP_STREAM_ERROR_H

#include "base/buf.h"
#include "xmpp/element.h"

enum stream_error {
    STREAM_BAD_FORMAT,
    STREAM_BAD_NAMESPACE_PREFIX,
    STREAM_CONFLICT,
    STREAM_CONNECTION_TIMEOUT,
    STREAM_HOST_GONE,
    STREAM_HOST_UNKNOWN,
    STREAM_IMPROPER_ADDRESSING,
    STREAM_INTERNAL_SERVER_ERROR,
    STREAM_INVALID_FROM,
    STREAM_INVALID_NAMESPACE,
    STREAM_INVALID_XML,
    STREAM_NOT_AUTHORIZED,
    STREAM_NOT_WELL_FORMED,
    STREAM_POLICY_VIOLATION,
    STREAM_REMOTE_CONNECTION_FAILED,
    STREAM_RESET,
    STREAM_RESOURCE_CONSTRAINT,
    STREAM_RESTRICTED_XML,
    STREAM_SEE_OTHER_HOST,
    STREAM_SYSTEM_SHUTDOWN,
    STREAM_UNDEFINED_CONDITION,
    STREAM_UNSUPPORTED_ENCODING,
    STREAM_UNSUPPORTED_FEATURE,
    STREAM_UNSUPPORTED_STANZA_TYPE,
    STREAM_UNSUPPORTED_VERSION,
    STREAM_ERRORS
};

const char *stream_error_name(enum stream_error error); /* "not-well-formed" */
/* The server's stream error tells of its own failure or end: another try may succeed. */
bool stream_error_is_failure(const struct element *e);
/* The name of its condition, for a log; "none" without one. Lives as long as the element. */
struct slice stream_error_condition(const struct element *e);
/* `<stream:error>…</stream:error>`; text (escaped here) may be NULL; extra is XML of an application's own condition
 * or NULL. */
/* The server's stream error under our own prefix, whatever its was. */
void stream_error_relay(struct buf *out, const struct element *e);
void stream_error_write(struct buf *out, enum stream_error error, const char *text, const char *extra);

#endif
