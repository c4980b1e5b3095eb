// What `make bench-uploads` holds receive against, and what sends: a server of one thread that reads 256 KiB and writes them, and a
// client that takes nothing from the server's processor but what sendfile(2) takes.
//
// usage: upload sink FOLDER                                  prints its port; a PUT to /NAME becomes FOLDER/NAME
//        upload send PORT FILE BYTES COUNT CONNECTIONS       COUNT PUTs of FILE's first BYTES, each to a name of its own
// `send` prints the nanoseconds from the first connect to the last answer. Any failed call, and any answer but 2xx, ends the program.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 256, HEAD = 4096, STEP = 256 * 1024 };

static int64_t now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

static void need(int ok, const char *what) {
  if (ok) return;
  perror(what);
  exit(1);
}

static void write_all(int fd, const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t written = write(fd, bytes, length);
    need(written > 0, "write");
    bytes += written;
    length -= (size_t)written;
  }
}

/* ---- sink ---------------------------------------------------------------------------------------------------------- */

struct upload {
  char head[HEAD + 1];
  size_t headed;
  long left;
  int file;
};

static char buffer[STEP];

/** Takes what has come of an upload. False when the client has gone. */
static int take(int socket, struct upload *upload, int folder) {
  if (upload->file < 0) {
    ssize_t got = recv(socket, upload->head + upload->headed, HEAD - upload->headed, 0);
    if (got <= 0) return got < 0 && errno == EAGAIN;
    upload->headed += (size_t)got;
    upload->head[upload->headed] = 0;
    char *end = strstr(upload->head, "\r\n\r\n");
    if (end == NULL) {
      need(upload->headed < HEAD, "head");
      return 1;
    }
    char name[64];
    char *length = strcasestr(upload->head, "content-length:");
    need(length != NULL && sscanf(upload->head, "PUT /%63s", name) == 1, "request");
    upload->left = atol(length + strlen("content-length:"));
    upload->file = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    need(upload->file >= 0, "open");
    size_t rest = upload->headed - (size_t)(end + 4 - upload->head);
    write_all(upload->file, end + 4, rest);
    upload->left -= (long)rest;
  } else {
    ssize_t got = recv(socket, buffer, upload->left < STEP ? (size_t)upload->left : STEP, 0);
    if (got <= 0) return got < 0 && errno == EAGAIN;
    write_all(upload->file, buffer, (size_t)got);
    upload->left -= got;
  }
  if (upload->left > 0) return 1;
  need(close(upload->file) == 0, "close");
  upload->file = -1;
  upload->headed = 0;
  static const char answer[] = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
  need(send(socket, answer, sizeof answer - 1, MSG_NOSIGNAL) == sizeof answer - 1, "send");
  return 1;
}

static void sink(const char *path) {
  int folder = open(path, O_PATH | O_DIRECTORY);
  need(folder >= 0, "open");
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  need(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, CONNECTIONS) == 0, "listen");
  need(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  static struct pollfd polled[1 + CONNECTIONS];
  static struct upload uploads[1 + CONNECTIONS];
  int count = 1;
  polled[0] = (struct pollfd){.fd = listener, .events = POLLIN};
  for (;;) {
    need(poll(polled, (nfds_t)count, -1) > 0, "poll");
    for (int i = count - 1; i > 0; i--) {
      if (polled[i].revents == 0 || take(polled[i].fd, &uploads[i], folder)) continue;
      close(polled[i].fd);
      if (uploads[i].file >= 0) close(uploads[i].file);
      count--;
      polled[i] = polled[count];
      uploads[i] = uploads[count];
    }
    if (polled[0].revents == 0) continue;
    need(count <= CONNECTIONS, "connections");
    int socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    need(socket >= 0, "accept");
    polled[count] = (struct pollfd){.fd = socket, .events = POLLIN};
    uploads[count].file = -1;
    uploads[count++].headed = 0;
  }
}

/* ---- send ---------------------------------------------------------------------------------------------------------- */

struct sending {
  off_t sent;
  char answer[HEAD + 1];
  size_t answered;
};

static int connected(int port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {
    .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  need(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
  int on = 1;
  need(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "setsockopt");
  need(fcntl(fd, F_SETFL, O_NONBLOCK) == 0, "fcntl");
  return fd;
}

static void begin(int socket, struct sending *sending, long bytes, long number) {
  char head[256];
  int length = snprintf(
    head, sizeof head, "PUT /u%ld HTTP/1.1\r\nHost: localhost\r\nContent-Length: %ld\r\n\r\n", number, bytes);
  need(send(socket, head, (size_t)length, MSG_MORE) == length, "send");
  *sending = (struct sending){0};
}

/** True when the answer is whole: a head, and as many bytes as it says. */
static int is_answered(struct sending *sending) {
  char *end = strstr(sending->answer, "\r\n\r\n");
  if (end == NULL) return 0;
  if (strncmp(sending->answer, "HTTP/1.1 2", 10) != 0) {
    fprintf(stderr, "%s\n", sending->answer);
    exit(1);
  }
  char *length = strcasestr(sending->answer, "content-length:");
  long body = length == NULL || length > end ? 0 : atol(length + strlen("content-length:"));
  return (long)(sending->answered - (size_t)(end + 4 - sending->answer)) >= body;
}

static void send_all(int port, const char *path, long bytes, long count, int connections) {
  int file = open(path, O_RDONLY);
  need(file >= 0 && connections <= CONNECTIONS, "open");
  static struct pollfd polled[CONNECTIONS];
  static struct sending all[CONNECTIONS];
  int64_t start = now();
  long begun = 0;
  for (int i = 0; i < connections; i++) {
    polled[i].fd = connected(port);
    polled[i].events = POLLOUT;
    begin(polled[i].fd, &all[i], bytes, begun++);
  }
  for (long done = 0; done < count;) {
    need(poll(polled, (nfds_t)connections, -1) > 0, "poll");
    for (int i = 0; i < connections; i++) {
      struct sending *sending = &all[i];
      if (polled[i].revents == 0) continue;
      if (polled[i].events == POLLOUT) {
        ssize_t sent = sendfile(polled[i].fd, file, &sending->sent, (size_t)(bytes - sending->sent));
        need(sent > 0 || errno == EAGAIN, "sendfile");
        if (sending->sent == bytes) polled[i].events = POLLIN;
        continue;
      }
      ssize_t got = recv(polled[i].fd, sending->answer + sending->answered, HEAD - sending->answered, 0);
      need(got > 0, "recv");
      sending->answered += (size_t)got;
      sending->answer[sending->answered] = 0;
      if (!is_answered(sending)) continue;
      done++;
      polled[i].events = begun < count ? POLLOUT : 0;
      if (begun < count) begin(polled[i].fd, sending, bytes, begun++);
    }
  }
  printf("%lld\n", (long long)(now() - start));
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "sink") == 0) {
    sink(argv[2]);
    return 0;
  }
  if (argc == 7 && strcmp(argv[1], "send") == 0) {
    send_all(atoi(argv[2]), argv[3], atol(argv[4]), atol(argv[5]), atoi(argv[6]));
    return 0;
  }
  fprintf(stderr, "usage: upload sink FOLDER | upload send PORT FILE BYTES COUNT CONNECTIONS\n");
  return 2;
}
