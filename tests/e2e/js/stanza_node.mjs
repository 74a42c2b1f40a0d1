// stanza_client.mjs in Node: commands on stdin, events on stdout, the state in a file.
//   node stanza_node.mjs SERVICE JID PASSWORD FILE
import fs from "node:fs";
import readline from "node:readline";

import { start } from "./stanza_client.mjs";

const [service, jid, password, file] = process.argv.slice(2);
// `at`: the time by the clock that all processes share, in nanoseconds.
const tell = (event) => process.stdout.write(JSON.stringify({ ...event, at: Number(process.hrtime.bigint()) }) + "\n");
const store = {
    load: () => fs.existsSync(file) && fs.readFileSync(file, "utf8"),
    save: (state) => fs.writeFileSync(file, state),
};
const obey = start({ service, jid, password }, tell, store);

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
    const command = JSON.parse(line);
    await obey(command);
    if (command.leave) process.exit(0);
}).on("close", () => process.exit(0));
