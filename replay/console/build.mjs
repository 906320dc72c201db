// Copies what the session page needs of asciinema-player into static/vendor, where the Go compiler
// embeds it. The published bundle is one script and one style sheet: nothing is left to bundle.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const from = join(here, "node_modules", "asciinema-player");
const to = join(here, "static", "vendor");

mkdirSync(to, { recursive: true });
for (const [source, name] of [
  ["dist/bundle/asciinema-player.min.js", "asciinema-player.js"],
  ["dist/bundle/asciinema-player.css", "asciinema-player.css"],
  ["LICENSE", "asciinema-player.LICENSE"],
]) {
  copyFileSync(join(from, source), join(to, name));
}

const { version } = JSON.parse(readFileSync(join(from, "package.json"), "utf8"));
writeFileSync(join(to, "VERSION"), `asciinema-player ${version}\n`);
console.log(`static/vendor: asciinema-player ${version}`);
