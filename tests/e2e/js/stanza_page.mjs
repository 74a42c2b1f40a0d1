// stanza_client.mjs in a page, whose query is what start() wants, as JSON. The state is in sessionStorage: it
// outlives a reload of this tab, and ends with it.
import { start } from "./stanza_client.mjs";

const store = {
    load: () => sessionStorage.getItem("sm"),
    save: (state) => sessionStorage.setItem("sm", state),
};

// What came is kept like the state: an event that is told while the page is being reloaded may get lost.
function hear(event) {
    if (event.message) sessionStorage.setItem("got", JSON.stringify([...got(), event.message]));
    window.tell(event);
}

function got() {
    return JSON.parse(sessionStorage.getItem("got") ?? "[]");
}

window.got = got;
window.obey = start(JSON.parse(decodeURIComponent(location.search.slice(1))), hear, store);
