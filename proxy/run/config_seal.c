/* Whether store.encryption_key_file holds keys, for the operator alone. Apart from config_check.c, as it needs OpenSSL.
 */
#include "config_row.h"
#include "seal.h"
#include <stdlib.h>
#include <sys/stat.h>

#define AT(warning, ...) config_problem_at(config, problems, warning, "store", "encryption_key_file", __VA_ARGS__)

void config_check_seal(const struct config *config, struct config_problems *problems)
{
    const char *file = config->store.encryption_key_file;
    struct stat st;
    char *error = NULL;
    if (!file)
        return;
    seal_keys_free(seal_keys_new(file, &error));
    if (error)
        AT(false, "%s; make one with: openssl rand -hex 32 > FILE", error);
    else if (stat(file, &st) == 0 && (st.st_mode & S_IROTH))
        AT(true, "%s can be read by everyone; take that away: chmod o-r", file);
    if (strcmp(config->store.url, "memory:") == 0)
        AT(false, "is of no use with store.url = memory:, which gives nothing to others; remove it, or name a Redis");
    free(error);
}
