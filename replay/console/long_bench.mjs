// Measures a long recording in Chromium; started by BenchmarkLongRecording. Prints figures, and fails at none: how
// fast a machine is, is no test.
import { chromium } from "playwright-core";

const { CONSOLE_URL: base, SESSION: session } = process.env;
const context = await chromium.launchPersistentContext(process.env.PROFILE, {
  executablePath: process.env.CHROMIUM, headless: true, viewport: { width: 1366, height: 768 },
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
context.setDefaultTimeout(60_000);
const page = await context.newPage();
const failures = [];
page.on("pageerror", (err) => failures.push(String(err)));
let bytes = 0;
page.on("response", async (res) => { bytes += Number(res.headers()["content-length"] ?? 0); });
await page.goto(`${base}/search`);
await page.getByRole("link", { name: /Continue with/ }).click();
await page.getByRole("button", { name: /Continue as grace/ }).click();
await page.waitForURL(`${base}/search`);

const devtools = await context.newCDPSession(page);
await devtools.send("Performance.enable");
async function heap() {
  await devtools.send("HeapProfiler.collectGarbage");
  const { metrics } = await devtools.send("Performance.getMetrics");
  return metrics.find((m) => m.name === "JSHeapUsedSize").value / 1e6;
}
const shown = () => page.waitForFunction(() => document.documentElement.dataset.shown !== undefined && document.querySelector(".ap-term-text")?.innerText.trim());
const quantile = (all, q) => all.sort((a, b) => a - b)[Math.min(all.length - 1, Math.floor(all.length * q))];
const ms = (t) => `${t.toFixed(0)} ms`;

const opened = [];
for (let i = 0; i < 5; i++) {
  await page.goto("about:blank");
  const since = performance.now();
  await page.goto(`${base}/sessions/${session}#t=${1 + i}`);
  await shown();
  opened.push(performance.now() - since);
}
const before = await heap();

const seeks = [];
const length = await page.evaluate(() => Number(document.querySelector("#ribbon").getAttribute("aria-valuemax")));
for (let i = 0; i < 60; i++) {
  const t = ((i * 37) % 60) / 60 * length;
  await page.evaluate((to) => { delete document.documentElement.dataset.shown; location.hash = `#t=${to.toFixed(1)}`; }, t);
  const since = performance.now();
  await shown();
  seeks.push(performance.now() - since);
}
const after = await heap();
await page.getByLabel("Speed").selectOption("16");
await page.getByRole("button", { name: "Play" }).click();
await page.waitForFunction(() => document.querySelector("#toggle-label").textContent === "Pause");
for (let i = 0; i < 10; i++) await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 500))));
const playing = await heap();
console.log(`opening: first ${ms(opened[0])}, p50 ${ms(quantile(opened.slice(), 0.5))}, worst ${ms(Math.max(...opened))}`);
console.log(`seeking, 60 times over all of it: p50 ${ms(quantile(seeks.slice(), 0.5))}, p99 ${ms(quantile(seeks.slice(), 0.99))}`);
console.log(`JavaScript heap: ${before.toFixed(1)} MB when opened, ${after.toFixed(1)} MB after the seeks, ${playing.toFixed(1)} MB after 5 s at 16 times the speed`);
for (const f of failures) console.log(`FAIL ${f}`);
await context.close();
process.exit(failures.length > 0 ? 1 : 0);
