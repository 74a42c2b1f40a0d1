#include "base/key_file.h"
#include "base/mem.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

char *key_file_read(const char *file, size_t most, char *(*take)(void *ctx, const char *file, struct slice bytes),
                    void *ctx)
{
    FILE *f = fopen(file, "re");
    if (!f)
        return mem_printf("%s: %s", file, strerror(errno));
    setvbuf(f, NULL, _IONBF, 0); /* no copy of the keys is left behind */
    char *bytes = mem_alloc(most);
    size_t n = fread(bytes, 1, most, f);
    bool good = !ferror(f) && n < most;
    fclose(f);
    char *error = good ? take(ctx, file, slice_of(bytes, n)) : mem_printf("%s: cannot be read, or is too long", file);
    mem_wipe_free(bytes, most);
    return error;
}

char *key_file_lines(const char *file, struct slice text,
                     char *(*take)(void *ctx, const char *file, int number, struct slice line), void *ctx)
{
    char *error = NULL;
    for (int number = 1; text.n && !error; number++) {
        const char *end = memchr(text.p, '\n', text.n);
        struct slice line = slice_of(text.p, end ? (size_t)(end - text.p) : text.n);
        text = slice_skip(text, line.n + 1);
        while (line.n && isspace((unsigned char)line.p[line.n - 1]))
            line.n--;
        if (line.n && line.p[0] != '#')
            error = take(ctx, file, number, line);
    }
    return error;
}
