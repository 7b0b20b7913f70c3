// Preloaded into a daemon: while the file that CORAD_WRITE_FAULT names is there, a write to the store fails with the
// errno that stands in it. So a full disk and a broken one can be met on any machine, without mounting anything.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fault(int fd) {
  const char *control = getenv("CORAD_WRITE_FAULT");
  FILE *file = control ? fopen(control, "r") : NULL;
  if (!file) return 0;
  int code = 0;
  if (fscanf(file, "%d", &code) != 1) code = 0;
  fclose(file);
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strstr(path, ".sqlite") ? code : 0;
}

#define REPLACEMENT(name, offset_type)                                                    \
  ssize_t name(int fd, const void *bytes, size_t count, offset_type offset) {             \
    int code = fault(fd);                                                                 \
    if (code) {                                                                           \
      errno = code;                                                                       \
      return -1;                                                                          \
    }                                                                                     \
    ssize_t (*next)(int, const void *, size_t, offset_type) = dlsym(RTLD_NEXT, #name);    \
    return next(fd, bytes, count, offset);                                                \
  }

REPLACEMENT(pwrite, off_t)
REPLACEMENT(pwrite64, off64_t)
