// StanzaJS as an application uses it, in Node and in pages alike: start() gives a function that takes commands.
// Commands: {say: BODY, to: JID}, {ask: BODY, to: JID} (for a receipt), {away: true|false}, {service: URL} (for the
//   next connection), {leave: true}
// Events: {online: JID}, {resumed: true}, {gone: true} (the connection), {said: BODY}, {asked: ID, to: JID},
//   {message: BODY, from: JID, id: ID}, {receipt: ID, from: JID, id: ID}, and what the library tells
//   of each message: {sent: BODY}, {acked: BODY}, {hibernated: BODY}, {retry: BODY}, {failed: BODY}
import * as stanza from "stanza";

const FATES = ["sent", "acked", "hibernated", "retry", "failed"];

// `store` outlives the script: load() gives what save(state) got last, as text.
export function start({ jid, password, service }, tell, store) {
    const transports = (websocket) => ({ websocket, bosh: false });
    const client = stanza.createClient({
        jid, password, resource: "js", transports: transports(service), autoReconnect: true, maxReconnectBackoff: 0.1,
    });
    client.sasl.disable("DIGEST-MD5"); // names a realm of its own choice, which jabberd2 refuses
    for (const fate of FATES) {
        client.on(`message:${fate}`, (message) => message.body && tell({ [fate]: message.body }));
    }
    client.on("message", ({ body, from, id, receipt, type }) => {
        if (type !== "error" && receipt?.type === "received") tell({ receipt: receipt.id, from, id });
        if (body) tell({ message: body, from, id });
    });
    client.on("session:started", () => client.sendPresence());
    client.on("sm", ({ type }) => type === "enabled" && tell({ online: client.jid }));
    client.on("stream:management:resumed", () => tell({ resumed: true }));
    client.on("stream:error", (error) => tell({ error: error.condition }));
    client.on("disconnected", () => tell({ gone: true }));

    const cached = store.load();
    if (cached) client.sm.load(JSON.parse(cached, stanza.Utils.reviveData));
    client.sm.cache((state) => store.save(JSON.stringify(state)));
    client.connect();

    const commands = {
        // sendMessage() is this without the wait for the write.
        say: async ({ to, say }) => {
            await client.send("message", { to, type: "chat", body: say, id: client.nextId() });
            tell({ said: say });
        },
        ask: ({ to, ask }) => {
            const id = client.nextId();
            tell({ asked: id, to });
            client.sendMessage({ to, type: "chat", body: ask, id, receipt: { type: "request" } });
        },
        away: ({ away }) => {
            client.updateConfig({ autoReconnect: !away });
            if (!away && !client.transport) client.connect();
        },
        service: ({ service: url }) => client.updateConfig({ transports: transports(url) }),
        leave: () => client.disconnect(),
    };
    return (command) => commands[Object.keys(commands).find((each) => each in command)](command);
}
