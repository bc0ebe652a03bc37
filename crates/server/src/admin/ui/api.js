// The admin API (docs/api.md). The token is sent in a header only, to this origin only, and is kept
// in this tab only: a stranger's page can neither read here nor write.

const KEY = "ringfence-token";
let token = null;
try {
  token = sessionStorage.getItem(KEY);
} catch {
  // without storage it is forgotten when the page is
}

export const hasToken = () => token !== null;

export function keepToken(word) {
  token = word;
  try {
    if (word === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, word);
  } catch {
    // as above
  }
}

/// Why the edge did not do what was asked.
export class Refusal extends Error {
  constructor(code, body) {
    super([body?.error ?? `the edge answered ${code}`, body?.hint].filter(Boolean).join(" — "));
    this.code = code;
    this.body = body;
  }
}

const options = (method, body, word) => ({
  method,
  headers: {
    ...(word === null ? {} : { Authorization: `Bearer ${word}` }),
    ...(body === undefined ? {} : { "Content-Type": "application/json" }),
  },
  body: body === undefined ? undefined : JSON.stringify(body),
  mode: "same-origin",
  credentials: "omit",
  redirect: "error",
  cache: "no-store",
});

/// Asks, and gives back what was answered; `word` is another token than the one that is kept.
export async function ask(method, path, body, word = token) {
  const answer = await fetch("/api/v1" + path, { ...options(method, body, word), signal: AbortSignal.timeout(15_000) });
  const text = await answer.text();
  let value = null;
  try {
    value = JSON.parse(text);
  } catch {
    // told by its code
  }
  if (!answer.ok) throw new Refusal(answer.status, value);
  return { value, truncated: answer.headers.has("x-ringfence-truncated") };
}

export const read = async (path) => (await ask("GET", path)).value;

/// A segment of a path that holds anything.
export const segment = (text) => encodeURIComponent(text);

/// Fetches a file and gives it to the browser to keep.
export async function download(path, name) {
  const answer = await fetch("/api/v1" + path, { ...options("GET", undefined, token), signal: AbortSignal.timeout(15_000) });
  if (!answer.ok) throw new Refusal(answer.status, await answer.json().catch(() => null));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/// Longest event that is taken: what is longer is no event of ours.
const EVENT_MAX = 1 << 20;

/// Follows the events until the stream ends or `signal` stops it. (An EventSource cannot send a
/// token.)
export async function follow(signal, onOpen, onEvent) {
  const answer = await fetch("/api/v1/events", { ...options("GET", undefined, token), signal });
  if (!answer.ok) throw new Refusal(answer.status, null);
  onOpen();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    let end;
    while ((end = rest.indexOf("\n\n")) >= 0) {
      const [name, data, id] = event(rest.slice(0, end));
      rest = rest.slice(end + 2);
      if (name) onEvent(name, data, id);
    }
    if (rest.length > EVENT_MAX) throw new Error("an event without an end");
  }
}

function event(text) {
  let name = null;
  let data = "";
  let id = null;
  for (const line of text.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data += line.slice(5);
    else if (line.startsWith("id:")) id = line.slice(3).trim();
  }
  try {
    return name && data ? [name, JSON.parse(data), id] : [];
  } catch {
    return [];
  }
}
