// @xmpp/client as an application uses it, driven by lines of JSON: commands on stdin, events on stdout.
//   node client.mjs SERVICE DOMAIN USERNAME PASSWORD
// Commands: {say: BODY, to: JID}, {ask: BODY, to: JID} (for a receipt), {away: true|false}, {again: true},
//   {leave: true}
// Events: {online: JID}, {resumed: true}, {message: BODY, from: JID, id: ID}, {said: BODY},
//   {acked: BODY}, {failed: BODY}, {asked: ID, to: JID}, {receipt: ID, from: JID, id: ID}, {status: WORD}
import { createHmac } from "node:crypto";
import readline from "node:readline";
import { setTimeout as pause } from "node:timers/promises";

import { client, xml } from "@xmpp/client";
import { WebSocket } from "ws";

const [service, domain, username, password] = process.argv.slice(2);
const xmpp = client({ service, domain, username, password, resource: "js" });
const NS_RECEIPTS = "urn:xmpp:receipts";
// `at`: the time by the clock that all processes share, in nanoseconds.
const tell = (event) => process.stdout.write(JSON.stringify({ ...event, at: Number(process.hrtime.bigint()) }) + "\n");
const body = (stanza) => stanza.getChildText("body");

// The library's SCRAM hands each of its 4,096 rounds to another thread and back: where processors are short a login takes
// half a minute. The same sums, in this thread.
Object.assign(crypto.subtle, {
    importKey: async (_, key) => key,
    sign: async (_, key, data) => createHmac("sha1", key).update(data).digest(),
});
globalThis.WebSocket ??= WebSocket; // Node 20 has none that the library would find

xmpp.reconnect.delay = 100;
xmpp.on("error", (error) => tell({ error: String(error) }));
xmpp.on("status", (status) => tell({ status }));

// Not by iqCaller: the library forgets to count the answers that this one takes, and <resume h/> is too small for ever.
async function ping() {
    const answered = new Promise((resolve) => {
        const listen = (stanza) => {
            if (!stanza.is("iq") || stanza.attrs.id !== "processed") return;
            xmpp.off("stanza", listen);
            resolve();
        };
        xmpp.on("stanza", listen);
    });
    await xmpp.send(xml("iq", { type: "get", id: "processed", to: domain }, xml("ping", "urn:xmpp:ping")));
    await answered;
}

let again = false; // whether it sends again what the library gives up
const failed = [];
let count = 0;
xmpp.on("online", async (address) => {
    // It forgets to count what comes right behind <enabled/>, too, and has no event for when it is ready.
    while (!xmpp.streamManagement.enabled && xmpp.status === "online") await pause(5);
    await xmpp.send(xml("presence"));
    // Behind its answer the server has processed the presence: ejabberd may lose what comes while it does.
    await ping();
    for (const stanza of failed.splice(0)) await xmpp.send(stanza);
    tell({ online: address.toString() });
});
xmpp.on("stanza", (stanza) => {
    if (!stanza.is("message")) return;
    const { from, id, type } = stanza.attrs;
    const receipt = type !== "error" && stanza.getChild("received", NS_RECEIPTS);
    if (receipt) tell({ receipt: receipt.attrs.id, from, id });
    if (body(stanza)) tell({ message: body(stanza), from, id });
});
xmpp.streamManagement.on("resumed", () => tell({ resumed: true }));
xmpp.streamManagement.on("ack", (stanza) => stanza.is("message") && tell({ acked: body(stanza) }));
xmpp.streamManagement.on("fail", (stanza) => {
    if (!stanza.is("message")) return;
    tell({ failed: body(stanza) });
    if (again) failed.push(stanza);
});

const commands = {
    say: async ({ to, say }) => {
        await xmpp.send(xml("message", { to, type: "chat", id: `${process.pid}-${++count}` }, xml("body", {}, say)));
        tell({ said: say });
    },
    ask: async ({ to, ask }) => {
        const id = `${process.pid}-${++count}`;
        tell({ asked: id, to });
        await xmpp.send(xml("message", { to, type: "chat", id }, xml("body", {}, ask), xml("request", NS_RECEIPTS)));
    },
    // The library comes back by itself; an application that holds it off does so by stopping its reconnect.
    away: async ({ away }) => {
        if (away) return xmpp.reconnect.stop();
        xmpp.reconnect.start();
        if (xmpp.status === "disconnect") xmpp.reconnect.scheduleReconnect();
    },
    again: async () => {
        again = true;
    },
    leave: async () => {
        await xmpp.stop().catch(() => {});
        process.exit(0);
    },
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
    const command = JSON.parse(line);
    const name = Object.keys(commands).find((each) => each in command);
    commands[name](command).catch((error) => tell({ error: String(error) }));
}).on("close", () => process.exit(0));

xmpp.start().catch((error) => tell({ error: String(error) }));
