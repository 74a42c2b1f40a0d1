/* Messages between threads: a function to be called on the loop of the one who owns the inbox. */
#ifndef HOLDFAST_RUN_INBOX_H
#define HOLDFAST_RUN_INBOX_H

#include "net/loop.h"
#include <stdbool.h>

struct inbox;

struct inbox *inbox_new(struct loop *loop, void *owner); /* owner: first argument of each call */
/* For a thread without a loop: wake is called by whoever posts, and has the owner's thread call inbox_run soon. */
struct inbox *inbox_new_woken(void (*wake)(void *ctx), void *ctx, void *owner);
void inbox_run(struct inbox *i);
/* Runs what is left, so that nothing that it owns is lost; later posts are refused. On the loop's thread. */
void inbox_close(struct inbox *i);
void inbox_free(struct inbox *i);
/* From any thread. False once the inbox is closed: the caller keeps arg. */
bool inbox_post(struct inbox *i, void (*run)(void *owner, void *arg), void *arg);

#endif
