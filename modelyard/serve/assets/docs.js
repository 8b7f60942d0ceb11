"use strict";
// Draws the page from /openapi.json and runs the example that stands in it.

const make = (tag, text, kind) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  return node;
};

const row = (cells) => {
  const line = make("tr");
  for (const cell of cells) {
    const box = make("td");
    box.append(cell instanceof Node ? cell : document.createTextNode(cell));
    line.append(box);
  }
  return line;
};

const table = (heads, lines) => {
  const whole = make("table");
  const head = make("tr");
  heads.forEach((text) => head.append(make("th", text)));
  whole.append(make("thead"), make("tbody"));
  whole.tHead.append(head);
  lines.forEach((line) => whole.tBodies[0].append(row(line)));
  return whole;
};

// What short values hold stands on one line; what does not fit is broken, level by level.
const pretty = (value, indent = "") => {
  const flat = JSON.stringify(value);
  if (flat.length + indent.length < 92 || value === null || typeof value !== "object") return flat;
  const inner = indent + "  ";
  const parts = Array.isArray(value)
    ? value.map((part) => inner + pretty(part, inner))
    : Object.entries(value).map(([key, part]) => `${inner}${JSON.stringify(key)}: ${pretty(part, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return `${open}\n${parts.join(",\n")}\n${indent}${close}`;
};

const quote = (text) => "'" + text.replaceAll("'", "'\\''") + "'";

const meaning = (model, spec) => {
  if (spec.columns && spec.columns.length) return spec.columns.join(", ");
  if (spec.name === model.label) return model.task === "classifier" ? "the predicted class" : "the prediction";
  if (spec.name === model.scores && model.classes.length) return "one score a class: " + model.classes.join(", ");
  return "–";
};

const tensors = (model, specs, last) =>
  table(["Name", "Datatype", "Shape", last], specs.map((spec) => [
    make("code", spec.name), spec.datatype,
    "[" + spec.shape.map((size) => (size < 0 ? "any" : size)).join(", ") + "]", meaning(model, spec),
  ]));

const tryIt = (path, example) => {
  const box = make("div");
  const input = make("textarea");
  input.value = pretty(example);
  input.rows = Math.min(Math.max(input.value.split("\n").length + 1, 4), 24);
  input.setAttribute("aria-label", "request body");
  input.spellcheck = false;
  const button = make("button", "POST " + path);
  const note = make("span", "", "quiet");
  const answer = make("pre");
  answer.hidden = true;
  button.addEventListener("click", async () => {
    const started = performance.now();
    try {
      const reply = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: input.value });
      const text = await reply.text();
      note.textContent = `${reply.status} in ${(performance.now() - started).toFixed(1)} ms, network and browser included`;
      note.className = reply.ok ? "good" : "bad";
      try { answer.textContent = pretty(JSON.parse(text)); } catch { answer.textContent = text; }
    } catch (error) {
      note.textContent = "no answer: " + error.message;
      note.className = "bad";
    }
    answer.hidden = false;
  });
  const curl = make("pre", `curl -s ${location.origin}${path} -H 'content-type: application/json' -d ${quote(JSON.stringify(example))}`);
  box.append(input, button, note, answer, make("p", "The same from a terminal:", "quiet"), curl);
  return box;
};

const example = (operation) => {
  const content = operation && operation.requestBody && operation.requestBody.content["application/json"];
  if (!content) return null;
  if (content.example !== undefined) return content.example;
  const first = Object.values(content.examples || {})[0];
  return first ? first.value : null;
};

const draw = async () => {
  const state = document.getElementById("state");
  const document_ = await (await fetch("/openapi.json" + location.search)).json();
  const body = document.querySelector("#paths tbody");
  const models = new Set();
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      body.append(row([method.toUpperCase(), make("code", path), operation.summary || ""]));
    }
    const found = path.match(/^\/v2\/models\/([^/{]+)$/);
    if (found) models.add(decodeURIComponent(found[1]));
  }
  for (const name of models) {
    const meta = await (await fetch(`/v2/models/${encodeURIComponent(name)}`)).json();
    const card = make("div", undefined, "model");
    card.append(make("h2", `${meta.name} : ${(meta.versions || []).join(", ")}`), make("p", meta.platform, "quiet"));
    const model = meta.modelyard;
    card.append(make("h3", "Takes"), tensors(model, model.inputs, "Columns"));
    card.append(make("h3", "Gives"), tensors(model, model.outputs, "Meaning"));
    const short = document_.paths["/predict"] ? "/predict" : `/predict/${name}`;
    for (const [title, path] of [["Try it", short], ["Try it, Open Inference Protocol V2", `/v2/models/${name}/infer`]]) {
      const body_ = example(document_.paths[path] && document_.paths[path].post);
      if (body_ !== null) card.append(make("h3", title), tryIt(path, body_));
    }
    document.getElementById("models").append(card);
  }
  if (document_.info.description.includes("?model=")) {
    document.getElementById("models").append(make("p", document_.info.description, "quiet"));
  }
  state.textContent = models.size ? "ready" : "no model is ready yet; reload in a moment";
  state.className = models.size ? "good" : "bad";
};

draw().catch((error) => {
  document.getElementById("state").textContent = "the page could not read /openapi.json: " + error.message;
});
