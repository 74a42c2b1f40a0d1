#include "base/mem.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *mem_check(void *p)
{
    if (!p) {
        fputs("level=error msg=\"out of memory\"\n", stderr);
        abort();
    }
    return p;
}

void *mem_alloc(size_t n)
{
    return mem_check(malloc(n ? n : 1));
}

void *mem_zalloc(size_t n)
{
    return mem_check(calloc(1, n ? n : 1));
}

void *mem_realloc(void *p, size_t n)
{
    return mem_check(realloc(p, n ? n : 1));
}

void *mem_copy(const void *p, size_t n)
{
    void *copy = mem_alloc(n);
    if (n)
        memcpy(copy, p, n);
    return copy;
}

char *mem_dup(struct slice s)
{
    char *copy = mem_alloc(s.n + 1);
    if (s.n)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return copy;
}

char *mem_strdup(const char *text)
{
    return text ? mem_dup(slice_str(text)) : NULL;
}

char *mem_printf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int n = vasprintf(&text, format, args);
    va_end(args);
    return mem_check(n < 0 ? NULL : text);
}

void mem_wipe_free(void *p, size_t n)
{
    if (p) {
        explicit_bzero(p, n);
        free(p);
    }
}
