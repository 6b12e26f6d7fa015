/* Elements, and numbers in words. */

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

/** Makes these the children of an element; those that are there already stay where they can, which costs the browser nothing. */
function fill(parent, wanted) {
  const kept = new Set(wanted);
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
  let place = parent.firstElementChild;
  for (const child of wanted) {
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
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
