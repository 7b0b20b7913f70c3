#pragma once
// System calls and structures that Swift cannot import from glibc.
#include <stdint.h>
#include <sys/types.h>

/// accept4(2) with SOCK_NONBLOCK | SOCK_CLOEXEC, without the peer's address. -1 and errno on failure.
int csystem_accept(int listener);

/// Names the calling thread (at most 15 bytes are kept).
void csystem_name_thread(const char *name);

/// One readiness report: epoll_event is packed on x86-64, this is not.
struct csystem_event {
  uint32_t events;
  uint64_t token;
};

enum {
  CSYSTEM_READABLE = 0x001,       // EPOLLIN
  CSYSTEM_WRITABLE = 0x004,       // EPOLLOUT
  CSYSTEM_ERROR = 0x008,          // EPOLLERR
  CSYSTEM_HANGUP = 0x010,         // EPOLLHUP
  CSYSTEM_PEER_FINISHED = 0x2000, // EPOLLRDHUP
};

/// epoll_create1(EPOLL_CLOEXEC).
int csystem_poll_create(void);
/// Adds a connection: in, out and rdhup, edge-triggered.
int csystem_poll_add_connection(int poll, int descriptor, uint64_t token);
/// Adds a listener: in, level-triggered, EPOLLEXCLUSIVE.
int csystem_poll_add_listener(int poll, int descriptor, uint64_t token);
/// Adds the wake-up descriptor: in, edge-triggered.
int csystem_poll_add_wakeup(int poll, int descriptor, uint64_t token);
int csystem_poll_remove(int poll, int descriptor);
/// epoll_wait for at most `capacity` (<= 256) events. -1 and errno on failure.
int csystem_poll_wait(int poll, struct csystem_event *events, int capacity, int timeout_milliseconds);

/// eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC).
int csystem_wakeup_create(void);
void csystem_wakeup_signal(int descriptor);
void csystem_wakeup_clear(int descriptor);

/// CLOCK_MONOTONIC in nanoseconds.
int64_t csystem_monotonic_nanoseconds(void);
/// CLOCK_REALTIME_COARSE in whole seconds.
int64_t csystem_unix_seconds(void);

/// Ignores SIGPIPE for the process: OpenSSL writes sockets with write(2).
void csystem_ignore_sigpipe(void);
