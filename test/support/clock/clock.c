/* The wall clock of one process, set by a file: CLOCK_SHIFT names it, and it holds seconds. Preloaded
   (LD_PRELOAD), so that a test can set a clock and leave the machine's alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long shift(void)
{
  const char *path = getenv("CLOCK_SHIFT");
  FILE *file = path ? fopen(path, "r") : NULL;
  long seconds = 0;

  if (file) {
    if (fscanf(file, "%ld", &seconds) != 1)
      seconds = 0;
    fclose(file);
  }
  return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
  static int (*real)(clockid_t, struct timespec *);
  int result;

  if (!real)
    real = dlsym(RTLD_NEXT, "clock_gettime");
  result = real(clock, time);
  if (result == 0 && clock == CLOCK_REALTIME)
    time->tv_sec += shift();
  return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
  struct timespec now;
  int result = clock_gettime(CLOCK_REALTIME, &now);

  (void)zone;
  time->tv_sec = now.tv_sec;
  time->tv_usec = now.tv_nsec / 1000;
  return result;
}

time_t time(time_t *seconds)
{
  struct timespec now;

  clock_gettime(CLOCK_REALTIME, &now);
  if (seconds)
    *seconds = now.tv_sec;
  return now.tv_sec;
}
