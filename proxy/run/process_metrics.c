#include "run/process_metrics.h"
#include "base/buf.h"
#include "base/counters.h"
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

/* The fields of /proc/self/stat that are exposed; proc(5) has their order. */
struct process_stat {
    unsigned long user_ticks, system_ticks, virtual_bytes;
    unsigned long long start_ticks; /* after the machine's boot */
    long resident_pages;
};

enum figure { CPU, RESIDENT, VIRTUAL, START, OPEN_FDS, MAX_FDS, BUILD, FIGURES };

static const struct {
    const char *name, *help;
    enum metric_type type;
    const char *shown; /* with suffix and labels, for people */
} families[FIGURES] = {
    [CPU] = {"process_cpu_seconds", "User and system time spent", METRIC_COUNTER, "process_cpu_seconds_total"},
    [RESIDENT] = {"process_resident_memory_bytes", "Memory that is resident", METRIC_GAUGE, NULL},
    [VIRTUAL] = {"process_virtual_memory_bytes", "Address space in use; 16 GiB of it are merely reserved", METRIC_GAUGE,
                 NULL},
    [START] = {"process_start_time_seconds", "Start of the process since 1970", METRIC_GAUGE, NULL},
    [OPEN_FDS] = {"process_open_fds", "Descriptors that are open", METRIC_GAUGE, NULL},
    [MAX_FDS] = {"process_max_fds", "Descriptors that may be open", METRIC_GAUGE, NULL},
    [BUILD] = {"holdfast_build", "Versions of the program and of its libraries", METRIC_INFO,
               "holdfast_build_info{version,openssl,expat}"},
};

static void add_header(struct buf *out, enum figure f)
{
    counters_add_header(out, families[f].name, families[f].type, families[f].help);
}

static bool read_stat(struct process_stat *s)
{
    char text[2048];
    FILE *file = fopen("/proc/self/stat", "re");
    if (!file)
        return false;
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    /* the second field is the program's name in parentheses and may itself hold blanks and parentheses */
    const char *behind_name = strrchr(text, ')');
    return behind_name &&
           sscanf(behind_name + 1,
                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d"
                  " %llu %lu %ld",
                  &s->user_ticks, &s->system_ticks, &s->start_ticks, &s->virtual_bytes, &s->resident_pages) == 5;
}

/* Seconds since 1970 at which the machine booted; 0 if unknown. */
static unsigned long long read_boot_time(void)
{
    char line[256];
    unsigned long long boot = 0;
    FILE *file = fopen("/proc/stat", "re");
    while (file && !boot && fgets(line, sizeof line, file))
        sscanf(line, "btime %llu", &boot);
    if (file)
        fclose(file);
    return boot;
}

/* -1 if unknown. */
static long count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    if (!folder)
        return -1;
    long n = -1; /* the folder's own descriptor */
    for (const struct dirent *e; (e = readdir(folder));)
        n += e->d_name[0] != '.';
    closedir(folder);
    return n;
}

static void expose_stat(struct buf *out)
{
    struct process_stat s;
    unsigned long long boot = read_boot_time();
    double ticks = (double)sysconf(_SC_CLK_TCK);
    if (!read_stat(&s))
        return;
    add_header(out, CPU);
    buf_printf(out, "process_cpu_seconds_total %.2f\n", (double)(s.user_ticks + s.system_ticks) / ticks);
    add_header(out, RESIDENT);
    buf_printf(out, "process_resident_memory_bytes %lld\n", (long long)s.resident_pages * sysconf(_SC_PAGESIZE));
    add_header(out, VIRTUAL);
    buf_printf(out, "process_virtual_memory_bytes %lu\n", s.virtual_bytes);
    if (boot) {
        add_header(out, START);
        buf_printf(out, "process_start_time_seconds %.2f\n", (double)boot + (double)s.start_ticks / ticks);
    }
}

static void expose_descriptors(struct buf *out)
{
    long open_now = count_descriptors();
    struct rlimit limit;
    if (open_now >= 0) {
        add_header(out, OPEN_FDS);
        buf_printf(out, "process_open_fds %ld\n", open_now);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        add_header(out, MAX_FDS);
        buf_printf(out, "process_max_fds %llu\n", (unsigned long long)limit.rlim_cur);
    }
}

static void add_label(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "%s=\"", name);
    for (; *value; value++) {
        if (*value == '\n') {
            BUF_LIT(out, "\\n");
            continue;
        }
        if (*value == '"' || *value == '\\')
            BUF_LIT(out, "\\");
        buf_append(out, value, 1);
    }
    BUF_LIT(out, "\"");
}

static void expose_build(struct buf *out, const struct build_versions *versions)
{
    add_header(out, BUILD);
    BUF_LIT(out, "holdfast_build_info{");
    add_label(out, "version", versions->holdfast);
    BUF_LIT(out, ",");
    add_label(out, "openssl", versions->openssl);
    BUF_LIT(out, ",");
    add_label(out, "expat", versions->expat);
    BUF_LIT(out, "} 1\n");
}

void process_metrics_expose(struct buf *out, const struct build_versions *versions)
{
    expose_stat(out);
    expose_descriptors(out);
    expose_build(out, versions);
}

void process_metrics_describe(struct buf *out)
{
    for (int f = 0; f < FIGURES; f++)
        counters_add_description(out, families[f].shown ? families[f].shown : families[f].name, families[f].type,
                                 families[f].help);
}
