/* What processes cost: processor time to the nanosecond, cycles and instructions where the machine counts them,
 * resident memory. Whole processes, all threads. */
#ifndef BENCH_WATCH_H
#define BENCH_WATCH_H

#include <stdbool.h>
#include <stdint.h>

enum { WATCH_MAX = 8, WATCH_THREADS = 64 };
enum watch_counter { COUNT_CYCLES, COUNT_INSTRUCTIONS, COUNTERS };

struct watched {
    char name[32];
    int pid;
    int counters[COUNTERS][WATCH_THREADS]; /* one for each thread there was */
    unsigned threads;
};

struct watch {
    struct watched processes[WATCH_MAX];
    unsigned count;
    bool counts; /* cycles and instructions too */
};

struct sample {
    uint64_t time; /* ns, monotonic */
    struct cost {
        uint64_t cpu; /* ns */
        uint64_t counters[COUNTERS];
    } costs[WATCH_MAX];
};

void watch_add(struct watch *w, const char *name, int pid);
void watch_sample(const struct watch *w, struct sample *s);
/* Resident bytes of process `i`: what the kernel holds for sockets is not among them. */
uint64_t watch_memory(const struct watch *w, unsigned i);

#endif
