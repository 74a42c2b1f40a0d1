/* The order of a slot, while links alone do not keep it: when a command has to be sent again, maybe elsewhere (MOVED,
 * ASK, TRYAGAIN, NOSCRIPT). All commands of the slot that are unanswered then, and all that come until it is over, are
 * in its lane, oldest first: they are told in that order, and each is put onto a link only when none before it is
 * under way on another one. */
#ifndef HOLDFAST_REDIS_LANE_H
#define HOLDFAST_REDIS_LANE_H

#include "server.h"

/* A command that is in no queue goes again, `pause` from now. Its slot gets a lane, unless it has one. */
void lane_again(struct redis *r, struct command *c, usec pause);
/* The slot goes to another server: what is under way on the one that it has left is not overtaken. */
void lane_guard(struct redis *r, unsigned slot, struct server *left);
/* A new command, of a slot that has one (slot.lane). */
void lane_append(struct redis *r, struct command *c);
/* Tells, sends, ends: all that can be done now, in all lanes. Once a turn, and before events that answers go ahead of:
 * a lane is long where much is under way, so it is not gone through for each answer. */
void lanes_pump(struct redis *r);
/* What waits for a server that is not there is not going to be sent. */
void lanes_forsake(struct redis *r);
void lanes_free(struct redis *r);

#endif
