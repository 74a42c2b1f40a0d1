/* Allocation that cannot fail: exhaustion ends the process (bounded inputs keep it away). */
#ifndef HOLDFAST_BASE_MEM_H
#define HOLDFAST_BASE_MEM_H

#include "base/slice.h"
#include <stddef.h>

void *mem_alloc(size_t n);  /* uninitialised; free() it */
void *mem_zalloc(size_t n); /* zeroed; free() it */
void *mem_realloc(void *p, size_t n);
char *mem_dup(struct slice s);      /* NUL-terminated copy; free() it */
char *mem_strdup(const char *text); /* NULL stays NULL */
void *mem_check(void *p);           /* of another allocator: NULL ends the process */
void *mem_copy(const void *p, size_t n);
/* printf into a fresh string; free() it */
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Overwrites before freeing: for what may be secret. NULL is fine. */
void mem_wipe_free(void *p, size_t n);

#define MEM_NEW(type) ((type *)mem_zalloc(sizeof(type)))
/* The object that holds `member` at `ptr`. */
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
