#include "xmpp/stream_error.h"
#include "xmpp/xml.h"

static const char *const names[] = {
    [STREAM_BAD_FORMAT] = "bad-format",
    [STREAM_BAD_NAMESPACE_PREFIX] = "bad-namespace-prefix",
    [STREAM_CONFLICT] = "conflict",
    [STREAM_CONNECTION_TIMEOUT] = "connection-timeout",
    [STREAM_HOST_GONE] = "host-gone",
    [STREAM_HOST_UNKNOWN] = "host-unknown",
    [STREAM_IMPROPER_ADDRESSING] = "improper-addressing",
    [STREAM_INTERNAL_SERVER_ERROR] = "internal-server-error",
    [STREAM_INVALID_FROM] = "invalid-from",
    [STREAM_INVALID_NAMESPACE] = "invalid-namespace",
    [STREAM_INVALID_XML] = "invalid-xml",
    [STREAM_NOT_AUTHORIZED] = "not-authorized",
    [STREAM_NOT_WELL_FORMED] = "not-well-formed",
    [STREAM_POLICY_VIOLATION] = "policy-violation",
    [STREAM_REMOTE_CONNECTION_FAILED] = "remote-connection-failed",
    [STREAM_RESET] = "reset",
    [STREAM_RESOURCE_CONSTRAINT] = "resource-constraint",
    [STREAM_RESTRICTED_XML] = "restricted-xml",
    [STREAM_SEE_OTHER_HOST] = "see-other-host",
    [STREAM_SYSTEM_SHUTDOWN] = "system-shutdown",
    [STREAM_UNDEFINED_CONDITION] = "undefined-condition",
    [STREAM_UNSUPPORTED_ENCODING] = "unsupported-encoding",
    [STREAM_UNSUPPORTED_FEATURE] = "unsupported-feature",
    [STREAM_UNSUPPORTED_STANZA_TYPE] = "unsupported-stanza-type",
    [STREAM_UNSUPPORTED_VERSION] = "unsupported-version",
};
_Static_assert(sizeof names / sizeof *names == STREAM_ERRORS, "each stream error has a name");

const char *stream_error_name(enum stream_error error)
{
    return names[error];
}

void stream_error_write(struct buf *out, enum stream_error error, const char *text, const char *extra)
{
    buf_printf(out, "<stream:error><%s xmlns='" NS_STREAM_ERRORS "'/>", names[error]);
    if (text) {
        BUF_LIT(out, "<text xmlns='" NS_STREAM_ERRORS "' xml:lang='en'>");
        xml_escape(out, slice_str(text));
        BUF_LIT(out, "</text>");
    }
    if (extra)
        buf_add_str(out, extra);
    BUF_LIT(out, "</stream:error>");
}

void stream_error_relay(struct buf *out, const struct element *e)
{
    BUF_LIT(out, "<stream:error>");
    for (const struct node *child = e->tree ? e->tree->first_child : NULL; child; child = child->next)
        buf_add(out, child->bytes);
    BUF_LIT(out, "</stream:error>");
}

struct slice stream_error_condition(const struct element *e)
{
    const struct node *first = e->tree ? e->tree->first_child : NULL;
    return first ? first->name : SLICE_LIT("none");
}

bool stream_error_is_failure(const struct element *e)
{
    static const char *const condition[] = {"system-shutdown", "internal-server-error",    "connection-timeout",
                                            "reset",           "remote-connection-failed", "resource-constraint",
                                            "see-other-host"};
    for (size_t i = 0; i < sizeof condition / sizeof *condition; i++)
        if (node_child(e->tree, NS_STREAM_ERRORS, condition[i]))
            return true;
    return false;
}
