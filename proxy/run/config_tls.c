/* Whether the files of section tls hold what their names promise. Apart from config_check.c, as it needs OpenSSL. */
#include "config_row.h"
#include "net/tls.h"
#include <stdlib.h>

void config_check_tls(const struct config *config, struct config_problems *problems)
{
    char *error = NULL;
    if (config->tls.pair_count)
        tls_free(tls_server_new(config->tls.pairs, config->tls.pair_count, &error));
    if (error)
        config_problem_at(config, problems, "tls", "certificate",
                          "%s; name PEM files, each key with its certificate, in tls.certificate and tls.key", error);
    free(error);
    error = NULL;
    if (config->settings.upstream_tls != UPSTREAM_TLS_NONE)
        tls_free(
            tls_client_new(config->proxy.upstream_ca, config->proxy.upstream_verify, config->upstream.hosts, &error));
    if (error)
        config_problem_at(config, problems, "proxy", "upstream_ca", "%s; name a PEM file with certificates", error);
    free(error);
}
