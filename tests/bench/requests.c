/* Sends the same GET request over keep-alive connections, as fast as the server answers, and prints the times as JSON.
 *
 * requests PORT[,PORT] SECONDS CONNECTIONS STATUS TARGET [HEADER]...
 *
 * The connections go to the ports in turn.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MOST 4194304

struct connection {
    int fd, port;
    double sent;
    size_t length;
    char *data;
};

static char request[65536];
static size_t request_length;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void ask(struct connection *each) {
    each->length = 0;
    each->sent = now();
    if (write(each->fd, request, request_length) != (ssize_t)request_length)
        fail("write");
}

static void open_one(struct connection *each, int epoll) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(each->port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = each};
    int on = 1;
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    each->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (each->fd < 0 || connect(each->fd, (struct sockaddr *)&address, sizeof address))
        fail("connect");
    setsockopt(each->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, each->fd, &event))
        fail("epoll_ctl");
    ask(each);
}

/* Whether the answer is complete. */
static int is_whole(struct connection *each, const char *status) {
    char *end, *length;
    each->data[each->length] = 0;
    end = strstr(each->data, "\r\n\r\n");
    if (!end)
        return 0;
    if (strncmp(each->data + 9, status, 3)) {
        fprintf(stderr, "unexpected answer: %.200s\n", each->data);
        exit(1);
    }
    length = strcasestr(each->data, "\r\ncontent-length:");
    if (!length || length > end)
        return 1;
    return each->length - (end + 4 - each->data) >= strtoul(length + 17, NULL, 10);
}

int main(int count, char **arguments) {
    const char *second = strchr(arguments[1], ',');
    int ports[] = {atoi(arguments[1]), atoi(second ? second + 1 : arguments[1])};
    int connections = atoi(arguments[3]), epoll = epoll_create1(0);
    double seconds = atof(arguments[2]), ends;
    size_t answers = 0, room = 1 << 20;
    double *times = malloc(room * sizeof *times);
    struct connection *all = calloc(connections, sizeof *all);
    struct epoll_event events[64];
    request_length = sprintf(request, "GET %s HTTP/1.1\r\nHost: localhost\r\n", arguments[5]);
    for (int number = 6; number < count; number++)
        request_length += sprintf(request + request_length, "%s\r\n", arguments[number]);
    request_length += sprintf(request + request_length, "\r\n");
    for (int number = 0; number < connections; number++) {
        all[number].data = malloc(MOST + 1);
        all[number].port = ports[number % 2];
        open_one(&all[number], epoll);
    }
    ends = now() + seconds;
    while (now() < ends) {
        int ready = epoll_wait(epoll, events, 64, 1000);
        for (int number = 0; number < ready; number++) {
            struct connection *each = events[number].data.ptr;
            ssize_t got = read(each->fd, each->data + each->length, MOST - each->length);
            if (got <= 0)
                fail("read");
            each->length += got;
            if (!is_whole(each, arguments[4]))
                continue;
            if (answers == room)
                times = realloc(times, (room *= 2) * sizeof *times);
            times[answers++] = now() - each->sent;
            if (strcasestr(each->data, "\r\nconnection: close")) {
                close(each->fd);
                open_one(each, epoll);
            } else
                ask(each);
        }
    }
    for (size_t number = 0; number < answers; number++)
        printf("%s%.6f", number ? "," : "[", times[number]);
    puts(answers ? "]" : "[]");
    return 0;
}
