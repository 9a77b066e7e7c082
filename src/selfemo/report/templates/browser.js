"use strict";
// Conversations: found by words and by what became of their candidates, and opened one by one. All text is put in as text.
(() => {
  const list = document.getElementById("list");
  if (!list) return;
  const STEP = 40;
  const byId = (id) => document.getElementById(id);
  const fold = (text) => text.normalize("NFKC").toLocaleLowerCase();

  function el(tag, name, ...children) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    made.append(...children.filter((child) => child !== ""));
    return made;
  }

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  const words = (reason) => reason.replaceAll("_", " ");
  const chances = (read) => read.map(([answer, chance]) => `${answer} ${chance} %`).join(", ") || "nothing";
  const candidates = (item) => item.turns.flatMap((turn) => turn.replies || [turn]);

  function marked(text, sought) {
    // Folding may change a text's length; then nothing is marked, and what was found is there all the same.
    const folded = fold(text);
    const made = el("span", "said");
    let at = 0;
    if (sought && folded.length === text.length) {
      for (let next; (next = folded.indexOf(sought, at)) >= 0; at = next + sought.length) {
        made.append(text.slice(at, next), el("mark", "", text.slice(next, next + sought.length)));
      }
    }
    made.append(text.slice(at));
    return made;
  }

  const tag = (reason) => (reason ? el("span", reason === "kept" ? "tag kept" : "tag", words(reason)) : "");

  function way(item, turn) {
    const from = data.origins[item.round] || {};
    const by = from.playedBy === null || from.playedBy === undefined ? "" : ` (trained in round ${from.playedBy})`;
    const steps = [
      `seed dialogue ${item.dialogue} of ${item.corpus}`,
      `played by ${from.played}${by}`,
      `rollout in ${from.rollouts}`,
      ...turn.samples.map((s) => `sample ${s.id} in ${from.samples}: ${s.task}, target ${s.target.join(", ")}${s.gold ? " (gold)" : ""}, confidence ${s.sure}`),
      `learnt by ${from.trained}: ${from.became}`,
    ];
    const path = el("ol", "way", ...steps.map((step) => el("li", "", step)));
    return el("details", "", el("summary", "", "Lineage of what was kept"), path);
  }

  function reply(one, spoken, sought) {
    const said = [
      el("div", "", tag(one.why), spoken ? el("span", "dim", "became the next turn") : ""),
      el("div", "", marked(one.text, sought)),
      el("div", "dim", one.declared.length ? `declared ${one.declared.join(", ")}; read as ${chances(one.read)}` : "no answer of the form asked for"),
      one.declared.length ? el("div", "dim", `reward ${one.reward}, confidence ${one.sure}`) : "",
    ];
    return el("li", spoken ? "spoken" : "", ...said);
  }

  function generated(item, turn, sought) {
    const replies = turn.replies.map((one, index) => reply(one, index === turn.chosen, sought));
    const about = `${turn.speaker}, ${turn.replies.length} replies sampled`;
    return el("li", "", el("div", "who", about), el("ul", "replies", ...replies), turn.samples ? way(item, turn) : "");
  }

  function heard(item, turn, sought) {
    const voices = Object.entries(turn.voices).map(([name, read]) => el("div", "dim", `${name}: ${chances(read)}`));
    const target = turn.target ? `target ${turn.target.join(", ")}, reward ${turn.reward}, confidence ${turn.sure}` : "";
    const gold = turn.gold ? `gold ${turn.gold.join(", ")}` : "no gold";
    const read = el("details", "", el("summary", "", "What each voice read"), ...voices);
    return el("li", "", el("div", "who", turn.speaker), el("div", "", marked(turn.text, sought)),
      el("div", "dim", tag(turn.why || ""), [target, gold].filter(Boolean).join("; ")), read, turn.samples ? way(item, turn) : "");
  }

  function body(item, sought) {
    const parts = [];
    if (item.seed.length) {
      const turns = item.seed.map(([who, text]) => el("li", "", el("div", "who", who), el("div", "", marked(text, sought))));
      parts.push(el("p", "dim", `Seed: the beginning of ${item.dialogue}`), el("ul", "talk", ...turns), el("p", "dim", "Self-play goes on:"));
    }
    const turns = item.turns.map((turn) => (turn.replies ? generated : heard)(item, turn, sought));
    parts.push(el("ul", "talk", ...turns));
    return parts;
  }

  function entry(item, sought) {
    const all = candidates(item);
    const kept = all.filter((one) => one.why === "kept").length;
    const first = item.seed.length ? item.seed.at(-1)[1] : item.turns[0].text;
    const title = item.kind === "self-play" ? `Self-play ${item.name}` : `Corpus dialogue ${item.dialogue}`;
    const told = all.some((one) => one.why) ? `${kept} of ${all.length} candidates kept` : `${all.length} candidates`;
    const summary = el("summary", "", title, el("span", "dim", `round ${item.round} · ${told} · ${first.slice(0, 90)}`));
    const opened = el("details", "", summary);
    opened.addEventListener("toggle", () => {
      if (opened.open && opened.childElementCount === 1) opened.append(...body(item, sought));
    });
    return el("li", "", opened);
  }

  function options(select, values) {
    for (const value of [...new Set(values)].sort()) select.append(new Option(words(value), value));
  }

  function text(item) {
    if (item.folded === undefined) {
      const found = [item.name, item.dialogue, ...item.seed.flat()];
      for (const turn of item.turns) {
        found.push(turn.speaker, turn.text || "", ...(turn.target || []), ...(turn.gold || []));
        for (const one of turn.replies || []) found.push(one.text, ...one.declared);
      }
      item.folded = fold(found.join("\n"));
    }
    return item.folded;
  }

  function start(items) {
    const [kind, of, why, label] = ["kind", "of", "why", "label"].map(byId);
    options(of, items.map((item) => String(item.round)));
    options(why, items.flatMap(candidates).map((one) => one.why).filter(Boolean));
    const named = (one) => [...(one.declared || []), ...(one.target || []), ...(one.gold || [])];
    options(label, items.flatMap(candidates).flatMap(named));
    let found = [];
    let shown = 0;

    function more() {
      const sought = fold(byId("words").value.trim());
      list.append(...found.slice(shown, shown + STEP).map((item) => entry(item, sought)));
      const first = list.children[shown];
      shown = Math.min(shown + STEP, found.length);
      byId("more").hidden = shown >= found.length;
      return first;
    }

    function search() {
      const sought = fold(byId("words").value.trim());
      const fits = (one) => (!why.value || one.why === why.value) && (!label.value || named(one).includes(label.value));
      found = items.filter((item) => (!kind.value || item.kind === kind.value) && (!of.value || String(item.round) === of.value)
        && candidates(item).some(fits) && (!sought || text(item).includes(sought)));
      list.replaceChildren();
      shown = 0;
      more();
      byId("found").textContent = `${found.length} of ${items.length} conversations`;
    }

    byId("search").hidden = false;
    byId("search").addEventListener("submit", (event) => event.preventDefault());
    let waiting = 0;
    byId("words").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 150); });
    for (const select of [kind, of, why, label]) select.addEventListener("change", search);
    byId("more").addEventListener("click", () => more().querySelector("summary").focus());
    search();
  }

  unpack(byId("packed").textContent.trim()).then(start, () => {
    byId("found").textContent = "This browser cannot unpack the conversations: it is too old.";
  });
})();
