#include "redis_scripts.h"

/* ---- pieces: a script begins with those that it uses ---- */

#define WRITES "#!lua flags=allow-oom\n"

#define READS "#!lua flags=no-writes\n"

#define NAMES "local S, D, U, J, A, T, G, M, MI, O, OI = unpack(KEYS)\n"

/* Lua itself writes large numbers as 1.7e+12. */
#define TIME                                                                                                           \
    "local function int(n)\n"                                                                                          \
    "  return string.format('%.0f', n)\n"                                                                              \
    "end\n"                                                                                                            \
    "local function now()\n"                                                                                           \
    "  local t = redis.call('TIME')\n"                                                                                 \
    "  return t[1] * 1000 + math.floor(t[2] / 1000)\n"                                                                 \
    "end\n"                                                                                                            \
    "-- Epochs are never used twice, also when a Redis has lost its newest ones: they follow the clock.\n"             \
    "local function epoch_above(n)\n"                                                                                  \
    "  return int(math.max(n + 1, now()))\n"                                                                           \
    "end\n"

#define FIELDS                                                                                                         \
    "local function fields(list)\n"                                                                                    \
    "  local f = {}\n"                                                                                                 \
    "  for i = 1, #list, 2 do f[list[i]] = list[i + 1] end\n"                                                          \
    "  return f\n"                                                                                                     \
    "end\n"                                                                                                            \
    "-- A stanza, or a mere number (c is '-'): the name of one field is its class, its value the bytes.\n"             \
    "local function stanza(entry)\n"                                                                                   \
    "  local f = {}\n"                                                                                                 \
    "  for i = 1, #entry[2], 2 do\n"                                                                                   \
    "    local name, value = entry[2][i], entry[2][i + 1]\n"                                                           \
    "    if name == 'o' then f.o = value else f.c, f.d = name, name ~= '-' and value or nil end\n"                     \
    "  end\n"                                                                                                          \
    "  return f\n"                                                                                                     \
    "end\n"

/* An owner vouches for a session: all is there that it ever told as committed. What it leaves is "RUN:HISTORY:TIME": of
 * which run of a server that is true, which history of replication that one was in, and when.
 *
 * Another run may have lost the newest, but where answers wait for replicas: who takes over from a master has all of it
 * (a master that comes back with an old file before anybody has taken over has not; nothing can be promised then). And
 * in a cluster the slot may just have been moved to it: it was there before that time, so it has not read the session
 * from a disk, and does not continue the history of the one that had it, as a replica would. */
#define RUN                                                                                                            \
    "local function vouch()\n"                                                                                         \
    "  local run = redis.call('INFO', 'server'):match('run_id:(%x+)')\n"                                               \
    "  return run .. ':' .. redis.call('INFO', 'replication'):match('master_replid:(%x+)') .. ':' .. int(now())\n"     \
    "end\n"                                                                                                            \
    "local function is_stale(vouched, waits)\n"                                                                        \
    "  local run, history, at = (vouched or ''):match('^(%x+):(%x+):(%d+)$')\n"                                        \
    "  if not run then return true end\n"                                                                              \
    "  local server = redis.call('INFO', 'server')\n"                                                                  \
    "  if server:match('run_id:(%x+)') == run then return false end\n"                                                 \
    "  if waits == '1' then return false end\n"                                                                        \
    "  if not server:match('redis_mode:cluster') then return true end\n"                                               \
    "  if now() - server:match('uptime_in_seconds:(%d+)') * 1000 >= tonumber(at) then return true end\n"               \
    "  return redis.call('INFO', 'replication'):match('master_replid2:(%x+)') == history\n"                            \
    "end\n"

/* A server that hung may execute what a broken connection brought behind what its owner has sent since. */
#define ONCE                                                                                                           \
    "local function is_late(field, serial)\n"                                                                          \
    "  if tonumber(redis.call('HGET', S, field) or 0) >= tonumber(serial) then return true end\n"                      \
    "  redis.call('HSET', S, field, serial)\n"                                                                         \
    "  return false\n"                                                                                                 \
    "end\n"

/* Numbers are appended one by one, and the count of entries ever added is kept equal to the last number: where it is
 * less, some were refused (Redis was full) while those behind them were taken. */
#define STREAMS                                                                                                        \
    "local function number_of(id)\n"                                                                                   \
    "  return tonumber(id:match('%-(%d+)$'))\n"                                                                        \
    "end\n"                                                                                                            \
    "-- What is known of a queue: last id, its number, the number ahead of the first that is not acked, length; nil: " \
    "nothing.\n"                                                                                                       \
    "local function span_of(key)\n"                                                                                    \
    "  if redis.call('EXISTS', key) == 0 then return nil end\n"                                                        \
    "  local info = fields(redis.call('XINFO', 'STREAM', key))\n"                                                      \
    "  local first, id = info['first-entry'], info['last-generated-id']\n"                                             \
    "  local span = {id = id, last = number_of(id), length = info.length, added = info['entries-added']}\n"            \
    "  span.before = span.last\n"                                                                                      \
    "  if first then\n"                                                                                                \
    "    span.before = number_of(first[1]) - 1\n"                                                                      \
    "    local missing, inside = span.last - span.added, span.last - span.before - span.length\n"                      \
    "    span.before = span.before - math.max(missing - inside, 0)\n"                                                  \
    "  end\n"                                                                                                          \
    "  return span\n"                                                                                                  \
    "end\n"                                                                                                            \
    "-- From now on the stream takes larger ids alone. An empty stream cannot be made in one step.\n"                  \
    "local function set_last_id(key, epoch, number)\n"                                                                 \
    "  local id = epoch .. '-' .. number\n"                                                                            \
    "  if redis.call('EXISTS', key) == 0 then\n"                                                                       \
    "    redis.call('XADD', key, id, '-', '')\n"                                                                       \
    "    redis.call('XDEL', key, id)\n"                                                                                \
    "  end\n"                                                                                                          \
    "  redis.call('XSETID', key, id, 'ENTRIESADDED', number, 'MAXDELETEDID', '0-0')\n"                                 \
    "end\n"                                                                                                            \
    "local function keep_for(ttl)\n"                                                                                   \
    "  for _, key in ipairs({S, D, U, J}) do redis.call('PEXPIRE', key, ttl) end\n"                                    \
    "  -- the account's list lives as long as the longest of its sessions\n"                                           \
    "  if tonumber(ttl) > redis.call('PTTL', A) then redis.call('PEXPIRE', A, ttl) end\n"                              \
    "end\n"

/* What became of the numbers that owners had given when they were fenced: "MARK UPTO SPILLED" of each, the newest last.
 * UPTO: the last number of the unacked queue that the next one took over, or the h of its client, if that is larger;
 * SPILLED: up to where the fenced owner has put what is above that into the mailbox. They outlive later claims, for
 * those continue at larger numbers, and the session, in the first line of its tombstone. At most 16: an owner that
 * slept through so many others finds none, and goes by what it knew. */
#define RECORDS                                                                                                        \
    "local function records()\n"                                                                                       \
    "  return redis.call('HGET', S, 'fe') or (redis.call('GET', T) or ''):match('^[^\\n]*')\n"                         \
    "end\n"                                                                                                            \
    "local function record_of(all, mark)\n"                                                                            \
    "  local upto, spilled = all:match(mark .. ' (%d+) (%d+)')\n"                                                      \
    "  return upto or '', tonumber(spilled or 0)\n"                                                                    \
    "end\n"                                                                                                            \
    "local function record_fenced(mark, upto)\n"                                                                       \
    "  local list = {}\n"                                                                                              \
    "  for one in records():gmatch('%x+ %d+ %d+') do list[#list + 1] = one end\n"                                      \
    "  list[#list + 1] = mark .. ' ' .. int(upto) .. ' 0'\n"                                                           \
    "  redis.call('HSET', S, 'fe', table.concat(list, ' ', math.max(1, #list - 15)))\n"                                \
    "end\n"

/* ARGV ends with what boxes may hold: ttl, messages, bytes. A box counts what happened to it in the order of enum
 * box_count. */
#define BOXES                                                                                                          \
    "local TTL, MAX_COUNT, MAX_BYTES = unpack(ARGV, #ARGV - 2)\n"                                                      \
    "local PUT, RETURNED, DOUBLED, OVERFLOWN, EXPIRED, PURGED = 1, 2, 3, 4, 5, 6\n"                                    \
    "local function box_of(stream, index)\n"                                                                           \
    "  return {stream = stream, index = index, count = {0, 0, 0, 0, 0, 0}}\n"                                          \
    "end\n"                                                                                                            \
    "local function box_counts(box, what)\n"                                                                           \
    "  box.count[what] = box.count[what] + 1\n"                                                                        \
    "end\n"                                                                                                            \
    "local function box_parse(v)\n"                                                                                    \
    "  local id, bytes, lender, till, doomed, copy = v:match('^(%S+) (%d+) (%S+) (%d+) ([01])(c?)$')\n"                \
    "  local e = {id = id, bytes = bytes, lender = lender, till = tonumber(till)}\n"                                   \
    "  e.doomed, e.copy = doomed == '1', copy == 'c'\n"                                                                \
    "  return e\n"                                                                                                     \
    "end\n"                                                                                                            \
    "local function box_find(box, origin)\n"                                                                           \
    "  local v = redis.call('HGET', box.index, origin)\n"                                                              \
    "  return v and box_parse(v)\n"                                                                                    \
    "end\n"                                                                                                            \
    "local function box_set(box, origin, e)\n"                                                                         \
    "  local v = {e.id, e.bytes, e.lender, int(e.till), (e.doomed and '1' or '0') .. (e.copy and 'c' or '')}\n"        \
    "  redis.call('HSET', box.index, origin, table.concat(v, ' '))\n"                                                  \
    "end\n"                                                                                                            \
    "local function box_drop(box, origin, e)\n"                                                                        \
    "  redis.call('XDEL', box.stream, e.id)\n"                                                                         \
    "  redis.call('HDEL', box.index, origin)\n"                                                                        \
    "  redis.call('HINCRBY', box.index, '#', -tonumber(e.bytes))\n"                                                    \
    "  if redis.call('XLEN', box.stream) == 0 then redis.call('DEL', box.stream, box.index) end\n"                     \
    "end\n"                                                                                                            \
    "local function box_free(box, origin, e)\n"                                                                        \
    "  box_counts(box, e.copy and PUT or RETURNED)\n"                                                                  \
    "  if e.doomed then\n"                                                                                             \
    "    box_drop(box, origin, e)\n"                                                                                   \
    "    return box_counts(box, PURGED)\n"                                                                             \
    "  end\n"                                                                                                          \
    "  e.lender, e.till, e.copy = '-', 0, false\n"                                                                     \
    "  box_set(box, origin, e)\n"                                                                                      \
    "end\n"                                                                                                            \
    "-- What is too old goes, unless it is lent; a hundred at a time.\n"                                               \
    "local function box_expire(box)\n"                                                                                 \
    "  local old = int(now() - tonumber(TTL) - 1)\n"                                                                   \
    "  for _, entry in ipairs(redis.call('XRANGE', box.stream, '-', old, 'COUNT', 100)) do\n"                          \
    "    local origin = stanza(entry).o\n"                                                                             \
    "    local e = box_find(box, origin)\n"                                                                            \
    "    if e and e.lender == '-' then\n"                                                                              \
    "      box_drop(box, origin, e)\n"                                                                                 \
    "      box_counts(box, EXPIRED)\n"                                                                                 \
    "    end\n"                                                                                                        \
    "  end\n"                                                                                                          \
    "end\n"                                                                                                            \
    "-- The oldest make room, lent or not: one that is taken out under its lender arrives all the same.\n"             \
    "local function box_make_room(box, bytes)\n"                                                                       \
    "  local max_count, max_bytes = tonumber(MAX_COUNT), tonumber(MAX_BYTES)\n"                                        \
    "  while true do\n"                                                                                                \
    "    local used = tonumber(redis.call('HGET', box.index, '#') or 0)\n"                                             \
    "    local first = redis.call('XRANGE', box.stream, '-', '+', 'COUNT', 1)[1]\n"                                    \
    "    if not first or (redis.call('XLEN', box.stream) < max_count and used + bytes <= max_bytes) then return end\n" \
    "    local f = stanza(first)\n"                                                                                    \
    "    local e = box_find(box, f.o) or {id = first[1], bytes = #f.d}\n"                                              \
    "    box_drop(box, f.o, e)\n"                                                                                      \
    "    if not e.copy then box_counts(box, OVERFLOWN) end\n"                                                          \
    "  end\n"                                                                                                          \
    "end\n"                                                                                                            \
    "local function box_add(box, origin, class, payload, e)\n"                                                         \
    "  box_expire(box)\n"                                                                                              \
    "  box_make_room(box, #payload)\n"                                                                                 \
    "  e.id = redis.call('XADD', box.stream, '*', 'o', origin, class, payload)\n"                                      \
    "  e.bytes = #payload\n"                                                                                           \
    "  box_set(box, origin, e)\n"                                                                                      \
    "  redis.call('HINCRBY', box.index, '#', #payload)\n"                                                              \
    "  redis.call('PEXPIRE', box.stream, TTL)\n"                                                                       \
    "  redis.call('PEXPIRE', box.index, TTL)\n"                                                                        \
    "end\n"                                                                                                            \
    "-- One that is there under this origin is free again, if it was lent to that holder (a whole token, or the\n"     \
    "-- beginning of one; '': to nobody).\n"                                                                           \
    "local function box_put(box, origin, class, payload, holder)\n"                                                    \
    "  local e = box_find(box, origin)\n"                                                                              \
    "  if not e then\n"                                                                                                \
    "    box_add(box, origin, class, payload, {lender = '-', till = 0})\n"                                             \
    "    box_counts(box, PUT)\n"                                                                                       \
    "  elseif e.lender ~= '-' and holder ~= '' and e.lender:sub(1, #holder) == holder then\n"                          \
    "    box_free(box, origin, e)\n"                                                                                   \
    "  else\n"                                                                                                         \
    "    box_counts(box, DOUBLED)\n"                                                                                   \
    "  end\n"                                                                                                          \
    "end\n"                                                                                                            \
    "-- What is lent under tokens that begin so is free again, but for those `held`: they get another token.\n"        \
    "local function box_free_lends(box, begin, held, token, till)\n"                                                   \
    "  local all = redis.call('HGETALL', box.index)\n"                                                                 \
    "  for i = 1, #all, 2 do\n"                                                                                        \
    "    local origin, e = all[i], all[i] ~= '#' and box_parse(all[i + 1])\n"                                          \
    "    if e and e.lender:sub(1, #begin) == begin then\n"                                                             \
    "      if held[origin] then\n"                                                                                     \
    "        e.lender, e.till = token, till\n"                                                                         \
    "        box_set(box, origin, e)\n"                                                                                \
    "      else\n"                                                                                                     \
    "        box_free(box, origin, e)\n"                                                                               \
    "      end\n"                                                                                                      \
    "    end\n"                                                                                                        \
    "  end\n"                                                                                                          \
    "end\n"

#define TOMBSTONES                                                                                                     \
    RECORDS                                                                                                            \
    "local function bury(sid, text, ttl)\n"                                                                            \
    "  redis.call('SET', T, records() .. '\\n' .. text, 'PX', ttl)\n"                                                  \
    "  redis.call('ZREMRANGEBYSCORE', G, '-inf', int(now()))\n"                                                        \
    "  redis.call('ZADD', G, int(now() + tonumber(ttl)), sid)\n"                                                       \
    "  redis.call('PEXPIRE', G, ttl)\n"                                                                                \
    "end\n"                                                                                                            \
    "local function forget(sid)\n"                                                                                     \
    "  redis.call('DEL', S, D, U, J)\n"                                                                                \
    "  redis.call('ZREM', A, sid)\n"                                                                                   \
    "end\n"

/* ---- sessions ---- */

/* Makes a session, or makes it anew: its owner has found a gap, and begins a larger epoch, for what it has sent under
 * the old one may still come; or it has found a smaller epoch than its own, or nothing at all (restore). Then it puts
 * its own one back, no new one: it may have been fenced before Redis lost that, and a new epoch would beat the one of
 * the true owner, who comes later. Of each stream what is above `keep` goes, or all of it without one; then the owner
 * writes from `last` on. */
static const char open_text[] = WRITES NAMES TIME FIELDS STREAMS ONCE RECORDS RUN
    "local mine, mark, owner, keep_d, last_d, keep_u, last_u, ttl, left = unpack(ARGV, 1, 9)\n"
    "local state, since, max, high_water, account, proof, sid, serial, restore = unpack(ARGV, 10, 18)\n"
    "local cur = redis.call('HMGET', S, 'ep', 'nc')\n"
    "-- a larger epoch with its own mark is that of an attempt whose answer was lost\n"
    "local taken = cur[1] and tonumber(cur[1]) > tonumber(mine) and cur[2] ~= mark\n"
    "if taken or (not cur[1] and redis.call('EXISTS', T) == 1) then return {'fenced', record_of(records(), mark)} end\n"
    "local less = tonumber(cur[1] or 0) < tonumber(mine)\n"
    "if less and restore ~= '1' then return {'check'} end\n"
    "if cur[2] == mark and is_late('os', serial) then return {'late'} end\n"
    "local epoch = restore == '1' and mine or epoch_above(tonumber(cur[1] or 0))\n"
    "local function cut(key, keep)\n"
    "  if keep == '' then return redis.call('XTRIM', key, 'MAXLEN', 0) end\n"
    "  while true do\n"
    "    local part = redis.call('XRANGE', key, '(' .. keep, '+', 'COUNT', 200)\n"
    "    for _, entry in ipairs(part) do redis.call('XDEL', key, entry[1]) end\n"
    "    if #part < 200 then return end\n"
    "  end\n"
    "end\n"
    "cut(D, keep_d)\n"
    "cut(U, keep_u)\n"
    "set_last_id(D, epoch, last_d)\n"
    "set_last_id(U, epoch, last_u)\n"
    "redis.call('HSET', S, 'ep', epoch, 'nc', mark, 'ow', owner, 'st', state, 'mx', max, 'hw', high_water,\n"
    "  'ac', account, 'pr', proof, 'dl', int(now() + tonumber(left)), 'os', serial, 'ns', serial, 'rs', serial)\n"
    "if mine == '0' then redis.call('HSET', S, 'rn', vouch()) end\n"
    "redis.call('ZADD', A, since, sid)\n"
    "keep_for(ttl)\n"
    "return {'ok', epoch, redis.call('XLEN', D), redis.call('XLEN', U)}\n";

/* What Redis holds of a session, for its owner to compare. Trims first: an ack is true whoever reports it. */
static const char check_text[] =
    WRITES NAMES TIME FIELDS STREAMS RECORDS "local min_d, min_u, mark = unpack(ARGV)\n"
                                             "local epoch = redis.call('HGET', S, 'ep')\n"
                                             "local upto = record_of(records(), mark)\n"
                                             "if not epoch then return {'gone', redis.call('EXISTS', T), upto} end\n"
                                             "redis.call('XTRIM', D, 'MINID', min_d)\n"
                                             "redis.call('XTRIM', U, 'MINID', min_u)\n"
                                             "local d, u = span_of(D) or {}, span_of(U) or {}\n"
                                             "return {'ok', epoch, upto, d.id or '', d.length or 0, d.added or 0,\n"
                                             "  u.id or '', u.length or 0, u.added or 0}\n";

/* State, deadline, high-water mark; whose session it is, if that is to be sealed anew ('': it is not); its owner
 * vouches for it (confirm). If nobody could go on from it before that, nobody is to for a while: another owner, which
 * has taken the session from this one before Redis forgot it, comes back yet. Who is not the owner any more is told to
 * check. */
static const char note_text[] = WRITES NAMES TIME FIELDS STREAMS ONCE RUN
    "local mine, serial, ttl, left, state, since, max, high_water, sid, account, proof = unpack(ARGV, 1, 11)\n"
    "local confirm, waits, settle = unpack(ARGV, 12)\n"
    "if redis.call('HGET', S, 'ep') ~= mine then return {'check'} end\n"
    "if is_late('ns', serial) then return {'late'} end\n"
    "redis.call('HSET', S, 'st', state, 'mx', max, 'hw', high_water, 'dl', int(now() + tonumber(left)))\n"
    "if account ~= '' then redis.call('HSET', S, 'ac', account, 'pr', proof) end\n"
    "local vouched, calm = unpack(redis.call('HMGET', S, 'rn', 'cl'))\n"
    "if confirm == '1' then\n"
    "  if is_stale(vouched, waits) then calm = int(now() + tonumber(settle)) end\n"
    "  redis.call('HSET', S, 'rn', vouch(), 'cl', calm or '0')\n"
    "end\n"
    "redis.call('ZADD', A, since, sid)\n"
    "keep_for(ttl)\n"
    "return {'ok', high_water, int(math.max((calm or 0) - now(), 0))}\n";

static const char record_text[] = WRITES NAMES ONCE "local mine, serial, record = unpack(ARGV)\n"
                                                    "if redis.call('HGET', S, 'ep') ~= mine then return {'check'} end\n"
                                                    "if is_late('rs', serial) then return {'late'} end\n"
                                                    "redis.call('SET', J, record, 'PX', redis.call('PTTL', S))\n"
                                                    "return {'ok'}\n";

static const char look_text[] = READS NAMES TIME FIELDS STREAMS RUN
    "local cur = redis.call('HMGET', S, 'ep', 'ow', 'st', 'hw', 'ac', 'pr', 'ns', 'rn', 'cl')\n"
    "local down = span_of(D)\n"
    "if not cur[1] or not down or cur[3] == 'e' then return {} end\n"
    "return {cur[1], cur[2], cur[3], cur[4], cur[5], cur[6], int(down.before), cur[7],\n"
    "  is_stale(cur[8], ARGV[1]) and 1 or 0, int(math.max((cur[9] or 0) - now(), 0))}\n";

/* Takes a session over: from here on the old owner's appends are refused, for their ids are smaller.
 *
 * Redis, being full, may have refused an append of the old one in the midst of others. Behind such a gap nothing was
 * told as committed, and all of it goes. Uplink: the client still has it, and sends it again. Downlink: the client has
 * not acked beyond the gap, or h would tell so; the old owner, should it live, puts all of that into the mailbox.
 *
 * A server that has begun anew may have lost the newest of what it had answered, and with that an h that was told. Only
 * an owner can tell; until it has, nobody goes on from what is here. */
static const char claim_text[] = WRITES NAMES TIME FIELDS STREAMS BOXES RECORDS RUN
    "local seen, words, h, mark, owner, ttl, left, sid, page, waits = unpack(ARGV, 1, 10)\n"
    "local cur = redis.call('HMGET', S, 'ep', 'hw', 'st', 'dl', 'ln', 'ac', 'pr', 'nc', 'ns', 'rn', 'cl')\n"
    "local down, up = span_of(D), span_of(U)\n"
    "if not cur[1] or cur[3] == 'e' or not down or not up then return {'gone'} end\n"
    "if cur[1] ~= seen or cur[9] ~= words then return {'lost'} end\n"
    "if is_stale(cur[10], waits) or tonumber(cur[11] or 0) > now() then return {'lost'} end\n"
    "if tonumber(h) > tonumber(cur[2]) then return {'high'} end\n"
    "local epoch = epoch_above(tonumber(cur[1]))\n"
    "-- What h acks goes, and with it the messages that came out of the mailbox: they have arrived.\n"
    "local mail, above, from, told = box_of(M, MI), nil, '-', {}\n"
    "while not above do\n"
    "  local part = redis.call('XRANGE', D, from, '+', 'COUNT', 100)\n"
    "  if #part == 0 then break end\n"
    "  for _, entry in ipairs(part) do\n"
    "    if number_of(entry[1]) > tonumber(h) then\n"
    "      above = entry[1]\n"
    "      break\n"
    "    end\n"
    "    local origin = stanza(entry).o\n"
    "    local e = origin and box_find(mail, origin)\n"
    "    if e then box_drop(mail, origin, e) end\n"
    "    if #told < tonumber(page) then told[#told + 1] = entry end\n"
    "    from = '(' .. entry[1]\n"
    "  end\n"
    "end\n"
    "if above then redis.call('XTRIM', D, 'MINID', above) else redis.call('XTRIM', D, 'MAXLEN', 0) end\n"
    "-- Returns the last number that is there, and the one ahead of the first.\n"
    "local function cut_at_gap(key, before, last)\n"
    "  local length = redis.call('XLEN', key)\n"
    "  if length == last - before then return last, before end\n"
    "  if length == 0 then return last, math.max(last, before) end\n"
    "  local entries, from = redis.call('XRANGE', key, '-', '+'), 1\n"
    "  -- a mere number: it was released before it was written, and with it all ahead of it\n"
    "  for i, entry in ipairs(entries) do\n"
    "    if stanza(entry).c == '-' then\n"
    "      from, before = i + 1, number_of(entry[1])\n"
    "      redis.call('XTRIM', key, 'MINID', entry[1])\n"
    "      redis.call('XDEL', key, entry[1])\n"
    "    end\n"
    "  end\n"
    "  local number = before\n"
    "  for i = from, #entries do\n"
    "    if number_of(entries[i][1]) == number + 1 then\n"
    "      number = number + 1\n"
    "    else\n"
    "      for k = i, #entries do redis.call('XDEL', key, entries[k][1]) end\n"
    "      break\n"
    "    end\n"
    "  end\n"
    "  return number, before\n"
    "end\n"
    "local last_d, acked = cut_at_gap(D, math.max(down.before, tonumber(h)), down.last)\n"
    "local last_u = cut_at_gap(U, up.before, up.last)\n"
    "set_last_id(D, epoch, int(math.max(last_d, acked)))\n"
    "set_last_id(U, epoch, int(last_u))\n"
    "record_fenced(cur[8], math.max(last_d, acked))\n"
    "redis.call('HSET', S, 'ep', epoch, 'nc', mark, 'ow', owner, 'st', 'a',\n"
    "  'dl', int(now() + tonumber(left)), 'os', '0', 'ns', '0', 'rs', '0')\n"
    "redis.call('ZADD', A, 0, sid)\n"
    "keep_for(ttl)\n"
    "return {'ok', epoch, cur[2], int(math.max(tonumber(cur[4] or 0) - now(), 0)), int(acked), int(last_d), "
    "int(last_u),\n"
    "  cur[5] or '0', redis.call('GET', J) or '', redis.call('XLEN', D), redis.call('XRANGE', D, '-', '+', 'COUNT', "
    "page),\n"
    "  redis.call('XLEN', U), redis.call('XRANGE', U, '-', '+', 'COUNT', page), cur[6], cur[7], told}\n";

static const char end_text[] = WRITES NAMES TIME FIELDS STREAMS BOXES TOMBSTONES
    "local mine, mark, part, last, min_d, min_u, tombstone, tombstone_ttl, sid, count = unpack(ARGV, 1, 10)\n"
    "local cur = redis.call('HMGET', S, 'ep', 'nc', 'ec')\n"
    "local mail, out, old = box_of(M, MI), box_of(O, OI), not cur[1] and redis.call('GET', T)\n"
    "if old and old:match('^[^\\n]*\\n%S+ %S+ (%S+)') == mark then return {'ok', mail.count, out.count} end\n"
    "local taken = cur[1] and tonumber(cur[1]) > tonumber(mine) and cur[2] ~= mark\n"
    "if old or taken then return {'fenced', record_of(records(), mark)} end\n"
    "if not cur[3] or tonumber(cur[3]) < tonumber(part) then\n"
    "  redis.call('XTRIM', D, 'MINID', min_d)\n"
    "  redis.call('XTRIM', U, 'MINID', min_u)\n"
    "  for i = 11, 10 + tonumber(count) * 4, 4 do\n"
    "    local box, origin, class, payload = unpack(ARGV, i, i + 3)\n"
    "    -- its own loans come back; what the box has lent to others stays with them\n"
    "    box_put(box == 'mail' and mail or out, origin, class, payload, sid .. ':')\n"
    "  end\n"
    "  -- should this owner die before the last part, the rest is reaped soon\n"
    "  if cur[1] then\n"
    "    redis.call('HSET', S, 'ec', part, 'st', 'e', 'dl', int(now() + 60000), 'ed', int(number_of(min_d) - 1))\n"
    "  end\n"
    "end\n"
    "if last == '1' then\n"
    "  bury(sid, tombstone, tombstone_ttl)\n"
    "  forget(sid)\n"
    "end\n"
    "return {'ok', mail.count, out.count}\n";

/* The end of a session whose owner is gone: in parts, until there is no more. The epoch is raised first, so that the
 * owner, should it come back, is fenced. Counts of what is discarded are by class. */
static const char reap_text[] = WRITES NAMES TIME FIELDS STREAMS BOXES TOMBSTONES
    "local sid, mark, tombstone_ttl, page = unpack(ARGV, 1, 4)\n"
    "local cur = redis.call('HMGET', S, 'ep', 'nc', 'st', 'dl', 'ac', 'pr', 'ln', 'ed')\n"
    "if not cur[1] then return {'gone'} end\n"
    "local time = now()\n"
    "if cur[3] ~= 'e' or cur[2] ~= mark then\n"
    "  local left = tonumber(cur[4] or 0) - time\n"
    "  if left > 0 then return {'later', int(left)} end\n"
    "  local epoch = epoch_above(tonumber(cur[1]))\n"
    "  record_fenced(cur[2], math.max((span_of(D) or {last = 0}).last, tonumber(cur[8] or 0)))\n"
    "  -- nobody else begins with it for a minute\n"
    "  redis.call('HSET', S, 'ep', epoch, 'nc', mark, 'st', 'e', 'dl', int(time + 60000))\n"
    "  for _, key in ipairs({D, U}) do\n"
    "    local span = span_of(key)\n"
    "    if span then set_last_id(key, epoch, int(span.last)) end\n"
    "  end\n"
    "end\n"
    "local function move(key, n, box, prefix, lost)\n"
    "  local part = redis.call('XRANGE', key, '-', '+', 'COUNT', n)\n"
    "  for _, entry in ipairs(part) do\n"
    "    local f = stanza(entry)\n"
    "    redis.call('XDEL', key, entry[1])\n"
    "    if f.c == '0' and f.d and cur[5] ~= '' then\n"
    "      box_put(box, f.o or prefix .. entry[1], f.c, f.d, sid .. ':')\n"
    "    elseif f.d then\n"
    "      local class = tonumber(f.c) + 1\n"
    "      lost[class] = (lost[class] or 0) + 1\n"
    "    end\n"
    "  end\n"
    "  return #part\n"
    "end\n"
    "local mail, out = box_of(M, MI), box_of(O, OI)\n"
    "local lost_d, lost_u = {0, 0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0}\n"
    "local room = tonumber(page)\n"
    "room = room - move(D, room, mail, sid .. '/', lost_d)\n"
    "if room > 0 then room = room - move(U, room, out, sid .. '/up/', lost_u) end\n"
    "if room > 0 then\n"
    "  if cur[7] then\n"
    "    box_free_lends(mail, sid .. ':', {})\n"
    "    box_free_lends(out, sid .. ':', {})\n"
    "  end\n"
    "  local safe = int((span_of(U) or {last = 0}).last)\n"
    "  bury(sid, safe .. ' expired ' .. mark .. ' ' .. #cur[5] .. '\\n' .. cur[5] .. cur[6], tombstone_ttl)\n"
    "  forget(sid)\n"
    "end\n"
    "return {'ok', room > 0 and 0 or 1, mail.count, out.count, lost_d, lost_u}\n";

/* Of a fenced owner: what no claim has taken over. An entry that has come already may have left the box since. */
static const char spill_text[] = WRITES NAMES TIME FIELDS BOXES RECORDS
    "local mark, count = unpack(ARGV, 1, 2)\n"
    "local mail, all = box_of(M, MI), records()\n"
    "local upto, spilled = record_of(all, mark)\n"
    "local last = spilled\n"
    "for i = 3, 2 + tonumber(count) * 4, 4 do\n"
    "  local number, origin, class, payload = unpack(ARGV, i, i + 3)\n"
    "  if tonumber(number) > spilled then\n"
    "    box_put(mail, origin, class, payload, '')\n"
    "    last = tonumber(number)\n"
    "  end\n"
    "end\n"
    "if upto ~= '' and last > spilled then\n"
    "  all = all:gsub(mark .. ' %d+ %d+', mark .. ' ' .. upto .. ' ' .. int(last))\n"
    "  if redis.call('EXISTS', S) == 1 then\n"
    "    redis.call('HSET', S, 'fe', all)\n"
    "  else\n"
    "    local text = redis.call('GET', T)\n"
    "    redis.call('SET', T, all .. text:match('\\n.*$'), 'KEEPTTL')\n"
    "  end\n"
    "end\n"
    "return {'ok', mail.count}\n";

/* ---- boxes ---- */

static const char put_text[] = WRITES TIME FIELDS BOXES "local box = box_of(KEYS[1], KEYS[2])\n"
                                                        "box_put(box, ARGV[1], ARGV[2], ARGV[3], ARGV[4])\n"
                                                        "return {'ok', box.count}\n";

/* A copy of what is on its way to a session, which lends it from the beginning: it counts in the box when it is put. */
static const char lend_text[] = WRITES TIME FIELDS BOXES
    "local origin, class, payload, token, time = unpack(ARGV, 1, 5)\n"
    "local box = box_of(KEYS[1], KEYS[2])\n"
    "if not box_find(box, origin) then\n"
    "  box_add(box, origin, class, payload, {lender = token, till = now() + tonumber(time), copy = true})\n"
    "end\n"
    "return {'ok', box.count}\n";

/* Lends what is free from an id on, a page at a time. What is lent to a session that the account does not have is free
 * when its time is up, or when its owner is one of those that are known to be gone; who else is in the way is told. A
 * token that lends already is that of an attempt whose answer was lost. */
static const char take_text[] = WRITES TIME FIELDS BOXES
    "local from, page, token, time = unpack(ARGV, 1, 4)\n"
    "local box = box_of(KEYS[1], KEYS[2])\n"
    "local account, session = KEYS[3], KEYS[4]\n"
    "local t, bytes, entries, lent, gone, in_the_way = now(), 0, {}, false, {}, {}\n"
    "for i = 5, #ARGV - 3 do gone[ARGV[i]] = true end\n"
    "local function is_free(e)\n"
    "  if e.lender == '-' or e.lender == token then return true end\n"
    "  local lender, owner = e.lender:match('^([^:]*):?[^:]*:?(.*)$')\n"
    "  if redis.call('ZSCORE', account, lender) then return false end\n"
    "  if e.till < t or gone[owner] then return true end\n"
    "  in_the_way[owner] = true\n"
    "  return false\n"
    "end\n"
    "box_expire(box)\n"
    "local part = redis.call('XRANGE', box.stream, from, '+', 'COUNT', page)\n"
    "local next = #part == tonumber(page) and '(' .. part[#part][1] or ''\n"
    "for _, entry in ipairs(part) do\n"
    "  local f = stanza(entry)\n"
    "  local e = box_find(box, f.o) or {id = entry[1], bytes = #f.d, lender = '-', till = 0}\n"
    "  if is_free(e) then\n"
    "    if e.copy then box_counts(box, PUT) end\n"
    "    if e.doomed then\n"
    "      box_drop(box, f.o, e)\n"
    "      box_counts(box, PURGED)\n"
    "    else\n"
    "      e.lender, e.till, e.copy = token, t + tonumber(time), false\n"
    "      box_set(box, f.o, e)\n"
    "      entries[#entries + 1] = entry\n"
    "      bytes = bytes + #f.d\n"
    "      lent = true\n"
    "    end\n"
    "  end\n"
    "  if bytes > 524288 then\n"
    "    next = '(' .. entry[1]\n"
    "    break\n"
    "  end\n"
    "end\n"
    "if lent and redis.call('EXISTS', session) == 1 then redis.call('HSET', session, 'ln', '1') end\n"
    "local owners = {}\n"
    "for owner in pairs(in_the_way) do owners[#owners + 1] = owner end\n"
    "return {'ok', box.count, next, entries, owners}\n";

static const char done_text[] = WRITES TIME FIELDS BOXES "local box = box_of(KEYS[1], KEYS[2])\n"
                                                         "local e = box_find(box, ARGV[1])\n"
                                                         "if e then box_drop(box, ARGV[1], e) end\n"
                                                         "return {'ok', e and not e.copy and 1 or 0}\n";

/* Puts right what is lent to a session: `held` is what it has; the rest is free. */
static const char lends_text[] =
    WRITES TIME FIELDS BOXES "local begin, token, time = unpack(ARGV, 1, 3)\n"
                             "local box, held = box_of(KEYS[1], KEYS[2]), {}\n"
                             "for i = 4, #ARGV - 3 do held[ARGV[i]] = true end\n"
                             "box_free_lends(box, begin, held, token, now() + tonumber(time))\n"
                             "return {'ok', box.count}\n";

static const char purge_text[] = WRITES TIME FIELDS BOXES
    "local from, page = unpack(ARGV, 1, 2)\n"
    "local box = box_of(KEYS[1], KEYS[2])\n"
    "local part = redis.call('XRANGE', box.stream, from, '+', 'COUNT', page)\n"
    "local bytes, lent = 0, 0\n"
    "for _, entry in ipairs(part) do\n"
    "  local f = stanza(entry)\n"
    "  local e = box_find(box, f.o) or {id = entry[1], bytes = #f.d, lender = '-', till = 0}\n"
    "  if e.lender == '-' then\n"
    "    bytes = bytes + #f.d\n"
    "    box_drop(box, f.o, e)\n"
    "    box_counts(box, PURGED)\n"
    "  else\n"
    "    e.doomed = true\n"
    "    box_set(box, f.o, e)\n"
    "    lent = lent + 1\n"
    "  end\n"
    "end\n"
    "return {'ok', box.count, #part == tonumber(page) and '(' .. part[#part][1] or '', bytes, lent}\n";

static const char bury_text[] = WRITES NAMES TIME TOMBSTONES "bury(ARGV[1], ARGV[2], ARGV[3])\n"
                                                             "return {'ok'}\n";

/* ---- */

const char *const script_text[SCRIPTS] = {
    [SCRIPT_OPEN] = open_text,     [SCRIPT_CHECK] = check_text, [SCRIPT_NOTE] = note_text,
    [SCRIPT_RECORD] = record_text, [SCRIPT_LOOK] = look_text,   [SCRIPT_CLAIM] = claim_text,
    [SCRIPT_END] = end_text,       [SCRIPT_REAP] = reap_text,   [SCRIPT_SPILL] = spill_text,
    [SCRIPT_BURY] = bury_text,     [SCRIPT_PUT] = put_text,     [SCRIPT_TAKE] = take_text,
    [SCRIPT_DONE] = done_text,     [SCRIPT_LEND] = lend_text,   [SCRIPT_LENDS] = lends_text,
    [SCRIPT_PURGE] = purge_text,
};

const char *const script_name[SCRIPTS] = {
    [SCRIPT_OPEN] = "open",   [SCRIPT_CHECK] = "check", [SCRIPT_NOTE] = "note",   [SCRIPT_RECORD] = "record",
    [SCRIPT_LOOK] = "look",   [SCRIPT_CLAIM] = "claim", [SCRIPT_END] = "end",     [SCRIPT_REAP] = "reap",
    [SCRIPT_SPILL] = "spill", [SCRIPT_BURY] = "bury",   [SCRIPT_PUT] = "put",     [SCRIPT_TAKE] = "take",
    [SCRIPT_DONE] = "done",   [SCRIPT_LEND] = "lend",   [SCRIPT_LENDS] = "lends", [SCRIPT_PURGE] = "purge",
};
