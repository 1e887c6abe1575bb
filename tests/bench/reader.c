/* Reads the WebSocket frames of many clients with epoll and checks every byte of every price.
 *
 * A shared library for tests/bench/reader.py. For each client it checks that the numbers of a topic
 * have no hole, counts the prices and sums their hashes. For each topic it counts and sums the
 * distinct messages. A client that has received everything has the sums of its topics.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { OTHER, LOST, BROKEN, HOLE }; /* events */
enum { SLOTS = 1 << 17, MOST_MESSAGES = 1 << 15, BUFFER = 1 << 18, BUCKETS = 6000000, PER_SECOND = 100000 };

typedef struct { uint64_t hash; uint8_t *bytes; uint32_t length, room; int32_t topic; int64_t seq; double sent; } Message;
typedef struct { char *name; size_t length; int64_t last; uint64_t count, sum; } Topic;
typedef struct { int fd, topics; int64_t *next; uint64_t count, sum; uint8_t *rest; size_t kept; } Client;
typedef void (*Event)(int kind, int client, const uint8_t *bytes, size_t length);
/* A price in another form than the usual one: returns 1 and fills the rest, else 0. */
typedef int (*Parse)(const uint8_t *payload, size_t length, const uint8_t **name, size_t *name_length, int64_t *seq, double *sent);

typedef struct {
    int epoll, clients, topics, topic_room;
    Client *client;
    Topic *topic;
    int32_t *topic_slot, *message_slot; /* open addressing; -1: empty */
    Message *message;
    int64_t messages; /* since the last sweep */
    uint64_t received;
    double first, last;
    uint32_t *bucket; /* deliveries by latency in 10 µs */
    Event event;
    Parse parse;
    uint8_t buffer[BUFFER];
} Reader;

static uint64_t hash_of(const uint8_t *bytes, size_t length) {
    uint64_t hash = 0x9E3779B97F4A7C15u ^ length, word;
    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
        hash ^= hash >> 32;
    }
    for (word = 0; length; length--) word = word << 8 | *bytes++;
    hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
    return hash ^ hash >> 32;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

Reader *reader_new(Event event, Parse parse) {
    Reader *reader = calloc(1, sizeof *reader);
    reader->epoll = epoll_create1(0);
    reader->event = event, reader->parse = parse;
    reader->topic_slot = malloc(SLOTS * sizeof(int32_t)), memset(reader->topic_slot, 0xFF, SLOTS * sizeof(int32_t));
    reader->message_slot = malloc(SLOTS * sizeof(int32_t)), memset(reader->message_slot, 0xFF, SLOTS * sizeof(int32_t));
    reader->message = calloc(MOST_MESSAGES, sizeof(Message));
    reader->bucket = calloc(BUCKETS + 1, sizeof(uint32_t));
    return reader;
}

void reader_delete(Reader *reader) {
    close(reader->epoll);
    for (int i = 0; i < reader->topics; i++) free(reader->topic[i].name);
    for (int i = 0; i < reader->clients; i++) free(reader->client[i].next), free(reader->client[i].rest);
    for (int i = 0; i < MOST_MESSAGES; i++) free(reader->message[i].bytes);
    free(reader->topic), free(reader->client), free(reader->message), free(reader->bucket);
    free(reader->topic_slot), free(reader->message_slot), free(reader);
}

int reader_epoll(Reader *reader) { return reader->epoll; }
uint64_t reader_received(Reader *reader) { return reader->received; }
double reader_first(Reader *reader) { return reader->first; }
double reader_last(Reader *reader) { return reader->last; }

/* The number of a topic; a new one for a new name. */
int reader_topic(Reader *reader, const uint8_t *name, size_t length) {
    uint64_t slot = hash_of(name, length) % SLOTS;
    for (int32_t at; (at = reader->topic_slot[slot]) >= 0; slot = (slot + 1) % SLOTS)
        if (reader->topic[at].length == length && !memcmp(reader->topic[at].name, name, length)) return at;
    if (reader->topics == reader->topic_room) reader->topic = realloc(reader->topic, sizeof(Topic) * (reader->topic_room = reader->topic_room * 2 + 64));
    reader->topic[reader->topics] = (Topic){.name = memcpy(malloc(length), name, length), .length = length};
    return reader->topic_slot[slot] = reader->topics++;
}

static int64_t *next_of(Reader *reader, Client *client, int topic) {
    if (topic >= client->topics) {
        int room = reader->topics * 2;
        client->next = realloc(client->next, sizeof(int64_t) * room);
        memset(client->next + client->topics, 0, sizeof(int64_t) * (room - client->topics));
        client->topics = room;
    }
    return &client->next[topic];
}

/* Read from a client from now on; `rest` is the begin of a frame. Returns the client's number. */
int reader_add(Reader *reader, int fd, const uint8_t *rest, size_t length) {
    int number = reader->clients++;
    if (!(number & (number - 1))) reader->client = realloc(reader->client, sizeof(Client) * (number ? number * 2 : 1));
    Client *client = &reader->client[number];
    *client = (Client){.fd = fd, .rest = length ? memcpy(malloc(length), rest, length) : NULL, .kept = length};
    struct epoll_event watched = {.events = EPOLLIN, .data.u32 = number};
    return epoll_ctl(reader->epoll, EPOLL_CTL_ADD, fd, &watched) ? -1 : number;
}

void reader_watch(Reader *reader, int number, int on) {
    struct epoll_event watched = {.events = EPOLLIN, .data.u32 = number};
    epoll_ctl(reader->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, reader->client[number].fd, &watched);
}

/* The next number that a client has to receive of a topic. */
void reader_follow(Reader *reader, int number, int topic, int64_t next) { *next_of(reader, &reader->client[number], topic) = next; }

void reader_begin(Reader *reader) {
    for (int i = 0; i < reader->topics; i++) reader->topic[i].count = reader->topic[i].sum = 0;
    for (int i = 0; i < reader->clients; i++) reader->client[i].count = reader->client[i].sum = 0;
    memset(reader->bucket, 0, sizeof(uint32_t) * (BUCKETS + 1));
    reader->received = 0, reader->first = reader->last = 0;
}

/* Whether a client has exactly the messages of its topics: their number and the sum of their hashes. */
int reader_complete(Reader *reader, int number, const int32_t *topics, int length) {
    uint64_t count = 0, sum = 0;
    for (int i = 0; i < length; i++) count += reader->topic[topics[i]].count, sum += reader->topic[topics[i]].sum;
    return reader->client[number].count == count && reader->client[number].sum == sum;
}

/* The latency in seconds that this share of the deliveries did not exceed; -1 without any. */
double reader_percentile(Reader *reader, double share) {
    uint64_t total = 0, seen = 0;
    for (int i = 0; i <= BUCKETS; i++) total += reader->bucket[i];
    if (!total) return -1;
    for (int i = 0; i <= BUCKETS; i++)
        if ((seen += reader->bucket[i]) >= share * total) return (i + 0.5) / PER_SECOND;
    return (BUCKETS + 0.5) / PER_SECOND;
}

static int text(const uint8_t **at, const uint8_t *end, const char *wanted) {
    size_t length = strlen(wanted);
    if ((size_t)(end - *at) < length || memcmp(*at, wanted, length)) return 0;
    *at += length;
    return 1;
}

static int quoted(const uint8_t **at, const uint8_t *end) {
    for (const uint8_t *start = *at; *at < end && **at != '\\' && **at >= ' '; ++*at)
        if (**at == '"') return *at > start;
    return 0;
}

static int digits(const uint8_t **at, int count) {
    int value = 0, wrong = 0;
    for (; count; count--, ++*at) wrong |= **at < '0' || **at > '9', value = value * 10 + (**at - '0');
    return wrong ? -1 : value;
}

/* Reads 2025-11-18T12:34:56.789123Z as seconds since 1970; -1 for another form. */
static double moment(const uint8_t **at, const uint8_t *end) {
    if (end - *at < 27) return -1;
    int year = digits(at, 4), ok = *(*at)++ == '-', month = digits(at, 2);
    ok &= *(*at)++ == '-';
    int day = digits(at, 2);
    ok &= *(*at)++ == 'T';
    int hour = digits(at, 2);
    ok &= *(*at)++ == ':';
    int minute = digits(at, 2);
    ok &= *(*at)++ == ':';
    int second = digits(at, 2);
    ok &= *(*at)++ == '.';
    int micro = digits(at, 6);
    ok &= *(*at)++ == 'Z';
    if (!ok || year < 1970 || month < 1 || day < 1 || hour < 0 || minute < 0 || second < 0 || micro < 0) return -1;
    struct tm parts = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute, .tm_sec = second};
    return timegm(&parts) + micro * 1e-6;
}

/* Reads the body of a price as the bus writes it, with or without the event of Socket.IO. */
static int usual(const uint8_t *at, size_t length, const uint8_t **name, size_t *name_length, int64_t *seq, double *sent) {
    const uint8_t *end = at + length;
    if (text(&at, end, "42[\"price_update\",") && end[-1] == ']') end--;
    if (!text(&at, end, "{\"instrument\":\"")) return 0;
    *name = at;
    if (!quoted(&at, end)) return 0;
    *name_length = at - *name;
    if (!text(&at, end, "\",\"price\":{\"bid\":\"") || !quoted(&at, end) || !text(&at, end, "\",\"ask\":\"") || !quoted(&at, end)) return 0;
    if (!text(&at, end, "\",\"mid\":\"") || !quoted(&at, end) || !text(&at, end, "\",\"time\":\"") || !quoted(&at, end)) return 0;
    if (!text(&at, end, "\"},\"timestamp\":\"") || (*sent = moment(&at, end)) < 0 || !text(&at, end, "\",\"seq\":")) return 0;
    const uint8_t *number = at;
    for (*seq = 0; at < end && *at >= '0' && *at <= '9' && at - number < 18; at++) *seq = *seq * 10 + (*at - '0');
    return at > number && text(&at, end, ",\"epoch\":\"") && quoted(&at, end) && text(&at, end, "\"}") && at == end;
}

static void forget_messages(Reader *reader) {
    memset(reader->message_slot, 0xFF, SLOTS * sizeof(int32_t));
    reader->messages = 0;
}

/* Keep a price that no client has received before; its topic counts it once. */
static Message *keep(Reader *reader, uint64_t hash, const uint8_t *bytes, size_t length) {
    const uint8_t *name;
    size_t name_length;
    int64_t seq;
    double sent;
    if (!usual(bytes, length, &name, &name_length, &seq, &sent) && !reader->parse(bytes, length, &name, &name_length, &seq, &sent)) return NULL;
    if (reader->messages == MOST_MESSAGES) forget_messages(reader);
    Message *message = &reader->message[reader->messages];
    if (message->room < length) message->bytes = realloc(message->bytes, message->room = length * 2);
    memcpy(message->bytes, bytes, length);
    message->hash = hash, message->length = length, message->seq = seq, message->sent = sent;
    message->topic = reader_topic(reader, name, name_length);
    Topic *topic = &reader->topic[message->topic];
    if (seq > topic->last) topic->last = seq, topic->count++, topic->sum += hash;
    uint64_t slot = hash % SLOTS;
    while (reader->message_slot[slot] >= 0) slot = (slot + 1) % SLOTS;
    reader->message_slot[slot] = reader->messages++;
    return message;
}

static Message *find(Reader *reader, uint64_t hash, const uint8_t *bytes, size_t length) {
    uint64_t slot = hash % SLOTS;
    for (int32_t at; (at = reader->message_slot[slot]) >= 0; slot = (slot + 1) % SLOTS) {
        Message *message = &reader->message[at];
        if (message->hash == hash && message->length == length && !memcmp(message->bytes, bytes, length)) return message;
    }
    return NULL;
}

static void payload(Reader *reader, int number, const uint8_t *bytes, size_t length, double arrived) {
    uint64_t hash = hash_of(bytes, length);
    Message *message = find(reader, hash, bytes, length);
    if (!message && !(message = keep(reader, hash, bytes, length))) {
        reader->event(OTHER, number, bytes, length);
        return;
    }
    Client *client = &reader->client[number];
    int64_t *next = next_of(reader, client, message->topic);
    if (*next && *next != message->seq) {
        char line[128];
        Topic *topic = &reader->topic[message->topic];
        int size = snprintf(line, sizeof line, "%.*s %lld instead of %lld", (int)topic->length, topic->name, (long long)message->seq, (long long)*next);
        reader->event(HOLE, number, (uint8_t *)line, size);
    }
    *next = message->seq + 1;
    client->count++, client->sum += hash;
    int64_t bucket = (arrived - message->sent) * PER_SECOND;
    reader->bucket[bucket < 0 ? 0 : bucket > BUCKETS ? BUCKETS : bucket]++;
    reader->received++, reader->last = arrived;
    if (!reader->first) reader->first = arrived;
}

/* Walk the complete frames; return the bytes used, or -1 after a frame that a server must not send. */
static ssize_t walk(Reader *reader, int number, const uint8_t *bytes, size_t size, double arrived) {
    size_t at = 0;
    while (size - at >= 2) {
        uint64_t length = bytes[at + 1], start = at + 2;
        if (bytes[at] != 0x81 || length > 127) {
            reader->event(BROKEN, number, bytes + at, size - at < 64 ? size - at : 64);
            return -1;
        }
        int wide = length == 126 ? 2 : length == 127 ? 8 : 0;
        if (size - start < (size_t)wide) break;
        if (wide) length = 0;
        for (int i = 0; i < wide; i++) length = length << 8 | bytes[start++];
        if (length > size - start) break;
        payload(reader, number, bytes + start, length, arrived);
        at = start + length;
    }
    return at;
}

static void receive(Reader *reader, int number) {
    Client *client = &reader->client[number];
    size_t kept = client->kept;
    if (kept) memcpy(reader->buffer, client->rest, kept);
    errno = EMSGSIZE; /* of a frame above the buffer, for which nothing is read */
    ssize_t got = kept < BUFFER ? recv(client->fd, reader->buffer + kept, BUFFER - kept, MSG_DONTWAIT) : -1;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        const char *reason = got ? strerror(errno) : "connection closed by the server";
        epoll_ctl(reader->epoll, EPOLL_CTL_DEL, client->fd, NULL);
        reader->event(LOST, number, (const uint8_t *)reason, strlen(reason));
        return;
    }
    size_t size = kept + got;
    ssize_t used = walk(reader, number, reader->buffer, size, now());
    if (used < 0) {
        epoll_ctl(reader->epoll, EPOLL_CTL_DEL, client->fd, NULL);
        return;
    }
    if ((client->kept = size - used)) {
        client->rest = realloc(client->rest, client->kept);
        memcpy(client->rest, reader->buffer + used, client->kept);
    }
}

/* Read from every client that is ready, a few times: the caller has other descriptors to look at. */
void reader_turn(Reader *reader) {
    struct epoll_event events[1024];
    for (int turn = 0, count = 1; turn < 16 && count > 0; turn++) {
        count = epoll_wait(reader->epoll, events, 1024, 0);
        for (int i = 0; i < count; i++) receive(reader, events[i].data.u32);
    }
}
