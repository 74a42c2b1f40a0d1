/* What people read: tables with aligned columns, numbers with their units. */
#ifndef HOLDFAST_CTL_TABLE_H
#define HOLDFAST_CTL_TABLE_H

#include <stddef.h>

struct table;

/* heads: NULL-terminated. A head that begins with '>' has its column at the right. */
struct table *table_new(const char *const *heads);
/* The next cell; taken over, NULL is shown as "-". A row is complete with as many cells as there are heads. */
void table_add(struct table *t, char *cell);
void table_print(const struct table *t);
void table_free(struct table *t);

/* free() them. */
char *human_bytes(double bytes);      /* "3.4 MB" */
char *human_duration(double seconds); /* "0.25 s", "3 h 12 min" */

#endif
