// Converse.js as a web site embeds it. The page's query is {service, jid, password} as JSON.
// Commands: {say: BODY, to: JID}
// Events: {online: JID}, {resumed: true}, {message: BODY, from: JID}, {said: BODY}, {gone: true}
const { service, jid, password } = JSON.parse(decodeURIComponent(location.search.slice(1)));
const tell = window.tell;
let api = null;

function tellNews() {
    const resumed = () => api.connection.get().hasResumed?.() ?? false;
    api.listen.on("connected", () => tell({ online: api.connection.get().jid }));
    api.listen.on("reconnected", () => tell(resumed() ? { resumed: true } : { online: api.connection.get().jid }));
    api.listen.on("will-reconnect", () => tell({ gone: true }));
    api.listen.on("message", ({ stanza, attrs }) => {
        if (attrs?.body) tell({ message: attrs.body, from: stanza.getAttribute("from") });
    });
}

const commands = {
    say: async ({ to, say }) => {
        const chat = await api.chats.open(to);
        await chat.sendMessage({ body: say });
        tell({ said: say });
    },
};

let last = Promise.resolve(); // two messages at once change places
window.obey = (command) => {
    last = last.then(() => commands[Object.keys(commands).find((each) => each in command)](command));
};

document.head.append(Object.assign(document.createElement("link"), {
    rel: "stylesheet", href: "/dist/converse.min.css",
}));
const { default: converse } = await import(`${location.origin}/dist/converse.min.js`);
converse.plugins.add("tell-news", {
    initialize() {
        ({ api } = this._converse);
        tellNews();
    },
});
converse.initialize({
    websocket_url: service, jid, password, authentication: "login", auto_login: true, auto_reconnect: true,
    discover_connection_methods: false, view_mode: "fullscreen", assets_path: "/dist/", i18n: "en", loglevel: "warn",
    play_sounds: false, show_desktop_notifications: "none", allow_url_history_change: false, whitelisted_plugins: ["tell-news"],
    message_archiving: "never", clear_cache_on_logout: true, muc_fetch_members: false,
});
