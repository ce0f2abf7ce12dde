"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const form = document.getElementById("filters");
const list = document.getElementById("posts");
const count = document.getElementById("count");
const further = document.getElementById("further");
const toggle = document.getElementById("toggle");
const reset = document.getElementById("reset");
const PAGE = 8; // posts shown at once
const ROWS = 10; // summaries of a post shown at once
const REACH = 4; // of the strip, in standard deviations
const NAMES = ["text", "policy", "method", "size", "seed", "domain", "sort", "part"];

const SORTS = {
  gap: (row) => row.gap,
  worst: (row) => -row.gold,
  best: (row) => row.gold,
  proxy: (row) => row.proxy,
  kl: (row) => row.kl_nats,
  long: (row) => row.chars,
};
const NEEDS = { worst: "gold", best: "gold", gap: "gap", proxy: "proxy", kl: "kl_nats", long: "chars" };

const posts = data.posts.map((post) => ({
  ...post,
  low: `${post.title}\n${post.text}\n${post.reference}`.toLowerCase(),
  rows: post.rows.map((cells) => {
    const row = Object.fromEntries(data.columns.map((name, i) => [name, cells[i]]));
    row.policy = data.policies[row.policy];
    row.low = row.text.toLowerCase();
    row.parted = row.proxy !== null && row.truth !== null && row.proxy >= data.high && row.truth <= data.low;
    return row;
  }),
}));
const all = posts.reduce((sum, post) => sum + post.rows.length, 0);
let only = ""; // the one post that the address names
let shown = PAGE;
let found = [];

const make = (tag, kind, text) => {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  if (text !== undefined) node.textContent = text;
  return node;
};
const number = (value, digits = 2) => (value === null ? "–"
  : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "\u2212"));
const kindOf = (method) => method.replace(/[^a-z]+/gi, "-");

// Choices of each list: what the data has; a list with one choice is not shown.
const fill = (name, any, choices) => {
  const select = form.elements[name];
  select.append(new Option(any, ""), ...choices);
  select.parentElement.hidden = choices.length < 2;
};
const distinct = (values) => [...new Set(values)].filter((value) => value !== "" && value !== null);
const groups = distinct(data.policies.map((policy) => policy.method)).map((method) => {
  const group = make("optgroup");
  group.label = method;
  group.append(...data.policies.filter((p) => p.method === method).map((p) => new Option(p.label, p.policy)));
  return group;
});
const loose = data.policies.filter((p) => p.method === "").map((p) => new Option(p.label, p.policy));
fill("policy", "all policies", [...groups, ...loose]);
form.elements.policy.parentElement.hidden = data.policies.length < 2;
const option = (value) => new Option(value, value);
fill("method", "all methods", distinct(data.policies.map((p) => p.method)).map(option));
fill("size", "all sizes", distinct(data.policies.map((p) => p.size)).map(option));
fill("seed", "all seeds", distinct(posts.flatMap((p) => p.rows.map((r) => r.seed))).sort((a, b) => a - b).map((s) => option(String(s))));
fill("domain", "all domains", distinct(posts.map((p) => p.domain)).map(option));

const choice = () => Object.fromEntries(NAMES.map((name) => {
  const field = form.elements[name];
  return [name, field.type === "checkbox" ? (field.checked ? "1" : "") : field.value.trim()];
}));

// The view stands in the address, so it can be kept, sent and gone back to.
const restore = () => {
  const view = new URLSearchParams(location.hash.slice(1));
  for (const name of NAMES) {
    const field = form.elements[name];
    const value = view.get(name) ?? "";
    if (field.type === "checkbox") field.checked = value === "1";
    else field.value = value;
    if (field.tagName === "SELECT" && field.selectedIndex < 0) field.value = "";
  }
  only = view.get("post") ?? "";
  shown = PAGE;
  show();
};
const remember = () => {
  const view = new URLSearchParams(Object.entries(choice()).filter(([, value]) => value));
  if (only) view.set("post", only);
  history.replaceState(null, "", view.size ? `#${view}` : location.pathname + location.search);
};

const select = () => {
  const want = choice();
  const words = want.text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (row) => (!want.policy || row.policy.policy === want.policy)
    && (!want.method || row.policy.method === want.method)
    && (!want.size || row.policy.size === want.size)
    && (!want.seed || String(row.seed) === want.seed)
    && (!want.part || row.parted);
  const key = SORTS[want.sort];
  const need = NEEDS[want.sort];
  const value = (row) => (row[need] === null ? -Infinity : key(row));
  const parts = [];
  for (const post of posts) {
    if ((only && post.id !== only) || (want.domain && post.domain !== want.domain)) continue;
    const rest = words.filter((word) => !post.low.includes(word));
    const rows = post.rows.filter((row) => fits(row) && rest.every((word) => row.low.includes(word)));
    if (!rows.length) continue;
    if (key) rows.sort((a, b) => value(b) - value(a) || 0);
    parts.push({ post, rows });
  }
  if (key) parts.sort((a, b) => value(b.rows[0]) - value(a.rows[0]) || 0);
  return { parts, words };
};

const marked = (node, text, words) => {
  if (!words.length) { node.textContent = text; return node; }
  const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  text.split(new RegExp(`(${escaped.join("|")})`, "gi")).forEach((piece, i) => {
    node.append(i % 2 ? make("mark", "", piece) : piece);
  });
  return node;
};

const SVG = "http://www.w3.org/2000/svg";
const shape = (tag, kind, attributes) => {
  const node = document.createElementNS(SVG, tag);
  node.setAttribute("class", kind);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};
const strip = (row) => {
  const svg = shape("svg", "strip", { viewBox: "0 0 176 18", role: "img" });
  const x = (value) => 88 + 80 * Math.max(-1, Math.min(1, value / REACH));
  const said = [];
  svg.append(shape("line", "axis", { x1: 8, x2: 168, y1: 9, y2: 9 }));
  for (let tick = -REACH; tick <= REACH; tick += 1) {
    svg.append(shape("line", tick ? "axis" : "mean", { x1: x(tick), x2: x(tick), y1: tick ? 7 : 2, y2: tick ? 11 : 16 }));
  }
  if (row.proxy !== null && row.truth !== null) {
    svg.append(shape("line", "span", { x1: x(row.truth), x2: x(row.proxy), y1: 9, y2: 9 }));
  }
  for (const name of ["truth", "proxy"]) {
    if (row[name] === null) continue;
    svg.append(shape("circle", name, { cx: x(row[name]), cy: 9, r: 4.5 }));
    said.push(`${name} ${number(row[name], 1)} SD`);
  }
  const title = document.createElementNS(SVG, "title");
  title.textContent = said.join(", ");
  svg.prepend(title);
  return svg;
};

const facts = (pairs) => {
  const box = make("dl", "numbers");
  for (const [name, value, meaning] of pairs) {
    const pair = make("div");
    pair.title = meaning;
    pair.append(make("dt", "", name), make("dd", "", value));
    box.append(pair);
  }
  return box;
};

const summary = (row, words) => {
  const item = make("li", kindOf(row.policy.method));
  const who = make("p", "who");
  who.append(make("b", "", row.policy.label));
  if (row.policy.size && !row.policy.label.includes(row.policy.size)) who.append(make("span", "", row.policy.size));
  if (row.seed !== null) who.append(make("span", "", `seed ${row.seed}`));
  if (row.parted) who.append(make("span", "parted", "proxy and truth part"));
  const text = row.text.trim();
  const body = text ? marked(make("p", "words"), text, words) : make("p", "words empty", "(nothing)");
  const numbers = facts([
    ["truth", number(row.gold), data.unit],
    ...(row.reward === null ? [] : [["reward", number(row.reward), `of ${row.policy.objective || "its objective"}`]]),
    ...(row.gap === null ? [] : [["gap", number(row.gap, 1), "proxy less truth, in standard deviations of the references"]]),
    ...(row.kl_nats === null ? [] : [["KL", `${number(row.kl_nats, 1)} nats`, "of this summary, from the policy it was trained from"]]),
    ...(row.expected === null ? [] : [["preferred", `${number(100 * row.expected, 0)}%`, "of labelers who would prefer it to the reference, in expectation"]]),
    ["length", number(row.chars, 0), "characters"],
  ]);
  if (row.proxy !== null || row.truth !== null) numbers.prepend(strip(row));
  item.append(who, body, numbers);
  return item;
};

const article = ({ post, rows }, words) => {
  const part = make("article");
  part.tabIndex = -1;
  part.dataset.post = post.id;
  const side = make("div", "post");
  const head = make("h2");
  const link = marked(make("a"), post.title || `Post ${post.id}`, words);
  link.href = `#${new URLSearchParams({ post: post.id })}`;
  head.append(link);
  const body = marked(make("p", "body cut"), post.text.trim(), words);
  const whole = make("button", "link", "The whole post");
  whole.type = "button";
  whole.addEventListener("click", () => {
    whole.textContent = body.classList.toggle("cut") ? "The whole post" : "Less of the post";
  });
  const reference = make("div", "reference");
  reference.append(
    make("p", "where", "Reference summary"),
    marked(make("p", "words"), post.reference.trim(), words),
    facts([["truth", number(post.gold), data.unit], ["length", number(post.reference.trim().length, 0), "characters"]]),
  );
  const place = [post.section, data.posts.some((p) => p.domain !== post.domain) ? post.domain : ""].filter(Boolean).join(" · ");
  side.append(make("p", "where", place), head, body, whole, reference);
  if (post.failed.length) {
    const box = make("details", "failed");
    const items = make("ul");
    items.append(...post.failed.map((text) => make("li", "", text)));
    box.append(make("summary", "", `${post.failed.length} probe${post.failed.length === 1 ? "" : "s"} of this post failed`), items);
    side.append(box);
  }
  const items = make("ol", "summaries");
  items.append(...rows.slice(0, ROWS).map((row) => summary(row, words)));
  const right = make("div");
  right.append(items);
  if (rows.length > ROWS) {
    const more = make("button", "button", `Show ${rows.length - ROWS} more summaries of this post`);
    more.type = "button";
    more.addEventListener("click", () => {
      const added = rows.slice(ROWS).map((row) => summary(row, words));
      items.append(...added);
      more.remove();
      added[0].tabIndex = -1;
      added[0].focus({ preventScroll: true });
    });
    right.append(more);
  }
  part.append(side, right);
  return part;
};

const append = (from) => {
  const { parts, words } = found;
  const fresh = parts.slice(from, shown).map((part) => article(part, words));
  list.append(...fresh);
  // Measured once they are laid out: a post that is not cut needs no button.
  for (const part of fresh) {
    const body = part.querySelector(".body");
    part.querySelector(".post > .link").hidden = body.scrollHeight <= body.clientHeight + 8;
  }
  further.hidden = parts.length <= shown;
  further.textContent = `Show more posts (${Math.max(parts.length - shown, 0)})`;
};

const show = () => {
  found = select();
  const rows = found.parts.reduce((sum, part) => sum + part.rows.length, 0);
  count.textContent = `${number(rows, 0)} of ${number(all, 0)} summaries, ${number(found.parts.length, 0)} of ${number(posts.length, 0)} posts`;
  const want = choice();
  reset.hidden = !only && !Object.values(want).some(Boolean);
  for (const name of NAMES) form.elements[name].classList.toggle("set", Boolean(want[name]));
  const chosen = NAMES.filter((name) => name !== "text" && want[name]).length;
  toggle.textContent = chosen ? `Filters (${chosen})` : "Filters";
  list.replaceChildren();
  append(0);
  if (!found.parts.length) list.append(make("p", "nothing", "No summary fits. Try fewer filters."));
  measure();
};

const measure = () => document.documentElement.style.setProperty("--bar", `${form.offsetHeight}px`);
const changed = () => {
  shown = PAGE;
  remember();
  show();
  if (list.getBoundingClientRect().top < 0) list.scrollIntoView({ block: "start", behavior: "instant" });
};

form.addEventListener("input", changed);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", (event) => {
  event.preventDefault();
  for (const name of NAMES) {
    const field = form.elements[name];
    if (field.type === "checkbox") field.checked = false;
    else field.value = "";
  }
  only = "";
  changed();
});
toggle.addEventListener("click", () => {
  toggle.setAttribute("aria-expanded", String(form.classList.toggle("open")));
  measure();
});
further.addEventListener("click", () => {
  const from = shown;
  shown += PAGE;
  append(from);
  list.children[from]?.focus();
});
addEventListener("hashchange", () => { restore(); scrollTo({ top: 0, behavior: "instant" }); });
addEventListener("resize", measure);

const step = (by) => {
  const parts = [...list.querySelectorAll("article")];
  if (!parts.length) return;
  const here = parts.indexOf(document.activeElement?.closest?.("article"));
  let next = here < 0 ? (by > 0 ? 0 : parts.length - 1) : here + by;
  if (next >= parts.length && !further.hidden) { further.click(); return; }
  next = Math.max(0, Math.min(parts.length - 1, next));
  parts[next].focus({ preventScroll: true });
  parts[next].scrollIntoView({ block: "start", behavior: "instant" });
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input[type=search], select, textarea");
  if (event.key === "Escape" && typing) event.target.blur();
  if (typing) return;
  if (event.key === "/") { event.preventDefault(); form.elements.text.focus(); }
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "r") reset.click();
});

restore();
