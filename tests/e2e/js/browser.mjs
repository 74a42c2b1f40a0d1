// Headless Chromium, driven by lines of JSON.
// In: {id, tab, call: NAME, with: [...]}. NAME is "open", "close", or a method of playwright's Page. A tab has a
//   storage of its own, as if it were another user's browser.
// Out: {site: URL} first; {id, result}, {id, error}, and {tab, event} for what a page gives to window.tell().
// SITE/NAME is an empty page that runs NAME.mjs of this folder, bundled; SITE/dist/... are the files of Converse.js.
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import readline from "node:readline";

import { build } from "esbuild";
import { chromium } from "playwright-core";

const HERE = import.meta.dirname;
const CONVERSE = path.join(HERE, "node_modules/converse.js/dist");
const TYPES = { ".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".wasm": "application/wasm" };
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium-headless-shell" });
const tabs = new Map();
const bundles = new Map();

async function bundle(name) {
    const made = await build({
        entryPoints: [path.join(HERE, `${name}.mjs`)], bundle: true, write: false, format: "esm", logLevel: "silent",
    });
    return made.outputFiles[0].text;
}

async function answer(request, response) {
    const name = new URL(request.url, "http://localhost").pathname;
    const type = TYPES[path.extname(name)] ?? "application/octet-stream";
    if (name.startsWith("/dist/")) {
        response.writeHead(200, { "content-type": type });
        return fs.createReadStream(path.join(CONVERSE, name.slice("/dist/".length))).pipe(response);
    }
    if (!name.endsWith(".js")) {
        response.writeHead(200, { "content-type": "text/html" });
        return response.end(`<!doctype html><meta charset="utf-8"><script type="module" src="${name}.js"></script>`);
    }
    const script = name.slice(1, -".js".length);
    if (!bundles.has(script)) bundles.set(script, bundle(script));
    response.writeHead(200, { "content-type": type });
    return response.end(await bundles.get(script));
}

async function open(tab, options) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
    await context.exposeFunction("tell", (event) => say({ tab, event }));
    const page = await context.newPage();
    page.on("pageerror", (error) => say({ tab, event: { error: String(error.stack) } }));
    page.setDefaultTimeout(30_000);
    tabs.set(tab, page);
}

async function close(tab) {
    await tabs.get(tab).context().close();
    tabs.delete(tab);
}

async function run({ tab, call, with: given }) {
    if (call === "open") return open(tab, ...given);
    if (call === "close") return close(tab);
    const result = await tabs.get(tab)[call](...given);
    return ["evaluate", "textContent", "getAttribute", "url", "isVisible", "isEnabled"].includes(call) ? result : null;
}

const site = http.createServer(answer).listen(0, "127.0.0.1", () => {
    say({ site: `http://localhost:${site.address().port}` });
});

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
    const order = JSON.parse(line);
    try {
        say({ id: order.id, result: (await run(order)) ?? null });
    } catch (error) {
        say({ id: order.id, error: String(error) });
    }
}).on("close", async () => {
    await browser.close();
    process.exit(0);
});
