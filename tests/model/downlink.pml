/* Downlink: the server sends stanzas; the node numbers them, appends them to the unacked queue and writes them to the
 * client, whose acks trim it. The client is cut and resumes at any node with its h. A node that finds itself fenced
 * puts into the mailbox what the new owner cannot have.
 *
 * Pauses, crashes, broken connections and refusals are those of uplink.pml. */
#ifndef STANZAS
#define STANZAS 2
#endif
#ifndef CUTS
#define CUTS 2
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef BREAKS
#define BREAKS 1
#endif
#ifndef REFUSALS
#define REFUSALS 1
#endif
#ifndef NODES
#define NODES 2
#endif
#define ROOM (STANZAS + 2)
#define PIPE (2 * STANZAS + 2)
#define EPOCHS 10
#include "store.pml"

/* --- Redis --- */
byte epoch = 1, owner = 0, attaches = 0;
byte since = 1; /* the first of the owner's epochs: it may have claimed its own session anew */
byte high_water = 1;
byte record[EPOCHS];  /* of the epochs of one owner, when another claims: the last number that it took over, or h */
byte spilled[EPOCHS]; /* up to which its node has put the rest into the mailbox */
stream d;
bit mail[STANZAS + 1];
byte refusals = REFUSALS;
chan commands[NODES] = [PIPE] of { mtype, byte /* ep */, byte /* number */,
    byte /* stanza; CLAIM: attaches that were read */ };
/* Of a connection that broke: carried out at any later time. */
chan late[NODES] = [2 * PIPE] of { mtype, byte, byte, byte };
/* Of CLAIM and ATTACH. Other answers are taken at once: a node that takes one later knows less for a while, and one
 * that never gets it has sent it on a connection that broke. */
chan answers[NODES] = [1] of { mtype, mtype, byte /* ep */, byte /* number */, byte /* h */,
    int /* entries: epochs, four bits each */, int /* stanzas, four bits each */ };

/* --- nodes --- */
#define IDLE 0 /* does not run the session */
#define CLAIMING 1
#define OWNER 2
#define ATTACHING 3 /* the owner, asked for a resumption: waits for ATTACH */
#define LOOKING 4   /* the owner, about to claim its own session anew */
#define SPILLING 5  /* fenced */
typedef node_state {
    byte phase;
    byte ep;
    byte last;  /* number */
    byte com;   /* committed up to it, as far as this node knows */
    byte acked; /* by the client */
    byte high_water;
    byte reserving;
    byte body[STANZAS + 1];
    byte id[STANZAS + 1] /* epochs of the entries */
}
node_state node[NODES];
byte upstream = 0; /* whose upstream leg is alive: a rebuild binds the same resource, which ends the old one */

/* --- client and server --- */
byte leg = 0;    /* the node that the client is connected to */
bit talking = 1; /* enabled or resumed there */
byte h = 0;      /* what the client has handled */
byte newest = 0; /* stanza that it has got */
bit got[STANZAS + 1];
bit delivered[STANZAS + 1]; /* from the mailbox */
bit kept[STANZAS + 1];      /* a node knew it committed */
byte sent = 0;
bit crashed = 0;
byte cuts = CUTS, crashes = CRASHES, breaks = BREAKS;

hidden byte ep_, number, what, last_good, above;
hidden int ids, bodies;

#define NODE node[i]
#define HERE (leg == i && talking)
#define ASKS (leg == i && !talking)
#define RUNS (NODE.phase == OWNER || NODE.phase == ATTACHING)
#define OWNS (RUNS || NODE.phase == LOOKING || (NODE.phase == CLAIMING && NODE.ep != 0))
#define NEXT_BLOCK(n) (n + STANZAS)

inline find_last_good() {
    last_good = d.last_sq;
    if
    :: d.count > 0 ->
        y = d.sq[0];
        x = 1;
        do
        :: x < d.count && d.sq[x] == y + 1 -> y++; x++
        :: else -> break
        od;
        z = (d.last_sq - d.sq[0] + 1) - d.count; /* missing behind the first entry */
        if
        :: d.last_sq - d.added > z -> last_good = d.sq[0] - 1 - (d.last_sq - d.added - z)
        :: d.last_sq - d.added <= z -> last_good = y
        fi
    :: else
    fi
}

/* The script; number: the client's h. Compare and set, refuse an h above the high-water mark, ack h, cut at a gap,
 * record, fence. */
inline do_claim(i) {
    if
#ifdef BREAK_CLAIM_CAS
    :: true ->
#else
#ifdef BREAK_CLAIM_CAS_ATTACH
    :: ep_ == epoch ->
#else
    :: ep_ == epoch && what == attaches ->
#endif
#endif
        if
        :: number > high_water -> VIOLATED(an_honest_client_resumes)
        :: else
        fi;
        find_last_good();
#ifdef BREAK_CLAIM_CUTS_GAP
        last_good = d.last_sq;
#endif
        do
        :: d.count > 0 && d.sq[d.count - 1] > last_good -> x = d.count - 1; remove_at_x(d)
        :: else -> break
        od;
        do
        :: d.count > 0 && d.sq[0] <= number -> x = 0; remove_at_x(d)
        :: else -> break
        od;
        above = last_good;
#ifndef BREAK_COUNTER_FORWARD
        if
        :: number > last_good -> last_good = number
        :: else
        fi;
#endif
#ifdef BREAK_SPILL_BY_RECORD
        above = number;
#else
#ifndef BREAK_FENCED_SPILL_ABOVE_H
        above = last_good;
#endif
#endif
#ifdef BREAK_RECORD_OF_EACH_CLAIM
        record[0] = above;
#endif
#ifdef BREAK_RECORD_PER_OWNER
        record[epoch] = above;
#else
        if
        :: owner != i ->
            for (x : since .. epoch) {
                record[x] = above
            };
            since = epoch + 1
        :: else
        fi;
#endif
        epoch++;
        owner = i;
#ifndef BREAK_FENCE_XSETID
        d.last_ep = epoch;
#endif
        d.last_sq = last_good;
        d.added = last_good;
        if
        :: high_water < last_good -> high_water = last_good
        :: else
        fi;
        result = DONE;
        ids = 0;
        bodies = high_water;
        for (x : 0 .. ROOM - 1) {
            if
            :: x < d.count ->
                ids = ids | (d.ep[x] << (4 * d.sq[x]));
                bodies = bodies | (d.body[x] << (4 * d.sq[x]));
            :: else
            fi
        };
        what = number;
        number = last_good;
        ep_ = epoch
    :: else -> result = SMALLER
    fi
}

inline carry_out(i) {
    ids = 0; bodies = 0;
    if
    :: command == XADD ->
        xadd(d, ep_, number, what);
        if
        :: result == DONE && ep_ != epoch -> VIOLATED(one_owner)
        :: else
        fi
    :: command == TRIM -> xtrim(d, ep_, number); result = DONE
    :: command == CLAIM -> do_claim(i)
    :: command == ATTACH ->
        if
        :: ep_ == epoch -> result = DONE; attaches++
        :: else -> result = SMALLER
        fi
    :: command == RESERVE ->
        if
        :: ep_ == epoch -> result = DONE; high_water = number
        :: else -> result = SMALLER
        fi
    :: command == SPILL ->
        if
        :: number > spilled[ep_] ->
            if
            :: got[what] || delivered[what] || mail[what] -> VIOLATED(exactly_once)
            :: else
            fi;
            for (x : 0 .. ROOM - 1) {
                if
                :: x < d.count && d.body[x] == what -> VIOLATED(exactly_once)
                :: else
                fi
            };
            mail[what] = 1;
#ifndef BREAK_SPILL_ONCE
            spilled[ep_] = number
#endif
        :: else
        fi;
        result = DONE
    fi
}

/* --- a node --- */

inline forget(i) {
    NODE.phase = IDLE;
    NODE.ep = 0; NODE.last = 0; NODE.com = 0; NODE.acked = 0; NODE.high_water = 0; NODE.reserving = 0;
    for (x : 0 .. STANZAS) {
        NODE.id[x] = 0; NODE.body[x] = 0
    }
}

inline append(i, n) {
    NODE.id[n] = NODE.ep;
    commands[i] ! XADD, NODE.ep, n, NODE.body[n]
}

inline append_rest(i) {
    for (x : NODE.com + 1 .. NODE.last) {
        append(i, x)
    }
}

inline spill_rest(i) {
    for (x : NODE.com + 1 .. NODE.last) {
        commands[i] ! SPILL, NODE.ep, x, NODE.body[x]
    }
}

/* Closes its legs; what the claim of another did not take over goes to the mailbox. */
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
#ifdef BREAK_RECORD_OF_EACH_CLAIM
    above = record[0];
#else
    above = record[NODE.ep];
#endif
#ifdef BREAK_SPILL_BY_RECORD
    if
    :: above < NODE.com -> above = NODE.com
    :: else
    fi;
#endif
#if defined BREAK_CLAIM_CAS || defined BREAK_CLAIM_CAS_ATTACH
    if /* else the record says so too */
    :: above < NODE.acked -> above = NODE.acked
    :: else
    fi;
#endif
    if
    :: above >= NODE.last -> forget(i)
    :: else -> NODE.phase = SPILLING; NODE.com = above; NODE.acked = 0; NODE.reserving = 0; NODE.high_water = 0;
        spill_rest(i)
    fi
}

inline resume(i) {
    printf("node %d: resumed\n", i);
    if
    :: h > NODE.last -> VIOLATED(an_honest_client_resumes)
    :: else
    fi;
    if
    :: NODE.acked < h -> NODE.acked = h
    :: else
    fi;
    talking = 1
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
    if
    :: NODE.ep == 0 ->
        upstream = i;
        for (x : 1 .. STANZAS) {
            NODE.body[x] = (bodies >> (4 * x)) & 15
        };
        NODE.last = number;
        NODE.acked = what;
        NODE.phase = OWNER;
        resume(i)
    :: NODE.ep != 0 && number > NODE.last -> VIOLATED(one_owner)
    :: else
    fi;
    NODE.ep = ep_;
    NODE.com = number;
    NODE.high_water = bodies & 15;
    NODE.reserving = 0;
    for (x : 1 .. STANZAS) {
        NODE.id[x] = (ids >> (4 * x)) & 15
    }
    NODE.phase = OWNER;
    note_kept(i);
    append_rest(i)
}

/* An append was answered "equal or smaller": what that means. */
inline look_for_entry(i) {
    if
    :: epoch != NODE.ep && owner != i -> be_fenced(i)
    :: epoch != NODE.ep && owner == i -> NODE.phase = LOOKING
    :: else ->
        find(d, number);
        if
#ifdef BREAK_RETRY_EQUAL_OR_SMALLER
        :: true -> NODE.com = number; note_kept(i)
#else
        :: found_ep == NODE.ep -> NODE.com = number; note_kept(i)
        :: else -> printf("node %d: gap at %d\n", i, number); NODE.phase = LOOKING
#endif
        fi
    fi
}

inline take_other_answer(i) {
    if
    :: command == XADD && ep_ == NODE.ep && RUNS ->
        if
#ifdef BREAK_GAP
        :: result == DONE && number > NODE.com -> NODE.com = number; note_kept(i)
#else
        :: result == DONE && number == NODE.com + 1 -> NODE.com = number; note_kept(i)
#endif
        :: result == SMALLER && number == NODE.com + 1 -> look_for_entry(i)
        :: else
        fi
    :: command == RESERVE && ep_ == NODE.ep && RUNS ->
        NODE.reserving = 0;
        if
        :: result == DONE -> NODE.high_water = number
        :: result == SMALLER && owner != i -> be_fenced(i)
        :: result == SMALLER && owner == i -> NODE.phase = LOOKING
        fi
    :: command == SPILL && ep_ == NODE.ep && NODE.phase == SPILLING && number == NODE.last -> forget(i)
    :: else
    fi
}

inline take_answer(i) {
    answers[i] ? command, result, ep_, number, what, ids, bodies;
    if
    :: command == CLAIM && NODE.phase == CLAIMING ->
        if
        :: result == DONE && (OWNS || ASKS) -> take_claim(i)
        :: result == SMALLER && OWNS -> NODE.phase = LOOKING
        :: else -> NODE.phase = IDLE /* the client has left, or it looks again */
        fi
    :: command == ATTACH && NODE.phase == ATTACHING ->
        NODE.phase = OWNER;
        if
        :: result == SMALLER && owner != i -> be_fenced(i)
        :: result == SMALLER && owner == i -> NODE.phase = LOOKING
        :: result == DONE && ASKS -> resume(i)
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
           :: command == CLAIM || command == ATTACH ->
               answers[i] ! command, result, ep_, number, what, ids, bodies
           :: command != CLAIM && command != ATTACH -> take_other_answer(i)
           fi }
    :: d_step { refusals > 0 && commands[i] ? [XADD, _, _, _] && empty(answers[i]) ->
           commands[i] ? command, ep_, number, what;
           refusals--;
           result = REFUSED;
           printf("redis: node %d: XADD %d-%d refused\n", i, ep_, number);
           take_other_answer(i) }
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
    :: d_step { NODE.phase == OWNER && NODE.com < NODE.last && empty(commands[i]) ->
           append_rest(i); /* something was refused */
           x = 0 }
    :: d_step { RUNS && !NODE.reserving && NODE.high_water < NODE.last && nfull(commands[i]) ->
           NODE.reserving = 1;
           commands[i] ! RESERVE, NODE.ep, NEXT_BLOCK(NODE.high_water), 0 }
#ifdef BREAK_RESUMED_AFTER_COMMIT
    :: d_step { NODE.phase == OWNER && ASKS -> resume(i) }
#else
    :: d_step { NODE.phase == OWNER && ASKS && nfull(commands[i]) ->
           NODE.phase = ATTACHING;
           commands[i] ! ATTACH, NODE.ep, 0, 0 }
#endif
    :: d_step { NODE.phase == IDLE && ASKS && nfull(commands[i]) -> /* looks, and claims what it saw */
           NODE.phase = CLAIMING;
           commands[i] ! CLAIM, epoch, h, attaches }
    :: d_step { NODE.phase == LOOKING && nfull(commands[i]) ->
           if
           :: owner == i -> NODE.phase = CLAIMING; commands[i] ! CLAIM, epoch, NODE.acked, attaches
           :: else -> be_fenced(i)
           fi }
    od
}

proctype server() {
    byte i;
end:
    do
    :: d_step { upstream != NOBODY && sent < STANZAS && len(commands[upstream]) < PIPE - 2 ->
           i = upstream;
           sent++;
           printf("server: %d to node %d\n", sent, i);
           NODE.last++;
           NODE.body[NODE.last] = sent;
           if
           :: RUNS -> append(i, NODE.last)
           :: else
           fi;
           i = 0 }
    od
}

/* What Redis has answered before is no answer to this resumption. */
inline come_back(i) {
    printf("client: comes back to node %d, h=%d\n", i, h);
    leg = i;
    if
    :: len(answers[i]) > 0 && !(NODE.phase == CLAIMING && OWNS) ->
        answers[i] ? command, result, ep_, number, what, ids, bodies;
        if
        :: OWNS -> NODE.phase = OWNER
        :: !OWNS && NODE.phase == CLAIMING -> NODE.phase = IDLE
        :: else
        fi
    :: len(answers[i]) == 0 || (NODE.phase == CLAIMING && OWNS)
    fi
}

proctype client() {
    byte i;
end:
    do
#ifdef BREAK_HIGH_WATER
    :: d_step { talking && h < node[leg].last ->
#else
    :: d_step { talking && h < node[leg].last && h < node[leg].high_water ->
#endif
           i = leg;
           h++;
           what = NODE.body[h];
           printf("client: gets %d as %d from node %d\n", what, h, i);
           if
           :: got[what] || delivered[what] || mail[what] -> VIOLATED(exactly_once)
           :: else
           fi;
           if
           :: what < newest -> VIOLATED(order_is_kept)
           :: else
           fi;
           newest = what;
           got[what] = 1;
           i = 0 }
    :: d_step { talking && node[leg].acked < h && (node[leg].phase == OWNER || node[leg].phase == ATTACHING) &&
                nfull(commands[leg]) ->
           i = leg;
           NODE.acked = h;
           printf("client: a h=%d to node %d\n", h, i);
           if
#ifndef BREAK_TRIM_OLD_EPOCH
           :: h < NODE.last -> commands[i] ! TRIM, NODE.id[h + 1], h + 1, 0
#endif
           :: else -> commands[i] ! TRIM, NODE.ep, h + 1, 0
           fi;
           i = 0 }
    :: d_step { cuts > 0 -> cuts--; talking = 0; come_back(0) }
    :: d_step { cuts > 0 -> cuts--; talking = 0; come_back(1) }
    :: d_step { leg == NOBODY -> come_back(0) }
    :: d_step { leg == NOBODY -> come_back(1) }
    od
}

/* Another session of the account. */
proctype mailbox() {
end:
    do
    :: d_step { mail[1] -> mail[1] = 0; delivered[1] = 1 }
    :: d_step { mail[2] -> mail[2] = 0; delivered[2] = 1 }
#if STANZAS > 2
    :: d_step { mail[3] -> mail[3] = 0; delivered[3] = 1 }
#endif
    od
}

/* Answers that are on their way are lost; commands are carried out at any later time, and that may be never. */
inline disconnect(i) {
    do
    :: nempty(answers[i]) -> answers[i] ? command, result, ep_, number, what, ids, bodies
    :: empty(answers[i]) -> break
    od;
    do
    :: nempty(commands[i]) -> commands[i] ? command, ep_, number, what; late[i] ! command, ep_, number, what
    :: empty(commands[i]) -> break
    od
}
inline begin_anew(i) {
    if
    :: RUNS -> NODE.phase = OWNER; NODE.reserving = 0; append_rest(i)
    :: NODE.phase == CLAIMING && OWNS -> NODE.phase = LOOKING
    :: NODE.phase == CLAIMING && !OWNS -> NODE.phase = IDLE
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

#define IN_QUEUE(k) ((d.count > 0 && d.body[0] == k) || (d.count > 1 && d.body[1] == k) || \
    (d.count > 2 && d.body[2] == k) || (d.count > 3 && d.body[3] == k))
#define SAFE(k) (!kept[k] || got[k] || mail[k] || delivered[k] || IN_QUEUE(k))
#define ARRIVED(k) (got[k] || delivered[k])
#if STANZAS > 2
#define ALL(P) (P(1) && P(2) && P(3))
#else
#define ALL(P) (P(1) && P(2))
#endif

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
        node[0].ep = 1;
        node[0].high_water = 1
    }
    atomic {
        run redis(0); run redis(1);
        run node_runs(0); run node_runs(1);
        run faults(0); run faults(1);
        run server(); run client(); run mailbox()
    }
}
