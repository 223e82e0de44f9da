/* How many CPUs this process may use: affinity, cut by the cgroup's quota. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mlc.h"

static int affinity_count(void)
{
#ifdef __linux__
    enum { MOST = 8192 };
    cpu_set_t *set = CPU_ALLOC(MOST);
    int count = 0;
    if (set && sched_getaffinity(0, CPU_ALLOC_SIZE(MOST), set) == 0)
        count = CPU_COUNT_S(CPU_ALLOC_SIZE(MOST), set);
    CPU_FREE(set);
    if (count > 0)
        return count;
#endif
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

/* The first line of folder/name, without its newline; false where there is none. */
static int read_line(const char *folder, const char *name, char *line, int size)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    int found = fgets(line, size, file) != NULL;
    fclose(file);
    if (found)
        line[strcspn(line, "\n")] = 0;
    return found;
}

/* Rounded up: half a CPU still is one thread. */
static int ratio(long long quota, long long period)
{
    return quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

/* The quota of one cgroup folder in CPUs, version 2 or 1; 0 for none. */
static int folder_quota(const char *folder)
{
    char line[128];
    long long quota, period;
    if (read_line(folder, "cpu.max", line, sizeof line))
        return sscanf(line, "%lld %lld", &quota, &period) == 2 ? ratio(quota, period) : 0; /* "max ..." is none */
    if (!read_line(folder, "cpu.cfs_quota_us", line, sizeof line) || sscanf(line, "%lld", &quota) != 1)
        return 0;
    if (!read_line(folder, "cpu.cfs_period_us", line, sizeof line) || sscanf(line, "%lld", &period) != 1)
        return 0;
    return ratio(quota, period);
}

/* The smallest quota of the version 2 cgroup of this process and of those around it; 0 for none. */
static int cgroup_quota(void)
{
    char line[2048], path[2112];
    int smallest = folder_quota("/sys/fs/cgroup/cpu");

    if (!read_line("/proc/self", "cgroup", line, sizeof line) || strncmp(line, "0::/", 4) != 0)
        return smallest;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s", line + 3);
    for (char *end = path + strlen(path); end; end = strrchr(path, '/')) {
        *end = 0;
        if (strlen(path) < strlen("/sys/fs/cgroup"))
            break;
        int quota = folder_quota(path);
        if (quota > 0 && (smallest == 0 || quota < smallest))
            smallest = quota;
    }
    return smallest;
}

int mlc_cpu_count(void)
{
    int cpus = affinity_count(), quota = cgroup_quota();
    return quota > 0 && quota < cpus ? quota : cpus;
}
