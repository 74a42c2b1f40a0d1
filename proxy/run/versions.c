#include "run/versions.h"
#include <ares.h>
#include <ev.h>
#include <expat.h>
#include <gnu/libc-version.h>
#include <hiredis/hiredis.h>
#include <microhttpd.h>
#include <openssl/crypto.h>
#include <openssl/opensslv.h>
#include <wslay/wslay.h>

#define STRING_(x) #x
#define STRING(x)  STRING_(x)

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED ", address sanitizer"
#elif defined(__SANITIZE_THREAD__)
#define SANITIZED ", thread sanitizer"
#else
#define SANITIZED ""
#endif

#ifdef __clang__
#define COMPILER "" /* its __VERSION__ has the name */
#else
#define COMPILER "GCC "
#endif

/* Debian's expat has it by backport: the symbol counts, not the version. */
#pragma weak XML_SetReparseDeferralEnabled
extern XML_Bool XML_SetReparseDeferralEnabled(XML_Parser parser, XML_Bool enabled);

static const char *poller(void)
{
    unsigned backend = ev_recommended_backends() & ev_supported_backends();
    return backend & EVBACKEND_EPOLL    ? "epoll"
           : backend & EVBACKEND_KQUEUE ? "kqueue"
           : backend & EVBACKEND_POLL   ? "poll"
                                        : "select";
}

void versions_describe(struct buf *out)
{
    buf_printf(out, "holdfast %s\n", HOLDFAST_VERSION);
    buf_printf(out, "compiler: %s%s%s, glibc %s\n", COMPILER, __VERSION__, SANITIZED, gnu_get_libc_version());
    buf_printf(out, "openssl: %s, running %s\n", OPENSSL_VERSION_TEXT, OpenSSL_version(OPENSSL_VERSION));
    buf_printf(out, "expat: %s, running %s, reparse deferral control %s\n",
               STRING(XML_MAJOR_VERSION) "." STRING(XML_MINOR_VERSION) "." STRING(XML_MICRO_VERSION),
               XML_ExpatVersion(), XML_SetReparseDeferralEnabled != NULL ? "present" : "absent");
    buf_printf(out, "libev: %d.%d, running %d.%d, poller %s\n", EV_VERSION_MAJOR, EV_VERSION_MINOR, ev_version_major(),
               ev_version_minor(), poller());
    buf_printf(out, "c-ares: %s, running %s\n", ARES_VERSION_STR, ares_version(NULL));
    buf_printf(out, "hiredis: %d.%d.%d\n", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
    buf_printf(out, "libmicrohttpd: %x.%x.%x, running %s\n", MHD_VERSION >> 24, MHD_VERSION >> 16 & 0xff,
               MHD_VERSION >> 8 & 0xff, MHD_get_version());
    buf_printf(out, "wslay: %s\n", WSLAY_VERSION);
#ifdef HAVE_SYSTEMD
    BUF_LIT(out, "systemd: notify and socket activation built in\n");
#else
    BUF_LIT(out, "systemd: not built in\n");
#endif
}

const char *versions_openssl(void)
{
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}

const char *versions_expat(void)
{
    return XML_ExpatVersion();
}
