/* Whether the files of section tls hold what their names promise. Apart from config_check.c, as it needs OpenSSL. */
#include "config_row.h"
#include "net/tls.h"
#include "net/tls_tickets.h"
#include <stdlib.h>
#include <sys/stat.h>

/* Who has the keys can read what was said in connections that were resumed with them. */
static void check_tickets(const struct config *config, struct config_problems *problems)
{
    const char *file = config->tls.ticket_key_file;
    struct stat st;
    char *error = NULL;
    if (file)
        tls_tickets_free(tls_tickets_new(file, &error));
    if (error)
        config_problem_at(config, problems, false, "tls", "ticket_key_file",
                          "%s; make one with: openssl rand 80 > FILE", error);
    else if (file && stat(file, &st) == 0 && (st.st_mode & S_IROTH))
        config_problem_at(config, problems, true, "tls", "ticket_key_file",
                          "%s can be read by everyone; take that away: chmod o-r", file);
    free(error);
}

void config_check_tls(const struct config *config, struct config_problems *problems)
{
    char *error = NULL;
    if (config->tls.pair_count)
        tls_free(tls_server_new(config->tls.pairs, config->tls.pair_count, NULL, &error));
    if (error)
        config_problem_at(config, problems, false, "tls", "certificate",
                          "%s; name PEM files, each key with its certificate, in tls.certificate and tls.key", error);
    free(error);
    error = NULL;
    if (config->settings.upstream_tls != UPSTREAM_TLS_NONE)
        tls_free(
            tls_client_new(config->proxy.upstream_ca, config->proxy.upstream_verify, config->upstream.hosts, &error));
    if (error)
        config_problem_at(config, problems, false, "proxy", "upstream_ca", "%s; name a PEM file with certificates",
                          error);
    free(error);
    check_tickets(config, problems);
}
