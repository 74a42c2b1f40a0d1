/* Answers of the control socket, understood. */
#ifndef HOLDFAST_CTL_ANSWER_H
#define HOLDFAST_CTL_ANSWER_H

#include "commands.h"
#include <jansson.h>

/* Asks and parses. NULL, and *status_r tells, when there is no answer or it is an error; both have been told on stderr.
 * Orders that were not done but have more to tell than an error are given with EXIT_NOT_DONE. With options.json the
 * answer is printed as it is. json_decref() it. */
json_t *answer_get(const struct options *o, const char *method, const char *target, enum exit_status *status_r);

/* "holdfastctl: ..." on stderr. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A member; 0 or "" if there is none. */
double number_of(const json_t *object, const char *name);
const char *text_of(const json_t *object, const char *name);
bool has_value(const json_t *object, const char *name); /* there, and not null */

#endif
