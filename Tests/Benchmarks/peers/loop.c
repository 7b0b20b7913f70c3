// The bare epoll loop that `corad-bench http` measures against, and the load for both sides. One thread each.
//
//   loop serve REQUEST_BYTES BODY_BYTES     binds 127.0.0.1:0 and prints the port; answers until stdin ends.
//       A request is over after REQUEST_BYTES; each is answered by a body of BODY_BYTES.
//   loop load PORT CONNECTIONS SECONDS FILE     sends FILE's bytes on every connection, again after each answer;
//       prints {"requests", "failures", "seconds", "body_bytes"}. An answer that is not 200 is a failure.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 64 * 1024, EVENTS = 256, CONNECTIONS = 1024 };

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void watch(int poll, int fd, unsigned events) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

static void send_all(int fd, const char *bytes, size_t count) {
  while (count > 0) {
    ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EAGAIN || errno == EINTR) continue;
      fail("send");
    }
    bytes += sent;
    count -= (size_t)sent;
  }
}

static int serve(size_t request_bytes, size_t body_bytes) {
  static char buffer[BUFFER];
  static size_t seen[CONNECTIONS];
  char *response = malloc(body_bytes + 128);
  if (!response) fail("malloc");
  size_t head_bytes = (size_t)sprintf(response, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", body_bytes);
  memset(response + head_bytes, 'x', body_bytes);

  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024) ||
      getsockname(listener, (struct sockaddr *)&address, &size))
    fail("listen");
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  int poll = epoll_create1(0);
  watch(poll, listener, EPOLLIN);
  watch(poll, 0, EPOLLIN | EPOLLHUP);
  struct epoll_event events[EVENTS];
  for (;;) {
    int count = epoll_wait(poll, events, EVENTS, -1);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == 0) return 0;
      if (fd == listener) {
        int one = 1, peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (peer < 0) continue;
        if (peer >= CONNECTIONS) fail("too many connections");
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        seen[peer] = 0;
        watch(poll, peer, EPOLLIN | EPOLLET);
        continue;
      }
      // A short read emptied the socket.
      ssize_t got;
      do {
        got = read(fd, buffer, BUFFER);
        if (got == 0) close(fd);
        if (got > 0) seen[fd] += (size_t)got;
        while (got > 0 && seen[fd] >= request_bytes) {
          seen[fd] -= request_bytes;
          send_all(fd, response, head_bytes + body_bytes);
        }
      } while (got == BUFFER);
    }
  }
}

struct client {
  int fd;
  size_t got, body, total;  // of the answer being read; total is 0 until its head is complete
  char head[4096];
};

static int load(int port, int count, double duration, const char *path) {
  static char request[BUFFER], buffer[BUFFER];
  static struct client clients[CONNECTIONS];
  FILE *file = fopen(path, "rb");
  if (!file) fail(path);
  size_t length = fread(request, 1, sizeof request, file);
  fclose(file);
  int poll = epoll_create1(0);
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  for (int i = 0; i < count; i++) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    clients[i].fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)i};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
  }
  long requests = 0, failures = 0;
  size_t body_bytes = 0;
  double start = seconds(), now = start;
  int busy = count;
  for (int i = 0; i < count; i++) send_all(clients[i].fd, request, length);
  struct epoll_event events[EVENTS];
  while (busy > 0) {
    /* Never asleep: else a server that is slower than the load would also pay for waking it at every answer. */
    int ready = epoll_wait(poll, events, EVENTS, 0);
    now = seconds();
    if (now > start + duration + 10) {
      failures += busy;
      break;
    }
    for (int i = 0; i < ready; i++) {
      struct client *client = &clients[events[i].data.u32];
      ssize_t got = recv(client->fd, buffer, BUFFER, MSG_DONTWAIT);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (got <= 0) {
        failures++;
        busy--;
        close(client->fd);
        continue;
      }
      if (client->got < sizeof client->head - 1) {
        size_t room = sizeof client->head - 1 - client->got;
        memcpy(client->head + client->got, buffer, (size_t)got < room ? (size_t)got : room);
      }
      client->got += (size_t)got;
      if (client->total == 0) {
        size_t held = client->got < sizeof client->head - 1 ? client->got : sizeof client->head - 1;
        client->head[held] = 0;
        char *end = strstr(client->head, "\r\n\r\n"), *field = strcasestr(client->head, "\r\nContent-Length:");
        if (!end || !field || field > end) continue;
        client->body = strtoul(field + 17, NULL, 10);
        client->total = (size_t)(end - client->head) + 4 + client->body;
        if (strncmp(client->head, "HTTP/1.1 200", 12)) failures++;
      }
      if (client->got < client->total) continue;
      requests++;
      body_bytes = client->body;
      client->got = client->total = 0;
      if (now < start + duration) {
        send_all(client->fd, request, length);
      } else {
        busy--;
      }
    }
  }
  printf(
      "{\"requests\": %ld, \"failures\": %ld, \"seconds\": %.6f, \"body_bytes\": %zu}\n", requests, failures,
      now - start, body_bytes);
  return 0;
}

int main(int count, char **arguments) {
  if (count == 4 && !strcmp(arguments[1], "serve"))
    return serve(strtoul(arguments[2], NULL, 10), strtoul(arguments[3], NULL, 10));
  if (count == 6 && !strcmp(arguments[1], "load"))
    return load(atoi(arguments[2]), atoi(arguments[3]), atof(arguments[4]), arguments[5]);
  fprintf(stderr, "usage: loop serve REQUEST_BYTES BODY_BYTES | load PORT CONNECTIONS SECONDS FILE\n");
  return 2;
}
