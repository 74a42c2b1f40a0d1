#include "load/watch.h"
#include "common/sockets.h"
#include <dirent.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const uint64_t EVENTS[COUNTERS] = {
    [COUNT_CYCLES] = PERF_COUNT_HW_CPU_CYCLES, [COUNT_INSTRUCTIONS] = PERF_COUNT_HW_INSTRUCTIONS};

/* A running counter of one thread and of those that it starts; -1 where the machine has none. */
static int count_events(int thread, uint64_t event)
{
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_HARDWARE, .size = sizeof(attributes), .config = event, .inherit = 1, .exclude_hv = 1};
    return (int)syscall(SYS_perf_event_open, &attributes, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static void count_threads(struct watch *w, struct watched *p)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task", p->pid);
    DIR *tasks = opendir(path);
    struct dirent *task;
    while (tasks && (task = readdir(tasks)) && p->threads < WATCH_THREADS) {
        int thread = atoi(task->d_name);
        for (unsigned i = 0; thread && i < COUNTERS; i++) {
            p->counters[i][p->threads] = count_events(thread, EVENTS[i]);
            if (p->counters[i][p->threads] < 0)
                w->counts = false;
        }
        p->threads += thread > 0;
    }
    if (tasks)
        closedir(tasks);
}

void watch_add(struct watch *w, const char *name, int pid)
{
    if (w->count == WATCH_MAX)
        die("too many processes to watch");
    struct watched *p = &w->processes[w->count];
    *p = (struct watched){.pid = pid};
    snprintf(p->name, sizeof(p->name), "%s", name);
    if (w->count++ == 0)
        w->counts = true;
    count_threads(w, p);
}

static uint64_t cpu_of(int pid)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t))
        die("process %d is gone", pid);
    return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

static uint64_t sum(const struct watched *p, enum watch_counter counter)
{
    uint64_t total = 0, value;
    for (unsigned i = 0; i < p->threads; i++)
        if (read(p->counters[counter][i], &value, sizeof(value)) == sizeof(value))
            total += value;
    return total;
}

void watch_sample(const struct watch *w, struct sample *s)
{
    memset(s, 0, sizeof(*s));
    s->time = now_ns();
    for (unsigned i = 0; i < w->count; i++) {
        s->costs[i].cpu = cpu_of(w->processes[i].pid);
        for (unsigned k = 0; k < COUNTERS && w->counts; k++)
            s->costs[i].counters[k] = sum(&w->processes[i], k);
    }
}

uint64_t watch_memory(const struct watch *w, unsigned i)
{
    char path[64], line[256];
    unsigned long long kib = 0;
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", w->processes[i].pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file) && sscanf(line, "Rss: %llu", &kib) != 1)
        ;
    if (file)
        fclose(file);
    else
        die("%s: %m", path);
    return kib * 1024;
}
