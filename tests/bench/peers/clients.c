/* Many WebSocket clients in one process and one thread.
 *
 *   clients PORT PATH [HELLO READY [PING PONG]]
 *
 * A client sends the text HELLO after its handshake, unless it is empty. It is open when a frame contains READY; if that is
 * empty, it is open after the handshake. It answers a frame of the text PING with PONG, and each ping frame with a pong.
 * Each command on standard input is one line. Send the next after the last answer:
 *   open COUNT TOGETHER   connects until COUNT are open, TOGETHER at the same time. Answer: SECONDS REFUSED
 *                         A refused client comes back after 0.1 s.
 *   wait TEXT             the first answer is "0"; the second, when each client has a frame with TEXT: FIRST LAST BYTES
 *   pongs                 the number of heartbeats that were answered so far. Answer: COUNT
 *   close                 closes all. Answer: 0
 * FIRST and LAST are seconds of CLOCK_MONOTONIC. BYTES is the size of a frame. A failure ends the program with a message.
 * The end of standard input ends the program as well.
 *
 * The clients share 16 addresses from 127.0.0.2 on, because the ports of closed connections stay in use for a minute.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 20000, ROOM = 8192, EVENTS = 512, COMMANDS = MOST, ADDRESSES = 16 };
enum state { CONNECTING, SHAKING, GREETING, OPEN };

struct client {
    int fd;
    enum state state;
    int is_reached;
    size_t size;
    char data[ROOM];
};

static struct client *clients;
static struct sockaddr_in address = {.sin_family = AF_INET};
static const char *path, *hello = "", *ready = "", *ping = "", *pong = "";
static char text[256];
static int poller, wanted, together, begun, opened, refused, unreached, bytes, pongs;
static int refusals[MOST], first_refusal, refusal_count;
static double due[MOST], command_began, first, last;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "unexpected");
    exit(1);
}

static void say(struct client *one, int opcode, const char *data, size_t size) {
    char frame[1024];
    size_t head = size < 126 ? 2 : 4;
    if (head + 4 + size > sizeof frame) {
        fail("a message to send is too long");
    }
    frame[0] = (char)(0x80 | opcode);
    frame[1] = (char)(0x80 | (head == 2 ? size : 126));
    if (head == 4) {
        frame[2] = (char)(size >> 8);
        frame[3] = (char)size;
    }
    memset(frame + head, 0, 4);
    memcpy(frame + head + 4, data, size);
    if (send(one->fd, frame, head + 4 + size, MSG_NOSIGNAL) != (ssize_t)(head + 4 + size)) {
        fail("send");
    }
}

static void watch(int number, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.u32 = number};
    if (epoll_ctl(poller, operation, clients[number].fd, &event)) {
        fail("epoll_ctl");
    }
}

/* Sends the handshake, if the connection is made. */
static int ask(struct client *one) {
    char request[512];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n", path);
    if (send(one->fd, request, size, MSG_NOSIGNAL) != size) {
        return 0;
    }
    one->state = SHAKING;
    return 1;
}

static void begin(int number) {
    struct client *one = &clients[number];
    struct sockaddr_in source = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number % ADDRESSES)};
    int yes = 1;
    one->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    one->state = CONNECTING;
    one->size = 0;
    one->is_reached = 1;
    /* connect(2) chooses the port, so it can be one that another connection has to another server. */
    if (one->fd < 0 || setsockopt(one->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes) ||
        bind(one->fd, (void *)&source, sizeof source)) {
        fail("bind");
    }
    if (connect(one->fd, (void *)&address, sizeof address) && errno != EINPROGRESS) {
        fail("connect");
    }
    watch(number, ask(one) ? EPOLLIN : EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
}

static void refuse(int number) {
    int place = (first_refusal + refusal_count++) % MOST;
    if (clients[number].state == OPEN) {
        errno = 0;
        fail("the server closed an open connection");
    }
    close(clients[number].fd);
    clients[number].fd = -1;
    refused++;
    refusals[place] = number;
    due[place] = now() + 0.1;
}

static void open_one(struct client *one) {
    one->state = OPEN;
    if (++opened == wanted) {
        printf("%.6f %d\n", now() - command_began, refused);
        fflush(stdout);
    }
}

static void take_frame(struct client *one, int opcode, const char *payload, size_t size, size_t whole) {
    if (opcode == 8 && size >= 2 && one->state == OPEN) {
        fprintf(stderr, "the server closed an open connection: %d %.*s\n",
                (unsigned char)payload[0] << 8 | (unsigned char)payload[1], (int)size - 2, payload + 2);
        exit(1);
    }
    if (opcode == 9) {
        say(one, 10, payload, size);
        pongs++;
        return;
    }
    if (one->state == GREETING && memmem(payload, size, ready, strlen(ready))) {
        open_one(one);
    }
    if (*ping && size == strlen(ping) && !memcmp(payload, ping, size)) {
        say(one, 1, pong, strlen(pong));
        pongs++;
    }
    if (!one->is_reached && memmem(payload, size, text, strlen(text))) {
        last = now();
        first = first ? first : last;
        bytes = (int)whole;
        one->is_reached = 1;
        if (--unreached == 0) {
            printf("%.9f %.9f %d\n", first, last, bytes);
            fflush(stdout);
        }
    }
}

/* Takes the response of the handshake. Returns its bytes, 0 if it isn't whole, and -1 if it is a refusal. */
static ssize_t take_response(struct client *one) {
    char *end = memmem(one->data, one->size, "\r\n\r\n", 4);
    if (end == NULL) {
        return 0;
    }
    if (memcmp(one->data, "HTTP/1.1 101", 12)) {
        return -1;
    }
    if (*hello) {
        say(one, 1, hello, strlen(hello));
    }
    if (*ready) {
        one->state = GREETING;
    } else {
        open_one(one);
    }
    return end + 4 - one->data;
}

/* Takes one frame. Returns its bytes, and 0 if it isn't whole. */
static ssize_t take(struct client *one, const unsigned char *data, size_t size) {
    size_t head = size > 1 && data[1] == 126 ? 4 : 2, payload;
    if (size < head) {
        return 0;
    }
    if (data[1] > 126) {
        errno = 0;
        fail("a frame is too long");
    }
    payload = head == 2 ? data[1] : data[2] << 8 | data[3];
    if (size < head + payload) {
        return 0;
    }
    take_frame(one, data[0] & 15, (const char *)data + head, payload, head + payload);
    return head + payload;
}

static void receive(int number) {
    struct client *one = &clients[number];
    ssize_t used = 0, taken, size = recv(one->fd, one->data + one->size, ROOM - one->size, 0);
    if (size < 0 && errno == EAGAIN) {
        return;
    }
    if (size <= 0) {
        refuse(number);
        return;
    }
    one->size += size;
    do {
        taken = one->state == SHAKING ? take_response(one)
                                      : take(one, (unsigned char *)one->data + used, one->size - used);
        if (taken < 0) {
            refuse(number);
            return;
        }
        used += taken;
    } while (taken && used < (ssize_t)one->size);
    one->size -= used;
    memmove(one->data, one->data + used, one->size);
    if (one->size == ROOM) {
        fail("a message is too long");
    }
}

static void command(void) {
    char line[512];
    ssize_t size = read(0, line, sizeof line - 1);
    if (size <= 0) {
        exit(0);
    }
    line[size] = 0;
    if (sscanf(line, "open %d %d", &wanted, &together) == 2 && wanted <= MOST) {
        refused = 0;
        command_began = now();
    } else if (sscanf(line, "wait %255s", text) == 1) {
        for (int i = 0; i < opened; i++) {
            clients[i].is_reached = 0;
        }
        unreached = opened;
        first = 0;
        puts("0");
    } else if (!strcmp(line, "pongs\n")) {
        printf("%d\n", pongs);
    } else if (!strcmp(line, "close\n")) {
        for (int i = 0; i < opened; i++) {
            close(clients[i].fd);
        }
        opened = begun = wanted = 0;
        puts("0");
    } else {
        fail("command");
    }
    fflush(stdout);
}

static void begin_all(void) {
    for (; begun < wanted && begun - opened < together; begun++) {
        begin(begun);
    }
    for (; refusal_count && due[first_refusal] <= now(); refusal_count--) {
        begin(refusals[first_refusal]);
        first_refusal = (first_refusal + 1) % MOST;
    }
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS], input = {.events = EPOLLIN, .data.u32 = COMMANDS};
    if (argc != 3 && argc != 5 && argc != 7) {
        fprintf(stderr, "see the head of clients.c\n");
        return 2;
    }
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(atoi(argv[1]));
    path = argv[2];
    if (argc > 3) {
        hello = argv[3];
        ready = argv[4];
    }
    if (argc > 5) {
        ping = argv[5];
        pong = argv[6];
    }
    clients = calloc(MOST, sizeof *clients);
    poller = epoll_create1(0);
    if (clients == NULL || epoll_ctl(poller, EPOLL_CTL_ADD, 0, &input)) {
        fail("start");
    }
    for (;;) {
        begin_all();
        int count = epoll_wait(poller, events, EVENTS, refusal_count ? 10 : -1);
        for (int i = 0; i < count; i++) {
            int number = events[i].data.u32;
            if (number == COMMANDS) {
                command();
                break; /* The other events may be of clients that it closed. */
            }
            if (events[i].events & EPOLLOUT && clients[number].state == CONNECTING && ask(&clients[number])) {
                watch(number, EPOLLIN, EPOLL_CTL_MOD);
            } else {
                receive(number);
            }
        }
    }
}
