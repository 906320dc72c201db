// Drives the console in a real Chromium; started by browser_test.go. Exits with 0 when all steps passed.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const base = process.env.CONSOLE_URL;
const control = process.env.CONTROL_URL;
const shots = process.env.SALLYPORT_SHOTS;
const complaints = []; // console errors, violations of the policy, exceptions: none are tolerated

const context = await chromium.launchPersistentContext(process.env.PROFILE, {
  executablePath: process.env.CHROMIUM, headless: true, viewport: { width: 1440, height: 900 }, permissions: ["clipboard-write"],
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
context.setDefaultTimeout(15_000);

function watch(page, expected = () => false) {
  page.on("console", (m) => {
    if (["error", "warning"].includes(m.type()) && !expected(m.text())) complaints.push(`${page.url()}: ${m.text()}`);
  });
  page.on("pageerror", (err) => complaints.push(`${page.url()}: ${err}`));
  page.on("dialog", (d) => { complaints.push(`${page.url()}: dialog ${d.message()}`); d.dismiss(); });
  return page;
}

const everyPage = ["/", "/sessions", "/sessions?q=nothinglikeit", "/sessions/20261124s00ada00001a", "/sessions/20261124s00bot00002b", "/sessions/20261124s00lin0000bm",
  "/sessions/20261124s00ada00001a/text", "/search", "/search?q=systemctl", "/search?q=checkout&in=screen", "/search?q=nothinglikeit", "/approvals", "/approvals/hz4t8n2c", "/rules", "/audit"];
const tell = (path, form = {}) => fetch(control + path, { method: "POST", body: new URLSearchParams(form) });
const steps = [];
const step = (name, run) => steps.push([name, run]);

async function signIn(page, user, at = "/") {
  await page.goto(base + at);
  await page.getByRole("link", { name: /Continue with/ }).click();
  await page.getByRole("button", { name: new RegExp(`Continue as ${user}`) }).click();
  await page.waitForURL(base + at);
}

const screen = (page) => page.locator(".ap-term-text").innerText();
async function until(what, test) {
  for (let i = 0; i < 100; i++) {
    if (await test()) return;
    await new Promise((r) => setTimeout(r, 100));
  }
  assert.fail(`never happened: ${what}`);
}
const ready = (page) => page.waitForFunction(() => document.documentElement.dataset.player === "ready");

const page = watch(await context.newPage());

step("signing in returns to the page that was asked for", async () => {
  await page.goto(`${base}/sessions?who=ada`);
  assert.match(page.url(), /\/signin\?return=/);
  await signIn(page, "grace", "/sessions?who=ada");
  assert.equal(await page.getByRole("heading", { level: 1 }).innerText(), "Sessions");
});

step("the list filters, and takes filters away again", async () => {
  const all = await page.locator("tbody tr").count();
  assert.ok(all > 3);
  await page.getByLabel("Search").fill("customers");
  await page.getByRole("button", { name: "Filter" }).click();
  await page.waitForURL(/q=customers/);
  assert.equal(await page.locator("tbody tr").count(), 1);
  await page.getByRole("link", { name: /customers.*remove/ }).click();
  assert.equal(await page.locator("tbody tr").count(), all);
  await page.getByRole("link", { name: "Clear all" }).click();
  await page.getByRole("link", { name: "Older" }).click();
  await page.waitForURL(/after=/);
});

if (shots) step("pictures are taken", shoot);

step("a recording plays, and shows what was on the screen", async () => {
  await page.goto(`${base}/sessions/20261124s00ada00001a`);
  await ready(page);
  await page.getByLabel("Speed").selectOption("16");
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press(" ");
  await until("git status is on the screen", async () => (await screen(page)).includes("git status --short"));
});

step("markers: keys, list and timeline go to the moment, and the list follows", async () => {
  await page.goto("about:blank"); // or the page before would go on playing
  await page.goto(`${base}/sessions/20261124s00ada00001a#t=31.0`);
  await ready(page);
  await until("the link's moment is shown", async () => (await screen(page)).includes("curl -s https://paste"));
  const current = page.locator("#oplist li[aria-current]");
  assert.match(await current.innerText(), /denied[\s\S]*curl/);
  assert.equal(await page.locator("#ribbon i").count(), 7); // six operations, and where values were masked
  await page.keyboard.press("]");
  await until("the next operation is current", async () => /held[\s\S]*systemctl restart/.test(await current.innerText()));
  await page.keyboard.press("[");
  await until("the one before is current", async () => /curl/.test(await current.innerText()));
  await page.locator("#oplist a", { hasText: "head -4" }).click();
  await until("the clicked operation is current", async () => /head -4/.test(await current.innerText()));
  assert.match(page.url(), /#t=12\.000$/);
  await page.getByLabel("Pauses").selectOption("0");
  await page.keyboard.press("]");
  await until("with pauses as they were, too", async () => /^0:3[1-9]/.test(await page.locator("#position").innerText())); // it plays on: a slow machine looks later
  await page.getByRole("button", { name: "Link to this moment" }).click();
  await until("the link holds the moment", async () => /#t=3\d\.\d$/.test(page.url()));
});

step("verification answers on the page", async () => {
  await page.getByRole("button", { name: "Verify now" }).click();
  await page.locator(".report.good").waitFor();
  assert.match(await page.locator(".report").innerText(), /nothing is missing or changed/i);
});

step("a search leads to the moment, in operations and in what was on the screen", async () => {
  await page.goto(`${base}/search`);
  await page.getByLabel("Text").fill("paste.example.net");
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await page.waitForURL(/q=paste/);
  assert.equal(await page.locator(".found mark").innerText(), "paste.example.net");
  await page.getByLabel("Look in").selectOption("screen");
  await page.getByLabel("Text").fill("customer data does NOT leave");
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await page.waitForURL(/in=screen/);
  assert.equal(await page.locator(".found li").count(), 1);
  await page.locator(".found a").click();
  await page.waitForURL(/20261124s00ada00001a#t=/);
  await ready(page);
  await until("the line is on the screen", async () => (await screen(page)).includes("customer data does not leave this host"));
  await page.getByRole("link", { name: "Text on the screen" }).click();
  await page.getByRole("heading", { name: "Text on the screen" }).waitFor();
  await page.locator(".textlines li", { hasText: "customer data does not leave" }).getByRole("link").click();
  await ready(page);
  assert.match(page.url(), /#t=\d/);
});

step("a search is saved, exported, and forgotten", async () => {
  await page.goto(`${base}/search?decision=deny`);
  await page.getByText("Save this search").click();
  await page.getByLabel("Name").fill("What was denied <b>");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByRole("link", { name: "What was denied <b>" }).click();
  await page.waitForURL(/decision=deny/);
  for (const kind of ["CSV", "JSON"]) {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: kind }).click()]);
    const text = readFileSync(await download.path(), "utf8");
    assert.match(text, /command-destructive/);
    if (kind === "JSON") assert.equal(JSON.parse(text).complete, true);
  }
  await page.getByRole("button", { name: /Forget the saved search/ }).click();
  await page.waitForURL(/search$/);
  assert.equal(await page.locator(".saved").count(), 0);
  await page.goto(`${base}/audit?kind=console.exported`);
  assert.equal(await page.locator("tbody tr").count(), 2);
});

step("rules show what is in force, and nothing in them acts", async () => {
  await page.goto(`${base}/rules`);
  assert.match(await page.locator(".targets").innerText(), /<script>window\.owned=1<\/script>⟨U\+202E⟩/);
  assert.ok(await page.locator(".policy").count() > 20);
  assert.equal(await page.evaluate(() => window.owned), undefined);
});

step("a hostile recording does nothing", async () => {
  const before = await page.title();
  const asked = [];
  page.on("request", (r) => { if (!r.url().startsWith(base)) asked.push(r.url()); });
  await page.goto(`${base}/sessions/20261124s00mal00005e#t=3`);
  await ready(page);
  await until("it plays to its end", async () => (await screen(page)).includes("the end"));
  const text = await screen(page);
  assert.match(text, /still readable/);
  assert.match(text, /<script>window\.owned=1<\/script>/);
  assert.match(text, /click me/);
  assert.ok(!text.includes("b3duZWQ"), "the clipboard's content is shown");
  assert.equal(await page.evaluate(() => window.owned), undefined);
  assert.equal(await page.locator(".terminal a").count(), 0);
  assert.notEqual(await page.title(), "owned");
  assert.ok(before);
  assert.deepEqual(asked, []);
  assert.match(await page.locator("h1").innerText(), /<script>window\.owned=1<\/script>/);
  assert.match(await page.locator("#oplist").innerText(), /<img src=x onerror=window\.owned=1> ⟨U\+202E⟩gnp\.exe/);
  assert.equal(await page.locator("#oplist .typed code").innerText(), "<script>window.owned=2</script>⎋]0;owned^G⟨U+202E⟩⌫⏎");
  assert.ok(!text.includes("owned=2"), "what was typed is on the screen");
});

step("what was typed stands in the list, leads to its moment, and is no operation", async () => {
  await page.goto(`${base}/sessions/20261124s00gra00008h`);
  await ready(page);
  const typed = page.locator("#oplist .typed");
  assert.equal(await typed.count(), 1);
  assert.match(await typed.innerText(), /psqq⌫l shop⏎[\s\S]*typed/);
  assert.match(await page.locator("#oplist > li").first().innerText(), /psqq/); // before the operation it led to
  assert.equal(await page.locator("#op-count").innerText(), "1");
  assert.equal(await page.locator("#ribbon i").count(), 2); // the operation, and where values were masked
  await typed.getByRole("link").click();
  await until("it is current", async () => (await typed.getAttribute("aria-current")) === "true");
  assert.match(page.url(), /#t=3\.900$/);
  assert.ok(!(await screen(page)).includes("psqq"));
});

step("a recording that breaks off in the middle of a line plays what there is", async () => {
  await tell("/truncate/20261124s00bot0000ak");
  await page.goto(`${base}/sessions/20261124s00bot0000ak#t=9`);
  await ready(page);
  await until("something is shown", async () => (await screen(page)).includes("tail -f"));
});

step("a running session plays live", async () => {
  await page.goto(`${base}/sessions/20261124s00bot00002b`);
  await until("what was shown before", async () => (await screen(page)).includes("customers.tsv"));
  await tell("/live/20261124s00bot00002b", { json: JSON.stringify("fresh from the gate\r\n") });
  await until("what comes now", async () => (await screen(page)).includes("fresh from the gate"));
  await page.getByRole("button", { name: "From the start" }).click();
  await ready(page);
});

step("an approval given in one tab vanishes from the other, and the operation runs", async () => {
  await page.goto(`${base}/approvals`);
  await page.locator('#stream-state[data-state="on"]').waitFor();
  const other = watch(await context.newPage());
  await other.goto(`${base}/approvals`);
  await other.locator('#stream-state[data-state="on"]').waitFor();
  await tell("/ask/v9c4r2ma", { command: "rm -rf /srv/demo/older" });
  for (const tab of [page, other]) await tab.locator("#holds #hold-v9c4r2ma").waitFor();
  const card = page.locator("#hold-v9c4r2ma");
  await card.getByLabel(/Reason/).fill("the backup has run");
  await card.getByRole("button", { name: "Approve" }).click();
  await card.getByText("It runs now, exactly as shown.").waitFor();
  await other.locator("#holds #hold-v9c4r2ma").waitFor({ state: "detached" });
  await other.locator("#answered #hold-v9c4r2ma").getByText("the backup has run").waitFor();
  const result = await fetch(`${control}/result/v9c4r2ma`);
  assert.equal(result.status, 200, await result.text());
  await other.close();
});

step("one's own request cannot be answered, and hidden characters are named", async () => {
  assert.equal(await page.locator("#hold-p3xv6d1y button[name=answer]").count(), 0);
  assert.match(await page.locator("#hold-p3xv6d1y").innerText(), /your own request/);
  assert.match(await page.locator("#hold-hz4t8n2c .exact").innerText(), /⟨U\+200B⟩⟨U\+202E⟩ # safe/);
});

step("one's own request is taken back", async () => {
  await page.locator("#hold-p3xv6d1y").getByRole("button", { name: "Take back" }).click();
  await page.getByText("You took this back.").waitFor();
  const result = await fetch(`${control}/result/p3xv6d1y`);
  assert.match(await result.text(), /withdrawn/);
});

step("an approver chooses how much an approval covers", async () => {
  await page.goto(`${base}/approvals`);
  const card = page.locator("#hold-hz4t8n2c");
  await card.getByLabel(/Reason/).fill("the price list of december");
  await card.getByLabel("An approval covers").selectOption({ label: "this one operation" });
  await card.getByRole("button", { name: "Approve" }).click();
  await card.getByText("It runs now, exactly as shown.").waitFor();
  assert.match(await card.innerText(), /this one operation, until/);
});

step("a desktop notification comes after a click asked for it, names no command and answers nothing", async () => {
  await context.grantPermissions(["notifications"], { origin: base });
  await page.addInitScript(() => {
    window.notes = [];
    const Real = window.Notification;
    window.Notification = class extends EventTarget {
      constructor(title, options) { super(); window.notes.push({ title, ...options }); window.lastNote = this; }
      static get permission() { return Real.permission; }
      static requestPermission() { return Real.requestPermission(); }
      close() {}
    };
  });
  await page.goto(`${base}/approvals`);
  await page.evaluate(() => { document.hasFocus = () => false; });
  await page.locator('#stream-state[data-state="on"]').waitFor();
  await tell("/ask/n0t1fy01", { command: "rm -rf /srv/before-the-click" });
  await page.locator("#hold-n0t1fy01").waitFor();
  assert.equal(await page.evaluate(() => window.notes.length), 0, "before anybody asked for one");
  await page.locator("#notify").click();
  await until("they are on", async () => (await page.locator("#notify").innerText()).includes("are on"));
  await tell("/ask/n0t1fy02", { command: "rm -rf /srv/after-the-click" });
  await until("one is shown", async () => (await page.evaluate(() => window.notes.length)) === 1);
  const note = await page.evaluate(() => window.notes[0]);
  assert.match(note.body, /deploy-bot[\s\S]*web1/);
  assert.ok(!JSON.stringify(note).includes("after-the-click"), "it tells what runs to whoever sees the desktop");
  await page.evaluate(() => window.lastNote.dispatchEvent(new Event("click")));
  await page.waitForURL(`${base}/approvals/n0t1fy02`);
  assert.equal(await page.locator("#hold-n0t1fy02").getAttribute("data-state"), "pending");
});

step("a denial without a word, from the request's own page", async () => {
  await page.goto(`${base}/approvals/k7m2w9qx`);
  await page.getByRole("button", { name: "Deny" }).click();
  await page.getByText("You denied this.").waitFor();
  const result = await fetch(`${control}/result/k7m2w9qx`);
  assert.equal(result.status, 409);
  assert.match(await result.text(), /denied/);
});

step("the theme is chosen without a flash and remembered", async () => {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMedia({ colorScheme: "light" });
  const light = await ground();
  await page.getByRole("button", { name: /Theme: system/ }).click();
  await page.getByRole("button", { name: /Theme: light/ }).click();
  assert.notEqual(await ground(), light);
  await page.reload();
  assert.notEqual(await ground(), light);
  await page.getByRole("button", { name: /Theme: dark/ }).click();
  assert.equal(await ground(), light);
});

step("no page is wider than a phone, and everything has a name", async () => {
  await page.setViewportSize({ width: 390, height: 844 });
  for (const path of ["/", "/sessions", "/sessions/20261124s00ada00001a", "/approvals", "/approvals/hz4t8n2c", "/approvals/advance?like=n0t1fy01", "/sessions/nosuchsession"]) {
    const quiet = path.includes("nosuch");
    if (quiet) continue;
    await page.goto(base + path);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(wide, 0, `${path} scrolls sideways by ${wide}`);
    const nameless = await page.evaluate(() => [...document.querySelectorAll("button, a, input:not([type=hidden]), select")].filter((el) => {
      const name = el.getAttribute("aria-label") || el.textContent.trim() || el.closest("label")?.textContent.trim() || el.title;
      return !name && !el.closest(".ap-wrapper");
    }).map((el) => el.outerHTML));
    assert.deepEqual(nameless, [], path);
  }
  await page.setViewportSize({ width: 1440, height: 900 });
});

step("text has contrast enough, in both themes", async () => {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const path of everyPage) {
      await page.goto(base + path);
      const poor = await page.evaluate(contrast);
      assert.deepEqual(poor, [], `${path} ${colorScheme}`);
    }
  }
});

step("axe finds nothing serious on any page, in both themes, at both widths", async () => {
  const axe = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
  for (const [colorScheme, width, height] of [["light", 1366, 768], ["dark", 390, 844]]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height });
    for (const path of everyPage) {
      await page.goto("about:blank");
      await page.goto(base + path);
      if (path.startsWith("/sessions/2026") && !path.endsWith("/text")) await page.waitForFunction(() => document.documentElement.dataset.player);
      await page.evaluate(axe); // by the debugger: the page itself would not let it
      const found = await page.evaluate(() => window.axe.run({ exclude: [[".ap-wrapper"]] }, { resultTypes: ["violations"] }));
      const bad = found.violations.filter((v) => ["serious", "critical"].includes(v.impact))
        .map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => `${n.html.slice(0, 160)} ${n.failureSummary?.split("\n")[1] ?? ""}`).join(" | ")}`);
      assert.deepEqual(bad, [], `${path} ${colorScheme} ${width}`);
    }
  }
  await page.setViewportSize({ width: 1440, height: 900 });
});

step("signing out ends it, everywhere", async () => {
  const other = watch(await context.newPage());
  await other.goto(base);
  await page.goto(base);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("You are signed out").waitFor();
  await other.goto(`${base}/sessions`);
  assert.match(other.url(), /\/signin/);
});

// contrast lists texts under WCAG's 4.5:1, or 3:1 where they are large.
function contrast() {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const lum = (c) => c.slice(0, 3).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const poor = [];
  for (const el of document.querySelectorAll("body *")) {
    if (el.closest(".terminal, .sr, svg, noscript") || ![...el.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    if (!el.checkVisibility({ visibilityProperty: true }) || el.getBoundingClientRect().width < 2) continue;
    let under = [255, 255, 255, 0];
    for (let p = el; p && under[3] < 1; p = p.parentElement) {
      const c = rgba(getComputedStyle(p).backgroundColor);
      const a = under[3];
      under = [0, 1, 2].map((i) => (under[i] * a + c[i] * c[3] * (1 - a)) / Math.max(a + c[3] * (1 - a), 1e-6)).concat(a + c[3] * (1 - a));
    }
    const style = getComputedStyle(el);
    const [x, y] = [lum(rgba(style.color)), lum(under)];
    const ratio = (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${el.tagName}.${el.className} ${el.textContent.trim().slice(0, 40)}`);
  }
  return poor;
}

// shoot takes pictures of every page.
async function shoot() {
  mkdirSync(shots, { recursive: true });
  const lonely = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
  for (const [size, width, height] of [["laptop", 1366, 768], ["phone", 390, 844]]) {
    for (const colorScheme of ["light", "dark"]) {
      const out = await (await lonely.newContext({ viewport: { width, height }, colorScheme })).newPage();
      await out.goto(`${base}/signin`);
      await out.screenshot({ path: join(shots, `signin-${size}-${colorScheme}.png`) });
      await signIn(out, "mallory");
      await out.goto(`${base}/sessions/20261124s00ada00001a`);
      await out.screenshot({ path: join(shots, `refused-${size}-${colorScheme}.png`) });
      await out.context().close();
      const tab = await context.newPage();
      await tab.setViewportSize({ width, height });
      await tab.emulateMedia({ colorScheme });
      for (const [name, path] of [["overview", "/"], ["sessions", "/sessions"], ["filtered", "/sessions?who=ada&decision=deny"], ["none", "/sessions?q=nothinglikeit"],
        ["session", "/sessions/20261124s00ada00001a#t=73"], ["live", "/sessions/20261124s00bot00002b"], ["recovered", "/sessions/20261124s00gra00008h#t=4"],
        ["hostile", "/sessions/20261124s00mal00005e#t=3"], ["search", "/search"], ["found", "/search?q=systemctl"], ["found-screen", "/search?q=checkout&in=screen"], ["found-none", "/search?q=nothinglikeit&decision=deny"],
        ["text", "/sessions/20261124s00ada00001a/text"], ["long-name", "/sessions/20261124s00lin0000bm"], ["rules", "/rules"], ["audit", "/audit"], ["approvals", "/approvals"], ["approval", "/approvals/hz4t8n2c"], ["missing", "/sessions/nosuchsession"]]) {
        await tab.goto("about:blank");
        await tab.goto(base + path);
        if (path.startsWith("/sessions/2026") && !path.endsWith("/text")) await tab.waitForFunction(() => document.documentElement.dataset.player);
        await tab.waitForTimeout(900);
        await tab.screenshot({ path: join(shots, `${name}-${size}-${colorScheme}.png`), fullPage: true });
      }
      await tab.close();
    }
  }
  await lonely.close();
}

let failed = false;
for (const [name, run] of steps) {
  try {
    await run();
    console.log(`ok    ${name}`);
  } catch (err) {
    failed = true;
    console.log(`FAIL  ${name}\n      at ${page.url()}\n      ${err.stack}`);
    break;
  }
}
for (const c of complaints) console.log(`FAIL  the browser complained: ${c}`);
await context.close();
process.exit(failed || complaints.length > 0 ? 1 : 0);
