/* Messages between threads: a function to be called on the loop of the one who owns the inbox. */
#ifndef HOLDFAST_RUN_INBOX_H
#define HOLDFAST_RUN_INBOX_H

#include "net/loop.h"
#include <stdbool.h>

struct inbox;

struct inbox *inbox_new(struct loop *loop, void *owner); /* owner: first argument of each call */
/* Runs what is left, so that nothing that it owns is lost; later posts are refused. On the loop's thread. */
void inbox_close(struct inbox *i);
void inbox_free(struct inbox *i);
/* From any thread. False once the inbox is closed: the caller keeps arg. */
bool inbox_post(struct inbox *i, void (*run)(void *owner, void *arg), void *arg);

#endif
