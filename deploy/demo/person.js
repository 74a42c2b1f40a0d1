// A person's chat client: StanzaJS, with what an application adds so that no message is lost or doubled, whatever is
// cut. The state is kept in `storage` (a page's sessionStorage), which outlives a reload.
//
// StanzaJS has three gaps that show with any server, and are bridged here:
// - What it sends again after a resumption it forgets, and counts the ack for it as one for what was sent next. So
//   these are remembered here (`retried`) until they are acked, and new messages wait for that long.
// - It stands still for ever when it writes to a socket that is gone already: a new client takes over from the state.
// - It gives its session up when it is cut off in the middle of a resumption: the state is given back to it.
import { createClient, Utils } from "stanza";

const KEEP_ALIVE = { interval: 10, timeout: 5 }; // seconds

export class Person {
    // `view` is told: changed(message) when one is new or has a new state, connection() when that changed.
    constructor({ name, jid, password, service, peer }, storage, view) {
        Object.assign(this, { name, jid, password, service, peer, storage, view });
        this.messages = this.#loadMessages();
        this.byId = new Map(this.messages.filter((message) => message.mine).map((message) => [message.id, message]));
        this.waiting = this.#load("waiting") ?? []; // stanzas that the library does not keep yet
        this.retried = this.#load("retried") ?? []; // {number, stanza} that it has forgotten
        this.connection = "offline"; // then "connecting", "online"
        this.resource = this.#load("resource") ?? `tab-${crypto.randomUUID().slice(0, 8)}`;
        this.#save("resource", this.resource);
        this.resumptions = this.#load("resumptions") ?? 0;
        this.logins = this.#load("logins") ?? 0;
        this.#start();
    }

    say(body) {
        const stanza = { id: crypto.randomUUID(), to: this.peer, type: "chat", body, receipt: { type: "request" } };
        const message = { id: stanza.id, body, mine: true, at: Date.now(), trail: [] };
        this.byId.set(message.id, message);
        this.#add(message);
        this.#post(stanza);
    }

    // A message that has failed is said again, as a new one.
    sayAgain(message) {
        message.again = true;
        this.#changed(message);
        this.say(message.body);
    }

    get sure() { // nothing is on its way
        return !this.waiting.length && !this.retried.length && !this.client.sm.unacked.length;
    }

    #start() {
        const client = createClient({
            jid: this.jid, password: this.password, resource: this.resource, sendReceipts: false,
            transports: { websocket: this.service, bosh: false }, autoReconnect: true, maxReconnectBackoff: 0.5,
        });
        this.client = client;
        this.given = new Set(); // ids of those in `waiting` that are in its hands
        client.on("message:sent", ({ id }) => this.#taken(id));
        for (const state of ["sent", "hibernated", "retry", "acked"]) {
            client.on(`message:${state}`, ({ id }) => this.#mark(id, state));
        }
        client.on("message:failed", ({ id }) => this.refused && this.#mark(id, "failed"));
        client.on("receipt", ({ receipt }) => this.#mark(receipt.id, "delivered"));
        client.on("message", (message) => this.#receive(message));
        client.on("sm", (nonza) => this.#hear(nonza));
        client.sm.on("resend", ({ stanza }) => this.#resent(stanza));
        client.on("connected", () => this.#connecting());
        client.on("session:started", () => client.sendPresence());
        client.on("stream:management:resumed", () => this.#online("resumptions"));
        client.on("disconnected", () => this.#offline());
        const state = this.#load("sm");
        if (state) client.sm.load(state);
        client.sm.cache((news) => news.id && this.#save("sm", news));
        client.enableKeepAlive(KEEP_ALIVE);
        client.connect();
    }

    #restart() {
        const { transport } = this.client;
        this.client.removeAllListeners();
        this.client.sm.cache(() => {});
        this.client.disableKeepAlive();
        transport.disconnect(false);
        this.#set("offline");
        this.#start();
    }

    #connecting() {
        this.client.transport.once("error", () => this.#restart());
        this.#set("connecting");
    }

    #online(count) {
        this[count] += 1;
        this.#save(count, this[count]);
        this.refused = false;
        this.#set("online");
        this.#flush();
    }

    #offline() {
        const state = this.#load("sm");
        if (!this.client.sm.id && state) this.client.sm.load(state);
        this.#set("offline");
        this.#flush();
    }

    // What the server side says of stream management, ahead of the library.
    #hear({ type, handled }) {
        if (type === "enabled") queueMicrotask(() => this.#online("logins"));
        if (type === "ack") this.#settle(handled);
        if (type === "resumed") {
            this.#settle(handled);
            this.#sendAgain();
            this.base = handled;
        }
        if (type === "failed") {
            this.refused = true;
            this.storage.removeItem(this.#key("sm"));
            this.#settle(handled ?? 0);
            for (const { stanza } of this.retried) this.#mark(stanza.id, "failed");
            this.retried = [];
            this.#save("retried", this.retried);
        }
    }

    #resent(stanza) {
        this.base += 1;
        this.retried.push({ number: this.base, stanza });
        this.#save("retried", this.retried);
    }

    #settle(handled) {
        if (!this.retried.length) return;
        for (const { stanza } of this.retried.filter(({ number }) => number <= handled)) this.#mark(stanza.id, "acked");
        this.retried = this.retried.filter(({ number }) => number > handled);
        this.#save("retried", this.retried);
        queueMicrotask(() => this.#flush());
    }

    // What was sent again, and lost again: the library knows nothing of it any more.
    #sendAgain() {
        this.waiting.unshift(...this.retried.map(({ stanza }) => stanza));
        this.retried = [];
        this.#save("retried", this.retried);
        this.#save("waiting", this.waiting);
    }

    #receive({ id, from, body, delay, receipt }) {
        if (!body) return;
        this.#add({ id, body, mine: false, at: Number(delay?.timestamp ?? Date.now()), late: Boolean(delay), trail: [] });
        if (receipt?.type === "request") {
            this.#post({ id: crypto.randomUUID(), to: from, type: "chat", receipt: { type: "received", id } });
        }
    }

    #post(stanza) {
        this.waiting.push(stanza);
        this.#save("waiting", this.waiting);
        this.#flush();
    }

    // The library takes a message well when it is online, and when it has no socket at all and keeps it.
    #flush() {
        const { sm, transport } = this.client;
        const takes = this.connection === "online" || (this.connection === "offline" && !transport && sm.resumable);
        if (!takes || this.retried.length || !this.waiting.length) return;
        for (const stanza of this.waiting.filter(({ id }) => !this.given.has(id))) {
            this.given.add(stanza.id);
            this.client.sendMessage(stanza);
        }
    }

    // The library keeps it from now on, and so does its state.
    #taken(id) {
        this.waiting = this.waiting.filter((stanza) => stanza.id !== id);
        this.#save("waiting", this.waiting);
    }

    #mark(id, state) {
        const message = this.byId.get(id);
        const last = message?.trail.at(-1)?.state;
        if (!message || last === state) return;
        // The receipt may overtake the ack, which waits until the store has the message.
        const place = state === "acked" && last === "delivered" ? -1 : message.trail.length;
        message.trail.splice(place, 0, { state, at: Date.now() });
        this.#changed(message);
    }

    #set(connection) {
        this.connection = connection;
        this.view.connection();
    }

    #add(message) {
        message.number = this.messages.length;
        this.messages.push(message);
        this.#changed(message);
    }

    #changed(message) {
        this.#save(`message ${message.number}`, message);
        this.view.changed(message);
    }

    #key(what) {
        return `${this.name} ${what}`;
    }

    #save(what, value) {
        this.storage.setItem(this.#key(what), JSON.stringify(value));
    }

    #load(what) {
        const text = this.storage.getItem(this.#key(what));
        return text === null ? null : JSON.parse(text, Utils.reviveData);
    }

    #loadMessages() {
        const messages = [];
        for (let one = null; (one = this.#load(`message ${messages.length}`)); ) messages.push(one);
        return messages;
    }
}
