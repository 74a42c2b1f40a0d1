/* Files of keys, as text with a key a line or otherwise. No copy of what they hold is left behind in memory. */
#ifndef HOLDFAST_BASE_KEY_FILE_H
#define HOLDFAST_BASE_KEY_FILE_H

#include "base/slice.h"

/* Both return NULL, or what is wrong (free it), without what the file holds: it may be most of a key. */

/* take gets all of the file, which must be smaller than `most` bytes; its own error is passed on. */
char *key_file_read(const char *file, size_t most, char *(*take)(void *ctx, const char *file, struct slice bytes),
                    void *ctx);

/* take gets each line of the text that is not empty and no comment (#), without white space at its end, until one is
 * wrong. number: from 1 on. */
char *key_file_lines(const char *file, struct slice text,
                     char *(*take)(void *ctx, const char *file, int number, struct slice line), void *ctx);

#endif
