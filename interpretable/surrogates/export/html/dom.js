/* Elements, numbers in words, thumbnails. */

const data = JSON.parse(document.getElementById("data").textContent);

/** An element; strings among its children become text and are never read as markup. */
function make(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** A name from the data, whose writing direction stays its own. */
function named(text, className = "") {
  const element = make("bdi", className, text);
  element.title = text;
  return element;
}

function button(className, act, ...children) {
  const element = make("button", className, ...children);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
}

/** A heading with what follows it, left out where nothing does. */
function section(title, note, ...children) {
  if (!children.some((child) => child)) return "";
  const heading = make("h3", "", title);
  if (note) heading.append(make("small", "", note));
  return make("section", "part", heading, ...children);
}

/** Pairs of a name and a value, as a description list. */
function pairs(list, className) {
  return list.length ? make("dl", className, ...list.map(([name, value]) => make("div", "", make("dt", "", named(name)), make("dd", "", named(value))))) : "";
}

const COUNT = new Intl.NumberFormat("en");

function count(number, word) {
  return word ? `${COUNT.format(number)} ${word}${number === 1 ? "" : "s"}` : COUNT.format(number);
}

/** Decimals that give the largest of some values three digits, so that all of them line up. */
function decimalsOf(values) {
  const largest = Math.max(0, ...values.map((value) => Math.abs(value ?? 0)));
  return largest > 0 ? Math.min(12, Math.max(0, 2 - Math.floor(Math.log10(largest)))) : 0;
}

function number(value, decimals, sign = "") {
  if (value === null) return "–";
  const digits = Math.abs(value).toFixed(decimals);
  if (Number(digits) === 0) return digits;
  return (value < 0 ? "−" : sign) + digits;
}

/** Tells what happened in a line that screen readers read out. */
function announce(text) {
  const status = document.getElementById("status");
  status.textContent = text;
  status.classList.add("shown");
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => status.classList.remove("shown"), 2500);
}

const sheetsShown = new Set();

/** Makes a sheet the background of its class; one that is still being read follows when the page is complete. */
function showSheet(sheet) {
  const source = document.getElementById(`sheet-${sheet}`);
  if (!source || sheetsShown.has(sheet)) return;
  sheetsShown.add(sheet);
  document.styleSheets[0].insertRule(`.sheet-${sheet} { background-image: url("${source.textContent}"); }`);
}

const sheetsWaiting = new Set();
document.addEventListener("DOMContentLoaded", () => sheetsWaiting.forEach(showSheet));

/** A thumbnail, or nothing where the page has no such image; kind is "train", "test" or "region". */
function thumbnail(kind, key, description) {
  const place = data.places[kind][key];
  if (!place) return "";
  const [sheet, column, row] = place;
  const [columns, rows] = data.sheets[sheet];
  const element = make("span", `thumbnail sheet-${sheet}`);
  const share = (index, size) => (size > 1 ? (100 * index) / (size - 1) : 0);
  element.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
  element.style.backgroundPosition = `${share(column, columns)}% ${share(row, rows)}%`;
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", description);
  element.title = description;
  sheetsWaiting.add(sheet);
  showSheet(sheet);
  return element;
}
