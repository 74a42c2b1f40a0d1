/* Uplink: a client sends stanzas, its node appends them to the unconfirmed queue and passes them to the server, tells
 * the client the h that is committed, and trims what the server has confirmed. The client is cut and resumes at any
 * node; nodes crash; connections to Redis break with commands on their way; Redis refuses some commands.
 *
 * A paused node is one whose process takes no step: that may happen at any point, for any time. What it has sent is
 * carried out without it. What the client has sent to a node and the node has not read is as if not sent.
 *
 * README.md tells what each property means and which rule protects it. */
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
#define NODES 2
#define ROOM 5
#define PIPE (STANZAS + 2)
#include "store.pml"

/* --- Redis --- */
byte epoch = 1, owner = 0;
stream u;
byte refusals = REFUSALS;
chan commands[NODES] = [PIPE] of { mtype, byte /* ep */, byte /* number */ };
/* Of a connection that broke: carried out at any later time. */
chan late[NODES] = [2 * PIPE] of { mtype, byte, byte };
/* Of CLAIM and ATTACH. An answer to XADD is taken at once: a node that takes it later knows less for a while, and one
 * that never gets it has sent it on a connection that broke. */
chan answers[NODES] = [1] of { mtype, mtype, byte /* ep */, byte /* number */,
    byte /* CLAIM: number before the first entry */, int /* CLAIM: epochs of the entries, four bits each */ };

/* --- nodes --- */
#define IDLE 0 /* does not run the session */
#define CLAIMING 1
#define OWNER 2
#define ATTACHING 3 /* the owner, asked for a resumption: waits for ATTACH */
#define LOOKING 4   /* the owner, about to claim its own session anew */
typedef node_state {
    byte phase;
    byte ep;       /* of the session's owner, as this node knows it */
    byte received; /* from the client; each is passed to the server, and appended, at once */
    byte com;      /* committed up to it, as far as this node knows; the client is told at once */
    byte id[STANZAS + 1] /* epochs of the entries */
}
node_state node[NODES];
byte upstream = 0; /* whose upstream leg is alive: a rebuild binds the same resource, which ends the old one */
byte passed = 0;   /* what the server has processed of that leg, and confirmed by a barrier */

/* --- client and server --- */
byte leg = 0;       /* the node that the client is connected to */
bit talking = 1;    /* enabled or resumed there */
byte told = 0;      /* largest h that any node has told the client */
byte processed = 0; /* stanzas that the server has processed, at least once */
byte cuts = CUTS, crashes = CRASHES, breaks = BREAKS;

hidden byte ep_, number, first, last_good;
hidden int ids;

/* last_good: the last number that is there with all before it. missing numbers are told by `added`; those that are
 * not missing between the entries are missing in front of them. */
inline find_last_good() {
    last_good = u.last_sq;
#ifndef BREAK_CLAIM_CUTS_GAP
    if
    :: u.count > 0 ->
        y = u.sq[0];
        x = 1;
        do
        :: x < u.count && u.sq[x] == y + 1 -> y++; x++
        :: else -> break
        od;
        z = (u.last_sq - u.sq[0] + 1) - u.count; /* missing behind the first entry */
        if
#ifndef BREAK_GAP_AT_FRONT
        :: u.last_sq - u.added > z -> last_good = u.sq[0] - 1 - (u.last_sq - u.added - z)
        :: u.last_sq - u.added <= z -> last_good = y
#else
        :: last_good = y
#endif
        fi
    :: else
    fi
#endif
}

/* The script: compare and set, cut at a gap, fence. */
inline do_claim(i, read) {
    if
#ifdef BREAK_CLAIM_CAS
    :: true ->
#else
    :: read == epoch ->
#endif
        find_last_good();
#ifndef BREAK_CLAIM_LEAVES_REST
        do
        :: u.count > 0 && u.sq[u.count - 1] > last_good -> x = u.count - 1; remove_at_x(u)
        :: else -> break
        od;
#endif
        epoch++;
        owner = i;
#ifndef BREAK_FENCE_XSETID
        u.last_ep = epoch;
#endif
        u.last_sq = last_good;
        u.added = last_good;
        result = DONE;
        ids = 0;
        first = last_good;
        for (x : 0 .. ROOM - 1) {
            if
            :: x < u.count ->
                ids = ids | (u.ep[x] << (4 * (u.sq[x] - 1)));
                if
                :: x > 0 && u.sq[x] <= u.sq[x - 1] -> VIOLATED(order_is_kept)
                :: else
                fi
            :: else
            fi
        }
        if
        :: u.count > 0 && u.sq[0] - 1 < first -> first = u.sq[0] - 1
        :: else
        fi
    :: else -> result = SMALLER
    fi
}

inline carry_out(i) {
    first = 0; ids = 0;
    if
    :: command == XADD ->
        xadd(u, ep_, number, number);
        if
        :: result == DONE && ep_ != epoch -> VIOLATED(one_owner)
        :: else
        fi
    :: command == TRIM -> xtrim(u, ep_, number); result = DONE
    :: command == CLAIM ->
        do_claim(i, ep_);
        if
        :: result == DONE -> ep_ = epoch; number = last_good
        :: else
        fi
    :: command == ATTACH ->
        if
        :: ep_ == epoch -> result = DONE
        :: else -> result = SMALLER
        fi
    fi
}


#define NODE node[i]
#define OWNS (NODE.ep != 0)
#define HERE (leg == i && talking)
#define ASKS (leg == i && !talking)

inline forget(i) {
    NODE.phase = IDLE;
    NODE.ep = 0; NODE.received = 0; NODE.com = 0;
    for (x : 0 .. STANZAS) {
        NODE.id[x] = 0
    }
}

/* Closes its legs, and drops the rest. */
inline be_fenced(i) {
    printf("node %d: fenced\n", i);
    forget(i);
    if
    :: HERE -> leg = NOBODY; talking = 0
    :: else
    fi
}

inline append(i, n) {
    NODE.id[n] = NODE.ep;
    commands[i] ! XADD, NODE.ep, n
}

/* Appends what is not committed, anew. */
inline append_rest(i) {
    for (x : NODE.com + 1 .. NODE.received) {
        append(i, x)
    }
}

#ifdef BREAK_ACK_BEFORE_COMMIT
#define TOLD received
#else
#define TOLD com
#endif

inline tell(i) {
    if
    :: HERE && NODE.TOLD > told -> told = NODE.TOLD; printf("node %d: a h=%d\n", i, told)
    :: else
    fi
}

/* <resumed h/>: the client sends again what is above. */
inline resume(i) {
    if
    :: NODE.com < told -> VIOLATED(h_never_goes_back)
    :: else
    fi;
    printf("node %d: resumed h=%d\n", i, NODE.com);
    told = NODE.com;
    talking = 1
}

inline take_claim(i) {
    if
    :: !OWNS -> /* another's session: rebuilt on the fresh upstream leg; the claim has set "attached" */
        passed = first;
        upstream = i;
        NODE.com = number;
        NODE.received = number;
        resume(i)
    :: OWNS && number > NODE.received -> VIOLATED(one_owner) /* somebody else has written in between */
    :: else
    fi;
    NODE.ep = ep_;
    NODE.com = number;
    for (x : 1 .. STANZAS) {
        NODE.id[x] = (ids >> (4 * (x - 1))) & 15
    }
    NODE.phase = OWNER;
    append_rest(i);
    tell(i)
}

/* An append was answered "equal or smaller": what that means. */
inline look_for_entry(i) {
#ifdef BREAK_RETRY_EQUAL_OR_SMALLER
    NODE.com = number;
#else
    if
    :: epoch != NODE.ep -> be_fenced(i)
    :: else ->
        find(u, number);
        if
#ifdef BREAK_RETRY_OWN_EPOCH_SUFFICES
        :: true -> NODE.com = number
#else
        :: found_ep == NODE.ep -> NODE.com = number
        :: else -> printf("node %d: gap at %d\n", i, number); NODE.phase = LOOKING
#endif
        fi
    fi
#endif
}

inline answer_to_append(i) {
    if
    :: ep_ == NODE.ep && (NODE.phase == OWNER || NODE.phase == ATTACHING) ->
        if
#ifdef BREAK_GAP
        :: result == DONE && number > NODE.com -> NODE.com = number
#else
        :: result == DONE && number == NODE.com + 1 -> NODE.com = number
#endif
        :: result == SMALLER && number == NODE.com + 1 -> look_for_entry(i)
        :: else
        fi;
        tell(i)
    :: else
    fi
}

inline take_answer(i) {
    answers[i] ? command, result, ep_, number, first, ids;
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
        :: result == SMALLER -> be_fenced(i)
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
           commands[i] ? command, ep_, number;
           printf("redis: node %d: %e %d-%d", i, command, ep_, number);
           carry_out(i);
           printf(": %e, epoch %d\n", result, epoch);
           if
           :: command == XADD -> answer_to_append(i)
           :: command == CLAIM || command == ATTACH -> answers[i] ! command, result, ep_, number, first, ids
           :: command == TRIM
           fi }
    :: d_step { refusals > 0 && commands[i] ? [XADD, _, _] && empty(answers[i]) ->
           commands[i] ? command, ep_, number;
           refusals--;
           result = REFUSED;
           printf("redis: node %d: XADD %d-%d refused\n", i, ep_, number);
           answer_to_append(i) }
    :: d_step { nempty(late[i]) -> 
           late[i] ? command, ep_, number;
           printf("redis: node %d, late: %e %d-%d", i, command, ep_, number);
           carry_out(i);
           printf(": %e, epoch %d\n", result, epoch) }
    od
}

proctype node_runs(byte i) {
end:
    do
    :: d_step { nempty(answers[i]) -> take_answer(i) }
    :: d_step { NODE.phase == OWNER && NODE.com < NODE.received && empty(commands[i]) ->
           append_rest(i); /* something was refused */
           x = 0 }
#ifdef BREAK_RESUMED_AFTER_COMMIT
    :: d_step { NODE.phase == OWNER && ASKS && NODE.com == NODE.received -> resume(i) }
#else
    :: d_step { NODE.phase == OWNER && ASKS && NODE.com == NODE.received && nfull(commands[i]) ->
           NODE.phase = ATTACHING;
           commands[i] ! ATTACH, NODE.ep, 0 }
#endif
    :: d_step { NODE.phase == IDLE && ASKS && nfull(commands[i]) -> /* looks, and claims what it saw */
           NODE.phase = CLAIMING;
           commands[i] ! CLAIM, epoch, 0 }
    :: d_step { NODE.phase == LOOKING && nfull(commands[i]) ->
           if
           :: owner == i -> NODE.phase = CLAIMING; commands[i] ! CLAIM, epoch, 0
           :: else -> be_fenced(i)
           fi }
    od
}

/* The legacy server processes what comes on the upstream leg, in order. A barrier tells the node, which trims. */
proctype server() {
    byte i;
end:
    do
    :: d_step { upstream != NOBODY && node[upstream].ep != 0 && passed < node[upstream].received &&
                nfull(commands[upstream]) ->
           i = upstream;
           passed++;
           printf("server: %d\n", passed);
           if
           :: passed > processed + 1 -> VIOLATED(order_is_kept)
           :: passed == processed + 1 -> processed++
           :: else /* once more */
           fi;
           if
           :: NODE.phase != OWNER && NODE.phase != ATTACHING
#ifndef BREAK_TRIM_OLD_EPOCH
           :: else ->
               if
               :: passed < NODE.received -> commands[i] ! TRIM, NODE.id[passed + 1], passed + 1
               :: else -> commands[i] ! TRIM, NODE.ep, passed + 1
               fi
#else
           :: else -> commands[i] ! TRIM, NODE.ep, passed + 1
#endif
           fi;
           i = 0 }
    od
}

/* What Redis has answered before is no answer to this resumption. */
inline come_back(i) {
    printf("client: comes back to node %d\n", i);
    leg = i;
#ifndef BREAK_GENERATION
    if
    :: len(answers[i]) > 0 && !(NODE.phase == CLAIMING && OWNS) ->
        answers[i] ? command, result, ep_, number, first, ids;
        if
        :: OWNS -> NODE.phase = OWNER
        :: !OWNS -> NODE.phase = IDLE
        fi
    :: len(answers[i]) == 0 || (NODE.phase == CLAIMING && OWNS)
    fi
#endif
}

proctype client() {
    byte i;
end:
    do
    :: d_step { talking && node[leg].ep != 0 && node[leg].received < STANZAS && nfull(commands[leg]) ->
           i = leg;
           NODE.received++;
           printf("client: %d to node %d\n", NODE.received, i);
           if
           :: NODE.phase == OWNER || NODE.phase == ATTACHING -> append(i, NODE.received)
           :: else
           fi;
           tell(i);
           i = 0 }
    :: d_step { cuts > 0 -> cuts--; talking = 0; come_back(0) }
    :: d_step { cuts > 0 -> cuts--; talking = 0; come_back(1) }
    :: d_step { leg == NOBODY -> come_back(0) }
    :: d_step { leg == NOBODY -> come_back(1) }
    od
}

/* Answers that are on their way are lost; commands are carried out at any later time, and that may be never. */
inline disconnect(i) {
    do
    :: nempty(answers[i]) -> answers[i] ? command, result, ep_, number, first, ids
    :: empty(answers[i]) -> break
    od;
    do
    :: nempty(commands[i]) -> commands[i] ? command, ep_, number; late[i] ! command, ep_, number
    :: empty(commands[i]) -> break
    od
}
inline begin_anew(i) {
    if
    :: NODE.phase == OWNER || NODE.phase == ATTACHING -> NODE.phase = OWNER; append_rest(i)
    :: NODE.phase == CLAIMING && OWNS -> NODE.phase = LOOKING
    :: NODE.phase == CLAIMING && !OWNS -> NODE.phase = IDLE
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
    :: upstream == i -> upstream = NOBODY; passed = 0
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
           crashes--; disconnect(i); die(i) }
    od
}

#define IN_QUEUE(n) ((u.count > 0 && u.sq[0] == n) || (u.count > 1 && u.sq[1] == n) || \
    (u.count > 2 && u.sq[2] == n) || (u.count > 3 && u.sq[3] == n))
#define SAFE(n) (told < n || processed >= n || IN_QUEUE(n))

active proctype monitor() {
end:
    do
    :: d_step { !(SAFE(1) && SAFE(2) && SAFE(3)) -> VIOLATED(nothing_acked_is_lost) }
    :: timeout ->
        if
        :: d_step { (processed < STANZAS || told < STANZAS) -> VIOLATED(nothing_is_stuck) }
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
        run faults(0); run faults(1);
        run server(); run client()
    }
}
