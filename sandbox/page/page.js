// The sandbox's page: one Discord-like channel, live over a websocket.
// Everything a person or a bot wrote reaches the document as text nodes only; nothing is parsed as markup.

const EPHEMERAL = 64;
const THINKING = 128;
const THREAD_CREATED = 18;
const THREAD_STARTER = 21;
const MESSAGE_LIMIT = 2000;
const AUTOCOMPLETE_PAUSE_MS = 150;
const TYPING_LASTS_MS = 10_000;
const GROUP_WITHIN_MS = 7 * 60_000;
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 15_000;
const DEPTH_LIMIT = 8;
const AVATAR_COLOURS = 8;

const Part = { row: 1, button: 2, menu: 3, input: 4, text: 10, label: 18 };
const Type = { sub: 1, group: 2, string: 3, integer: 4, boolean: 5, user: 6, channel: 7, mentionable: 9, number: 10, attachment: 11 };
const FILE_LIMIT = 10 * 2 ** 20;

const $ = (id) => document.getElementById(id);

const state = {
  me: null,
  users: [],
  guild: { id: "", name: "Sandbox" },
  channels: [],
  threads: [],
  opened: new Set(), // ids of the threads that are unfolded below their message
  channelId: "", // of the channel or thread on view
  commands: [],
  messages: [], // in the order of arrival, all channels; answers still awaited stand among them as local messages
  unread: new Set(),
  typing: new Map(), // user id → {channelId, name, until}
  busy: new Set(), // "message id:custom id" of buttons and menus that await their answer
  chosen: new Map(), // the same key → the values that were chosen from a menu
  trouble: new Map(), // message id → the sentence under its buttons
};

// ── Small tools ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** Makes an element: `on…` properties become listeners, the rest attributes; null and false children are left out. */
function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

const nameOf = (user) => user.global_name || user.username;
const userById = (id) => state.users.find((user) => user.id === id);
const channelById = (id) => state.channels.find((channel) => channel.id === id);
const threadById = (id) => state.threads.find((thread) => thread.id === id);
const placeById = (id) => channelById(id) ?? threadById(id);
/** Where the page shows a channel or thread, as the part of the address after `#`. */
const addressOf = (place) => (place.parent_id ? `#/thread/${place.id}` : `#/${encodeURIComponent(place.name)}`);
const theBot = () => state.users.find((user) => user.bot);

/** A number that stays the same for the same text, so that a person keeps their colour. */
function stableNumber(text, below) {
  let hash = 2166136261;
  for (const unit of text) hash = Math.imul(hash ^ unit.codePointAt(0), 16777619);
  return (hash >>> 0) % below;
}

function initials(name) {
  const letters = name.split(/\s+/).filter(Boolean).map((word) => [...word][0]);
  return (letters.length > 1 ? letters[0] + letters.at(-1) : letters[0] ?? "?").toUpperCase();
}

/** `key` picks the colour (see `avatarKey`). */
function avatar(name, key, extra = "") {
  const colour = `avatar-${stableNumber(key, AVATAR_COLOURS)}`;
  return el("span", { class: `avatar ${colour} ${extra}`, "aria-hidden": "true" }, initials(name));
}

/** The address if it is an ordinary web link, else null: `javascript:` and `data:` never become links. */
function webUrl(text) {
  try {
    const url = new URL(text);
    return url.protocol === "https:" || url.protocol === "http:" ? url : null;
  } catch {
    return null;
  }
}

/** The address if this page's own server has it, else null: nothing is loaded from elsewhere. */
function localUrl(text) {
  try {
    const url = new URL(text, location.origin);
    return url.origin === location.origin ? url : null;
  } catch {
    return null;
  }
}

function fileSize(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 ** 2) return `${Math.round(bytes / 1024)} KB`;
  return `${(bytes / 1024 ** 2).toFixed(1)} MB`;
}

// ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────────────

const spoken = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const longDate = new Intl.DateTimeFormat("en", { dateStyle: "long" });
const fullTime = new Intl.DateTimeFormat("en", { dateStyle: "full", timeStyle: "short", hourCycle: "h23" });
const STYLES = {
  t: clock,
  T: new Intl.DateTimeFormat("en", { timeStyle: "medium", hourCycle: "h23" }),
  d: new Intl.DateTimeFormat("en", { dateStyle: "short" }),
  D: longDate,
  f: new Intl.DateTimeFormat("en", { dateStyle: "long", timeStyle: "short", hourCycle: "h23" }),
  F: fullTime,
};
const UNITS = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

function relative(date) {
  const seconds = Math.round((date - Date.now()) / 1000);
  const [unit, length] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? UNITS.at(-1);
  return spoken.format(Math.trunc(seconds / length), unit);
}

/** When a message was sent: as a distance within the hour, then as a time of day, then as a date. */
function sentAt(date) {
  const age = Date.now() - date;
  if (age < 60_000) return "just now";
  if (age < 3_600_000) return relative(date);
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(date).setHours(0, 0, 0, 0)) / 86_400_000);
  if (days === 0) return `Today at ${clock.format(date)}`;
  if (days === 1) return `Yesterday at ${clock.format(date)}`;
  return `${STYLES.d.format(date)}, ${clock.format(date)}`;
}

function timeText(node) {
  const date = new Date(node.dateTime);
  const style = node.dataset.style;
  if (style === "sent") return sentAt(date);
  return style === "R" ? relative(date) : STYLES[style].format(date);
}

/** A time that keeps itself true while it is on the page (see `tick`); text alone where the date is impossible. */
function timeNode(date, style) {
  if (Number.isNaN(date.getTime())) return "unknown time";
  const node = el("time", { datetime: date.toISOString(), "data-style": style, title: fullTime.format(date) });
  node.textContent = timeText(node);
  return node;
}

function tick() {
  for (const node of document.querySelectorAll('time[data-style="R"], time[data-style="sent"]')) {
    const text = timeText(node);
    if (node.textContent !== text) node.textContent = text;
  }
  showTyping();
}

// ── Discord's markdown, as nodes ────────────────────────────────────────────────────────────────────────────────────

function link(address, children) {
  const url = webUrl(address);
  if (!url) return null;
  return el("a", { href: url.href, target: "_blank", rel: "noopener noreferrer", title: url.href }, children);
}

const mention = (text, mine = false) => el("span", { class: mine ? "mention mine" : "mention" }, el("bdi", {}, text));

function userMention(id) {
  const user = userById(id);
  return mention(`@${user ? nameOf(user) : "unknown"}`, id === state.me?.id);
}

function spoilerNode(children) {
  const reveal = (event) => {
    if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
    if (spoiler.classList.contains("shown")) return;
    event.preventDefault();
    spoiler.classList.add("shown");
    spoiler.removeAttribute("role");
    spoiler.removeAttribute("aria-label");
    inside.removeAttribute("inert");
  };
  // `inert` keeps the hidden words from screen readers and hidden links from the keyboard until they are revealed.
  const inside = el("span", { inert: true }, children);
  const spoiler = el("span", { class: "spoiler", role: "button", tabindex: "0", "aria-label": "Spoiler, press to reveal" }, inside);
  spoiler.addEventListener("click", reveal);
  spoiler.addEventListener("keydown", reveal);
  return spoiler;
}

// Status dots are drawn by the style sheet: half of the systems people use have no glyph for them, or one per font.
const DOTS = { "🔴": "red", "🟠": "orange", "🟡": "yellow", "🟢": "green", "🔵": "blue", "🟣": "violet", "⚪": "white" };

/** Tried in order at each place that could start one; the maker returns a node or text, or null to leave it as typed. */
const INLINE = [
  [/\\([\\`*_~|<>#@:[\]()\-.!])/y, ([, sign]) => sign],
  [/(`+)([^`](?:[\s\S]*?[^`])?)\1(?!`)/y, ([, , code]) => el("code", {}, code)],
  [/<@!?(\d{1,20})>/y, ([, id]) => userMention(id)],
  [/<#(\d{1,20})>/y, ([, id]) => mention(`#${placeById(id)?.name ?? "unknown"}`)],
  [/<@&\d{1,20}>/y, () => mention("@role")],
  [/@(?:everyone|here)\b/y, ([all]) => mention(all)],
  [/<t:(-?\d{1,13})(?::([tTdDfFR]))?>/y, ([, at, style]) => timeNode(new Date(at * 1000), style ?? "f")],
  [/<a?:(\w{2,32}):\d{1,20}>/y, ([, name]) => `:${name}:`],
  [/<\/([-\w ]{1,100}):\d{1,20}>/y, ([, name]) => mention(`/${name}`)],
  [/<(https?:\/\/[^\s<>]+)>/y, ([, url]) => link(url, url)],
  [/\[([^[\]\n]+)\]\(<?(https?:\/\/[^\s()<>]+)>?\)/y, ([, text, url], inside) => link(url, inside(text))],
  [/https?:\/\/[^\s<>]*[^\s<>.,:;"'!?)\]*_~|]/y, ([url]) => link(url, url)],
  [/\*\*\*(?!\s)([\s\S]+?)\*\*\*(?!\*)/y, ([, text], inside) => el("strong", {}, el("em", {}, inside(text)))],
  [/\*\*(?!\s)([\s\S]+?)\*\*(?!\*)/y, ([, text], inside) => el("strong", {}, inside(text))],
  [/__([\s\S]+?)__(?!_)/y, ([, text], inside) => el("u", {}, inside(text))],
  [/~~([\s\S]+?)~~/y, ([, text], inside) => el("s", {}, inside(text))],
  [/\|\|([\s\S]+?)\|\|/y, ([, text], inside) => spoilerNode(inside(text))],
  [/\*(?![\s*])((?:[^*]|\*\*[^*]+\*\*)*[^\s*])\*(?!\*)/y, ([, text], inside) => el("em", {}, inside(text))],
  [/(?<!\w)_(?!_)([^_]+)_(?!\w)/y, ([, text], inside) => el("em", {}, inside(text))],
  [/[🔴🟠🟡🟢🔵🟣⚪]/uy, ([dot]) => el("span", { class: `dot dot-${DOTS[dot]}` }, dot)],
];
const PLAIN = /[^\\`<@[h*_~|\ud83d\u26aa]+/y;

function matchAt(rule, text, place) {
  rule.lastIndex = place;
  return rule.exec(text);
}

/** Inline markdown as a list of nodes and strings; past a depth nobody writes in earnest, text stays as typed. */
function inline(text, depth = 0) {
  if (depth > DEPTH_LIMIT) return [text];
  const parts = [];
  for (let place = 0; place < text.length; ) {
    const [part, length] = inlinePart(text, place, depth);
    if (typeof part === "string" && typeof parts.at(-1) === "string") parts[parts.length - 1] += part;
    else parts.push(part);
    place += length;
  }
  return parts;
}

function inlinePart(text, place, depth) {
  const plain = matchAt(PLAIN, text, place);
  if (plain) return [plain[0], plain[0].length];
  for (const [rule, make] of INLINE) {
    const match = matchAt(rule, text, place);
    const part = match && make(match, (inner) => inline(inner, depth + 1));
    if (part !== null) return [part, match[0].length];
  }
  return [text[place], 1];
}

const FENCE = /```(?:([\w+#-]+)\n)?([\s\S]*?)```/g;
const ITEM = /^( *)([-*]|\d{1,9}\.) +(.*)$/;

/** Blocks: fences first, since nothing inside one is markdown; then headings, quotes, lists and paragraphs by line. */
function markdown(text) {
  const blocks = [];
  let place = 0;
  for (const match of text.matchAll(FENCE)) {
    blocks.push(...lineBlocks(text.slice(place, match.index)));
    const code = match[2].replace(/^\n+|\n+$/g, "");
    blocks.push(el("pre", { tabindex: "0", "aria-label": "Code" }, el("code", { "data-language": match[1] }, code)));
    place = match.index + match[0].length;
  }
  blocks.push(...lineBlocks(text.slice(place)));
  return blocks;
}

function lineBlocks(text) {
  const lines = text.replace(/^\n+|\n+$/g, "").split("\n");
  const blocks = [];
  while (lines.length) blocks.push(nextBlock(lines));
  return blocks.filter(Boolean);
}

/** Takes the lines of one block off the front of `lines`. */
function nextBlock(lines) {
  const heading = /^(#{1,3}|-#) +(.+)$/.exec(lines[0]);
  if (heading) return headingBlock(heading, lines.shift());
  if (lines[0].startsWith(">>> ")) return quoteBlock([lines[0].slice(4), ...lines.splice(0).slice(1)]);
  const quoted = takeWhile(lines, (line) => line.startsWith("> "));
  if (quoted.length) return quoteBlock(quoted.map((line) => line.slice(2)));
  const items = takeWhile(lines, (line) => ITEM.test(line));
  if (items.length) return listBlock(items.map((line) => ITEM.exec(line)));
  const first = lines.shift();
  const paragraph = [first, ...takeWhile(lines, (line) => !/^(?:(?:#{1,3}|-#) +\S|>(?:>>)? )/.test(line) && !ITEM.test(line))];
  const content = paragraph.join("\n").replace(/^\n+|\n+$/g, "");
  return content && el("p", {}, inline(content));
}

function takeWhile(lines, fits) {
  const end = lines.findIndex((line) => !fits(line));
  return lines.splice(0, end < 0 ? lines.length : end);
}

/** Headings of a message are no headings of the page, so they are announced below its own h1 and h2. */
function headingBlock([, marks, text]) {
  if (marks === "-#") return el("p", { class: "subtext" }, inline(text));
  return el("p", { class: `heading heading-${marks.length}`, role: "heading", "aria-level": marks.length + 2 }, inline(text));
}

const quoteBlock = (lines) => el("blockquote", {}, lineBlocks(lines.join("\n")));

function listBlock(items) {
  const ordered = /\d/.test(items[0][2]);
  const list = el(ordered ? "ol" : "ul", ordered ? { start: Number.parseInt(items[0][2], 10) } : {});
  const indent = items[0][1].length;
  while (items.length) {
    const [, , , text] = items.shift();
    const deeper = takeWhile(items, ([, spaces]) => spaces.length > indent);
    list.append(el("li", {}, inline(text), deeper.length ? listBlock(deeper) : null));
  }
  return list;
}

const prose = (text, extra = "") => el("div", { class: `prose ${extra}`, dir: "auto" }, markdown(text));

// ── One message ─────────────────────────────────────────────────────────────────────────────────────────────────────

function messageBody(message, isHead) {
  return [
    usedLine(message),
    replyLine(message),
    isHead ? headLine(message) : lateTime(message),
    el("div", { class: "body" }, contentOf(message), attachmentsOf(message), message.embeds?.map(embed), rowsOf(message), threadOf(message)),
    ephemeralLine(message),
  ];
}

function usedLine({ interaction_metadata: used }) {
  if (!used?.name || !used.user) return null;
  const name = nameOf(used.user);
  const who = el("bdi", { class: "who" }, name);
  return el("p", { class: "above" }, avatar(name, used.user.id, "tiny"), who, " used ", mention(`/${used.name}`));
}

function replyLine({ referenced_message: replied }) {
  if (!replied) return null;
  const name = nameOf(replied.author);
  const words = el("span", { class: "snippet", dir: "auto" }, replied.content || "an attachment or a card");
  return el("p", { class: "above" }, avatar(name, avatarKey(replied), "tiny"), el("bdi", { class: "who" }, name), words);
}

/** A member's id, else the name: all personas of a channel speak through one webhook and so share its id. */
const avatarKey = ({ author }) => (userById(author.id) ? author.id : nameOf(author));

function headLine(message) {
  const { author } = message;
  const name = nameOf(author);
  const app = author.bot || message.webhook_id;
  return [
    avatar(name, avatarKey(message)),
    el(
      "header",
      { class: "head" },
      el("bdi", { class: `name name-${stableNumber(avatarKey(message), AVATAR_COLOURS)}` }, name),
      app && el("span", { class: "badge" }, "APP"),
      timeNode(new Date(message.timestamp), "sent"),
    ),
  ];
}

function lateTime(message) {
  const date = new Date(message.timestamp);
  return el("time", { class: "late", datetime: message.timestamp, title: fullTime.format(date) }, clock.format(date));
}

function contentOf(message) {
  if (message.waiting) return el("p", { class: "thinking" }, message.content, dots());
  if (message.flags & THINKING) return el("p", { class: "thinking" }, `${nameOf(message.author)} is thinking`, dots());
  if (message.failed) return el("p", { class: "failed" }, message.content);
  if (message.type === THREAD_CREATED) return el("p", { class: "notice" }, "started a thread");
  const edited = message.edited_timestamp && el("span", { class: "edited", title: message.edited_timestamp }, "(edited)");
  if (!message.content) return edited && (message.embeds?.length || message.attachments?.length) ? null : edited;
  const node = prose(message.content);
  // A word after the last line, unless a list or a fence ends the message: those keep their own shape.
  if (edited) (node.lastElementChild?.matches("p") ? node.lastElementChild : node).append(" ", edited);
  return node;
}

const dots = () => el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i"));

function ephemeralLine(message) {
  if (!(message.flags & EPHEMERAL)) return null;
  const dismiss = el("button", { type: "button", class: "text-button", onclick: () => dismissMessage(message) }, "Dismiss");
  return el("p", { class: "only-you" }, icon("eye"), "Only you can see this", el("span", { "aria-hidden": "true" }, " · "), dismiss);
}

/** Dismissing is this tab's own business: Discord's server never hears of it either. */
function dismissMessage({ id }) {
  sessionStorage.setItem(`dismissed:${id}`, "1");
  removeMessage(id);
  focusComposer();
}

function attachmentsOf({ attachments }) {
  return attachments?.length ? el("div", { class: "attachments" }, attachments.map(attachment)) : null;
}

const PICTURE = /^image\/(?:png|jpeg|gif|webp)\b/;

function attachment(file) {
  const url = localUrl(file.url);
  if (!url) return el("p", { class: "elsewhere" }, `${file.filename} lies on another server and is not loaded here.`);
  if (PICTURE.test(file.content_type ?? "")) return picture(file.url, file.description || file.filename, file);
  return el(
    "a",
    { class: "file", href: url.href, download: file.filename },
    icon("file"),
    el("span", {}, el("bdi", { class: "file-name" }, file.filename), el("small", {}, fileSize(file.size ?? 0))),
    icon("down"),
  );
}

function picture(address, alt, { width, height } = {}, extra = "") {
  const url = localUrl(address);
  if (!url) return outsidePicture(address);
  const image = el("img", { src: url.href, alt, width, height, decoding: "async" });
  const open = () => viewPicture(url.href, alt);
  return el("button", { type: "button", class: `picture ${extra}`, onclick: open, "aria-label": `Enlarge ${alt}` }, image);
}

function outsidePicture(address) {
  const url = webUrl(address);
  return el("p", { class: "elsewhere" }, "A picture on another server, not loaded here: ", url ? link(address, url.host) : "unknown");
}

function viewPicture(address, alt) {
  $("viewer-image").src = address;
  $("viewer-image").alt = alt;
  $("viewer").showModal();
}

function embed(card) {
  const node = el(
    "section",
    { class: card.thumbnail ? "embed with-thumbnail" : "embed", "aria-label": card.title || "Embed" },
    card.author?.name && el("p", { class: "embed-author" }, linked(card.author.url, el("bdi", {}, card.author.name))),
    card.title && el("p", { class: "embed-title", dir: "auto" }, linked(card.url, inline(card.title))),
    card.description && prose(card.description),
    card.fields?.length ? el("dl", { class: "fields" }, fieldNodes(card.fields)) : null,
    card.image && picture(card.image.url, pictureName(card.image, card), card.image, "wide"),
    card.thumbnail && picture(card.thumbnail.url, pictureName(card.thumbnail, card), {}, "thumbnail"),
    embedFoot(card),
  );
  if (Number.isInteger(card.color)) node.style.setProperty("--bar", `#${card.color.toString(16).padStart(6, "0")}`);
  return node;
}

const linked = (address, children) => (address && link(address, children)) || el("span", {}, children);

const pictureName = ({ description, url }, card) => description || card.title || url.split("/").at(-1);

/** Inline fields share a row in threes; a field that is not inline ends the row, as Discord lays them out. */
function fieldNodes(fields) {
  const rows = [];
  for (const field of fields) {
    const row = rows.at(-1);
    if (field.inline && row?.[0].inline && row.length < 3) row.push(field);
    else rows.push([field]);
  }
  return rows.flatMap((row) => row.map((field) => fieldNode(field, row.length)));
}

function fieldNode({ name, value, inline: isInline }, count) {
  const span = isInline ? 6 / Math.max(count, 2) : 6;
  return el("div", { class: `field span-${span}` }, el("dt", { dir: "auto" }, inline(name)), el("dd", {}, prose(value)));
}

function embedFoot({ footer, timestamp }) {
  if (!footer?.text && !timestamp) return null;
  const parts = [footer?.text && el("bdi", {}, footer.text), timestamp && timeNode(new Date(timestamp), "sent")].filter(Boolean);
  return el("footer", { class: "embed-foot" }, parts.flatMap((part, index) => (index ? [" · ", part] : [part])));
}

function rowsOf(message) {
  if (!message.components?.length) return null;
  const trouble = state.trouble.get(message.id);
  return [
    el("div", { class: "rows" }, message.components.map((row) => componentRow(row, message))),
    trouble && el("p", { class: "failed", role: "alert" }, trouble),
  ];
}

function componentRow(row, message) {
  const parts = row.type === 1 ? row.components : [row];
  return el("div", { class: "row" }, parts.map((part) => component(part, message)));
}

function component(part, message) {
  if (part.type === Part.button) return part.style === 5 ? linkButton(part) : pressButton(part, message);
  if (part.type === Part.menu) return menu(part, message);
  if ((part.type >= 5 && part.type <= 8)) return disabledSelect(part);
  return el("p", { class: "elsewhere" }, "This part of the message cannot be shown here.");
}

const BUTTON_STYLES = { 1: "primary", 2: "secondary", 3: "success", 4: "danger" };

const emojiOf = ({ emoji }) =>
  emoji && el("span", { class: "emoji" }, emoji.id ? `:${emoji.name}:` : emoji.name in DOTS ? inline(emoji.name) : emoji.name);

function pressButton(part, message) {
  const key = `${message.id}:${part.custom_id}`;
  const busy = state.busy.has(key);
  const press = () => state.busy.has(key) || pressed(message, part.custom_id, key);
  return el(
    "button",
    {
      type: "button",
      class: `button ${BUTTON_STYLES[part.style] ?? "secondary"}`,
      disabled: part.disabled,
      "data-key": key,
      "aria-busy": busy ? "true" : null,
      onclick: press,
    },
    busy ? dots() : null,
    el("span", { class: "face" }, emojiOf(part), part.label),
  );
}

function linkButton(part) {
  const url = webUrl(part.url);
  const face = [emojiOf(part), part.label, icon("out")];
  if (!url || part.disabled) return el("button", { type: "button", class: "button link", disabled: true }, face);
  return el("a", { class: "button link", href: url.href, target: "_blank", rel: "noopener noreferrer" }, face);
}

/** Menus of members, roles and channels. */
function disabledSelect({ placeholder }) {
  const label = placeholder ?? "Make a selection";
  const note = "Menus of this kind cannot be used in the sandbox yet";
  return el("select", { class: "select", disabled: true, title: note, "aria-label": label }, el("option", {}, label));
}

/** A menu that unfolds: one choice is sent when it is pressed, several are ticked and sent together. */
function menu(part, message) {
  const key = `${message.id}:${part.custom_id}`;
  const busy = state.busy.has(key);
  const chosen = state.chosen.get(key) ?? part.options.filter((option) => option.default).map(({ value }) => value);
  const labels = part.options.filter(({ value }) => chosen.includes(value)).map(({ label }) => label);
  const face = labels.join(", ") || part.placeholder || "Make a selection";
  if (part.disabled || busy) return el("button", { type: "button", class: "select", disabled: true, "data-key": key }, face, busy && dots());
  const send = (values) => state.busy.has(key) || chose(message, part.custom_id, key, values);
  const list = (part.max_values ?? 1) > 1 ? ticks(part, chosen, key, send) : part.options.map((option) => choice(option, chosen, send));
  const name = part.placeholder || "Menu";
  return el("details", { class: "menu-box" }, el("summary", { class: "select", "data-key": key, "aria-label": `${name}: ${face}` }, face), el("div", { class: "menu-list", role: "group", "aria-label": name }, list));
}

function optionFace(option) {
  return el("span", { class: "option-face" }, emojiOf(option), el("bdi", {}, option.label), option.description && el("small", {}, option.description));
}

const choice = (option, chosen, send) =>
  el("button", { type: "button", class: "option", "aria-pressed": String(chosen.includes(option.value)), onclick: () => send([option.value]) }, optionFace(option));

function ticks(part, chosen, name, send) {
  const boxes = part.options.map((option) => checkbox(option, chosen, name));
  const picked = () => boxes.map((box) => box.querySelector("input")).filter(({ checked }) => checked).map(({ value }) => value);
  const [least, most] = boundsOf(part);
  const button = el("button", { type: "button", class: "button secondary", onclick: () => send(picked()) }, "Choose");
  const count = () => {
    const few = picked().length;
    button.disabled = few < least || few > most;
  };
  const list = el("div", { class: "ticks", onchange: count }, boxes);
  count();
  return [list, el("p", { class: "menu-foot" }, el("small", {}, `Choose ${countWords(least, most)}`), button)];
}

const checkbox = (option, chosen, name) =>
  el("label", { class: "option" }, el("input", { type: "checkbox", name, value: option.value, checked: chosen.includes(option.value) }), optionFace(option));

const boundsOf = ({ min_values: least, max_values: most }) => [least ?? 1, most ?? 1];
const countWords = (least, most) => (least === most ? String(least) : `${least} to ${most}`);

// ── Threads below their message ─────────────────────────────────────────────────────────────────────────────────────

const sections = new Map(); // thread id → its nodes: kept, so that news in a thread leave the message above it alone

/** The thread below a message, as a line that unfolds to the thread's messages; nothing where there is none. */
function threadOf(message) {
  const id = message.type === THREAD_CREATED ? message.message_reference?.channel_id : message.thread?.id;
  // On the thread's own view its first message stands alone.
  if (!id || id === state.channelId || !threadById(id)) return null;
  if (!sections.has(id)) sections.set(id, threadSection(id));
  showThread(id);
  return sections.get(id).node;
}

function threadSection(id) {
  const name = el("bdi", { class: "thread-name" });
  const count = el("small", {});
  const log = el("div", { class: "thread-log", id: `thread-${id}`, role: "group", hidden: true });
  const face = [icon("chevron"), icon("thread"), name, count];
  const toggle = el("button", { type: "button", class: "thread-toggle", "aria-controls": log.id, "data-key": `thread:${id}`, onclick: () => unfold(id) }, face);
  const open = el("a", { class: "thread-open", href: `#/thread/${id}` }, "Open");
  return { node: el("section", { class: "thread" }, el("p", { class: "thread-line" }, toggle, open), log), name, count, log, toggle, open };
}

const messagesOf = (id) => state.messages.filter((message) => message.channel_id === id);

function unfold(id) {
  if (state.opened.delete(id)) return showThread(id);
  state.opened.add(id);
  state.unread.delete(id);
  // The reader looks at this message now, whatever comes in below.
  following = false;
  showThread(id);
  showChannels();
}

/** Brings a thread's line and, if it is unfolded, its messages up to date. */
function showThread(id) {
  const thread = threadById(id);
  const { node, name, count, log, toggle, open } = sections.get(id);
  const told = messagesOf(id).filter(({ type }) => type !== THREAD_STARTER);
  const unfolded = state.opened.has(id) && id !== state.channelId;
  name.textContent = thread.name;
  count.textContent = [told.length === 1 ? "1 message" : `${told.length} messages`, ...threadMarks(thread)].join(" · ");
  node.setAttribute("aria-label", `Thread ${thread.name}`);
  log.setAttribute("aria-label", thread.name);
  toggle.setAttribute("aria-expanded", String(unfolded));
  open.setAttribute("aria-label", `Open ${thread.name}`);
  log.hidden = !unfolded;
  if (unfolded) arrange(log, told.length ? groupedNodes(told) : [el("p", { class: "notice" }, "Nothing was said here yet.")]);
  else log.replaceChildren();
}

function threadMarks({ thread_metadata: about }) {
  return [about?.locked && "locked", about?.archived && "archived"].filter(Boolean);
}

function putThread(thread) {
  const place = state.threads.findIndex(({ id }) => id === thread.id);
  if (place >= 0) state.threads[place] = thread;
  else state.threads.push(thread);
  if (thread.id === state.channelId) showPlace(thread);
  showChannels();
  showMessages();
}

// ── The message list ────────────────────────────────────────────────────────────────────────────────────────────────

const articles = new Map(); // message id → {node, message, isHead}: kept, so that an edit neither scrolls nor steals focus
const dividers = new Map();
let following = true; // whether the list sticks to its newest message
let seen = { scrollHeight: 0, clientHeight: 0 };

const inThisChannel = () => state.messages.filter((message) => message.channel_id === state.channelId);

function opensGroup(message, before) {
  if (!before || message.referenced_message || message.interaction_metadata?.name || message.type === THREAD_CREATED) return true;
  const sameAuthor = before.author.id === message.author.id && nameOf(before.author) === nameOf(message.author);
  const sameAudience = (before.flags & EPHEMERAL) === (message.flags & EPHEMERAL);
  return !sameAuthor || !sameAudience || new Date(message.timestamp) - new Date(before.timestamp) > GROUP_WITHIN_MS;
}

function articleFor(message, isHead) {
  const kept = articles.get(message.id);
  if (kept?.message === message && kept.isHead === isHead) return kept.node;
  // The list announces new articles; within one, edits stay silent (a progress card changes every few seconds).
  const node = kept?.node ?? el("article", { "aria-live": "off" });
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  node.className = articleClass(message, isHead);
  node.replaceChildren(...messageBody(message, isHead).flat(Infinity).filter(Boolean));
  if (focused) [...node.querySelectorAll("[data-key]")].find(({ dataset }) => dataset.key === focused)?.focus();
  articles.set(message.id, { node, message, isHead });
  return node;
}

function articleClass(message, isHead) {
  const forMe = message.mentions?.some(({ id }) => id === state.me?.id);
  return ["message", isHead && "opens", forMe && "for-me", message.flags & EPHEMERAL && "ephemeral"].filter(Boolean).join(" ");
}

function dividerFor(date) {
  const text = longDate.format(date);
  if (!dividers.has(text)) dividers.set(text, el("p", { class: "divider" }, el("span", {}, text)));
  return dividers.get(text);
}

function wantedNodes(messages) {
  const nodes = [];
  let before = null;
  for (const message of messages) {
    const date = new Date(message.timestamp);
    const newDay = !before || new Date(before.timestamp).toDateString() !== date.toDateString();
    if (newDay) nodes.push(dividerFor(date));
    nodes.push(articleFor(message, newDay || opensGroup(message, before)));
    before = message;
  }
  return nodes;
}

/** The messages of an unfolded thread, which shows no dates of its own. */
function groupedNodes(messages) {
  return messages.map((message, index) => articleFor(message, opensGroup(message, messages[index - 1])));
}

/** Puts `nodes` into the list and touches only what differs. */
function arrange(list, nodes) {
  let cursor = list.firstChild;
  for (const node of nodes) {
    if (node === cursor) cursor = cursor.nextSibling;
    else list.insertBefore(node, cursor);
  }
  while (cursor) {
    const next = cursor.nextSibling;
    cursor.remove();
    cursor = next;
  }
}

function showMessages() {
  const messages = inThisChannel();
  arrange($("log"), wantedNodes(messages));
  for (const id of sections.keys()) showThread(id);
  $("blank").hidden = messages.length > 0;
  followNewest();
}

function followNewest() {
  const scroller = $("scroller");
  if (following) scroller.scrollTop = scroller.scrollHeight;
  seen = { scrollHeight: scroller.scrollHeight, clientHeight: scroller.clientHeight };
  if (following) delete $("newest").dataset.due;
  $("newest").hidden = !$("newest").dataset.due;
}

function onScroll() {
  const { scrollHeight, scrollTop, clientHeight } = $("scroller");
  // An event that comes with a change of size is the layout's doing and says nothing about what the reader wants.
  if (scrollHeight === seen.scrollHeight && clientHeight === seen.clientHeight) {
    following = scrollHeight - scrollTop - clientHeight < 48;
  }
  followNewest();
}

/** Discord's first line of a thread only points to the message above it: shown is that message, without its buttons. */
function readable(message) {
  if (message.type !== THREAD_STARTER) return message;
  const above = message.referenced_message;
  if (!above) return { ...message, content: "-# The message that this thread began with was deleted." };
  const { content, embeds, attachments, author, timestamp } = above;
  return { ...message, content, embeds, attachments, author, timestamp, referenced_message: null };
}

function putMessage(news) {
  const message = readable(news);
  if (message.nonce) settle(message.nonce, "answered");
  if (sessionStorage.getItem(`dismissed:${message.id}`)) return;
  const place = state.messages.findIndex(({ id }) => id === message.id);
  if (place >= 0) state.messages[place] = message;
  else addMessage(message);
  state.trouble.delete(message.id);
  showMessages();
}

function addMessage(message) {
  state.messages.push(message);
  state.typing.delete(message.author.id);
  showTyping();
  if (message.channel_id !== state.channelId) {
    const seenBelow = state.opened.has(message.channel_id) && threadById(message.channel_id)?.parent_id === state.channelId;
    if (!seenBelow && message.type !== THREAD_STARTER) state.unread.add(message.channel_id);
    showChannels();
  } else if (message.author.id === state.me?.id) following = true;
  else if (!following) $("newest").dataset.due = "yes";
}

function removeMessage(id) {
  state.messages = state.messages.filter((message) => message.id !== id);
  articles.delete(id);
  showMessages();
}

/** Draws one message afresh although its content is the same: its buttons' state has changed. */
function redraw(id) {
  const place = state.messages.findIndex((message) => message.id === id);
  if (place < 0) return;
  state.messages[place] = { ...state.messages[place] };
  showMessages();
}

// ── Around the list ─────────────────────────────────────────────────────────────────────────────────────────────────

function showChannels() {
  const rows = state.channels.map((channel) => {
    const threads = state.threads.filter((thread) => thread.parent_id === channel.id && (!threadMarks(thread).includes("archived") || thread.id === state.channelId));
    const below = threads.length > 0 && el("ul", { class: "threads", "aria-label": `Threads of ${channel.name}` }, threads.map((thread) => el("li", {}, placeLink(thread, "thread"))));
    return el("li", {}, placeLink(channel, "hash"), below);
  });
  $("channels").replaceChildren(...rows);
}

function placeLink(place, picture) {
  const here = place.id === state.channelId;
  const unread = state.unread.has(place.id) && el("span", { class: "unread" }, el("span", { class: "hidden" }, "unread"));
  return el("a", { href: addressOf(place), "aria-current": here ? "page" : null }, icon(picture), el("bdi", {}, place.name), unread);
}

function showMembers() {
  const people = [...state.users].sort((one, other) => Boolean(one.bot) - Boolean(other.bot));
  $("members").replaceChildren(...people.map(memberRow));
}

function memberRow(user) {
  const name = nameOf(user);
  const mine = user.id === state.me.id;
  const role = user.bot ? "App" : user.roles?.join(", ") || "Member";
  const face = [avatar(name, user.id, "small"), el("span", { class: "member-text" }, el("bdi", {}, name), el("small", {}, role))];
  if (user.bot) return el("li", {}, el("span", { class: "member" }, face));
  const hint = mine ? el("span", { class: "you" }, "You") : el("span", { class: "view-as" }, "View as");
  // A plain link reloads the page as that member; the channel stays the same.
  const place = placeById(state.channelId);
  const address = `?as=${encodeURIComponent(user.id)}${place ? addressOf(place) : ""}`;
  return el("li", {}, el("a", { class: "member", href: address, "aria-current": mine ? "true" : null }, face, hint));
}

function showChannel() {
  const place = placeById(state.channelId);
  if (!place) return;
  showPlace(place);
  state.unread.delete(place.id);
  following = true;
  showChannels();
  showMembers();
  showMessages();
  showTyping();
}

/** The head of the page, its title, and whom the composer speaks to. */
function showPlace(place) {
  const parent = channelById(place.parent_id);
  const called = parent ? place.name : `#${place.name}`;
  $("channel-name").textContent = place.name;
  $("channel-icon").setAttribute("href", parent ? "#icon-thread" : "#icon-hash");
  const back = parent && el("a", { href: addressOf(parent) }, `#${parent.name}`);
  $("topic").replaceChildren(...(back ? ["in ", back, ...threadMarks(place).map((mark) => ` · ${mark}`)] : [place.topic ?? ""]));
  $("say").placeholder = parent ? "Message this thread" : `Message ${called}`;
  $("say").setAttribute("aria-label", `Message ${called}`);
  document.title = `${called} · ${state.guild.name}`;
}

/** The channel named after `#/`, the thread numbered after `#/thread/`, else the first channel. */
function chooseChannel() {
  const name = decodeURIComponent(location.hash.replace(/^#\//, ""));
  const place = threadById(name.replace(/^thread\//, "")) ?? state.channels.find((one) => one.name === name) ?? state.channels[0];
  state.channelId = place?.id ?? "";
  // Whether a message shows its thread depends on where it is shown.
  articles.clear();
  showChannel();
  showMenu(false);
}

function showGuild() {
  $("guild-name").textContent = state.guild.name;
  $("guild-mark").textContent = initials(state.guild.name);
}

function showTyping() {
  for (const [id, { until }] of state.typing) if (until < Date.now()) state.typing.delete(id);
  const names = [...state.typing.values()].filter(({ channelId }) => channelId === state.channelId).map(({ name }) => name);
  const text = names.length > 2 ? "Several people are typing…" : names.length ? `${names.join(" and ")} ${names.length > 1 ? "are" : "is"} typing…` : "";
  if ($("typing").textContent !== text) $("typing").textContent = text;
}

const banners = { connection: "", bot: "" };

function showBanner(kind, text) {
  banners[kind] = text;
  $("banner").textContent = banners.connection || banners.bot;
  $("banner").hidden = $("banner").textContent === "";
}

function showMenu(open) {
  if (open === document.body.classList.contains("menu-open")) return;
  document.body.classList.toggle("menu-open", open);
  $("menu").setAttribute("aria-expanded", String(open));
  (open ? $("channels").querySelector("a") : $("menu"))?.focus();
}

// ── The websocket ───────────────────────────────────────────────────────────────────────────────────────────────────

let socket = null;
let retryAfter = RETRY_FIRST_MS;
let nonceCount = 0;
const pending = new Map(); // nonce → what to do with its answer: {answered, failed, refused, choices}

function liveAddress() {
  const url = new URL("/live", location.origin);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const as = new URLSearchParams(location.search).get("as");
  if (as) url.searchParams.set("as", as);
  return url;
}

function connect() {
  socket = new WebSocket(liveAddress());
  socket.addEventListener("message", ({ data }) => received(JSON.parse(data)));
  socket.addEventListener("close", disconnected);
}

function disconnected() {
  showBanner("connection", "The connection was lost. Trying again…");
  for (const [nonce, waiting] of pending) {
    pending.delete(nonce);
    waiting.refused?.("The connection was lost before an answer came. Please try again.");
  }
  // Spread out, so that many open pages do not all knock at once when the sandbox is back.
  setTimeout(connect, retryAfter * (0.75 + Math.random() / 2));
  retryAfter = Math.min(retryAfter * 2, RETRY_LAST_MS);
}

/** Sends a frame and keeps what to do with its answer; returns its nonce, or null while there is no connection. */
function send(frame, handlers) {
  if (socket?.readyState !== WebSocket.OPEN) return null;
  const nonce = `${Date.now().toString(36)}-${(nonceCount += 1)}`;
  pending.set(nonce, handlers);
  socket.send(JSON.stringify({ ...frame, nonce }));
  return nonce;
}

const RECEIVERS = {
  hello: receiveHello,
  message: ({ message }) => putMessage(message),
  delete: ({ id }) => removeMessage(id),
  thread: ({ thread }) => putThread(thread),
  users: ({ users }) => receiveUsers(users),
  modal: ({ modal }) => showSheet(modal),
  commands: ({ commands }) => receiveCommands(commands),
  typing: ({ channel_id: channelId, user }) => receiveTyping(channelId, user),
  bot: receiveBot,
  choices: ({ nonce, choices }) => settle(nonce, "choices", choices),
  answered: ({ nonce, kind }) => kind !== "choices" && settle(nonce, "answered"), // the choices themselves follow
  failed: ({ nonce, sentence }) => settle(nonce, "failed", sentence),
  refused: ({ nonce, sentence }) => settle(nonce, "refused", sentence) || showTrouble(sentence),
};

function received(frame) {
  RECEIVERS[frame.t]?.(frame);
}

/** Hands an answer to whoever waits for it; false if nobody does. */
function settle(nonce, outcome, detail) {
  const waiting = pending.get(nonce);
  if (!waiting) return false;
  pending.delete(nonce);
  waiting[outcome]?.(detail);
  return true;
}

function receiveHello({ me, users, guild, channels, threads = [], commands, messages, bot }) {
  Object.assign(state, { me, users, guild, channels, threads, commands });
  state.messages = messages.filter(({ id }) => !sessionStorage.getItem(`dismissed:${id}`)).map(readable);
  state.busy.clear();
  state.chosen.clear();
  state.trouble.clear();
  state.typing.clear();
  sections.clear();
  retryAfter = RETRY_FIRST_MS;
  showBanner("connection", "");
  receiveBot({ online: bot !== false });
  showGuild();
  chooseChannel();
  showPicker();
}

function receiveBot({ online }) {
  showBanner("bot", online ? "" : "The bot is offline: commands and buttons get no answer until it is back.");
}

function receiveUsers(users) {
  state.users = users;
  showMembers();
}

function receiveCommands(commands) {
  state.commands = commands;
  showPicker();
}

function receiveTyping(channelId, user) {
  if (user.id === state.me?.id) return;
  state.typing.set(user.id, { channelId, name: nameOf(user), until: Date.now() + TYPING_LASTS_MS });
  showTyping();
}

const pressed = (message, customId, key) => use(message, { t: "press", custom_id: customId }, key);

function chose(message, customId, key, values) {
  state.chosen.set(key, values);
  use(message, { t: "choose", custom_id: customId, values }, key);
}

/** Sends what was done with a message's button or menu, which is busy until the answer comes. */
function use(message, frame, key) {
  const settled = (sentence) => {
    state.busy.delete(key);
    if (sentence) state.trouble.set(message.id, sentence);
    redraw(message.id);
  };
  const where = { channel_id: message.channel_id, message_id: message.id };
  const sent = send({ ...where, ...frame }, { answered: () => settled(), failed: settled, refused: settled });
  state.trouble.delete(message.id);
  if (sent) state.busy.add(key);
  else state.trouble.set(message.id, "There is no connection at the moment. Please try again.");
  redraw(message.id);
}

// ── A form that the app opens ───────────────────────────────────────────────────────────────────────────────────────

let sheet = null; // the form on view

function showSheet(modal) {
  sheet = new Sheet(modal);
  $("sheet").replaceChildren(sheet.node);
  if (!$("sheet").open) $("sheet").showModal();
  sheet.focusFirst();
}

/** Closes the form; the app only ever hears of one that is sent. */
function closeSheet({ sent = false } = {}) {
  if (!sheet) return;
  sheet = null;
  $("sheet").close();
  $("sheet").replaceChildren();
  if (!sent && socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ t: "dismiss" }));
}

/** One modal being filled in: texts, and fields with their label, limits and what is wrong with them. */
class Sheet {
  constructor(modal) {
    this.modal = modal;
    this.fields = [];
    this.busy = false;
    this.trouble = el("p", { class: "failed", role: "alert", hidden: true });
    this.button = el("button", { type: "submit", class: "button primary" }, el("span", { class: "face" }, "Submit"));
    const close = () => closeSheet();
    const corner = el("button", { type: "button", class: "icon-button", "aria-label": "Close the form", onclick: close }, icon("close"));
    const cancel = el("button", { type: "button", class: "button secondary", onclick: close }, "Cancel");
    const parts = modal.components.flatMap((part) => this.part(part));
    this.node = el(
      "form",
      { class: "sheet-form", autocomplete: "off", novalidate: true, onsubmit: (event) => this.submit(event) },
      el("header", { class: "sheet-head" }, el("h2", { id: "sheet-title", dir: "auto" }, modal.title), corner),
      el("div", { class: "sheet-body" }, parts, this.trouble),
      el("footer", { class: "sheet-foot" }, cancel, this.button),
    );
  }

  part(part) {
    if (part.type === Part.text) return [prose(part.content)];
    if (part.type === Part.label) return [this.field(part.component, part.label, part.description)];
    return part.components.map((input) => this.field(input, input.label, null));
  }

  field(part, label, description) {
    const required = part.required !== false;
    const field = { part, label, required, id: `field-${this.fields.length}`, problem: el("small", { class: "failed" }), count: el("small", { class: "count" }) };
    this.fields.push(field);
    const kind = part.type === Part.menu ? this.menuField(field) : this.textField(field);
    const name = [el("bdi", {}, label), required ? el("span", { class: "need", "aria-hidden": "true" }, "*") : el("small", {}, "optional")];
    const foot = el("p", { class: "field-foot", id: `${field.id}-foot` }, description && el("small", { dir: "auto" }, description), field.problem, field.count);
    const group = kind.group;
    const tag = group ? "fieldset" : "div";
    const head = el(group ? "legend" : "label", { class: "field-name", for: group ? null : field.id }, name);
    return el(tag, { class: "sheet-field", "aria-describedby": group ? `${field.id}-foot` : null }, head, kind.node, foot);
  }

  textField(field) {
    const { part, id, required } = field;
    const long = part.style === 2;
    const about = { id, placeholder: part.placeholder, dir: "auto", rows: long ? 4 : null, type: long ? null : "text" };
    const node = el(long ? "textarea" : "input", { ...about, "aria-required": String(required), "aria-describedby": `${id}-foot` });
    node.value = part.value ?? "";
    field.read = () => node.value;
    field.focus = () => node.focus();
    field.mark = (wrong) => node.setAttribute("aria-invalid", String(wrong));
    node.addEventListener("input", () => this.changed(field));
    this.changed(field);
    return { node };
  }

  menuField(field) {
    return boundsOf(field.part)[1] > 1 ? this.tickField(field) : this.selectField(field);
  }

  selectField(field) {
    const { part, id, required } = field;
    const options = part.options.map(({ label, value, description, default: chosen }) => el("option", { value, selected: chosen }, description ? `${label} · ${description}` : label));
    const nothing = el("option", { value: "" }, part.placeholder || "Make a selection");
    const node = el("select", { id, class: "select", "aria-required": String(required), "aria-describedby": `${id}-foot` }, nothing, options);
    field.read = () => (node.selectedIndex > 0 ? [node.value] : []);
    field.focus = () => node.focus();
    field.mark = (wrong) => node.setAttribute("aria-invalid", String(wrong));
    node.addEventListener("change", () => this.changed(field));
    return { node };
  }

  tickField(field) {
    const chosen = field.part.options.filter((option) => option.default).map(({ value }) => value);
    const boxes = field.part.options.map((option) => checkbox(option, chosen, field.id));
    const inputs = boxes.map((box) => box.querySelector("input"));
    field.read = () => inputs.filter(({ checked }) => checked).map(({ value }) => value);
    field.focus = () => inputs[0].focus();
    field.mark = (wrong) => inputs.forEach((input) => input.setAttribute("aria-invalid", String(wrong)));
    const node = el("div", { class: "ticks", onchange: () => this.changed(field) }, boxes);
    return { node, group: true };
  }

  changed(field) {
    field.problem.textContent = "";
    field.mark(false);
    const most = field.part.max_length;
    if (most) field.count.textContent = `${[...field.read()].length.toLocaleString("en")} / ${most.toLocaleString("en")}`;
  }

  focusFirst() {
    (this.fields[0] ?? { focus: () => this.button.focus() }).focus();
  }

  submit(event) {
    event.preventDefault();
    if (this.busy) return;
    const wrong = this.fields.filter((field) => this.check(field));
    if (wrong.length) return wrong[0].focus();
    const values = Object.fromEntries(this.fields.map((field) => [field.part.custom_id, field.read()]));
    const failed = (sentence) => this.waiting(false, sentence);
    const answered = () => sheet === this && closeSheet({ sent: true });
    const sent = send({ t: "submit", modal_id: this.modal.id, values }, { answered, failed, refused: failed });
    if (sent) this.waiting(true, "");
    else failed("There is no connection at the moment. What you wrote is kept.");
  }

  check(field) {
    const problem = fieldProblem(field);
    field.problem.textContent = problem;
    field.mark(problem !== "");
    return problem !== "";
  }

  waiting(busy, sentence) {
    this.busy = busy;
    if (busy) this.button.setAttribute("aria-busy", "true");
    else this.button.removeAttribute("aria-busy");
    this.button.replaceChildren(...(busy ? [dots()] : []), el("span", { class: "face" }, "Submit"));
    this.trouble.textContent = sentence;
    this.trouble.hidden = !sentence;
  }
}

/** What is wrong with a field's value, in words; "" if nothing is. The sandbox checks the same again. */
function fieldProblem({ part, required, read }) {
  const value = read();
  if (part.type === Part.menu) {
    const [least, most] = boundsOf(part);
    if (!value.length && !required) return "";
    return value.length >= least && value.length <= most ? "" : `Choose ${countWords(least, most)}.`;
  }
  if (!value.trim()) return required ? "This is needed." : "";
  const length = [...value].length;
  const [least, most] = [part.min_length ?? 0, part.max_length ?? 4000];
  if (length >= least && length <= most) return "";
  return length < least ? `At least ${least.toLocaleString("en")} characters; this is ${length}.` : `At most ${most.toLocaleString("en")} characters; this is ${length.toLocaleString("en")}.`;
}

// ── Suggestions above the composer: commands, choices and autocomplete answers share one list ───────────────────────

const panel = { items: [], active: -1, owner: null, pick: null };

/** Shows `hint` and `items` ({title, note}) for the input `owner`; `pick` gets the chosen item. */
function showPanel(owner, hint, items, pick) {
  Object.assign(panel, { owner, items, pick, active: items.length ? 0 : -1 });
  $("panel-hint").replaceChildren(...hint);
  $("panel-list").replaceChildren(...items.map(panelItem));
  $("panel-list").hidden = items.length === 0;
  $("panel").hidden = hint.length === 0 && items.length === 0;
  markActive();
}

function hidePanel() {
  panel.owner?.removeAttribute("aria-activedescendant");
  if (panel.owner?.role === "combobox") panel.owner.setAttribute("aria-expanded", "false");
  Object.assign(panel, { items: [], active: -1, owner: null, pick: null });
  $("panel").hidden = true;
}

function panelItem({ title, note }, index) {
  const choose = () => {
    panel.active = index;
    pickActive();
  };
  // Without preventDefault the press would take the focus from the input, and the list would close under the pointer.
  const keepFocus = (event) => event.preventDefault();
  const text = [el("bdi", { class: "panel-title" }, title), note && el("span", { class: "panel-note", dir: "auto" }, note)];
  return el("li", { id: `suggestion-${index}`, role: "option", onmousedown: keepFocus, onclick: choose }, text);
}

function markActive() {
  const { owner, active, items } = panel;
  [...$("panel-list").children].forEach((row, index) => row.setAttribute("aria-selected", String(index === active)));
  if (owner.role === "combobox") owner.setAttribute("aria-expanded", String(items.length > 0));
  if (active < 0) owner.removeAttribute("aria-activedescendant");
  else owner.setAttribute("aria-activedescendant", `suggestion-${active}`);
  $("panel-list").children[active]?.scrollIntoView({ block: "nearest" });
}

function pickActive() {
  const { items, active, pick } = panel;
  if (active < 0) return false;
  pick(items[active]);
  return true;
}

/** Arrows walk the list, Enter and Tab choose from it; returns whether the key was used. */
function panelKey(event) {
  if (!panel.items.length || event.isComposing) return false;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    panel.active = (panel.active + step + panel.items.length) % panel.items.length;
    markActive();
  } else if (event.shiftKey || !(event.key === "Enter" || event.key === "Tab") || !pickActive()) return false;
  event.preventDefault();
  return true;
}

// ── The composer ────────────────────────────────────────────────────────────────────────────────────────────────────

let form = null; // the slash command being filled in, or null while a message is written
let pickerShut = false; // Escape closed the picker; it stays closed until the text changes

function showTrouble(sentence) {
  $("trouble").textContent = sentence;
  $("trouble").hidden = !sentence;
}

function focusComposer() {
  if (form) form.focusFirst();
  else $("say").focus();
}

function fitTextarea() {
  const box = $("say");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

function setText(text) {
  $("say").value = text;
  pickerShut = false;
  fitTextarea();
  showPicker();
}

/** Every command a person can type: a bare one, or one entry for each of its subcommands. */
function commandEntries() {
  const leaves = (node, path) => {
    const inner = (node.options ?? []).filter(({ type }) => type === Type.sub || type === Type.group);
    return inner.length ? inner.flatMap((one) => leaves(one, [...path, one.name])) : [{ node, path }];
  };
  const slash = state.commands.filter(({ type }) => (type ?? 1) === 1);
  return slash.flatMap((command) =>
    leaves(command, []).map(({ node, path }) => ({
      command: command.name,
      sub: path,
      title: `/${[command.name, ...path].join(" ")}`,
      note: node.description,
      options: node.options ?? [],
    })),
  );
}

function showPicker() {
  if (form) return;
  const text = $("say").value;
  if (!text.startsWith("/") || text.includes("\n") || pickerShut) return hidePanel();
  const typed = text.toLowerCase();
  const entries = commandEntries();
  const exact = entries.find(({ title }) => typed === `${title} `);
  if (exact) return startForm(exact);
  const fitting = entries.filter(({ title }) => title.includes(typed.slice(1).trim()));
  const ranked = fitting.sort((one, other) => other.title.startsWith(typed) - one.title.startsWith(typed));
  showPanel($("say"), [pickerHint(entries, ranked)], ranked, startForm);
}

function pickerHint(entries, fitting) {
  if (!entries.length) return "The bot has not registered any commands yet.";
  if (!fitting.length) return "No command is called that. Enter sends this as a message.";
  return "Commands · arrows to move, Tab or Enter to choose, Escape to close";
}

function startForm(entry) {
  showTrouble("");
  enterForm(new SlashForm(entry));
}

function enterForm(next) {
  form = next;
  $("say").value = "";
  $("say").hidden = true;
  $("slash").hidden = false;
  $("slash").setAttribute("aria-label", next.entry.title);
  $("slash").replaceChildren(next.node);
  next.focusFirst();
}

function leaveForm(text = "") {
  form?.close();
  form = null;
  hidePanel();
  showTrouble("");
  $("slash").hidden = true;
  $("slash").replaceChildren();
  $("say").hidden = false;
  setText(text);
  $("say").focus();
}

function sayProblem(content) {
  const length = [...content].length;
  return length > MESSAGE_LIMIT ? `A message holds at most 2,000 characters; this one has ${length.toLocaleString("en")}.` : "";
}

function say() {
  const content = $("say").value.trim();
  if (!content) return;
  const refused = (sentence) => {
    if (!form && !$("say").value) setText(content);
    showTrouble(sentence);
  };
  const problem = sayProblem(content);
  if (problem) return showTrouble(problem);
  const sent = send({ t: "say", channel_id: state.channelId, content }, { failed: refused, refused });
  if (!sent) return showTrouble("There is no connection at the moment. Your text is kept.");
  showTrouble("");
  setText("");
}

/** A local message in the bot's name while a command waits for its answer, as Discord shows one. */
function awaitingMessage(entry) {
  return {
    id: `local-${(nonceCount += 1)}`,
    channel_id: state.channelId,
    author: theBot() ?? { id: "0", username: "Application", bot: true },
    content: "Sending the command",
    timestamp: new Date().toISOString(),
    flags: EPHEMERAL,
    interaction_metadata: { user: state.me, name: entry.title.slice(1) },
    waiting: true,
  };
}

async function sendCommand() {
  const sending = form;
  const { options, problem, field } = sending.read();
  if (problem) {
    sending.mark(field);
    return showTrouble(problem);
  }
  const { entry } = sending;
  const message = awaitingMessage(entry);
  const refused = (sentence) => {
    removeMessage(message.id);
    if (!form && !$("say").value) enterForm(sending);
    showTrouble(sentence);
  };
  const failed = (sentence) => putMessage({ ...message, content: sentence, waiting: false, failed: true });
  const frame = { t: "slash", channel_id: state.channelId, command: entry.command, sub: entry.sub, options };
  if (Object.values(options).some((value) => value instanceof File)) {
    try {
      frame.options = await uploaded(frame.channel_id, options);
    } catch (sentence) {
      return showTrouble(String(sentence));
    }
    if (form !== sending) return;
  }
  const sent = send(frame, { answered: () => removeMessage(message.id), failed, refused });
  if (!sent) return showTrouble("There is no connection at the moment. Your command is kept.");
  following = true;
  putMessage(message);
  leaveForm();
}

function submit(event) {
  event.preventDefault();
  if (form) sendCommand();
  else say();
}

function onTextKey(event) {
  if (panelKey(event)) return;
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
  else if (event.key === "Escape" && !$("panel").hidden) {
    pickerShut = true;
    hidePanel();
  }
}

// ── Filling in a slash command ──────────────────────────────────────────────────────────────────────────────────────

/** The values an option is limited to, as {title, value}, or null if it is free. */
function knownValues({ type, choices }) {
  if (choices?.length) return choices.map(({ name, value }) => ({ title: name, value }));
  if (type === Type.boolean) return [{ title: "True", value: true }, { title: "False", value: false }];
  if (type === Type.user || type === Type.mentionable) return state.users.map((user) => ({ title: nameOf(user), value: user.id }));
  if (type === Type.channel) return state.channels.map(({ id, name }) => ({ title: name, value: id }));
  return null;
}

function rangeWords(low, high) {
  if (low !== undefined && high !== undefined) return ` from ${low} to ${high}`;
  if (low !== undefined) return ` of at least ${low}`;
  return high === undefined ? "" : ` of at most ${high}`;
}

function kindWords(option) {
  if (option.choices?.length || option.type === Type.boolean) return "one of the list";
  const range = rangeWords(option.min_value, option.max_value);
  if (option.type === Type.integer) return `a whole number${range}`;
  if (option.type === Type.number) return `a number${range}`;
  if (option.type === Type.user || option.type === Type.mentionable) return "a member";
  if (option.type === Type.channel) return "a channel";
  if (option.type === Type.attachment) return "a file";
  return option.type === Type.string ? "text" : "a kind of value the sandbox cannot give yet";
}

/** Returns {value} or {problem}: the checks that Discord's own app makes before it sends anything. */
function readValue(option, text) {
  const known = knownValues(option);
  if (known) return knownValue(option, known, text);
  if (option.type === Type.integer || option.type === Type.number) return numberValue(option, text);
  if (option.type !== Type.string) return { problem: `${option.name} asks for ${kindWords(option)}.` };
  const length = [...text].length;
  const fits = length >= (option.min_length ?? 0) && length <= (option.max_length ?? 6000);
  const lengths = `${option.min_length ?? 1} to ${option.max_length ?? 6000}`;
  return fits ? { value: text } : { problem: `${option.name} must be ${lengths} characters long; this is ${length}.` };
}

function knownValue(option, known, text) {
  const match = known.find(({ title }) => title.toLowerCase() === text.toLowerCase());
  if (match) return { value: match.value };
  return { problem: `${option.name} must be one of: ${known.map(({ title }) => title).join(", ")}.` };
}

function numberValue(option, text) {
  const value = Number(text.replace(",", "."));
  const rightKind = option.type === Type.integer ? /^[-+]?\d+$/.test(text) && Number.isSafeInteger(value) : Number.isFinite(value);
  const inRange = value >= (option.min_value ?? -Infinity) && value <= (option.max_value ?? Infinity);
  return rightKind && inRange ? { value } : { problem: `${option.name} must be ${kindWords(option)}.` };
}

function fileValue(option, file) {
  return file.size <= FILE_LIMIT ? { value: file } : { problem: `${option.name} may have at most ${FILE_LIMIT / 2 ** 20} MiB.` };
}

/** Uploads the chosen files and puts the id of each in its place; throws a sentence. */
async function uploaded(channelId, options) {
  const given = Object.entries(options).map(async ([name, value]) => [name, value instanceof File ? await upload(channelId, value) : value]);
  return Object.fromEntries(await Promise.all(given));
}

async function upload(channelId, file) {
  const headers = { "Content-Type": "application/octet-stream" };
  const gone = "The file could not be read or sent. Choose it again.";
  const path = `/uploads/${channelId}/${encodeURIComponent(file.name)}`;
  const answer = await fetch(path, { method: "POST", headers, body: file }).catch(() => Promise.reject(gone));
  if (!answer.ok) throw await answer.text();
  return (await answer.json()).id;
}

/** One command being filled in: a chip for each required option, and a button for each optional one. */
class SlashForm {
  constructor(entry) {
    this.entry = entry;
    this.fields = [];
    this.asked = 0; // counts requests for choices, so that a late answer to an older one is dropped
    this.timer = 0;
    this.chips = el("span", { class: "chips" });
    this.extras = el("span", { class: "chips" });
    const leave = () => leaveForm();
    const close = el("button", { type: "button", class: "extra", "aria-label": "Leave this command", onclick: leave }, icon("close"));
    this.node = el("div", { class: "slash-line" }, el("strong", { class: "slash-name" }, entry.title), this.chips, this.extras, close);
    this.node.addEventListener("keydown", (event) => event.key === "Escape" && !event.defaultPrevented && leaveForm(entry.title));
    for (const option of entry.options) if (option.required) this.add(option);
    this.showExtras();
  }

  add(option) {
    const input = option.type === Type.attachment ? this.fileInput(option) : this.textInput(option);
    const chip = el("label", { class: "chip" }, el("span", { class: "chip-name" }, option.name), input);
    const field = { option, input, chip, picked: undefined };
    input.addEventListener("focus", () => this.suggest(field));
    input.addEventListener("blur", () => this.left());
    input.addEventListener("input", () => this.typed(field));
    input.addEventListener("keydown", (event) => this.key(event, field));
    this.fields.push(field);
    this.chips.append(chip);
    return field;
  }

  fileInput(option) {
    return el("input", {
      type: "file",
      "aria-label": option.name,
      "aria-required": option.required ? "true" : null,
      "aria-describedby": "panel-hint trouble",
    });
  }

  textInput(option) {
    return el("input", {
      type: "text",
      role: "combobox",
      size: "6",
      dir: "auto",
      autocomplete: "off",
      spellcheck: "false",
      inputmode: option.type === Type.integer ? "numeric" : null,
      "aria-label": option.name,
      "aria-required": option.required ? "true" : null,
      "aria-expanded": "false",
      "aria-controls": "panel-list",
      "aria-describedby": "panel-hint trouble",
    });
  }

  showExtras() {
    const unused = this.entry.options.filter((option) => !this.fields.some((field) => field.option === option));
    this.extras.replaceChildren(...unused.map((option) => this.extraButton(option)));
    // A command without options still needs a place for the keyboard: Enter on it sends.
    if (!this.entry.options.length) this.extras.replaceChildren(el("button", { type: "submit", class: "extra" }, "Press Enter to send"));
  }

  extraButton(option) {
    const add = () => {
      const field = this.add(option);
      this.showExtras();
      field.input.focus();
    };
    const hint = () => showPanel(button, this.hint(option), [], null);
    const label = `Add ${option.name}`;
    const button = el("button", { type: "button", class: "extra", onclick: add, onfocus: hint, onblur: hidePanel, "aria-label": label }, `+ ${option.name}`);
    return button;
  }

  focusFirst() {
    const empty = this.fields.find(({ input }) => !input.value);
    (empty?.input ?? this.fields.at(-1)?.input ?? this.extras.querySelector("button")).focus();
  }

  hint(option) {
    const need = option.required ? "required" : "optional";
    return [el("strong", {}, option.name), ` · ${kindWords(option)} · ${need}`, el("span", { class: "hint-note" }, option.description)];
  }

  /** What can stand in this field: all choices while nothing is typed or one is picked, else those that fit. */
  suggest(field) {
    const { option, input, picked } = field;
    const known = knownValues(option);
    const typed = picked === undefined ? input.value.trim().toLowerCase() : "";
    const items = known?.filter(({ title }) => title.toLowerCase().includes(typed)) ?? [];
    showPanel(input, this.hint(option), items, (item) => this.pick(field, item));
    if (option.autocomplete) this.ask(field);
  }

  ask(field) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.request(field), AUTOCOMPLETE_PAUSE_MS);
  }

  request(field) {
    const { option, input } = field;
    const turn = (this.asked += 1);
    const current = () => turn === this.asked && form === this && document.activeElement === input;
    const hint = this.hint(option);
    const failed = () => current() && showPanel(input, [...hint, el("span", { class: "hint-note failed" }, "No suggestions came: the bot did not answer.")], [], null);
    const choices = (answer) => {
      const items = answer.map(({ name, value }) => ({ title: name, value }));
      if (current()) showPanel(input, hint, items, (item) => this.pick(field, item));
    };
    const options = { ...this.valuesSoFar(field), [option.name]: input.value.trim() };
    const { command, sub } = this.entry;
    send({ t: "autocomplete", channel_id: state.channelId, command, sub, options, focused: option.name }, { choices, failed, refused: failed });
  }

  valuesSoFar(except) {
    const filled = this.fields.filter((field) => field !== except && field.option.type !== Type.attachment && field.input.value.trim());
    const read = filled.map((field) => [field.option.name, this.value(field).value]);
    return Object.fromEntries(read.filter(([, value]) => value !== undefined));
  }

  pick(field, { title, value }) {
    field.input.value = title;
    field.picked = value;
    this.fit(field);
    clearTimeout(this.timer);
    this.asked += 1;
    const next = this.fields.find(({ input }) => !input.value);
    if (next) next.input.focus();
    else hidePanel();
  }

  typed(field) {
    field.picked = undefined;
    this.fit(field);
    this.suggest(field);
  }

  fit({ input, chip }) {
    input.size = Math.min(Math.max([...input.value].length + 1, 6), 60);
    input.removeAttribute("aria-invalid");
    chip.classList.remove("wrong");
    showTrouble("");
  }

  left() {
    clearTimeout(this.timer);
    hidePanel();
  }

  key(event, field) {
    const { input, option } = field;
    if (option.type === Type.attachment && event.key === "Enter" && input.files.length) {
      // Left to itself, Enter would ask for another file.
      event.preventDefault();
      return $("composer").requestSubmit();
    }
    // Tab merely passes through a field that is still empty; choosing the first suggestion there would be a surprise.
    const passing = event.key === "Tab" && !input.value && panel.active <= 0;
    if (!passing && field.picked === undefined && panelKey(event)) return;
    if (field.picked !== undefined && event.key.startsWith("Arrow") && panelKey(event)) field.picked = undefined;
    else if (event.key === "Escape") this.stepBack(event, field);
    else if (event.key === "Backspace" && !input.value && !(option.required && this.fields.length > 1)) this.stepBack(event, field);
  }

  /** Escape closes the list, then takes an empty optional chip away, then goes back to the picker. */
  stepBack(event, field) {
    event.preventDefault();
    if (event.key === "Escape" && panel.items.length) return hidePanel();
    if (field.option.required || field.input.value) return leaveForm(this.entry.title);
    this.fields = this.fields.filter((one) => one !== field);
    this.showExtras();
    this.focusFirst();
    field.chip.remove();
  }

  value({ option, input, picked }) {
    const text = input.value.trim();
    if (option.type === Type.attachment && text) return fileValue(option, input.files[0]);
    if (picked !== undefined) return { value: picked };
    if (text) return readValue(option, text);
    return option.required ? { problem: `${option.name} is needed: ${option.description}` } : {};
  }

  /** Returns {options}, or {problem, field} for the first field that cannot be sent. */
  read() {
    const options = {};
    for (const field of this.fields) {
      const { value, problem } = this.value(field);
      if (problem) return { problem, field };
      if (value !== undefined) options[field.option.name] = value;
    }
    return { options };
  }

  mark({ input, chip }) {
    input.setAttribute("aria-invalid", "true");
    chip.classList.add("wrong");
    input.focus();
  }

  close() {
    clearTimeout(this.timer);
  }
}

// ── Start ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function listen() {
  $("composer").addEventListener("submit", submit);
  $("say").addEventListener("keydown", onTextKey);
  $("say").addEventListener("blur", hidePanel);
  $("say").addEventListener("focus", showPicker);
  $("say").addEventListener("input", () => {
    pickerShut = false;
    showTrouble("");
    fitTextarea();
    showPicker();
  });
  $("scroller").addEventListener("scroll", onScroll, { passive: true });
  $("newest").addEventListener("click", () => {
    following = true;
    followNewest();
    focusComposer();
  });
  $("menu").addEventListener("click", () => showMenu(!document.body.classList.contains("menu-open")));
  $("scrim").addEventListener("click", () => showMenu(false));
  $("sheet").addEventListener("close", () => closeSheet());
  $("viewer").addEventListener("click", () => $("viewer").close());
  document.addEventListener("keydown", (event) => event.key === "Escape" && showMenu(false));
  window.addEventListener("hashchange", chooseChannel);
  // Pictures arrive after their message and make the list taller; it must not drift away from its newest line.
  new ResizeObserver(followNewest).observe($("log"));
  new ResizeObserver(followNewest).observe($("scroller"));
  setInterval(tick, 1000);
}

listen();
connect();
