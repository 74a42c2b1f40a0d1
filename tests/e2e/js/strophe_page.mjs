// strophe.js as an application uses it: it logs in again when the connection is gone. The page's query is {service, jid,
// password, managed} as JSON; managed: with the library's own stream management, which is off unless asked for.
// Commands: {say: BODY, to: JID}
// Events: {online: JID}, {resumed: true}, {message: BODY, from: JID}, {said: BODY}, {gone: true}, {error: TEXT}
import { $msg, $pres, Strophe } from "strophe.js";

const { service, jid, password, managed } = JSON.parse(decodeURIComponent(location.search.slice(1)));
const tell = window.tell;
const connection = new Strophe.Connection(service, { enableStreamManagement: managed });

function onMessage(stanza) {
    const [body] = stanza.getElementsByTagName("body");
    if (body) tell({ message: body.textContent, from: stanza.getAttribute("from") });
    return true; // the next one too
}

function onStatus(status, condition) {
    if (status === Strophe.Status.CONNECTED) {
        connection.addHandler(onMessage, null, "message");
        if (connection.hasResumed()) return tell({ resumed: true });
        connection.send($pres());
        tell({ online: connection.jid });
    } else if (status === Strophe.Status.DISCONNECTED) {
        tell({ gone: true });
        setTimeout(connect, 100);
    } else if (status === Strophe.Status.AUTHFAIL) {
        tell({ error: condition });
    }
}

function connect() {
    connection.reset();
    connection.connect(jid, password, onStatus);
}

const commands = {
    say: ({ to, say }) => {
        connection.send($msg({ to, type: "chat", id: connection.getUniqueId() }).c("body").t(say));
        connection.flush();
        tell({ said: say });
    },
};

window.obey = (command) => commands[Object.keys(commands).find((each) => each in command)](command);
connect();
