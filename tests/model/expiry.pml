/* Expiry: a session whose deadline has passed is reaped by any node: its unacked queue goes to the mailbox, entry by
 * entry, while its client may come back at any node, its owner may still write, and reapers die half-way. Two other
 * sessions of the account take what is in the mailbox; they expire too.
 *
 * Numbers, appends and the fence are those of downlink.pml, without refusals, trims and the high-water mark. A stanza
 * that the client has got but not acked may come again out of the mailbox; nothing else comes twice. */
#ifndef STANZAS
#define STANZAS 2
#endif
#ifndef CUTS
#define CUTS 2
#endif
#ifndef CRASHES
#define CRASHES 1 /* of nodes with the session */
#endif
#ifndef REAPERS_DIE
#define REAPERS_DIE 1
#endif
#ifndef BREAKS
#define BREAKS 1
#endif
#ifndef RETURNS
#define RETURNS 1 /* to the mailbox, of what another session took */
#endif
#define NODES 2
#define ROOM (STANZAS + 1)
#define PIPE (STANZAS + 3)
#define EPOCHS 10
#include "store.pml"

/* --- Redis --- */
byte epoch = 1, owner = 0, attaches = 0;
bit exists = 1;  /* the hash and the stream; then there is a tombstone, with the records */
bit expired = 0; /* state in the hash */
bit due = 0;     /* the deadline has passed */
byte record[EPOCHS];
byte spilled[EPOCHS];
stream d;
bit mail[STANZAS + 1];
#ifdef BREAK_ORIGIN_HOLDS_EPOCH
byte origin[STANZAS + 1];
#endif
chan commands[NODES] = [PIPE] of { mtype, byte /* ep */, byte /* number */,
    byte /* stanza; CLAIM: attaches that were read */ };
chan late[NODES] = [2 * PIPE] of { mtype, byte, byte, byte };
chan answers[NODES] = [1] of { mtype, mtype, byte /* ep */, byte /* number */, byte /* h */,
    int /* stanzas, four bits each */ };

/* --- nodes --- */
#define IDLE 0
#define CLAIMING 1
#define OWNER 2
#define ATTACHING 3
#define SPILLING 4
typedef node_state {
    byte phase;
    byte ep;
    byte last;
    byte com;
    byte body[STANZAS + 1]
}
node_state node[NODES];
byte upstream = 0;

/* --- others --- */
#define OVER 254 /* the client was told that its session is no more */
byte leg = 0;
bit talking = 1;
byte h = 0;
bit got[STANZAS + 1];
bit kept[STANZAS + 1];
byte taken[STANZAS + 1]; /* which other session has it in its queue: 2 or 3 */
bit delivered[STANZAS + 1];
byte sent = 0;
bit crashed = 0;
byte cuts = CUTS, crashes = CRASHES, breaks = BREAKS, reapers_die = REAPERS_DIE, returns = RETURNS;

hidden byte ep_, number, what, above;
hidden int bodies;

#define NODE node[i]
#define HERE (leg == i && talking)
#define ASKS (leg == i && !talking)
#define RUNS (NODE.phase == OWNER || NODE.phase == ATTACHING)

inline fence(n) {
    record[epoch] = n;
    epoch++;
    d.last_ep = epoch;
    d.last_sq = n
}

/* number: the client's h */
inline do_claim(i) {
    if
#ifdef BREAK_CLAIM_EXPIRED
    :: exists && ep_ == epoch && what == attaches ->
        expired = 0;
#else
    :: exists && !expired && ep_ == epoch && what == attaches ->
#endif
        due = 0;
        do
        :: d.count > 0 && d.sq[0] <= number -> x = 0; remove_at_x(d)
        :: else -> break
        od;
        what = number;
        if
        :: number < d.last_sq -> number = d.last_sq
        :: else
        fi;
        fence(number);
        owner = i;
        result = DONE;
        bodies = 0;
        for (x : 0 .. ROOM - 1) {
            if
            :: x < d.count -> bodies = bodies | (d.body[x] << (4 * d.sq[x]))
            :: else
            fi
        }
        ep_ = epoch
    :: else -> result = (exists && !expired -> SMALLER : GONE)
    fi
}

/* n: the number of its origin. Without the epoch beside it two stanzas may have the same one. */
inline put_into_mailbox(k, n) {
    if
    :: delivered[k] || mail[k] || taken[k] != 0 -> VIOLATED(exactly_once)
    :: else
    fi;
#ifdef BREAK_ORIGIN_HOLDS_EPOCH
    if
    :: (mail[1] && origin[1] == n) || (mail[2] && origin[2] == n) /* taken for one that is there already */
    :: else -> mail[k] = 1; origin[k] = n
    fi
#else
    mail[k] = 1
#endif
}

inline carry_out(i) {
    bodies = 0;
    if
    :: command == XADD ->
        if
#ifdef BREAK_NOMKSTREAM
        :: !exists -> result = DONE /* a stream that nobody will look at */
#else
        :: !exists -> result = GONE
#endif
        :: else ->
            xadd(d, ep_, number, what);
            if
            :: result == DONE && ep_ != epoch -> VIOLATED(one_owner)
            :: else
            fi
        fi
    :: command == CLAIM -> do_claim(i)
    :: command == ATTACH ->
        if
        :: exists && ep_ == epoch -> result = DONE; attaches++; due = 0
        :: else -> result = SMALLER
        fi
    :: command == SPILL ->
        if
        :: number > spilled[ep_] ->
            for (x : 0 .. ROOM - 1) {
                if
                :: exists && x < d.count && d.body[x] == what -> VIOLATED(exactly_once)
                :: else
                fi
            };
            put_into_mailbox(what, number);
            spilled[ep_] = number
        :: else
        fi;
        result = DONE
    fi
}

/* --- a node --- */

inline forget(i) {
    NODE.phase = IDLE;
    NODE.ep = 0; NODE.last = 0; NODE.com = 0;
    for (x : 0 .. STANZAS) {
        NODE.body[x] = 0
    }
}

inline append_rest(i) {
    for (x : NODE.com + 1 .. NODE.last) {
        commands[i] ! XADD, NODE.ep, x, NODE.body[x]
    }
}

inline spill_rest(i) {
    for (x : NODE.com + 1 .. NODE.last) {
        commands[i] ! SPILL, NODE.ep, x, NODE.body[x]
    }
}

inline be_fenced(i) {
    printf("node %d: fenced, epoch %d\n", i, NODE.ep);
    if
    :: HERE -> leg = NOBODY; talking = 0
    :: else
    fi;
    if
    :: upstream == i -> upstream = NOBODY
    :: else
    fi;
    above = record[NODE.ep];
#ifdef BREAK_TOMBSTONE_HOLDS_RECORD
    if
    :: !exists -> above = NODE.last
    :: else
    fi;
#endif
    if
    :: above >= NODE.last -> forget(i)
    :: else -> NODE.phase = SPILLING; NODE.com = above; spill_rest(i)
    fi
}

inline note_kept(i) {
    for (x : 1 .. NODE.com) {
        if
        :: NODE.body[x] != 0 -> kept[NODE.body[x]] = 1
        :: else
        fi
    }
}

inline take_claim(i) {
    upstream = i;
    for (x : 1 .. STANZAS) {
        NODE.body[x] = (bodies >> (4 * x)) & 15
    };
    NODE.last = number;
    NODE.com = number;
    NODE.ep = ep_;
    NODE.phase = OWNER;
    note_kept(i);
    printf("node %d: resumed\n", i);
    talking = 1
}

inline look_for_entry(i) {
    if
    :: !exists || epoch != NODE.ep -> be_fenced(i)
    :: else -> NODE.com = number; note_kept(i) /* without refusals there are no gaps: it is there */
    fi
}

inline take_other_answer(i) {
    if
    :: command == XADD && ep_ == NODE.ep && RUNS ->
        if
        :: result == DONE && number == NODE.com + 1 -> NODE.com = number; note_kept(i)
        :: result == SMALLER && number == NODE.com + 1 -> look_for_entry(i)
        :: result == GONE -> be_fenced(i)
        :: else
        fi
    :: command == SPILL && ep_ == NODE.ep && NODE.phase == SPILLING && number == NODE.last -> forget(i)
    :: else
    fi
}

inline take_answer(i) {
    answers[i] ? command, result, ep_, number, what, bodies;
    if
    :: command == CLAIM && NODE.phase == CLAIMING ->
        NODE.phase = IDLE;
        if
        :: result == DONE && ASKS -> take_claim(i)
        :: result == GONE && ASKS -> leg = OVER; printf("node %d: failed\n", i)
        :: else /* the client has left, or it looks again */
        fi
    :: command == ATTACH && NODE.phase == ATTACHING ->
        NODE.phase = OWNER;
        if
        :: result == SMALLER -> be_fenced(i)
        :: result == DONE && ASKS -> talking = 1; printf("node %d: resumed\n", i)
        :: else
        fi
    :: else
    fi
}

/* Redis, as node i's connections meet it. */
proctype redis(byte i) {
end:
    do
    :: d_step { nempty(commands[i]) && empty(answers[i]) ->
           commands[i] ? command, ep_, number, what;
           printf("redis: node %d: %e %d-%d (%d)", i, command, ep_, number, what);
           carry_out(i);
           printf(": %e, epoch %d\n", result, epoch);
           if
           :: command == CLAIM || command == ATTACH -> answers[i] ! command, result, ep_, number, what, bodies
           :: command != CLAIM && command != ATTACH -> take_other_answer(i)
           fi }
    :: d_step { nempty(late[i]) ->
           late[i] ? command, ep_, number, what;
           printf("redis: node %d, late: %e %d-%d (%d)", i, command, ep_, number, what);
           carry_out(i);
           printf(": %e, epoch %d\n", result, epoch) }
    od
}

proctype node_runs(byte i) {
end:
    do
    :: d_step { nempty(answers[i]) -> take_answer(i) }
    :: d_step { NODE.phase == OWNER && ASKS && nfull(commands[i]) ->
           NODE.phase = ATTACHING;
           commands[i] ! ATTACH, NODE.ep, 0, 0 }
    :: d_step { NODE.phase == IDLE && ASKS && nfull(commands[i]) -> /* looks, and claims what it saw */
           if
           :: exists && !expired -> NODE.phase = CLAIMING; commands[i] ! CLAIM, epoch, h, attaches
#ifdef BREAK_CLAIM_EXPIRED
           :: exists && expired -> NODE.phase = CLAIMING; commands[i] ! CLAIM, epoch, h, attaches
           :: !exists -> leg = OVER
#else
           :: !exists || expired -> leg = OVER
#endif
           fi }
    od
}

/* Time passes. An owner with a client pushes the deadline ahead; where it cannot, it falls silent in time. */
#ifdef BREAK_SILENCE_IN_TIME
#define PUSHED false
#else
#define PUSHED_BY(i) (node[i].ep == epoch && ((leg == i && talking) || node[i].phase == ATTACHING))
#define PUSHED (PUSHED_BY(0) || PUSHED_BY(1) || len(answers[0]) > 0 || len(answers[1]) > 0)
#endif
proctype time() {
end:
    do
    :: d_step { exists && !due && !expired && !PUSHED -> due = 1; printf("redis: deadline\n") }
    od
}

/* Moves the oldest entry; at the end a tombstone remains. */
inline move_one() {
    if
    :: d.count > 0 -> what = d.body[0]; number = d.sq[0]; put_into_mailbox(what, number); x = 0; remove_at_x(d)
    :: d.count == 0 -> exists = 0; due = 0
    fi
}

/* Some node that looks for deadlines. Each call is one script. */
proctype reaper(byte j) {
    bit seen;
    byte held;
end:
    do
    :: d_step { !seen && exists && (due || expired) -> seen = 1 }
#ifdef BREAK_REAP_RECHECK
    :: d_step { seen && exists && !expired ->
#else
    :: d_step { seen && exists && !expired && !due -> seen = 0 }
    :: d_step { seen && exists && !expired && due ->
#endif
           printf("reaper %d: begins\n", j);
           if
           :: !due -> VIOLATED(who_has_time_left_lives)
           :: else
           fi;
           expired = 1;
#ifndef BREAK_REAP_RAISES_EPOCH
           fence(d.last_sq)
#endif
         }
#ifdef BREAK_SPILL_IN_ONE_CALL
    :: d_step { seen && exists && expired && held == 0 && d.count > 0 ->
           held = d.body[0];
           printf("reaper %d: into the mailbox: %d\n", j, held);
           number = d.sq[0];
           put_into_mailbox(held, number) }
    :: d_step { seen && held != 0 ->
           if
           :: exists && d.count > 0 && d.body[0] == held -> x = 0; remove_at_x(d)
           :: else
           fi;
           held = 0 }
    :: d_step { seen && exists && expired && d.count == 0 && held == 0 -> move_one() }
#else
    :: d_step { seen && exists && expired -> printf("reaper %d: moves one of %d\n", j, d.count); move_one() }
#endif
    :: d_step { seen && !exists && held == 0 -> seen = 0 }
    :: d_step { seen && reapers_die > 0 -> printf("reaper %d: dies\n", j); reapers_die--; seen = 0; held = 0 }
    od
}

proctype server() {
    byte i;
end:
    do
    :: d_step { upstream != NOBODY && sent < STANZAS && len(commands[upstream]) < PIPE - 2 &&
                node[upstream].ep != 0 && (node[upstream].phase == OWNER || node[upstream].phase == ATTACHING) ->
           i = upstream;
           sent++;
           printf("server: %d to node %d\n", sent, i);
           NODE.last++;
           NODE.body[NODE.last] = sent;
           commands[i] ! XADD, NODE.ep, NODE.last, sent;
           i = 0 }
    od
}

/* What Redis has answered before is no answer to this resumption. */
inline come_back(i) {
    printf("client: comes back to node %d, h=%d\n", i, h);
    leg = i;
    if
    :: len(answers[i]) > 0 ->
        answers[i] ? command, result, ep_, number, what, bodies;
        if
        :: NODE.phase == ATTACHING -> NODE.phase = OWNER
        :: NODE.phase == CLAIMING -> NODE.phase = IDLE
        :: else
        fi
    :: len(answers[i]) == 0
    fi
}

proctype client() {
    byte i;
end:
    do
    :: d_step { talking && h < node[leg].last ->
           i = leg;
           h++;
           what = NODE.body[h];
           printf("client: gets %d as %d from node %d\n", what, h, i);
           if
           :: got[what] || delivered[what] || mail[what] || taken[what] != 0 -> VIOLATED(exactly_once)
           :: else
           fi;
           got[what] = 1;
           i = 0 }
    :: d_step { cuts > 0 && leg != OVER -> cuts--; talking = 0; come_back(0) }
    :: d_step { cuts > 0 && leg != OVER -> cuts--; talking = 0; come_back(1) }
    :: d_step { cuts > 0 && leg != OVER -> cuts--; talking = 0; leg = OVER; printf("client: leaves\n") }
    :: d_step { leg == NOBODY -> come_back(0) }
    :: d_step { leg == NOBODY -> come_back(1) }
    od
}

/* Another session of the account: takes one stanza at a time out of the mailbox, its client acks it, or it expires. */
proctype other(byte t) {
    byte held;
    byte k;
end:
    do
#ifdef BREAK_TAKE_IN_ONE_CALL
    :: d_step { held == 0 && k == 0 && mail[1] -> k = 1 }
    :: d_step { held == 0 && k == 0 && mail[2] -> k = 2 }
    :: d_step { k != 0 ->
           if
           :: taken[k] != 0 || delivered[k] -> VIOLATED(one_queue_only)
           :: else
           fi;
           mail[k] = 0; taken[k] = t; held = k; k = 0 }
#else
    :: d_step { held == 0 && mail[1] -> k = 1; mail[k] = 0; taken[k] = t; held = k; k = 0 }
    :: d_step { held == 0 && mail[2] -> k = 2; mail[k] = 0; taken[k] = t; held = k; k = 0 }
#endif
    :: d_step { held != 0 -> taken[held] = 0; delivered[held] = 1; held = 0 }
    :: d_step { held != 0 && returns > 0 -> returns--; taken[held] = 0; mail[held] = 1; held = 0 }
    od
}

inline disconnect(i) {
    do
    :: nempty(answers[i]) -> answers[i] ? command, result, ep_, number, what, bodies
    :: empty(answers[i]) -> break
    od;
    do
    :: nempty(commands[i]) -> commands[i] ? command, ep_, number, what; late[i] ! command, ep_, number, what
    :: empty(commands[i]) -> break
    od
}
inline begin_anew(i) {
    if
    :: RUNS -> NODE.phase = OWNER; append_rest(i)
    :: NODE.phase == CLAIMING -> NODE.phase = IDLE
    :: NODE.phase == SPILLING -> spill_rest(i)
    :: else
    fi
}
inline die(i) {
    forget(i);
    if
    :: leg == i -> leg = NOBODY; talking = 0
    :: else
    fi;
    if
    :: upstream == i -> upstream = NOBODY
    :: else
    fi
}

proctype faults(byte i) {
end:
    do
    :: d_step { breaks > 0 && (nempty(commands[i]) || nempty(answers[i])) ->
           printf("node %d: its connection breaks\n", i);
           breaks--; disconnect(i); begin_anew(i) }
    :: d_step { crashes > 0 && NODE.phase != IDLE ->
           printf("node %d: crashes\n", i);
           crashes--; crashed = 1; disconnect(i); die(i) }
    od
}

#define IN_QUEUE(k) (exists && ((d.count > 0 && d.body[0] == k) || (d.count > 1 && d.body[1] == k)))
#define SAFE(k) (!kept[k] || got[k] || mail[k] || taken[k] != 0 || delivered[k] || IN_QUEUE(k))
#define ARRIVED(k) (sent < k || got[k] || delivered[k])
#define ALL(P) (P(1) && P(2))

active proctype monitor() {
end:
    do
    :: d_step { !ALL(SAFE) -> VIOLATED(nothing_committed_is_lost) }
    :: timeout ->
        if
        :: d_step { !crashed && !ALL(ARRIVED) -> VIOLATED(nothing_is_dropped) }
        :: else -> break
        fi
    od
}

init {
    d_step {
        d.last_ep = 1;
        node[0].phase = OWNER;
        node[0].ep = 1
    }
    atomic {
        run redis(0); run redis(1);
        run node_runs(0); run node_runs(1);
        run faults(0); run faults(1);
        run time(); run reaper(0); run reaper(1);
        run server(); run client(); run other(2); run other(3)
    }
}
