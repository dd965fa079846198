/* The floor: a WebSocket server that does nothing but accept, send and close.
 *
 *   floor PORT HEARTBEAT_SECONDS
 *
 * POST sends its body to all clients as one frame, in a loop of send(2). Every HEARTBEAT_SECONDS a loop sends a ping frame
 * to all. The response of the handshake is that for the key of clients.c. A request must arrive as one segment.
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

enum { MOST = 65536, EVENTS = 512 };

static const char SWITCHING[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                "Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n";
static const char DONE[] = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";

/* The clients that are connected, and the place of each descriptor among them, counted from 1. */
static int clients[MOST], places[MOST], count;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void send_all(int opcode, const char *payload, size_t size) {
    unsigned char frame[4096] = {0x80 | opcode, size};
    size_t head = 2;
    if (size + 4 > sizeof frame) {
        fail("the body is too long");
    }
    if (size > 125) {
        frame[1] = 126;
        frame[2] = size >> 8;
        frame[3] = size;
        head = 4;
    }
    memcpy(frame + head, payload, size);
    for (int i = 0; i < count; i++) {
        send(clients[i], frame, head + size, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

static void end(int fd) {
    if (places[fd]) {
        int last = clients[--count];
        clients[places[fd] - 1] = last;
        places[last] = places[fd];
        places[fd] = 0;
    }
    close(fd);
}

static void receive(int fd) {
    char data[4096];
    ssize_t size = recv(fd, data, sizeof data - 1, MSG_DONTWAIT);
    if (size <= 0) {
        if (size == 0 || errno != EAGAIN) {
            end(fd);
        }
        return;
    }
    data[size] = 0;
    if (places[fd]) {
        return; /* a pong */
    }
    if (!strncmp(data, "POST ", 5)) {
        char *body = strstr(data, "\r\n\r\n") + 4;
        send_all(1, body, data + size - body);
        send(fd, DONE, sizeof DONE - 1, MSG_NOSIGNAL);
        end(fd);
        return;
    }
    send(fd, SWITCHING, sizeof SWITCHING - 1, MSG_NOSIGNAL);
    clients[count++] = fd;
    places[fd] = count;
}

static void accept_all(int listening, int poller) {
    int fd, one = 1;
    while ((fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (fd >= MOST || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) {
            fail("epoll_ctl");
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct epoll_event events[EVENTS];
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poller = epoll_create1(0);
    if (argc != 3) {
        fprintf(stderr, "see the head of floor.c\n");
        return 2;
    }
    double interval = atof(argv[2]), due = now() + interval;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(atoi(argv[1]));
    events[0] = (struct epoll_event){.events = EPOLLIN, .data.fd = listening};
    if (bind(listening, (void *)&address, sizeof address) || listen(listening, 4096) ||
        epoll_ctl(poller, EPOLL_CTL_ADD, listening, &events[0])) {
        fail("listen");
    }
    for (;;) {
        double left = due - now();
        int ready = left > 0 ? epoll_wait(poller, events, EVENTS, (int)(1000 * left) + 1) : 0;
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listening) {
                accept_all(listening, poller);
            } else {
                receive(events[i].data.fd);
            }
        }
        if (now() >= due) {
            send_all(9, "", 0);
            due += interval;
        }
    }
}
