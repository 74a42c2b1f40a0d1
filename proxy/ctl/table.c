#include "table.h"
#include "base/mem.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct table {
    size_t columns, cells, cap;
    char **cell; /* the heads come first */
};

struct table *table_new(const char *const *heads)
{
    struct table *t = MEM_NEW(struct table);
    while (heads[t->columns])
        t->columns++;
    for (size_t i = 0; heads[i]; i++)
        table_add(t, mem_strdup(heads[i]));
    return t;
}

void table_add(struct table *t, char *cell)
{
    if (t->cells == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        t->cell = mem_realloc(t->cell, t->cap * sizeof *t->cell);
    }
    t->cell[t->cells++] = cell ? cell : mem_strdup("-");
}

/* Characters, not bytes; combining ones are rare enough in addresses. */
static int width_of(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static const char *shown(const struct table *t, size_t i)
{
    bool head = i < t->columns;
    return t->cell[i] + (head && t->cell[i][0] == '>');
}

static int column_width(const struct table *t, size_t column)
{
    int widest = 0;
    for (size_t i = column; i < t->cells; i += t->columns) {
        int width = width_of(shown(t, i));
        widest = width > widest ? width : widest;
    }
    return widest;
}

static void print_cell(const struct table *t, size_t i, int width)
{
    size_t column = i % t->columns;
    bool right = t->cell[column][0] == '>', last = column == t->columns - 1;
    const char *text = shown(t, i);
    int fill = width - width_of(text);
    if (column)
        fputs("  ", stdout);
    if (right)
        printf("%*s%s", fill, "", text);
    else if (last)
        fputs(text, stdout);
    else
        printf("%s%*s", text, fill, "");
    if (last)
        putchar('\n');
}

void table_print(const struct table *t)
{
    int *width = mem_alloc(t->columns * sizeof *width);
    for (size_t i = 0; i < t->columns; i++)
        width[i] = column_width(t, i);
    for (size_t i = 0; t->columns && i < t->cells; i++)
        print_cell(t, i, width[i % t->columns]);
    free(width);
}

void table_free(struct table *t)
{
    for (size_t i = 0; i < t->cells; i++)
        free(t->cell[i]);
    free(t->cell);
    free(t);
}

char *human_bytes(double bytes)
{
    static const char *const unit[] = {"B", "KB", "MB", "GB", "TB"};
    size_t i = 0;
    while (bytes >= 1024 && i + 1 < sizeof unit / sizeof *unit) {
        bytes /= 1024;
        i++;
    }
    return mem_printf(i ? "%.1f %s" : "%.0f %s", bytes, unit[i]);
}

char *human_duration(double seconds)
{
    long long whole = (long long)seconds;
    if (seconds < 60)
        return mem_printf(seconds < 10 ? "%.2f s" : "%.0f s", seconds);
    if (whole < 3600)
        return mem_printf("%lld min %lld s", whole / 60, whole % 60);
    if (whole < 86400)
        return mem_printf("%lld h %lld min", whole / 3600, whole % 3600 / 60);
    return mem_printf("%lld d %lld h", whole / 86400, whole % 86400 / 3600);
}
