// stanza_client.mjs in a page, whose query is what start() wants, as JSON. The state is in sessionStorage: it
// outlives a reload of this tab, and ends with it.
import { start } from "./stanza_client.mjs";

const store = {
    load: () => sessionStorage.getItem("sm"),
    save: (state) => sessionStorage.setItem("sm", state),
};

window.obey = start(JSON.parse(decodeURIComponent(location.search.slice(1))), window.tell, store);
