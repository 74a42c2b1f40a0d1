#include "redis_keys.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#define TAG (TAG_SIZE - 1)

static const char *const kind[SESSION_KEYS] = {
    [KEY_HASH] = "s",          [KEY_DOWN] = "d",   [KEY_UP] = "u",      [KEY_RECORD] = "j", [KEY_ACCOUNT] = "a",
    [KEY_TOMBSTONE] = "t",     [KEY_GRAVES] = "g", [KEY_MAIL] = "mail", [KEY_OUT] = "out",  [KEY_MAIL_INDEX] = "mail:o",
    [KEY_OUT_INDEX] = "out:o",
};

static bool is_of_session(enum session_key key)
{
    return key <= KEY_RECORD || key == KEY_TOMBSTONE;
}

struct slice key_of_account(char out[KEY_SIZE], const char *tag, enum session_key key)
{
    int n = snprintf(out, KEY_SIZE, "hf:{%.*s}:%s", TAG, tag, kind[key]);
    return slice_of(out, (size_t)n);
}

/* On the path of each stanza: put together by hand. */
struct slice key_of_session(char out[KEY_SIZE], const char *sid, enum session_key key)
{
    if (!is_of_session(key))
        return key_of_account(out, sid, key);
    size_t n = strlen(sid), tag = n < TAG ? n : TAG, rest = n - tag < TAG ? n - tag : TAG;
    char *p = out;
    memcpy(p, "hf:{", 4);
    memcpy(p + 4, sid, tag);
    p += 4 + tag;
    memcpy(p, "}:", 2);
    p[2] = kind[key][0];
    p[3] = ':';
    memcpy(p + 4, sid + tag, rest);
    return slice_of(out, (size_t)(p + 4 + rest - out));
}

struct slice key_of_deadlines(char out[KEY_SIZE], unsigned bucket)
{
    int n = snprintf(out, KEY_SIZE, "hf:exp:%u", bucket);
    return slice_of(out, (size_t)n);
}

/* The last digits of a sid are those of a hash: evenly spread. */
unsigned deadlines_of(const char *sid)
{
    unsigned sum = 0;
    size_t n = strlen(sid);
    for (size_t i = n > 2 ? n - 2 : 0; i < n; i++)
        sum = sum * 16 + (unsigned)(sid[i] <= '9' ? sid[i] - '0' : sid[i] - 'a' + 10);
    return sum % DEADLINES;
}

unsigned slot_of_tag(const char *tag)
{
    char key[KEY_SIZE];
    return redis_slot(key_of_account(key, tag, KEY_ACCOUNT));
}

void args_add(struct args *a, struct slice s)
{
    assert(a->n < ARGS_MAX);
    a->v[a->n++] = s;
}

void args_str(struct args *a, const char *text)
{
    args_add(a, text ? slice_str(text) : SLICE_LIT(""));
}

static void keep_text(struct args *a, size_t n)
{
    args_add(a, slice_of(a->text + a->used, n));
    a->used += n;
    assert(a->used <= sizeof a->text);
}

void args_number(struct args *a, int64_t n)
{
    keep_text(a, (size_t)snprintf(a->text + a->used, sizeof a->text - a->used, "%" PRId64, n));
}

static size_t write_number(char *out, uint64_t n)
{
    char digits[20];
    size_t count = 0;
    do
        digits[count++] = (char)('0' + n % 10);
    while (n /= 10);
    for (size_t i = 0; i < count; i++)
        out[i] = digits[count - 1 - i];
    return count;
}

void args_id(struct args *a, uint64_t epoch, uint64_t number)
{
    assert(a->used + 41 <= sizeof a->text);
    char *p = a->text + a->used;
    size_t n = write_number(p, epoch);
    p[n++] = '-';
    keep_text(a, n + write_number(p + n, number));
}

void args_session_key(struct args *a, const char *sid, enum session_key key)
{
    assert(a->used + KEY_SIZE <= sizeof a->text);
    keep_text(a, key_of_session(a->text + a->used, sid, key).n);
}

void args_session_keys(struct args *a, const char *sid, size_t n)
{
    for (size_t key = 0; key < n; key++)
        args_session_key(a, sid, (enum session_key)key);
}

void args_account_key(struct args *a, const char *tag, enum session_key key)
{
    assert(a->used + KEY_SIZE <= sizeof a->text);
    keep_text(a, key_of_account(a->text + a->used, tag, key).n);
}
