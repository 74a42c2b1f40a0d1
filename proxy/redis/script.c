#include "base/log.h"
#include "private.h"
#include <openssl/evp.h>
#include <stdlib.h>

void script_hash(struct redis_script *script)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char sha[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_Digest(script->text, strlen(script->text), sha, &n, EVP_sha1(), NULL) != 1)
        abort(); /* a broken OpenSSL installation */
    for (unsigned i = 0; i < n; i++) {
        script->sha[2 * i] = hex[sha[i] >> 4];
        script->sha[2 * i + 1] = hex[sha[i] & 15];
    }
    script->sha[2 * n] = '\0';
}

/* A script that does not compile is told here; its EVALSHA only says that there is none. */
static void on_loaded(void *ctx, const struct redisReply *reply)
{
    const struct redis_script *script = ctx;
    if (reply && reply_is_error(reply))
        LOG(LOG_ERROR, "Redis did not load a script", LF("script", script->name), LF("why", reply->str));
}

struct command *script_load(struct redis_script *script, usec since)
{
    return command_internal(on_loaded, script, since, (const char *const[]){"SCRIPT", "LOAD", script->text, NULL});
}
