/* The floor in C: reads the Redis channel price_updates and calls send() for each message and socket.
 *
 *     REDIS_URL=unix://USER:PASSWORD@PATH?db=0 floor PORT [joined]
 *
 * There is no WebSocket handshake and no Socket.IO: a client sends its instruments as one line,
 * {"pairs":["EUR_USD"]}, and receives frames. With `joined`, all messages that Redis has ready are
 * joined for each client, which gets one send().
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MOST_ROOMS = 4096, MOST_CLIENTS = 65536, NAME = 32, LINE = 1 << 16, INPUT = 1 << 22, OUTPUT = 1 << 17 };

typedef struct { char name[NAME]; int *fds, count, room; } Room;
typedef struct { char *bytes; size_t length; } Pending;

static Room rooms[MOST_ROOMS];
static int room_count, joined;
static Pending pending[MOST_CLIENTS]; /* by descriptor, with `joined` alone */
static int waiting[MOST_CLIENTS], waiting_count;

static void fail(const char *what) { perror(what); exit(1); }

static Room *find_room(const char *name, size_t length, int make) {
    for (int i = 0; i < room_count; i++)
        if (!memcmp(rooms[i].name, name, length) && !rooms[i].name[length]) return &rooms[i];
    if (!make || length >= NAME || room_count == MOST_ROOMS) return NULL;
    memcpy(rooms[room_count].name, name, length);
    return &rooms[room_count++];
}

static void put(int fd, const char *bytes, size_t length) {
    while (length) { /* the socket blocks: a slow reader stops the floor */
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return;
        bytes += sent, length -= sent;
    }
}

static void flush_joined(void) {
    for (int i = 0; i < waiting_count; i++) {
        Pending *one = &pending[waiting[i]];
        put(waiting[i], one->bytes, one->length);
        one->length = 0;
    }
    waiting_count = 0;
}

static void add_joined(int fd, const char *frame, size_t length) {
    Pending *one = &pending[fd];
    if (one->length + length > OUTPUT) flush_joined();
    if (!one->bytes && !(one->bytes = malloc(OUTPUT))) fail("malloc");
    if (!one->length) waiting[waiting_count++] = fd;
    memcpy(one->bytes + one->length, frame, length);
    one->length += length;
}

/* Returns the length of the unmasked text frame of 42["price_update",BODY]. */
static size_t frame_of(char *out, const char *body, size_t length) {
    static const char prefix[] = "42[\"price_update\",";
    size_t size = sizeof prefix - 1 + length + 1, at = 2;
    out[0] = (char)0x81;
    if (size < 126) out[1] = (char)size;
    else if (size < 65536) out[1] = 126, out[2] = (char)(size >> 8), out[3] = (char)size, at = 4;
    else exit(2);
    memcpy(out + at, prefix, sizeof prefix - 1);
    memcpy(out + at + sizeof prefix - 1, body, length);
    out[at + size - 1] = ']';
    return at + size;
}

static void publish(const char *body, size_t length) {
    static char frame[1 << 16];
    const char *name = memmem(body, length, ":\"", 2); /* the instrument is the first field of a body */
    if (!name || length > sizeof frame - 64) return;
    const char *end = memchr(name + 2, '"', body + length - name - 2);
    Room *room = end ? find_room(name + 2, end - name - 2, 0) : NULL;
    if (!room) return;
    size_t size = frame_of(frame, body, length);
    for (int i = 0; i < room->count; i++) {
        if (joined) add_joined(room->fds[i], frame, size);
        else put(room->fds[i], frame, size);
    }
}

/* Reads *3 $7 message $13 price_updates $N BODY; returns the bytes of the reply, 0 if incomplete. */
static size_t read_reply(const char *at, size_t length) {
    const char *start = at, *end = at + length, *part = NULL, *stop;
    long count, size = 0;
    if (!(stop = memmem(at, length, "\r\n", 2))) return 0;
    if (*at != '*') return stop + 2 - start; /* a status */
    for (count = atol(at + 1), at = stop + 2; count > 0; count--) {
        if (!(stop = memmem(at, end - at, "\r\n", 2))) return 0;
        if (*at != '$') { at = stop + 2; continue; } /* the number of subscriptions */
        size = atol(at + 1), part = stop + 2;
        if (end - part < size + 2) return 0;
        at = part + size + 2;
        if (count == 1) publish(part, size);
    }
    return at - start;
}

static void read_redis(int redis) {
    static char input[INPUT];
    static size_t kept;
    for (;;) {
        ssize_t got = recv(redis, input + kept, sizeof input - kept, MSG_DONTWAIT);
        if (got == 0) exit(0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) break;
        size_t length = kept + got, done = 0, one;
        while (done < length && (one = read_reply(input + done, length - done))) done += one;
        kept = length - done;
        memmove(input, input + done, kept);
        if (!joined) break; /* epoll calls again if more is ready */
    }
    flush_joined();
}

static void subscribe(int fd) {
    static char line[LINE];
    static const char confirmed[] = "\x81\x1f" "42[\"subscription_confirmed\",{}]";
    ssize_t got = recv(fd, line, sizeof line - 1, MSG_DONTWAIT); /* on loopback a line arrives in one piece */
    if (got <= 0) { if (!got) close(fd); return; }
    line[got] = 0;
    for (char *at = strchr(line, '['), *end; at && (at = strchr(at, '"')) && (end = strchr(at + 1, '"')); at = end + 1) {
        Room *room = find_room(at + 1, end - at - 1, 1);
        if (!room) exit(2);
        if (room->count == room->room) room->fds = realloc(room->fds, sizeof(int) * (room->room = room->room * 2 + 16));
        room->fds[room->count++] = fd;
    }
    put(fd, confirmed, sizeof confirmed - 1);
}

static int connect_redis(const char *url) {
    char scheme[16], user[256], password[256], rest[512], command[1024];
    if (sscanf(url, "%15[a-z]://%255[^:]:%255[^@]@%511[^?]", scheme, user, password, rest) != 4) exit(2);
    int fd;
    if (!strcmp(scheme, "unix")) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        if (strlen(rest) >= sizeof address.sun_path) exit(2);
        strcpy(address.sun_path, rest);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof address)) fail("connect to Redis");
    } else {
        char *port = strchr(rest, ':');
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port ? atoi(port + 1) : 6379)};
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof address)) fail("connect to Redis");
    }
    int length = snprintf(command, sizeof command, "AUTH %s %s\r\nSUBSCRIBE price_updates\r\n", user, password);
    put(fd, command, length);
    return fd;
}

int main(int argc, char **argv) {
    const char *url = getenv("REDIS_URL");
    if (argc < 2 || !url) return 2;
    joined = argc > 2 && !strcmp(argv[2], "joined");
    int redis = connect_redis(url), epoll = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(atoi(argv[1]))};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) fail("listen");
    for (int i = 0; i < 2; i++) {
        struct epoll_event watched = {.events = EPOLLIN, .data.fd = i ? redis : listener};
        epoll_ctl(epoll, EPOLL_CTL_ADD, watched.data.fd, &watched);
    }
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == redis) read_redis(redis);
            else if (fd != listener) subscribe(fd);
            else if ((fd = accept(listener, NULL, NULL)) >= 0) {
                struct epoll_event watched = {.events = EPOLLIN, .data.fd = fd};
                if (fd >= MOST_CLIENTS) exit(2);
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &watched);
            }
        }
    }
}
