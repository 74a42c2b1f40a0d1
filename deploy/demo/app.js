// The page: two people who write to each other, each on a network that can be cut, in front of two nodes.
import { Person } from "./person.js";

const STATES = {
    sent: ["●", "sent"],
    hibernated: ["‖", "hibernated"],
    retry: ["↻", "retried"],
    acked: ["✓", "acked"],
    delivered: ["✓✓", "delivered"],
    failed: ["✕", "failed"],
    waiting: ["…", "waiting"],
};
const LINES = ["Are you there?", "Still here.", "Did that reach you?", "Word for word.", "And now?", "As if nothing was."];
const WORDS = { offline: "no connection", connecting: "connecting …", online: "connected" };
const TALK_EVERY = 700; // ms
const LOOK_EVERY = 1000;
const ROWS = 60; // that a pane shows of a long talk

const find = (selector, within = document) => within.querySelector(selector);
const post = (path) => fetch(path, { method: "POST" }).then(look);

class Pane {
    constructor(settings) {
        this.element = find(`[data-person="${settings.name}"]`);
        this.log = find(".log", this.element);
        this.rows = new Map();
        this.lines = 0;
        this.person = new Person(settings, sessionStorage, this);
        for (const message of this.person.messages.slice(-ROWS)) this.changed(message);
        this.connection();
        find("form", this.element).addEventListener("submit", (event) => this.submit(event));
        find(".network", this.element).addEventListener("click", () => this.toggleNetwork());
    }

    submit(event) {
        event.preventDefault();
        const field = find("input", this.element);
        const body = field.value.trim();
        if (body) this.person.say(body);
        field.value = "";
    }

    talk() {
        this.person.say(LINES[this.lines++ % LINES.length]);
    }

    toggleNetwork() {
        return post(`/network/${this.person.name}/${this.element.dataset.network === "cut" ? "restore" : "cut"}`);
    }

    showNetwork({ up, node }) {
        this.element.dataset.network = up ? "up" : "cut";
        find(".network", this.element).textContent = up ? "Cut the network" : "Restore the network";
        this.node = node;
        this.connection();
    }

    connection() {
        const state = this.person?.connection ?? "offline"; // it tells of itself while it is being made
        this.element.dataset.connection = state;
        const node = state === "online" && this.node ? ` to node ${this.node}` : "";
        const count = this.person?.resumptions ?? 0;
        find(".state", this.element).textContent = WORDS[state] + node + (count ? `, resumed ${count} ×` : "");
    }

    changed(message) {
        const row = this.rows.get(message.number) ?? this.addRow(message);
        if (row && message.mine) this.showTrail(row, message);
        this.scroll();
    }

    addRow(message) {
        if (this.rows.size >= ROWS && message.number < this.newest) return null; // its row has gone
        this.newest = message.number;
        const row = document.importNode(find("#message").content, true).firstElementChild;
        row.classList.add(message.mine ? "mine" : "theirs");
        row.classList.toggle("late", message.late ?? false);
        find(".body", row).textContent = message.body;
        find("time", row).textContent = new Date(message.at).toLocaleTimeString([], { hour12: false });
        this.rows.set(message.number, row);
        this.log.append(row);
        if (this.rows.size > ROWS) this.dropRow();
        return row;
    }

    dropRow() {
        const [[number, row]] = this.rows;
        row.remove();
        this.rows.delete(number);
    }

    // Once for all that changes until the next frame.
    scroll() {
        this.frame ??= requestAnimationFrame(() => {
            this.frame = null;
            this.log.scrollTop = this.log.scrollHeight;
        });
    }

    showTrail(row, message) {
        const trail = message.trail.length ? message.trail : [{ state: "waiting", at: message.at }];
        const last = trail.at(-1).state;
        row.dataset.state = last;
        find(".trail", row).replaceChildren(...trail.map(({ state, at }) => {
            const [sign, word] = STATES[state];
            const step = document.createElement("li");
            step.className = state;
            step.title = new Date(at).toLocaleTimeString();
            step.append(`${sign} ${word}`);
            return step;
        }));
        const again = find(".again", row);
        again.hidden = last !== "failed" || Boolean(message.again);
        again.onclick = () => this.person.sayAgain(message);
    }
}

const panes = new Map();
let talking = 0;

function showNode({ name, alive, attached, detached, unacked, resumed }) {
    const card = find(`[data-node="${name}"]`);
    card.dataset.alive = alive;
    find(".state", card).textContent = alive ? "running" : "killed";
    find("button", card).textContent = alive ? "Kill it" : "Start it again";
    for (const [key, value] of Object.entries({ attached, detached, unacked, resumed })) {
        find(`[data-figure="${key}"]`, card).textContent = alive ? value : "–";
    }
}

async function look() {
    const { nodes, networks } = await (await fetch("/status")).json();
    nodes.forEach(showNode);
    for (const [name, network] of Object.entries(networks)) panes.get(name)?.showNetwork(network);
}

function toggleTalk() {
    const button = find("#talk");
    if (talking) {
        clearInterval(talking);
        talking = 0;
    } else {
        let turn = 0;
        talking = setInterval(() => [...panes.values()][turn++ % 2].talk(), TALK_EVERY);
    }
    button.setAttribute("aria-pressed", String(Boolean(talking)));
    button.textContent = talking ? "Let them rest" : "Let them talk";
}

function toggleTheme() {
    const chosen = document.documentElement.dataset.theme;
    const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = localStorage.theme = dark ? "light" : "dark";
}

async function main() {
    if (localStorage.theme) document.documentElement.dataset.theme = localStorage.theme;
    find("#theme").addEventListener("click", toggleTheme);
    find("#talk").addEventListener("click", toggleTalk);
    find("#reload").addEventListener("click", () => location.reload());
    for (const card of document.querySelectorAll("[data-node]")) {
        find("button", card).addEventListener("click", () =>
            post(`/nodes/${card.dataset.node}/${card.dataset.alive === "true" ? "kill" : "start"}`));
    }
    const { people } = await (await fetch("/people")).json();
    for (const settings of people) panes.set(settings.name, new Pane(settings));
    await look();
    setInterval(() => look().catch(() => {}), LOOK_EVERY); // the server is gone: so will the page be
}

window.demo = panes; // for the curious, at the console
main();
