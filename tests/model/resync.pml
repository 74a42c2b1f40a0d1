/* Redis comes back: with all it had, with an old dump, or empty. Owners that live write what is missing; a node that
 * was paused since it lost the session does not know better than to do the same. Uplink only, without refusals: the
 * server, the client and h are those of uplink.pml.
 *
 * Assumed is that no process dies between the restart of Redis and the end of the resynchronization (the promise is
 * the loss of any one process), and, with GRACE, that owners resynchronize before anything else happens. Without GRACE
 * old answers may be told, but still no two nodes write. */
#ifndef STANZAS
#define STANZAS 2
#endif
#ifndef CUTS
#define CUTS 2
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef GRACE
#define GRACE 1
#endif
#ifndef NODES
#define NODES 2
#endif
#define ROOM (STANZAS + 2)
#define PIPE (STANZAS + 2)
#include "store.pml"

/* --- Redis --- */
byte epoch = 1, owner = 0, now = 1; /* now: the clock, of which an epoch is made */
stream u;
byte dump_epoch = 1, dump_owner = 0; /* epoch 0: empty */
stream dump_u;
bit stale = 0; /* no owner has confirmed since the restart what the hash says */
bit dumped = 0, restarted = 0;
chan commands[NODES] = [PIPE] of { mtype, byte /* ep */, byte /* number */, byte };
chan answers[NODES] = [1] of { mtype, mtype, byte /* ep */, byte /* number */,
    byte /* number before the first entry */, int /* epochs of the entries, four bits each */ };

/* --- nodes --- */
#define IDLE 0
#define CLAIMING 1
#define OWNER 2
#define ATTACHING 3
#define RESYNC 4
#define RESTORING 5
typedef node_state {
    byte phase;
    byte ep;
    byte received;
    byte com;
    byte was;  /* com before Redis came back: resynchronized when it is reached again */
    byte conf; /* what the server has confirmed to it */
    byte id[STANZAS + 1]
}
node_state node[NODES];
byte upstream = 0, passed = 0;

/* --- client and server --- */
#define OVER 254 /* the client was told that its session is no more */
byte leg = 0;
bit talking = 1;
byte told = 0, processed = 0, newest = 0 /* the node of the latest claim, whatever Redis remembers */;
byte cuts = CUTS, crashes = CRASHES;

hidden byte ep_, number, what, first, last_good;
hidden int ids;

#define NODE node[i]
#define OWNS (NODE.ep != 0)
#define HERE (leg == i && talking)
#define ASKS (leg == i && !talking)
#define RUNS(n) (node[n].phase == OWNER || node[n].phase == ATTACHING)
/* Owners have resynchronized. */
#define SETTLED_NODE(n) (node[n].ep == 0 || (RUNS(n) && node[n].com >= node[n].was))
#if NODES > 2
#define ALL_SETTLED (SETTLED_NODE(0) && SETTLED_NODE(1) && SETTLED_NODE(2))
#else
#define ALL_SETTLED (SETTLED_NODE(0) && SETTLED_NODE(1))
#endif
#if GRACE == 1
#define CALM ALL_SETTLED
#else
#define CALM true
#endif
#define SETTLED (!restarted || (ALL_SETTLED && node[newest].com >= told))

inline give_entries() {
    ids = 0;
    first = last_good;
    for (x : 0 .. ROOM - 1) {
        if
        :: x < u.count -> ids = ids | (u.ep[x] << (4 * (u.sq[x] - 1)))
        :: else
        fi
    }
    if
    :: u.count > 0 && u.sq[0] - 1 < first -> first = u.sq[0] - 1
    :: else
    fi
}

inline cut_at_last_good() {
    do
    :: u.count > 0 && u.sq[u.count - 1] > last_good -> x = u.count - 1; remove_at_x(u)
    :: else -> break
    od
}

inline fence(i, e) {
    epoch = e;
    owner = i;
    u.last_ep = e;
    u.last_sq = last_good;
    u.added = last_good;
    result = DONE
}

inline do_claim(i) {
    if
#ifndef BREAK_STALE_CLAIM
    :: epoch != 0 && ep_ == epoch && stale -> result = GONE
    :: epoch != 0 && ep_ == epoch && !stale ->
#else
    :: epoch != 0 && ep_ == epoch ->
#endif
        last_good = u.last_sq;
#ifdef BREAK_EPOCH_FROM_TIME
        now = epoch + 1;
#else
        now++;
#endif
        fence(i, now);
        newest = i;
        ep_ = epoch;
        number = last_good;
        give_entries()
    :: else -> result = SMALLER
    fi
}

/* The owner of a larger epoch than the stored one, or of keys that are missing, puts itself back. */
inline do_restore(i) {
    if
    :: epoch <= ep_ ->
        stale = 0;
        if
        :: epoch == 0 -> last_good = what
        :: epoch != 0 && u.last_sq > number -> last_good = number /* of somebody who is no owner */
        :: epoch != 0 && u.last_sq <= number -> last_good = u.last_sq
        fi;
        cut_at_last_good();
#ifdef BREAK_RESTORE_OWN_EPOCH
        now++;
        fence(i, now);
#else
        fence(i, ep_);
#endif
        ep_ = epoch;
        number = last_good;
        give_entries()
    :: else -> result = SMALLER
    fi
}

inline carry_out(i) {
    first = 0; ids = 0;
    if
    :: command == XADD ->
        if
        :: epoch == 0 -> result = GONE
        :: else ->
            xadd(u, ep_, number, 0);
            if
            :: result == DONE && (ep_ != epoch || owner != i) -> VIOLATED(one_owner)
            :: else
            fi
        fi
    :: command == TRIM -> xtrim(u, ep_, number); result = DONE
    :: command == CLAIM -> do_claim(i)
    :: command == RESTORE -> do_restore(i)
    :: command == ATTACH -> result = (ep_ == epoch -> DONE : SMALLER)
    fi
}

inline forget(i) {
    NODE.phase = IDLE;
    NODE.ep = 0; NODE.received = 0; NODE.com = 0; NODE.was = 0; NODE.conf = 0;
    for (x : 0 .. STANZAS) {
        NODE.id[x] = 0
    }
}

inline be_fenced(i) {
    printf("node %d: fenced, epoch %d\n", i, NODE.ep);
    forget(i);
    if
    :: HERE -> leg = NOBODY; talking = 0
    :: else
    fi
}

inline append(i, n) {
    NODE.id[n] = NODE.ep;
    commands[i] ! XADD, NODE.ep, n, 0
}

inline append_rest(i) {
    for (x : NODE.com + 1 .. NODE.received) {
        append(i, x)
    }
}

inline tell(i) {
    if
    :: HERE && NODE.com > told -> told = NODE.com; printf("node %d: a h=%d\n", i, told)
    :: else
    fi
}

inline resume(i) {
    printf("node %d: resumed h=%d\n", i, NODE.com);
    if
    :: NODE.com < told ->
        if
        :: GRACE == 1 -> VIOLATED(h_never_goes_back)
        :: else
        fi
    :: else
    fi;
    told = NODE.com;
    talking = 1
}

inline take_entries(i) {
    NODE.ep = ep_;
    NODE.com = number;
    for (x : 1 .. STANZAS) {
        NODE.id[x] = (ids >> (4 * (x - 1))) & 15
    }
    NODE.phase = OWNER
}

inline trim(i) {
    if
    :: NODE.conf < NODE.received -> commands[i] ! TRIM, NODE.id[NODE.conf + 1], NODE.conf + 1, 0
    :: else -> commands[i] ! TRIM, NODE.ep, NODE.conf + 1, 0
    fi
}

inline take_answer(i) {
    answers[i] ? command, result, ep_, number, first, ids;
    if
    :: command == CLAIM && NODE.phase == CLAIMING ->
        NODE.phase = IDLE;
        if
        :: result == DONE && ASKS ->
            take_entries(i);
            NODE.received = number;
            NODE.conf = first;
            passed = first;
            upstream = i;
            resume(i)
        :: result == GONE && ASKS -> leg = OVER; printf("node %d: failed\n", i)
        :: else
        fi
    :: command == RESTORE && NODE.phase == RESTORING ->
        if
        :: result == DONE -> take_entries(i); append_rest(i); trim(i); tell(i)
        :: else -> be_fenced(i)
        fi
    :: command == ATTACH && NODE.phase == ATTACHING ->
        NODE.phase = OWNER;
        if
        :: result == SMALLER -> be_fenced(i)
        :: result == DONE && ASKS -> resume(i)
        :: else
        fi
    :: else
    fi
}

inline answer_to_append(i) {
    if
    :: ep_ == NODE.ep && RUNS(i) ->
        if
        :: result == DONE && number == NODE.com + 1 -> NODE.com = number
        :: (result == SMALLER || result == GONE) && number == NODE.com + 1 ->
            if
            :: epoch != NODE.ep -> be_fenced(i)
            :: else -> NODE.com = number
            fi
        :: else
        fi;
        tell(i)
    :: else
    fi
}

proctype redis(byte i) {
end:
    do
    :: d_step { nempty(commands[i]) && empty(answers[i]) ->
           commands[i] ? command, ep_, number, what;
           printf("redis: node %d: %e %d-%d", i, command, ep_, number);
           carry_out(i);
           printf(": %e, epoch %d\n", result, epoch);
           if
           :: command == XADD -> answer_to_append(i)
           :: command == CLAIM || command == ATTACH || command == RESTORE ->
               answers[i] ! command, result, ep_, number, first, ids
           :: command == TRIM
           fi }
    od
}

/* What it finds after Redis came back. */
inline look_again(i) {
    if
#ifdef BREAK_RESYNC_BEFORE_ACK
    :: epoch == NODE.ep -> NODE.phase = OWNER; append_rest(i) /* what was committed will still be there */
#else
    :: epoch == NODE.ep ->
        stale = 0;
        NODE.com = (u.last_sq < NODE.received -> u.last_sq : NODE.received);
        NODE.phase = OWNER;
        append_rest(i);
        trim(i);
        tell(i)
#endif
    :: epoch < NODE.ep -> NODE.phase = RESTORING; commands[i] ! RESTORE, NODE.ep, NODE.received, NODE.conf
    :: epoch > NODE.ep -> be_fenced(i)
    fi
}

proctype node_runs(byte i) {
end:
    do
    :: d_step { nempty(answers[i]) -> take_answer(i) }
    :: d_step { NODE.phase == RESYNC -> look_again(i) }
    :: d_step { NODE.phase == OWNER && ASKS && NODE.com == NODE.received && nfull(commands[i]) && CALM ->
           NODE.phase = ATTACHING;
           commands[i] ! ATTACH, NODE.ep, 0, 0 }
#ifdef BREAK_GRACE
    :: d_step { NODE.phase == OWNER && ASKS && NODE.com == NODE.received && nfull(commands[i]) && !CALM ->
           NODE.phase = ATTACHING;
           commands[i] ! ATTACH, NODE.ep, 0, 0 }
    :: d_step { NODE.phase == IDLE && ASKS && nfull(commands[i]) && !CALM ->
           NODE.phase = CLAIMING;
           commands[i] ! CLAIM, epoch, 0, 0 }
#endif
    :: d_step { NODE.phase == IDLE && ASKS && nfull(commands[i]) && CALM && epoch != 0 ->
           NODE.phase = CLAIMING;
           commands[i] ! CLAIM, epoch, 0, 0 }
    od
}

proctype server() {
    byte i;
end:
    do
    :: d_step { upstream != NOBODY && node[upstream].ep != 0 && passed < node[upstream].received &&
                nfull(commands[upstream]) ->
           i = upstream;
           passed++;
           printf("server: %d\n", passed);
           NODE.conf = passed;
           if
           :: passed > processed -> processed = passed
           :: else /* once more */
           fi;
           if
           :: RUNS(i) -> trim(i)
           :: else
           fi;
           i = 0 }
    od
}

inline come_back(i) {
    printf("client: comes back to node %d\n", i);
    leg = i;
    if
    :: len(answers[i]) > 0 && (NODE.phase == ATTACHING || NODE.phase == CLAIMING) ->
        answers[i] ? command, result, ep_, number, first, ids;
        NODE.phase = (NODE.phase == ATTACHING -> OWNER : IDLE)
    :: len(answers[i]) == 0 || NODE.phase == RESTORING
    fi
}

proctype client() {
    byte i;
end:
    do
    :: d_step { talking && node[leg].ep != 0 && node[leg].received < STANZAS && len(commands[leg]) < PIPE - 1 ->
           i = leg;
           NODE.received++;
           printf("client: %d to node %d\n", NODE.received, i);
           if
           :: RUNS(i) -> append(i, NODE.received)
           :: else
           fi;
           i = 0 }
    :: d_step { cuts > 0 && leg != OVER -> cuts--; talking = 0; come_back(0) }
    :: d_step { cuts > 0 && leg != OVER -> cuts--; talking = 0; come_back(1) }
#if NODES > 2
    :: d_step { cuts > 0 && leg != OVER -> cuts--; talking = 0; come_back(2) }
    :: d_step { leg == NOBODY -> come_back(2) }
#endif
    :: d_step { leg == NOBODY -> come_back(0) }
    :: d_step { leg == NOBODY -> come_back(1) }
    od
}

inline copy(from, to) {
    for (x : 0 .. ROOM - 1) {
        to.ep[x] = from.ep[x]; to.sq[x] = from.sq[x]
    };
    to.count = from.count; to.last_ep = from.last_ep; to.last_sq = from.last_sq; to.added = from.added
}

inline disconnect(i) {
    do
    :: nempty(answers[i]) -> answers[i] ? command, result, ep_, number, first, ids
    :: empty(answers[i]) -> break
    od;
    do
    :: nempty(commands[i]) -> commands[i] ? command, ep_, number, what
    :: empty(commands[i]) -> break
    od;
    if
    :: OWNS -> NODE.phase = RESYNC; NODE.was = NODE.com
    :: !OWNS -> NODE.phase = IDLE
    fi
}

inline restart() {
    restarted = 1;
    epoch = dump_epoch; owner = dump_owner; stale = 1;
    copy(dump_u, u);
    disconnect(0); disconnect(1);
#if NODES > 2
    disconnect(2);
#endif
    dump_epoch = 0; dump_owner = 0;
    for (x : 0 .. ROOM - 1) { /* the dump is used up: no more of it in the state */
        dump_u.ep[x] = 0; dump_u.sq[x] = 0
    };
    dump_u.count = 0; dump_u.last_ep = 0; dump_u.last_sq = 0; dump_u.added = 0
}

proctype faults() {
    byte i;
end:
    do
    :: d_step { !dumped && !restarted -> printf("redis: dump\n");
           dumped = 1; dump_epoch = epoch; dump_owner = owner; copy(u, dump_u) }
    :: d_step { dumped && !restarted && crashes == CRASHES -> printf("redis: restart, with the dump\n"); restart() }
    :: d_step { !dumped && !restarted && crashes == CRASHES -> printf("redis: restart, empty\n");
           dumped = 1; dump_epoch = 0; dump_owner = NOBODY; dump_u.count = 0; dump_u.last_ep = 0; dump_u.last_sq = 0;
           restart() }
    :: d_step { crashes > 0 && SETTLED && newest != NOBODY && node[newest].ep != 0 ->
           i = newest;
           printf("node %d: crashes\n", i);
           crashes--;
           disconnect(i);
           forget(i);
           if
           :: leg == i -> leg = NOBODY; talking = 0
           :: else
           fi;
           if
           :: upstream == i -> upstream = NOBODY; passed = 0
           :: else
           fi;
           i = 0 }
    od
}

#define IN_QUEUE(n) ((u.count > 0 && u.sq[0] == n) || (u.count > 1 && u.sq[1] == n) || (u.count > 2 && u.sq[2] == n))
#define SAFE(n) (told < n || processed >= n || IN_QUEUE(n))

active proctype monitor() {
end:
    do
    :: d_step { GRACE == 1 && SETTLED && !(SAFE(1) && SAFE(2) && SAFE(3)) -> VIOLATED(nothing_acked_is_lost) }
    :: timeout ->
        if
        :: d_step { GRACE == 1 && epoch != 0 && leg != OVER && (processed < STANZAS || told < STANZAS) ->
               VIOLATED(nothing_is_stuck) }
        :: else -> break
        fi
    od
}

init {
    d_step {
        u.last_ep = 1;
        node[0].phase = OWNER;
        node[0].ep = 1
    }
    atomic {
        run redis(0); run redis(1);
        run node_runs(0); run node_runs(1);
#if NODES > 2
        run redis(2); run node_runs(2);
#endif
        run faults(); run server(); run client()
    }
}
