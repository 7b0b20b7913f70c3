#define _GNU_SOURCE
#include "CPlatform.h"
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

_Static_assert(CSYSTEM_READABLE == EPOLLIN && CSYSTEM_WRITABLE == EPOLLOUT, "epoll bits");
_Static_assert(CSYSTEM_ERROR == EPOLLERR && CSYSTEM_HANGUP == EPOLLHUP, "epoll bits");
_Static_assert(CSYSTEM_PEER_FINISHED == EPOLLRDHUP, "epoll bits");

int csystem_accept(int listener) {
  return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

void csystem_name_thread(const char *name) {
  char kept[16] = {0};
  strncpy(kept, name, sizeof kept - 1);
  pthread_setname_np(pthread_self(), kept);
}

int csystem_poll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

static int add(int poll, int descriptor, uint32_t events, uint64_t token) {
  struct epoll_event event = {.events = events, .data.u64 = token};
  return epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &event);
}

int csystem_poll_add_connection(int poll, int descriptor, uint64_t token) {
  return add(poll, descriptor, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, token);
}

int csystem_poll_add_listener(int poll, int descriptor, uint64_t token) {
  return add(poll, descriptor, EPOLLIN | EPOLLEXCLUSIVE, token);
}

int csystem_poll_add_wakeup(int poll, int descriptor, uint64_t token) {
  return add(poll, descriptor, EPOLLIN | EPOLLET, token);
}

int csystem_poll_remove(int poll, int descriptor) {
  return epoll_ctl(poll, EPOLL_CTL_DEL, descriptor, NULL);
}

int csystem_poll_wait(int poll, struct csystem_event *events, int capacity, int timeout_milliseconds) {
  struct epoll_event raw[256];
  if (capacity > 256) capacity = 256;
  int count = epoll_wait(poll, raw, capacity, timeout_milliseconds);
  for (int i = 0; i < count; i++) {
    events[i].events = raw[i].events;
    events[i].token = raw[i].data.u64;
  }
  return count;
}

int csystem_wakeup_create(void) { return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }

void csystem_wakeup_signal(int descriptor) {
  uint64_t one = 1;
  ssize_t written = write(descriptor, &one, sizeof one);
  (void)written; // full counter: the loop is awake already
}

void csystem_wakeup_clear(int descriptor) {
  uint64_t count;
  ssize_t got = read(descriptor, &count, sizeof count);
  (void)got; // nothing to clear is fine
}

int64_t csystem_monotonic_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t csystem_unix_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return (int64_t)now.tv_sec;
}

void csystem_ignore_sigpipe(void) { signal(SIGPIPE, SIG_IGN); }
