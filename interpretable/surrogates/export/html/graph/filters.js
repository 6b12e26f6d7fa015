/* What the reader looks at: a node, an image, and which nodes are left; all of it is in the page's address. */

const MARKERS_AT_FIRST = 50;
const LOWEST_STRENGTH = Math.floor(100 * strengthRange[0]) / 100;

const DEFAULTS = { node: "", view: "node", image: "", hide: "", part: "", filter: "", text: "", score: 0, purity: 0, strength: LOWEST_STRENGTH, markers: MARKERS_AT_FIRST };
const FILTERS = ["hide", "part", "filter", "text", "score", "purity"];

/** The place that is shown: values as the address has them. */
const here = { ...DEFAULTS };

/** An address names what differs from a page just opened. */
function hashOf(place) {
  const differing = Object.keys(DEFAULTS).filter((key) => String(place[key]) !== String(DEFAULTS[key]));
  return differing.length ? `#${new URLSearchParams(differing.map((key) => [key, place[key]]))}` : "#";
}

/** The place that an address names, and whether all of it is on this page. */
function placeOf(hash) {
  const place = { ...DEFAULTS };
  let known = true;
  for (const [key, value] of new URLSearchParams(hash.replace(/^#/, ""))) {
    const usable = isUsable(key, value);
    if (usable) place[key] = typeof DEFAULTS[key] === "number" ? Number(value) : value;
    known &&= usable;
  }
  return { place, known };
}

function isUsable(key, value) {
  if (!Object.hasOwn(DEFAULTS, key)) return false;
  if (typeof DEFAULTS[key] === "number") return value.trim() !== "" && Number.isFinite(Number(value));
  const checks = {
    node: () => nodeByKey.has(value),
    view: () => value === "node" || value === "images",
    image: () => /^\d+$/.test(value) && Number(value) < data.gallery.length,
    part: () => partNames.includes(value),
    filter: () => /^\d*$/.test(value),
    hide: () => /^\d+(,\d+)*$/.test(value) && value.split(",").every((index) => layers[index]),
  };
  return checks[key]?.() ?? true;
}

function selectedNode() {
  return nodeByKey.get(here.node);
}

function hiddenLayers() {
  return new Set(here.hide === "" ? [] : here.hide.split(",").map(Number));
}

function isFiltered() {
  return FILTERS.some((key) => String(here[key]) !== String(DEFAULTS[key]));
}

/** A test of whether a node is left by part, filter, text, score and purity; layers that are hidden are another matter. */
function filterOfNodes() {
  const text = here.text.trim().toLowerCase();
  const filter = here.filter === "" ? null : Number(here.filter);
  return (node) =>
    (filter === null || node.filter === filter) &&
    (here.part === "" || node.part === here.part) &&
    (here.score <= 0 || node.score >= here.score) &&
    (here.purity <= 0 || (node.purity !== null && node.purity >= here.purity)) &&
    (text === "" || node.name.toLowerCase().includes(text));
}

const filterBar = make("div", "top-bar");

/** A control of the filter bar, which the address may set too. */
const controls = {};

function addControl(key, element, label, read = (text) => text) {
  element.setAttribute("aria-label", label);
  element.addEventListener("input", () => go({ ...here, [key]: read(element.value) }, true));
  controls[key] = element;
  return element;
}

function slider(key, label, low, high, step, words) {
  const element = addControl(key, make("input", ""), label, Number);
  Object.assign(element, { type: "range", min: low, max: high, step });
  const output = make("output", "");
  element.show = () => (output.textContent = words(here[key]));
  return make("label", "slider", make("span", "quiet", label), element, output);
}

function layerToggle(layer) {
  const box = make("input", "");
  box.type = "checkbox";
  box.addEventListener("change", () => {
    const hidden = hiddenLayers();
    if (box.checked) hidden.delete(layer.index);
    else hidden.add(layer.index);
    go({ ...here, hide: [...hidden].sort((one, other) => one - other).join(",") }, true);
  });
  const label = make("label", `check layer-${layer.index % LAYER_COLOURS}`, box, make("span", "dot"), named(layer.name));
  label.show = () => (box.checked = !hiddenLayers().has(layer.index));
  return label;
}

const clearFilters = button("link", () => go({ ...here, ...Object.fromEntries(FILTERS.map((key) => [key, DEFAULTS[key]])) }), "Clear filters");
const layerToggles = layers.map(layerToggle).reverse();

function buildFilters() {
  const text = addControl("text", make("input", "search"), "Search nodes by name");
  Object.assign(text, { type: "search", placeholder: "Search nodes   /" });
  const filter = addControl("filter", make("input", "filter-number"), "Filter number");
  Object.assign(filter, { type: "number", min: 0, placeholder: "Filter" });
  const part = addControl("part", make("select", ""), "Part");
  part.append(new Option("Any part", ""), ...partNames.map((name) => new Option(name, name)));
  part.hidden = !partNames.length;
  const scores = slider("score", "Score from", 0, Math.ceil(10 * highestScore) / 10, 0.1, (value) => value.toFixed(1));
  const purity = slider("purity", "Purity from", 0, 1, 0.01, (value) => `${Math.round(100 * value)} %`);
  purity.hidden = !purityKnown;
  const strength = slider("strength", "Edges from", LOWEST_STRENGTH, Math.ceil(100 * strengthRange[1]) / 100, 0.01, (value) => value.toFixed(2));
  strength.hidden = layers.length < 2;
  const toggles = make("span", "toggles", ...(layers.length > 1 ? layerToggles : []));
  toggles.setAttribute("role", "group");
  toggles.setAttribute("aria-label", "Layers");
  filterBar.append(make("div", "fields", text, part, filter, toggles), make("div", "fields", scores, purity, strength, clearFilters));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.closest("input, select, textarea")) return;
    event.preventDefault();
    text.focus();
  });
}

/** Brings the controls in line with the place; what the reader types in stays as it is. */
function refreshFilters() {
  for (const [key, element] of Object.entries(controls)) {
    if (element !== document.activeElement || element.type === "range") element.value = here[key];
    element.show?.();
  }
  for (const toggle of layerToggles) toggle.show();
  clearFilters.hidden = !isFiltered();
}
