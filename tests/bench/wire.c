/* The two C programs of the benchmarks: many WebSocket clients in one thread, and the loop of send(2) that is the floor.
 *
 *   wire clients PORT COUNT PATH   connects; PATH "-" sends no handshake. Commands on standard input, an answer to each:
 *       wait TEXT SECONDS          until TEXT has reached every client: FIRST LAST BYTES MISSING
 *       idle SECONDS               answers heartbeats: COUNT
 *   wire floor COUNT               listens and accepts COUNT connections. Command:
 *       TEXT BYTES                 sends a text frame of BYTES bytes that contains TEXT to each: BEGAN ENDED CPU
 *
 * Times are seconds of CLOCK_MONOTONIC. All failures end the program with a message.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 65536, BATCH = 100, EVENTS = 512, PER_ADDRESS = 20000 };

static int sockets[MOST];
static char reached[MOST];
static int count, poller;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* Reads until every client has TEXT, or the deadline. If `text` is NULL, only answers heartbeats. */
static void receive(const char *text, double seconds, int is_told) {
    static char data[65536];
    struct epoll_event events[EVENTS];
    double deadline = now(CLOCK_MONOTONIC) + seconds, first = 0, last = 0;
    int missing = 0, bytes = 0, answered = 0;
    for (int i = 0; i < count; i++) {
        missing += text && !reached[i];
    }
    while (text == NULL || missing) {
        double left = deadline - now(CLOCK_MONOTONIC);
        if (left <= 0) {
            break;
        }
        int ready = epoll_wait(poller, events, EVENTS, (int)(1000 * left) + 1);
        for (int i = 0; i < ready; i++) {
            int number = events[i].data.u32;
            ssize_t size = recv(sockets[number], data, sizeof data, MSG_DONTWAIT);
            if (size < 0 && errno == EAGAIN) {
                continue;
            }
            if (size <= 0 || !memcmp(data, "HTTP/1.1 5", 10)) {
                fprintf(stderr, "%.*s\n", (int)(size > 0 ? size : 0), data);
                fail("the server closed a connection");
            }
            if (text && !reached[number] && memmem(data, size, text, strlen(text))) {
                last = now(CLOCK_MONOTONIC);
                first = first ? first : last;
                bytes = (int)size;
                reached[number] = 1;
                missing--;
            }
            if (size >= 2 && !memcmp(data + size - 2, "\x89\0", 2)) {
                if (send(sockets[number], "\x8a\x80\0\0\0\0", 6, MSG_NOSIGNAL) != 6) {
                    fail("pong");
                }
                answered++;
            }
        }
    }
    if (!is_told) {
        if (missing) {
            errno = ETIMEDOUT;
            fail("first messages");
        }
        return;
    }
    if (text) {
        printf("%.9f %.9f %d %d\n", first, last, bytes, missing);
    } else {
        printf("%d\n", answered);
    }
    fflush(stdout);
}

static void clients(int port, int wanted, const char *path) {
    char request[512], line[512], text[256];
    double began = now(CLOCK_MONOTONIC), seconds;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)}, own = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    snprintf(request, sizeof request,
             "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n", path);
    poller = epoll_create1(0);
    for (int i = 0; i < wanted; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        int fd = sockets[i] = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + i / PER_ADDRESS);
        /* The port is chosen by `connect`, so that connections to several servers may share it. */
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (fd < 0 || bind(fd, (void *)&own, sizeof own) || connect(fd, (void *)&address, sizeof address)) {
            fail("connect");
        }
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) {
            fail("epoll_ctl");
        }
        count++;
        if (*path == '-') {
            continue;
        }
        if (send(fd, request, strlen(request), 0) < 0) {
            fail("send");
        }
        if (count % BATCH == 0 || count == wanted) {
            for (int j = 0; j < count - BATCH; j++) {
                reached[j] = 1;
            }
            receive("\"type\":\"", 60, 0);
        }
    }
    printf("connected %.3f\n", now(CLOCK_MONOTONIC) - began);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "wait %255s %lf", text, &seconds) == 2) {
            memset(reached, 0, sizeof reached);
            receive(text, seconds, 1);
        } else if (sscanf(line, "idle %lf", &seconds) == 1) {
            receive(NULL, seconds, 1);
        }
    }
}

static void serve(int wanted) {
    static unsigned char frame[65536];
    char line[512], text[256];
    int listening = socket(AF_INET, SOCK_STREAM, 0), bytes;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listening, (void *)&address, size) || listen(listening, 4096)) {
        fail("listen");
    }
    getsockname(listening, (void *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (; count < wanted; count++) {
        int one = 1;
        sockets[count] = accept(listening, NULL, NULL);
        if (sockets[count] < 0) {
            fail("accept");
        }
        /* As the product does. */
        setsockopt(sockets[count], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%255s %d", text, &bytes) != 2 || bytes > (int)sizeof frame) {
            fail("command");
        }
        memset(frame, ' ', bytes);
        memcpy(frame + 4, text, strlen(text));
        double began = now(CLOCK_MONOTONIC), used = now(CLOCK_PROCESS_CPUTIME_ID);
        for (int i = 0; i < count; i++) {
            if (send(sockets[i], frame, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) != bytes) {
                fail("send");
            }
        }
        double ended = now(CLOCK_MONOTONIC);
        printf("%.9f %.9f %.9f\n", began, ended, now(CLOCK_PROCESS_CPUTIME_ID) - used);
        fflush(stdout);
    }
}

int main(int argc, char **argv) {
    if (argc == 5 && !strcmp(argv[1], "clients")) {
        clients(atoi(argv[2]), atoi(argv[3]), argv[4]);
    } else if (argc == 3 && !strcmp(argv[1], "floor")) {
        serve(atoi(argv[2]));
    } else {
        fprintf(stderr, "see the head of wire.c\n");
        return 2;
    }
    return 0;
}
