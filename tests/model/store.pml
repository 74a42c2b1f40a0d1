/* What all models share: a stream of Redis, properties, broken rules.
 *
 * A stream's ids are EPOCH-SEQ; `body` is the stanza. Ids are compared as Redis does: the epoch first. `added` counts
 * the accepted appends, as XINFO's entries-added does: where it is behind the last number, a number is missing.
 *
 * Scratch variables are hidden (not part of a state): each is set and used within one d_step. */

#define NOBODY 255

/* Properties: 1 as long as they hold. ONLY=ID_... looks for one alone. */
#define ID_nothing_acked_is_lost 1
#define ID_h_never_goes_back 2
#define ID_order_is_kept 3
#define ID_one_owner 4
#define ID_nothing_is_stuck 5
#define ID_nothing_committed_is_lost 6
#define ID_nothing_is_dropped 7
#define ID_exactly_once 8
#define ID_an_honest_client_resumes 9
#define ID_one_queue_only 10
#define ID_who_has_time_left_lives 11
hidden byte nothing_acked_is_lost = 1, h_never_goes_back = 1, order_is_kept = 1, one_owner = 1,
    nothing_is_stuck = 1, nothing_committed_is_lost = 1, nothing_is_dropped = 1, exactly_once = 1,
    an_honest_client_resumes = 1, one_queue_only = 1, who_has_time_left_lives = 1;
#ifndef ONLY
#define ONLY 0
#endif
#define VIOLATED(property) \
    if \
    :: ONLY == 0 || ONLY == ID_##property -> property = 0; assert(property) \
    :: else \
    fi

/* Commands. CLAIM, ATTACH, RESERVE, SPILL and RESTORE are scripts. */
mtype = { XADD, TRIM, CLAIM, ATTACH, RESERVE, SPILL, RESTORE };

/* Answers: SMALLER is "equal or smaller than the target stream top item", or a script that finds another epoch; REFUSED
 * is OOM, MISCONF and the like: not done; GONE is nil (NOMKSTREAM), or a script that finds no session to be resumed. */
mtype = { DONE, SMALLER, REFUSED, GONE };

typedef stream {
    byte count;
    byte ep[ROOM];
    byte sq[ROOM];
    byte body[ROOM];
    byte last_ep;
    byte last_sq;
    byte added
}

hidden byte x, y, z, found_ep;
hidden mtype result, command;

/* result: DONE, or SMALLER. */
inline xadd(s, e, n, what) {
    if
    :: e < s.last_ep || (e == s.last_ep && n <= s.last_sq) -> result = SMALLER
    :: else ->
        assert(s.count < ROOM);
        s.ep[s.count] = e; s.sq[s.count] = n; s.body[s.count] = what;
        s.count++;
        s.last_ep = e; s.last_sq = n;
        s.added++;
        result = DONE
    fi
}

/* Removes the entry at x. */
inline remove_at_x(s) {
    for (y : x .. ROOM - 2) {
        s.ep[y] = s.ep[y + 1]; s.sq[y] = s.sq[y + 1]; s.body[y] = s.body[y + 1]
    }
    s.count--;
    s.ep[ROOM - 1] = 0; s.sq[ROOM - 1] = 0; s.body[ROOM - 1] = 0
}

/* XTRIM MINID e-n */
inline xtrim(s, e, n) {
    x = 0;
    do
    :: s.count > 0 && (s.ep[0] < e || (s.ep[0] == e && s.sq[0] < n)) -> remove_at_x(s)
    :: else -> break
    od
}

/* found_ep: the epoch of the entry with number n, 0 if there is none; the oldest, should there be two. */
inline find(s, n) {
    found_ep = 0;
    for (x : 0 .. ROOM - 1) {
        if
        :: x < s.count && s.sq[x] == n && found_ep == 0 -> found_ep = s.ep[x]
        :: else
        fi
    }
}
