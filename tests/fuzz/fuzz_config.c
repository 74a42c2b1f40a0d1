/* Configuration: whatever a file holds, the reader tells a line for each fault, stays within the text, and what it
 * takes can be printed, loaded again and freed.
 *
 * Input: the file. Nothing is written to a disk: the file is an anonymous one in memory. */
#include "base/mem.h"
#include "fuzz.h"
#include "run/config.h"
#include "run/ini.h"
#include <ctype.h>
#include <sys/mman.h>
#include <unistd.h>

struct text {
    struct slice all;
    int lines, line; /* how many there are; the last one that was told */
};

static void told(struct text *t, int line)
{
    FUZZ_CHECK(line >= 1 && line <= t->lines && line > t->line);
    t->line = line;
}

static void within(const struct text *t, struct slice s)
{
    FUZZ_CHECK(s.p >= t->all.p && s.p + s.n <= t->all.p + t->all.n);
    FUZZ_CHECK(!s.n || (!memchr(s.p, '\n', s.n) && !memchr(s.p, '\0', s.n)));
}

static void on_section(void *ctx, int line, struct slice name)
{
    struct text *t = ctx;
    told(t, line);
    within(t, name);
    FUZZ_CHECK(name.n);
}

static void on_value(void *ctx, int line, struct slice key, struct slice value)
{
    struct text *t = ctx;
    told(t, line);
    within(t, key);
    within(t, value);
    FUZZ_CHECK(key.n);
}

static void on_error(void *ctx, int line, const char *reason)
{
    told(ctx, line);
    FUZZ_CHECK(reason && *reason);
}

static void read_ini(struct slice all)
{
    static const struct ini_events events = {on_section, on_value, on_error};
    struct text t = {.all = all, .lines = 1};
    for (size_t i = 0; i < all.n; i++)
        t.lines += all.p[i] == '\n';
    ini_parse(all, &events, &t);
}

/* "FILE:LINE: ...", or of the whole file "FILE: section.key: ..." where a key should be there and is not. */
static void check_problems(const struct config_problems *problems, const char *file)
{
    size_t errors = 0, prefix = strlen(file);
    for (size_t i = 0; i < problems->n; i++) {
        const char *text = problems->list[i].text, *behind = text + prefix;
        errors += !problems->list[i].warning;
        FUZZ_CHECK(strncmp(text, file, prefix) == 0 && *behind == ':' && !strchr(text, '\n'));
        FUZZ_CHECK(isdigit((unsigned char)behind[1]) || behind[1] == ' ');
    }
    FUZZ_CHECK(errors == problems->errors);
}

static void use(const struct config *config, const char *file)
{
    struct config *again = NULL;
    struct config_problems problems = {0};
    struct buf first = {0}, second = {0};
    config_print(config, &first);
    FUZZ_CHECK(config_reload(config, &again, &problems));
    check_problems(&problems, file);
    config_print(again, &second);
    FUZZ_CHECK(slice_eq(buf_slice(&first), buf_slice(&second)));
    config_problems_free(&problems);
    config_free(again);
    buf_free(&first);
    buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct config *config = NULL;
    struct config_problems problems = {0};
    char file[64];
    read_ini(slice_of((const char *)data, n));

    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && write(fd, data, n) == (ssize_t)n);
    snprintf(file, sizeof file, "/proc/self/fd/%d", fd);
    struct config_sources sources = {.file = file};
    bool good = config_load(&sources, &config, &problems);
    FUZZ_CHECK(good == (config != NULL) && good == (problems.errors == 0));
    check_problems(&problems, file);
    if (good)
        use(config, file);
    config_problems_free(&problems);
    config_free(config);
    close(fd);
    return 0;
}
