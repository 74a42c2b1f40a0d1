/* The running node: workers, listeners, signals, stats port. */
#ifndef HOLDFAST_RUN_NODE_H
#define HOLDFAST_RUN_NODE_H

struct config;

/* Runs until it is told to stop; returns the exit status of the process. config becomes the node's (a reload replaces
 * it). argc and argv are those of main, for starting the program anew. */
int node_run(int argc, char **argv, struct config *config);

#endif
